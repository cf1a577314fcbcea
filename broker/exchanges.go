package broker

import (
	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/topology"
)

// DeclareExchange makes an exchange, or finds the one that is there equivalent. The checks
// come in RabbitMQ's order (EX-5).
func (v *VHost) DeclareExchange(spec exchange.Spec, permit Permit) (*Commit, error) {
	spec.VHost, spec.Name = v.name, stripped(spec.Name)
	if err := exchange.CheckType(spec.Type); err != nil {
		return nil, err
	}
	if err := exchange.CheckNotDefault(spec.Name); err != nil {
		return nil, err
	}
	if err := permit.check(auth.Configure, binding.Exchange, spec.Name); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.down(); err != nil {
		return nil, err
	}
	if n := v.exchanges.find(spec.Name); n != nil {
		current := n.x.Spec()
		return n.commit.Load().pending(), current.Equivalent(spec)
	}
	if err := v.b.spare("declare exchange", spec.Name); err != nil {
		return nil, err
	}
	if err := checkNewExchange(&spec, permit); err != nil {
		return nil, err
	}
	if err := v.b.checkExchanges(spec.Name, v.name); err != nil {
		return nil, err
	}
	if err := spec.CheckArguments(); err != nil {
		return nil, err
	}
	x, err := exchange.New(spec, v.b.seed)
	if err != nil {
		return nil, err
	}
	n := newExchangeNode(v.b.records.NextID(), x)
	v.b.giveDelayed(n)
	v.applyTo(n)
	v.b.keepHistory(n)
	v.b.openWindow(n)
	var c *Commit
	if spec.Durable {
		c = v.b.write(topology.Unit{Puts: []topology.Record{topology.Exchange{ID: n.id, Spec: spec}}})
		n.commit.Store(c)
	}
	v.exchanges.put(spec.Name, n)
	v.countExchange(n, 1)
	v.generation.Add(1)
	v.b.Counters.ExchangesCreated.Add(1)
	return c, nil
}

// checkNewExchange is what only an exchange that is not there yet has to pass.
func checkNewExchange(spec *exchange.Spec, permit Permit) error {
	if err := exchange.CheckNewName(spec.Name); err != nil {
		return err
	}
	if err := spec.CheckAlternateExchange(); err != nil {
		return err
	}
	alternate, ok := spec.AlternateExchange()
	if !ok {
		return nil
	}
	if err := permit.check(auth.Read, binding.Exchange, spec.Name); err != nil {
		return err
	}
	return permit.check(auth.Write, binding.Exchange, alternate)
}

// Exchange is a passive declare: it finds an exchange other than the default one, with the
// commit that its declare may still be waiting for (EX-4, EX-7, S-4).
func (v *VHost) Exchange(name string) (*exchange.Exchange, *Commit, error) {
	name = stripped(name)
	if err := exchange.CheckNotDefault(name); err != nil {
		return nil, nil, err
	}
	n := v.exchanges.find(name)
	if n == nil {
		return nil, nil, v.noExchange(name)
	}
	return n.x, n.commit.Load().pending(), nil
}

// ExchangeForPublish finds an exchange that a client publishes to (PUB-5). Its errors are
// the soft 404 and, for an internal exchange, the soft 403 (ERR-25). It takes no lock and
// does not allocate.
func (v *VHost) ExchangeForPublish(name string) (*exchange.Exchange, error) {
	n := v.exchanges.find(name)
	if n == nil {
		return nil, v.noExchange(name)
	}
	if n.internal {
		return nil, amqp.AccessRefused("cannot publish to internal %s", exchange.Resource(name, v.name))
	}
	return n.x, nil
}

func (v *VHost) noExchange(name string) error {
	return amqp.NotFound("no %s", exchange.Resource(name, v.name))
}

// DeleteExchange deletes an exchange, its bindings at both ends, and the auto-delete
// exchanges that lose their last binding with it. One that is missing is fine (EX-8).
func (v *VHost) DeleteExchange(name string, ifUnused bool, permit Permit) (*Commit, error) {
	name = stripped(name)
	if err := exchange.CheckDelete(name, v.name); err != nil {
		return nil, err
	}
	if err := permit.check(auth.Configure, binding.Exchange, name); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	n := v.exchanges.find(name)
	if n == nil {
		return v.lastDelete.pending(), nil
	}
	if ifUnused && v.bindings.CountFrom(name) > 0 {
		return nil, exchange.InUse(name, v.name)
	}
	return v.remove(&removal{exchanges: []*exchangeNode{n}}), nil
}

// FindExchange returns an exchange, the default one included, or nil when there is none of
// that name.
func (v *VHost) FindExchange(name string) *exchange.Exchange {
	if n := v.exchanges.find(name); n != nil {
		return n.x
	}
	return nil
}
