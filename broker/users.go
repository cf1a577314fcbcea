package broker

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/topology"
)

// User returns a user by name.
func (b *Broker) User(name string) (auth.User, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	u, ok := b.users[name]
	return u, ok
}

// Users returns all users, by name.
func (b *Broker) Users() []auth.User {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return slices.SortedFunc(maps.Values(b.users), func(x, y auth.User) int { return cmp.Compare(x.Name, y.Name) })
}

// Permissions returns all permission records, by virtual host and user.
func (b *Broker) Permissions() []auth.Permission {
	grants := *b.grants.Load()
	all := make([]auth.Permission, 0, len(grants))
	for _, g := range grants {
		all = append(all, g.Permission())
	}
	slices.SortFunc(all, func(x, y auth.Permission) int {
		return cmp.Or(cmp.Compare(x.VHost, y.VHost), cmp.Compare(x.User, y.User))
	})
	return all
}

// PutUser adds a user, or replaces the one of that name.
func (b *Broker) PutUser(u auth.User) (*Commit, error) {
	if err := auth.CheckHash(u.PasswordHash, u.Algorithm); err != nil {
		return nil, fmt.Errorf("user %q: %w", u.Name, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.write(topology.Unit{Puts: []topology.Record{topology.User{User: u}}})
	b.users[u.Name] = u
	return c, nil
}

// DeleteUser removes a user and its permissions and closes its connections (C-33). Of a
// user that is not there it does nothing.
func (b *Broker) DeleteUser(name string) *Commit {
	b.mu.Lock()
	u, ok := b.users[name]
	if !ok {
		b.mu.Unlock()
		return nil
	}
	permissions := b.deleteGrants(func(k grantee) bool { return k.user == name })
	c := b.write(topology.Unit{Deletes: append([]topology.Record{topology.User{User: u}}, permissions...)})
	delete(b.users, name)
	b.mu.Unlock()

	b.closeSessions(func(d SessionInfo) bool { return d.User == name },
		amqp.ConnectionForced("user '%s' is deleted", name))
	return c
}

// PutPermission sets what a user may do in a virtual host. Both have to be there.
func (b *Broker) PutPermission(p auth.Permission) (*Commit, error) {
	g, err := p.Compile()
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.users[p.User]; !ok {
		return nil, fmt.Errorf("no user %q", p.User)
	}
	if b.vhosts[p.VHost] == nil {
		return nil, fmt.Errorf("no vhost %q", p.VHost)
	}
	c := b.write(topology.Unit{Puts: []topology.Record{topology.Permission{Permission: p}}})
	b.changeGrants(func(grants map[grantee]*auth.Grant) { grants[grantee{p.User, p.VHost}] = g })
	return c, nil
}

// DeletePermission takes from a user its access to a virtual host. Connections that are
// open stay (PERM-5).
func (b *Broker) DeletePermission(user, vhost string) *Commit {
	b.mu.Lock()
	defer b.mu.Unlock()
	records := b.deleteGrants(func(k grantee) bool { return k == grantee{user, vhost} })
	return b.writeDeletes(records)
}

// HashPassword returns a password's hash with new salt, for a User whose Algorithm is
// auth.SHA256.
func (b *Broker) HashPassword(password string) string {
	var salt [auth.SaltBytes]byte
	b.random(salt[:])
	return auth.HashPassword(password, salt)
}

// random fills p. A broker without entropy would hand out names and salts that others can
// foresee, so it does not go on.
func (b *Broker) random(p []byte) {
	b.entropyMu.Lock()
	defer b.entropyMu.Unlock()
	if _, err := io.ReadFull(b.entropy, p); err != nil {
		panic(fmt.Sprintf("broker: reading entropy: %v", err))
	}
}
