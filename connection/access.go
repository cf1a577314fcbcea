package connection

import (
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/message"
)

// rememberedPermissions is how many decisions a channel keeps (PERM-5).
const rememberedPermissions = 12

// access remembers what the user of a channel was allowed, so that publishing asks once
// for each exchange. RabbitMQ goes on honouring what it remembers after the permission was
// taken away; here a change makes every channel forget, so that it acts on the next thing a
// client does. Refusals are not kept.
type access struct {
	version uint64      // of the permissions that this is about
	allowed []permitted // the latest first
	topics  bool        // some routing keys may be refused
}

type permitted struct {
	name string
	op   auth.Operation
	kind binding.Kind
}

// permit checks a permission; it is a broker.Permit.
func (ch *Channel) permit(a broker.Access) error {
	ch.refreshAccess()
	if a.Topic {
		if !ch.access.topics {
			return nil
		}
		return ch.c.permit(a)
	}
	if _, ok := ch.access.find(a.Op, a.Kind, a.Name); ok {
		return nil
	}
	if err := ch.c.permit(a); err != nil {
		return err
	}
	ch.access.add(permitted{name: a.Name, op: a.Op, kind: a.Kind})
	return nil
}

// refreshAccess forgets what is remembered when any permission has changed since.
func (ch *Channel) refreshAccess() {
	c := ch.c
	version := c.b.PermissionsVersion()
	if version == ch.access.version {
		return
	}
	ch.access.version = version
	ch.access.allowed = ch.access.allowed[:0]
	ch.access.topics = c.b.HasTopicPermissions(c.client.user, c.vhost.Name())
}

// permitKeys checks the routing keys of a message for a topic exchange (PERM-7).
func (ch *Channel) permitKeys(x *exchange.Exchange, m *message.Message) error {
	if !ch.access.topics || !x.ByTopic() {
		return nil
	}
	keys := []string{m.RoutingKey}
	if m.More != nil {
		keys = append(append(keys, m.More.CC...), m.More.BCC...)
	}
	for _, key := range keys {
		a := broker.Access{Op: auth.Write, Kind: binding.Exchange, Name: x.Name(), Topic: true, Key: key}
		if err := ch.permit(a); err != nil {
			return err
		}
	}
	return nil
}

// find returns the remembered name that equals name, which may be borrowed, and whether
// there is one.
func (a *access) find(op auth.Operation, kind binding.Kind, name string) (string, bool) {
	for i := range a.allowed {
		if p := &a.allowed[i]; p.op == op && p.kind == kind && p.name == name {
			return p.name, true
		}
	}
	return "", false
}

func (a *access) add(p permitted) {
	if len(a.allowed) < rememberedPermissions {
		a.allowed = append(a.allowed, permitted{})
	}
	copy(a.allowed[1:], a.allowed)
	a.allowed[0] = p
}
