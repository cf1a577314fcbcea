package broker

import (
	"slices"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// Bind makes a binding to a queue or an exchange; one that is there already is fine
// (EX-20). owner is who asks, because a queue may be exclusive to another (EX-23).
func (v *VHost) Bind(owner Owner, b binding.Binding, permit Permit) (*Commit, error) {
	b, err := v.checkEnds(b, permit)
	if err != nil {
		return nil, err
	}
	c, to, history, err := v.bind(owner, b, v.b.userLimits(b.By))
	v.replay(to, history)
	return c, err
}

// bind makes a binding whose ends were checked. What history the source has is for its
// destination (EX-54). limits are those of the user who makes it.
func (v *VHost) bind(owner Owner, b binding.Binding, limits auth.Limits) (c *Commit, d *binding.Destination, history []*message.Message, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.down(); err != nil {
		return nil, nil, nil, err
	}
	source := v.exchanges.find(b.Source)
	if source == nil {
		return nil, nil, nil, v.noExchange(b.Source)
	}
	to, ok := v.end(b.Kind, b.Destination)
	if !ok {
		return nil, nil, nil, amqp.NotFound("no %s", resource(b.Kind, b.Destination, v.name))
	}
	if err := v.checkBindingOwner(owner, b); err != nil {
		return nil, nil, nil, err
	}
	if err := source.x.ValidateBinding(b); err != nil {
		return nil, nil, nil, err
	}
	if b.Kind == binding.Queue {
		if err := source.x.ValidateQueue(v.queues.find(b.Destination).q.Options().Type.String()); err != nil {
			return nil, nil, nil, err
		}
	}
	if !v.bindings.Contains(b) {
		if err := v.checkNewBinding(b, limits); err != nil {
			return nil, nil, nil, err
		}
	}
	durable := source.durable && to.durable
	if v.bindings.Add(b) {
		v.credit(b.By, made{bindings: 1})
		if durable {
			v.lastBind = v.b.write(topology.Unit{Puts: []topology.Record{v.bindingRecord(b, source.id, to.id)}})
		}
		history = source.x.Bind(b, to.destination)
		v.generation.Add(1)
	}
	if durable {
		c = v.lastBind.pending()
	}
	return c, to.destination, history, nil
}

// checkNewBinding is what only a binding that is not there yet has to pass. v.mu is held.
func (v *VHost) checkNewBinding(b binding.Binding, limits auth.Limits) error {
	if limit, reached := v.Settings().Limits.Reached(auth.MaxBindings, v.bindings.Len()); reached {
		return amqp.PreconditionFailed("cannot bind to '%s': binding limit in vhost '%s' (%d) is reached", b.Source, v.name, limit)
	}
	if limit, reached := limits.Reached(auth.MaxBindings, v.made[b.By].bindings); reached {
		v.b.Counters.UserLimitsReached.Add(1)
		return amqp.PreconditionFailed("cannot bind to '%s': binding limit of user '%s' in vhost '%s' (%d) is reached", b.Source, b.By, v.name, limit)
	}
	return v.b.spare("bind to", b.Source)
}

// Unbind takes a binding back, and with the last one of an auto-delete exchange that
// exchange (EX-9). It is content when the binding, or either end, is missing (EX-22).
func (v *VHost) Unbind(owner Owner, b binding.Binding, permit Permit) (*Commit, error) {
	b, err := v.checkEnds(b, permit)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.bindings.Contains(b) {
		return v.lastDelete.pending(), nil
	}
	if err := v.checkBindingOwner(owner, b); err != nil {
		return nil, err
	}
	b, _ = v.bindings.Remove(b)
	var r removal
	v.unbind(&r, b)
	return v.remove(&r), nil
}

// checkEnds is what bind and unbind check before anything is looked up: permissions come
// before existence (PERM-3, PERM-6). A topic exchange asks for the key, too (PERM-7).
func (v *VHost) checkEnds(b binding.Binding, permit Permit) (binding.Binding, error) {
	b.Source, b.Destination = stripped(b.Source), stripped(b.Destination)
	if err := exchange.CheckNotDefault(b.Source); err != nil {
		return b, err
	}
	if b.Kind == binding.Exchange {
		if err := exchange.CheckNotDefault(b.Destination); err != nil {
			return b, err
		}
	}
	if err := permit.check(auth.Write, b.Kind, b.Destination); err != nil {
		return b, err
	}
	if err := permit.check(auth.Read, binding.Exchange, b.Source); err != nil {
		return b, err
	}
	if n := v.exchanges.find(b.Source); permit != nil && n != nil && n.x.ByTopic() {
		return b, permit(Access{Op: auth.Read, Kind: binding.Exchange, Name: b.Source, Topic: true, Key: b.RoutingKey})
	}
	return b, nil
}

func (v *VHost) checkBindingOwner(owner Owner, b binding.Binding) error {
	if b.Kind != binding.Queue {
		return nil
	}
	return v.queues.find(b.Destination).checkAccess(owner)
}

func (v *VHost) bindingRecord(b binding.Binding, source, destination uint64) topology.Binding {
	return topology.Binding{VHost: v.name, SourceID: source, DestinationID: destination, Binding: b}
}

// removal is a set of things about to go, each with what goes because of it. It is worked
// out on the set of bindings, which publishers do not see, then handed to the store, and
// only then done (S-3).
type removal struct {
	queues    []*queueNode
	exchanges []*exchangeNode // those at the end may be there because of the others
	unbound   []unbound
	records   []topology.Record
}

// unbound is a binding that is out of the set but still routes.
type unbound struct {
	source  *exchangeNode
	to      *binding.Destination
	binding binding.Binding
}

// unbind adds a binding that was just taken out of the set. v.mu is held.
func (v *VHost) unbind(r *removal, b binding.Binding) {
	source := v.exchanges.find(b.Source)
	to, _ := v.end(b.Kind, b.Destination)
	if source.durable && to.durable {
		r.records = append(r.records, v.bindingRecord(b, source.id, to.id))
	}
	r.unbound = append(r.unbound, unbound{source, to.destination, b})
	v.credit(b.By, made{bindings: -1})
	// Each removal takes the last binding of an exchange away only once, so an exchange
	// cannot be added twice by this line (EX-9).
	if source.x.Spec().AutoDelete && v.bindings.CountFrom(b.Source) == 0 && !r.has(source) {
		r.exchanges = append(r.exchanges, source)
	}
}

func (r *removal) has(n *exchangeNode) bool {
	for _, x := range r.exchanges {
		if x == n {
			return true
		}
	}
	return false
}

// forgetQueue adds a queue that was deleted, and its bindings. Its record goes first, so
// that a binding left behind by a crash has lost its end and is garbage (S-5).
func (v *VHost) forgetQueue(r *removal, n *queueNode) {
	spec := n.q.Spec()
	if n.durable {
		r.records = append(r.records, topology.Queue{ID: n.q.ID(), Spec: spec})
	}
	r.queues = append(r.queues, n)
	for _, b := range v.bindings.RemoveDestination(binding.Queue, spec.Name) {
		v.unbind(r, b)
	}
}

// forgetExchange adds the bindings of an exchange in r, at both of its ends.
func (v *VHost) forgetExchange(r *removal, n *exchangeNode) {
	name := n.x.Name()
	if n.durable {
		r.records = append(r.records, topology.Exchange{ID: n.id, Spec: n.x.Spec()})
	}
	for _, b := range v.bindings.RemoveSource(name) {
		if to, _ := v.end(b.Kind, b.Destination); n.durable && to.durable {
			r.records = append(r.records, v.bindingRecord(b, n.id, to.id))
		}
	}
	for _, b := range v.bindings.RemoveDestination(binding.Exchange, name) {
		v.unbind(r, b)
	}
}

// remove does what r says, and deletes the exchanges that go because of it. v.mu is held.
func (v *VHost) remove(r *removal) *Commit {
	for i := 0; i < len(r.exchanges); i++ {
		v.forgetExchange(r, r.exchanges[i])
	}
	c := v.writeRemoval(r)
	if c != nil {
		v.lastDelete = c
	}
	for _, u := range r.unbound {
		u.source.x.Unbind(u.binding, u.to)
	}
	for _, n := range r.exchanges {
		v.exchanges.remove(n.x.Name())
		v.countExchange(n, -1)
		n.history.forget()
		n.window.forget()
		v.b.Counters.ExchangesDeleted.Add(1)
	}
	for _, n := range r.queues {
		v.queues.remove(n.q.Name())
		v.queueCount--
		v.credit(n.q.Spec().By, made{queues: -1})
		v.b.queueCount.Add(-1)
		v.former.count(n.q)
		v.disown(n)
		v.b.timers.forget(n.q)
		v.b.memory.forget(n.q)
		v.b.Counters.QueuesDeleted.Add(1)
	}
	v.generation.Add(1)
	return c
}

// writeRemoval deletes the records of what r says and drops the messages of its queues.
// Where there are queues, or messages wait at an exchange, that is late: what goes with the
// same commit may be their letters. What has letters under way keeps its record and messages
// until those are safe in their targets: if the broker dies before, it is there again,
// without its bindings, and so are they (S-9). Together with a virtual host go all targets.
func (v *VHost) writeRemoval(r *removal) *Commit {
	b := v.b
	if q := r.keeper(); q != nil && !v.deleted {
		c := new(Commit)
		record := r.records[:1]
		if q.WhenLeft(func() {
			b.records.Write(topology.Unit{Deletes: record, Late: true}, c.end)
			b.messages.Drop(q.ID())
		}) {
			b.writeDeletes(r.records[1:])
			v.doom(r.exchanges, q)
			return c
		}
	}
	v.doom(r.exchanges, nil)
	c := b.deleteRecords(r.records, r.sends())
	for _, n := range r.queues {
		b.messages.Drop(n.q.ID())
	}
	return c
}

// keeper is what the first record of r is the record of, if that may have letters under way:
// a durable queue, or the messages that wait at a durable exchange. Nil if it may not.
func (r *removal) keeper() *queue.Queue {
	switch {
	case len(r.queues) == 1 && r.queues[0].durable:
		return r.queues[0].q
	case len(r.queues) == 0 && len(r.exchanges) == 1 && r.exchanges[0].durable:
		if x, ok := r.records[0].(topology.Exchange); ok && x.ID == r.exchanges[0].id {
			return r.exchanges[0].delayed
		}
	}
	return nil
}

// sends tells whether anything in r may have sent letters.
func (r *removal) sends() bool {
	return len(r.queues) > 0 || slices.ContainsFunc(r.exchanges, func(n *exchangeNode) bool { return n.delayed != nil })
}

// deletesAWrite is how many records are deleted as one unit. What a thing leaves behind
// need not go together with it (S-5), and a queue may have more bindings than one
// transaction can hold (S-6).
const deletesAWrite = 500

// writeDeletes deletes records in their order and returns the last commit, nil when there
// are none.
func (b *Broker) writeDeletes(records []topology.Record) *Commit {
	return b.deleteRecords(records, false)
}

func (b *Broker) deleteRecords(records []topology.Record, late bool) *Commit {
	var c *Commit
	for len(records) > 0 {
		n := min(len(records), deletesAWrite)
		c = b.write(topology.Unit{Deletes: records[:n:n], Late: late})
		records = records[n:]
	}
	return c
}
