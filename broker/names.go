package broker

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/exchange"
)

// names finds things by name without a lock. Changes are made under a lock of the owner.
type names[T any] struct{ m sync.Map }

func (n *names[T]) find(name string) *T {
	if v, ok := n.m.Load(name); ok {
		return v.(*T)
	}
	return nil
}

func (n *names[T]) put(name string, t *T) { n.m.Store(name, t) }

func (n *names[T]) remove(name string) { n.m.Delete(name) }

// each calls f for everything there is, in no order.
func (n *names[T]) each(f func(*T)) {
	n.m.Range(func(_, t any) bool {
		f(t.(*T))
		return true
	})
}

// sorted returns everything there is, in the order of the names.
func (n *names[T]) sorted() []*T {
	type named struct {
		name string
		t    *T
	}
	var all []named
	n.m.Range(func(name, t any) bool {
		all = append(all, named{name.(string), t.(*T)})
		return true
	})
	slices.SortFunc(all, func(a, b named) int { return cmp.Compare(a.name, b.name) })
	out := make([]*T, len(all))
	for i := range all {
		out[i] = all[i].t
	}
	return out
}

// stripped is a name as clients mean it: RabbitMQ drops carriage returns and line feeds
// from the names in declare, delete and bind (EX-2).
func stripped(name string) string {
	if !strings.ContainsAny(name, "\r\n") {
		return name
	}
	return strings.NewReplacer("\r", "", "\n", "").Replace(name)
}

// resource is how error texts name a queue or an exchange: "queue 'q' in vhost '/'".
func resource(kind binding.Kind, name, vhost string) string {
	if kind == binding.Exchange {
		return exchange.Resource(name, vhost)
	}
	return "queue '" + name + "' in vhost '" + vhost + "'"
}
