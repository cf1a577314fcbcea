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

// PutUser adds a user, or gives the one of that name another password and other tags. Its
// limits are replaced unless u.Limits is nil. Its connections stay, with the tags they
// logged in with.
func (b *Broker) PutUser(u auth.User) (*Commit, error) {
	if err := auth.CheckHash(u.PasswordHash, u.Algorithm); err != nil {
		return nil, refuse(Invalid, "user %q: %v", u.Name, err)
	}
	if u.Name == "" {
		return nil, refuse(Invalid, "a user has to have a name")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if u.Limits == nil {
		u.Limits = b.users[u.Name].Limits
	}
	return b.putUser(u), nil
}

// putUser stores a user. b.mu is held.
func (b *Broker) putUser(u auth.User) *Commit {
	u.Tags = slices.Clone(u.Tags)
	c := b.write(topology.Unit{Puts: []topology.Record{topology.User{User: u}}})
	b.users[u.Name] = u
	return c
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
	delete(b.users, name)
	records := []topology.Record{topology.User{User: u}}
	c := b.writeDeletes(append(records, b.deletePermissions(func(k grantee) bool { return k.user == name })...))
	b.mu.Unlock()

	b.closeSessions(func(d SessionInfo) bool { return d.User == name },
		amqp.ConnectionForced("user '%s' is deleted", name))
	return c
}

// SetUserLimit sets one of a user's limits, which are auth.UserLimits (LIM-2, C25). What is
// there above it stays.
func (b *Broker) SetUserLimit(user, limit string, value int64) (*Commit, error) {
	if !slices.Contains(auth.UserLimits, limit) {
		return nil, refuse(Invalid, "Unrecognised terms [{<<%q>>,%d}] in user-limits", limit, value)
	}
	return b.changeUserLimits(user, Invalid, func(l auth.Limits) auth.Limits { return l.With(limit, value) })
}

// ClearUserLimit takes one of a user's limits away. It is content when there is none.
func (b *Broker) ClearUserLimit(user, limit string) (*Commit, error) {
	return b.changeUserLimits(user, NotFound, func(l auth.Limits) auth.Limits { return l.Without(limit) })
}

// changeUserLimits refuses a user that is not there as missing says: RabbitMQ answers that it
// cannot be limited, and that it is not found to be freed of a limit.
func (b *Broker) changeUserLimits(user string, missing RefusalKind, change func(auth.Limits) auth.Limits) (*Commit, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	u, ok := b.users[user]
	if !ok {
		return nil, refuse(missing, "no_such_user")
	}
	u.Limits = change(u.Limits)
	return b.putUser(u), nil
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
