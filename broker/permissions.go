package broker

import (
	"fmt"
	"maps"
	"slices"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/topology"
)

// Permit answers whether the one it was made for may do op on a queue or an exchange: nil,
// or the refusal to send (ERR-27). The default exchange's name is "". It may be called with
// the topology locked, so it must not use the VHost. A nil Permit allows everything; what
// the broker itself declares needs no permission.
type Permit func(op auth.Operation, kind binding.Kind, name string) error

func (p Permit) check(op auth.Operation, kind binding.Kind, name string) error {
	if p == nil {
		return nil
	}
	return p(op, kind, name)
}

// Permit returns the permissions of a user in a virtual host. They are looked up at each
// call, so that changes act at once; a channel may remember answers (PERM-5).
func (b *Broker) Permit(user, vhost string) Permit {
	return func(op auth.Operation, kind binding.Kind, name string) error {
		if kind == binding.Exchange && name == "" {
			name = defaultExchangeName
		}
		if b.Allowed(user, vhost, op, name) {
			return nil
		}
		return amqp.AccessRefused("%s access to %s refused for user '%s'", op, resource(kind, name, vhost), user)
	}
}

// defaultExchangeName is what permissions and error texts call the default exchange
// (PERM-2).
const defaultExchangeName = "amq.default"

// Authenticate says who a client is, from its SASL response. loopback tells that it comes
// from this machine (C-11). The error wraps auth.ErrRefused when the credentials are no
// good (C-9), and auth.ErrMalformed when the response or the mechanism is (C-10).
func (b *Broker) Authenticate(mechanism string, response []byte, loopback bool) (user string, err error) {
	c, err := auth.ParseResponse(mechanism, response)
	if err != nil {
		return "", err
	}
	if err := b.CheckPassword(c.User, c.Password, loopback); err != nil {
		b.Counters.AuthenticationRefused.Add(1)
		return "", err
	}
	b.Counters.AuthenticationAccepted.Add(1)
	return c.User, nil
}

// CheckPassword says why user may not log in with password; the error wraps
// auth.ErrRefused.
func (b *Broker) CheckPassword(user, password string, loopback bool) error {
	u, ok := b.User(user)
	switch {
	case !ok:
		return fmt.Errorf("%w: no user %q", auth.ErrRefused, user)
	case !u.Verify(password):
		return fmt.Errorf("%w: wrong password for user %q", auth.ErrRefused, user)
	case !loopback && slices.Contains(b.options.LoopbackUsers, user):
		return fmt.Errorf("%w: user %q can only connect via localhost", auth.ErrRefused, user)
	}
	return nil
}

// Allowed reports whether user may do op on what resource names in vhost. The default
// exchange is amq.default (PERM-2).
func (b *Broker) Allowed(user, vhost string, op auth.Operation, resource string) bool {
	g := b.grant(user, vhost)
	return g != nil && g.Allows(op, resource)
}

// HasAccess reports whether user may use vhost at all: whether there is a permission
// record (PERM-1).
func (b *Broker) HasAccess(user, vhost string) bool {
	return b.grant(user, vhost) != nil
}

// Open returns the virtual host a user asks for with connection.open, or why there is none
// for it (C-15).
func (b *Broker) Open(user, vhost string) (*VHost, error) {
	v := b.VHost(vhost)
	if v == nil {
		return nil, amqp.NotAllowed("vhost %s not found", vhost)
	}
	if !b.HasAccess(user, vhost) {
		return nil, amqp.NotAllowed("access to vhost '%s' refused for user '%s'", vhost, user)
	}
	return v, nil
}

// Tags returns a user's tags, nil when there is no such user.
func (b *Broker) Tags(user string) []string {
	u, _ := b.User(user)
	return u.Tags
}

// HasTag reports whether a user carries a tag.
func (b *Broker) HasTag(user, tag string) bool {
	u, _ := b.User(user)
	return u.HasTag(tag)
}

// grantee is what permissions are found by.
type grantee struct{ user, vhost string }

func (b *Broker) grant(user, vhost string) *auth.Grant {
	return (*b.grants.Load())[grantee{user, vhost}]
}

// changeGrants puts a changed copy of the permissions in place. b.mu is held.
func (b *Broker) changeGrants(change func(map[grantee]*auth.Grant)) {
	grants := maps.Clone(*b.grants.Load())
	change(grants)
	b.grants.Store(&grants)
}

// deleteGrants takes some permissions away and returns their records, in a stable order;
// they are still to be written. b.mu is held.
func (b *Broker) deleteGrants(which func(grantee) bool) (records []topology.Record) {
	for _, p := range b.Permissions() {
		if which(grantee{p.User, p.VHost}) {
			records = append(records, topology.Permission{Permission: p})
		}
	}
	b.changeGrants(func(grants map[grantee]*auth.Grant) {
		maps.DeleteFunc(grants, func(k grantee, _ *auth.Grant) bool { return which(k) })
	})
	return records
}
