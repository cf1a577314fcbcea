package broker

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/topology"
)

// Access is something that a client needs permission for.
type Access struct {
	Op   auth.Operation
	Kind binding.Kind
	Name string // of the queue or the exchange; "" is the default exchange
	// Topic tells that it is about a routing key of the topic exchange Name, for which there
	// may be a permission of its own (PERM-7). Op is Write or Read then.
	Topic bool
	Key   string
}

// Permit answers whether the one it was made for may have access: nil, or the refusal to
// send (ERR-27, ERR-28). It may be called with the topology locked, so it must not use the
// VHost. A nil Permit allows everything; what the broker itself declares needs no
// permission.
type Permit func(Access) error

func (p Permit) check(op auth.Operation, kind binding.Kind, name string) error {
	if p == nil {
		return nil
	}
	return p(Access{Op: op, Kind: kind, Name: name})
}

// Authorize says whether user may have access in vhost: nil, or the refusal to send. Every
// operation of every client is decided here. It takes no lock.
func (b *Broker) Authorize(user, vhost string, a Access) error {
	r := b.rights(user, vhost)
	if a.Topic {
		if g := r.topic(a.Name); g == nil || g.Allows(a.Op, a.Key) {
			return nil
		}
		return amqp.AccessRefused("%s access to topic '%s' in exchange '%s' in vhost '%s' refused for user '%s'",
			a.Op, a.Key, a.Name, vhost, user)
	}
	name := a.Name
	if a.Kind == binding.Exchange && name == "" {
		name = defaultExchangeName
	}
	if r.grant != nil && r.grant.Allows(a.Op, name) {
		return nil
	}
	return amqp.AccessRefused("%s access to %s refused for user '%s'", a.Op, resource(a.Kind, name, vhost), user)
}

// defaultExchangeName is what permissions and error texts call the default exchange
// (PERM-2).
const defaultExchangeName = "amq.default"

// Permit is Authorize for one user in one virtual host. Permissions are looked up at each
// call, so that changes act at once; whoever remembers answers has to forget them when
// PermissionsVersion changes.
func (b *Broker) Permit(user, vhost string) Permit {
	return func(a Access) error { return b.Authorize(user, vhost, a) }
}

// PermissionsVersion is another number after every change of a permission or a topic
// permission, also of those that go with their user or virtual host.
func (b *Broker) PermissionsVersion() uint64 { return b.permissions.version.Load() }

// Allowed reports whether user may do op on what resource names in vhost. The default
// exchange is amq.default (PERM-2).
func (b *Broker) Allowed(user, vhost string, op auth.Operation, resource string) bool {
	return b.Authorize(user, vhost, Access{Op: op, Name: resource}) == nil
}

// HasAccess reports whether user may use vhost at all: whether there is a permission
// record (PERM-1).
func (b *Broker) HasAccess(user, vhost string) bool { return b.rights(user, vhost).grant != nil }

// HasTopicPermissions reports whether any topic permission narrows what user may do in
// vhost.
func (b *Broker) HasTopicPermissions(user, vhost string) bool {
	return len(b.rights(user, vhost).topics) > 0
}

// Permissions returns all permission records, by virtual host and user.
func (b *Broker) Permissions() []auth.Permission {
	var all []auth.Permission
	for _, r := range b.allRights() {
		if r.grant != nil {
			all = append(all, r.grant.Permission())
		}
	}
	return all
}

// TopicPermissions returns all topic permission records, by virtual host, user and
// exchange.
func (b *Broker) TopicPermissions() []auth.TopicPermission {
	var all []auth.TopicPermission
	for _, r := range b.allRights() {
		for _, g := range r.topics {
			all = append(all, g.Permission())
		}
	}
	return all
}

