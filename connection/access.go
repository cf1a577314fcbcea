package connection

import (
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
)

// rememberedPermissions is how many decisions a channel keeps (PERM-5).
const rememberedPermissions = 12

// access remembers what the user of a channel was allowed, so that publishing asks once
// for each exchange. What was allowed goes on being allowed on this channel, as RabbitMQ
// has it (PERM-5); refusals are not kept.
type access struct {
	allowed []permitted // the latest first
}

type permitted struct {
	name string
	op   auth.Operation
	kind binding.Kind
}

// permit checks a permission; it is a broker.Permit.
func (ch *Channel) permit(op auth.Operation, kind binding.Kind, name string) error {
	if _, ok := ch.access.find(op, kind, name); ok {
		return nil
	}
	if err := ch.c.permit(op, kind, name); err != nil {
		return err
	}
	ch.access.add(permitted{name: name, op: op, kind: kind})
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