// PutPermission sets what a user may do in a virtual host. Both have to be there.
func (b *Broker) PutPermission(p auth.Permission) (*Commit, error) {
	g, err := p.Compile()
	if err != nil {
		return nil, refuse(Invalid, "%v", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.checkGrantee(p.User, p.VHost); err != nil {
		return nil, err
	}
	c := b.write(topology.Unit{Puts: []topology.Record{topology.Permission{Permission: p}}})
	r := b.rights(p.User, p.VHost)
	b.permissions.put(grantee{p.User, p.VHost}, rights{grant: g, topics: r.topics})
	return c, nil
}

// PutTopicPermission sets what a user may do with the routing keys of an exchange, which
// need not be there. The user and the virtual host have to be.
func (b *Broker) PutTopicPermission(p auth.TopicPermission) (*Commit, error) {
	g, err := p.Compile()
	if err != nil {
		return nil, refuse(Invalid, "%v", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.checkGrantee(p.User, p.VHost); err != nil {
		return nil, err
	}
	c := b.write(topology.Unit{Puts: []topology.Record{topology.TopicPermission{TopicPermission: p}}})
	r := b.rights(p.User, p.VHost)
	b.permissions.put(grantee{p.User, p.VHost}, rights{grant: r.grant, topics: append(r.otherTopics(p.Exchange), g)})
	return c, nil
}

func (b *Broker) checkGrantee(user, vhost string) error {
	if _, ok := b.users[user]; !ok || b.vhosts[vhost] == nil {
		return refuse(Invalid, "vhost_or_user_not_found")
	}
	return nil
}

// DeletePermission takes from a user its access to a virtual host; of one it does not have
// there is nothing to delete, and nil. Connections that are open stay, and are refused what
// they do next.
func (b *Broker) DeletePermission(user, vhost string) *Commit {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rights(user, vhost)
	if r.grant == nil {
		return nil
	}
	c := b.writeDeletes([]topology.Record{topology.Permission{Permission: r.grant.Permission()}})
	b.permissions.put(grantee{user, vhost}, rights{topics: r.topics})
	return c
}

// DeleteTopicPermission takes back what narrowed a user on an exchange, or on all of them
// when exchange is nil. If there is nothing to delete, it returns nil.
func (b *Broker) DeleteTopicPermission(user, vhost string, exchange *string) *Commit {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rights(user, vhost)
	kept := rights{grant: r.grant}
	if exchange != nil {
		kept.topics = r.otherTopics(*exchange)
	}
	var records []topology.Record
	for _, g := range r.topics {
		if !slices.Contains(kept.topics, g) {
			records = append(records, topology.TopicPermission{TopicPermission: g.Permission()})
		}
	}
	c := b.writeDeletes(records)
	if c != nil {
		b.permissions.put(grantee{user, vhost}, kept)
	}
	return c
}

// restorePermissions makes what users may do of its records. Those of a user or a virtual
// host that is gone are garbage, and must not come to life with another of its name.
func (b *Broker) restorePermissions(c topology.Catalog) (garbage []topology.Record, err error) {
	for _, p := range c.Permissions {
		if b.checkGrantee(p.User, p.VHost) != nil {
			garbage = append(garbage, p)
			continue
		}
		g, err := p.Compile()
		if err != nil {
			return nil, fmt.Errorf("restore: %w", err)
		}
		b.permissions.put(grantee{p.User, p.VHost}, rights{grant: g})
	}
	for _, p := range c.TopicPermissions {
		if b.checkGrantee(p.User, p.VHost) != nil {
			garbage = append(garbage, p)
			continue
		}
		g, err := p.Compile()
		if err != nil {
			return nil, fmt.Errorf("restore: %w", err)
		}
		r := b.rights(p.User, p.VHost)
		b.permissions.put(grantee{p.User, p.VHost}, rights{grant: r.grant, topics: append(r.otherTopics(p.Exchange), g)})
	}
	return garbage, nil
}

// permissions are what every user may do in every virtual host. Reading needs no lock;
// changes are made with Broker.mu held.
type permissions struct {
	of      sync.Map // *rights by grantee
	version atomic.Uint64
}

// put replaces a user's rights, or forgets them when they are none. The version changes
// last, so that whoever sees the new one finds the new rights.
func (p *permissions) put(k grantee, r rights) {
	if r.grant == nil && len(r.topics) == 0 {
		p.of.Delete(k)
	} else {
		slices.SortFunc(r.topics, func(x, y *auth.TopicGrant) int {
			return cmp.Compare(x.Permission().Exchange, y.Permission().Exchange)
		})
		p.of.Store(k, &r)
	}
	p.version.Add(1)
}

func (b *Broker) rights(user, vhost string) rights {
	if r, ok := b.permissions.of.Load(grantee{user, vhost}); ok {
		return *r.(*rights)
	}
	return rights{}
}

// grantee is what rights are found by.
type grantee struct{ user, vhost string }

// rights are what a user may do in a virtual host. They are not changed but replaced.
type rights struct {
	grant  *auth.Grant        // nil for no access
	topics []*auth.TopicGrant // by exchange
}

func (r rights) topic(exchange string) *auth.TopicGrant {
	for _, g := range r.topics {
		if g.Permission().Exchange == exchange {
			return g
		}
	}
	return nil
}

// otherTopics returns a copy of r's topic grants without the one for exchange.
func (r rights) otherTopics(exchange string) []*auth.TopicGrant {
	return slices.DeleteFunc(slices.Clone(r.topics), func(g *auth.TopicGrant) bool { return g.Permission().Exchange == exchange })
}

// deletePermissions takes away all that some may do and returns the records, in a stable
// order; they are still to be written. Broker.mu is held.
func (b *Broker) deletePermissions(which func(grantee) bool) (records []topology.Record) {
	for _, r := range b.allRights() {
		if !which(r.grantee) {
			continue
		}
		if r.grant != nil {
			records = append(records, topology.Permission{Permission: r.grant.Permission()})
		}
		for _, g := range r.topics {
			records = append(records, topology.TopicPermission{TopicPermission: g.Permission()})
		}
		b.permissions.put(r.grantee, rights{})
	}
	return records
}

// granted is rights with whose they are.
type granted struct {
	grantee
	rights
}

// allRights returns all rights, by virtual host and user.
func (b *Broker) allRights() []granted {
	var all []granted
	b.permissions.of.Range(func(k, r any) bool {
		all = append(all, granted{k.(grantee), *r.(*rights)})
		return true
	})
	slices.SortFunc(all, func(x, y granted) int {
		return cmp.Or(cmp.Compare(x.vhost, y.vhost), cmp.Compare(x.user, y.user))
	})
	return all
}
