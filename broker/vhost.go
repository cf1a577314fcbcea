package broker

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/policy"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// VHost is a virtual host: names of its own for exchanges and queues, and the bindings
// between them.
type VHost struct {
	// Counters are read by whoever reports them.
	Counters VHostCounters

	b    *Broker
	name string

	// Read without a lock by publishers, changed under mu.
	exchanges names[exchangeNode]
	queues    names[queueNode]
	// generation counts the changes that may route a message differently.
	generation atomic.Uint64

	// settings is what is stored of the virtual host itself. It is replaced under Broker.mu.
	settings atomic.Pointer[topology.VHost]

	applying sync.Mutex // held by whoever changes policies, until that has reached every queue

	mu       sync.Mutex // guards the fields below
	bindings binding.Set
	rules    policy.Rules // changed with applying held too
	// queueCount is how many queues there are (LIM-2).
	queueCount int
	// made is what of all that each user has made (C25); nobody is in it with nothing.
	made map[string]made
	// exclusive has the queues of each connection, oldest first.
	exclusive map[Owner][]*queueNode
	// lastBind and lastDelete are the newest commits with a binding put and with anything
	// deleted. Commits end in order, so whoever waits for the newest has waited for all.
	lastBind   *Commit
	lastDelete *Commit
	deleted    bool
	former     QueueTotals // what queues that are gone have counted
}

// Owner is the identity of a connection that declares exclusive queues: any comparable
// value that is its alone. Nil is nobody.
type Owner any

// exchangeNode is a declared exchange.
type exchangeNode struct {
	x           *exchange.Exchange
	id          uint64
	durable     bool
	internal    bool
	destination binding.Destination // its Target is x
	delayed     *queue.Queue        // messages that are not due yet; nil for most
	commit      declaring
	applied     atomic.Pointer[policy.Applied] // nil for no policies
	history     *storedHistory                 // nil unless one is stored
	window      *window                        // nil unless it deduplicates
}

// queueNode is a declared queue.
type queueNode struct {
	q           *queue.Queue
	durable     bool
	owner       Owner               // nil unless it is exclusive
	destination binding.Destination // its Target is q
	kind        policy.Kind
	commit      declaring
	applied     atomic.Pointer[policy.Applied] // nil for no policies
}

func (n *exchangeNode) policies() policy.Applied { return orNone(n.applied.Load()) }
func (n *queueNode) policies() policy.Applied    { return orNone(n.applied.Load()) }

func orNone(a *policy.Applied) policy.Applied {
	if a == nil {
		return policy.Applied{}
	}
	return *a
}

func newExchangeNode(id uint64, x *exchange.Exchange) *exchangeNode {
	spec := x.Spec()
	return &exchangeNode{
		x:           x,
		id:          id,
		durable:     spec.Durable,
		internal:    spec.Internal,
		destination: binding.Destination{Name: x.Name(), Kind: binding.Exchange, Target: x},
	}
}

func newQueueNode(q *queue.Queue, owner Owner) *queueNode {
	spec := q.Spec()
	return &queueNode{
		q:           q,
		durable:     spec.Durable && !spec.Exclusive,
		owner:       owner,
		kind:        kindOf(q.Options().Type),
		destination: binding.Destination{Name: q.Name(), Kind: binding.Queue, Target: q},
	}
}

// newVHost returns a virtual host with nothing but the default exchange, which is the
// same everywhere and not stored.
func newVHost(b *Broker, r topology.VHost) *VHost {
	v := &VHost{b: b, name: r.Name, exclusive: make(map[Owner][]*queueNode), made: make(map[string]made)}
	v.settings.Store(&r)
	x, err := exchange.New(exchange.Spec{VHost: r.Name, Name: exchange.Default, Type: "direct", Durable: true}, b.seed)
	if err != nil {
		panic("broker: no direct exchange type: " + err.Error())
	}
	v.exchanges.put(exchange.Default, newExchangeNode(0, x))
	return v
}

// addPredeclared adds those of the exchanges that every virtual host has (EX-1)
// which are not there, and returns their records.
func (v *VHost) addPredeclared() ([]topology.Record, error) {
	var added []topology.Record
	for _, spec := range exchange.Predeclared(v.name) {
		if n := v.exchanges.find(spec.Name); n != nil && (n.id != 0 || !v.b.options.DelayedDefaultExchange) {
			continue
		}
		r := topology.Exchange{ID: v.b.records.NextID(), Spec: spec}
		if _, err := v.putExchange(time.Time{}, r, past{}); err != nil {
			return nil, err
		}
		added = append(added, r)
	}
	return added, nil
}

// completePredeclared is addPredeclared for a virtual host that is stored already, by a
// version that had fewer of them.
func (v *VHost) completePredeclared() error {
	added, err := v.addPredeclared()
	if err != nil || len(added) == 0 {
		return err
	}
	v.b.write(topology.Unit{Puts: added})
	return nil
}

// PutVHost makes a virtual host with the exchanges of EX-1. One that is there stays as it
// is (LIM-1).
func (b *Broker) PutVHost(name string) (*Commit, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.vhosts[name] != nil {
		return nil, nil
	}
	return b.addVHost(topology.VHost{Name: name})
}

// SetVHost makes a virtual host, or gives the one that is there other settings. Its limits
// are replaced unless r.Limits is nil. A default queue type applies to queues that are
// declared from then on.
func (b *Broker) SetVHost(r topology.VHost) (*Commit, error) {
	if err := CheckDefaultQueueType(r.DefaultQueueType); err != nil {
		return nil, err
	}
	r.Tags = slices.Clone(r.Tags)
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.vhosts[r.Name]
	if v == nil {
		return b.addVHost(r)
	}
	if r.Limits == nil {
		r.Limits = v.Settings().Limits
	}
	return b.changeVHost(v, r), nil
}

// CheckDefaultQueueType refuses a type of queues that no virtual host can have as its
// default.
func CheckDefaultQueueType(t string) error {
	switch t {
	case "", "classic", "quorum":
		return nil
	}
	return refuse(Invalid, "Unsupported default queue type: %s", t)
}

// addVHost makes a virtual host that is not there. b.mu is held.
func (b *Broker) addVHost(r topology.VHost) (*Commit, error) {
	v := newVHost(b, r)
	added, err := v.addPredeclared()
	if err != nil {
		return nil, err
	}
	c := b.write(topology.Unit{Puts: append([]topology.Record{r}, added...)})
	b.vhosts[r.Name] = v
	return c, nil
}

// changeVHost gives a virtual host other settings. b.mu is held.
func (b *Broker) changeVHost(v *VHost, r topology.VHost) *Commit {
	c := b.write(topology.Unit{Puts: []topology.Record{r}})
	v.settings.Store(&r)
	return c
}

// SetVHostLimit sets one of a virtual host's limits, which are auth.VHostLimits (LIM-2). What is there above it stays.
func (b *Broker) SetVHostLimit(vhost, limit string, value int64) (*Commit, error) {
	if !slices.Contains(auth.VHostLimits, limit) {
		return nil, refuse(Invalid, "Validation failed\n\nUnrecognised terms [{<<%q>>,%d}] in limits\n", limit, value)
	}
	return b.changeVHostLimits(vhost, func(l auth.Limits) auth.Limits { return l.With(limit, value) })
}

// ClearVHostLimit takes one of a virtual host's limits away. It is content when there is
// none.
func (b *Broker) ClearVHostLimit(vhost, limit string) (*Commit, error) {
	return b.changeVHostLimits(vhost, func(l auth.Limits) auth.Limits { return l.Without(limit) })
}

func (b *Broker) changeVHostLimits(vhost string, change func(auth.Limits) auth.Limits) (*Commit, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.vhosts[vhost]
	if v == nil {
		return nil, noVHost()
	}
	r := v.Settings()
	r.Limits = change(r.Limits)
	return b.changeVHost(v, r), nil
}

// Settings is the virtual host as it was set. Its lists must not be changed.
func (v *VHost) Settings() topology.VHost { return *v.settings.Load() }

// RemoveVHost is DeleteVHost for an operator, who is refused what is not there, and what
// is protected.
func (b *Broker) RemoveVHost(now time.Time, name string, out *queue.Effects) (*Commit, error) {
	v := b.VHost(name)
	switch {
	case v == nil:
		return nil, noVHost()
	case v.Settings().Protected:
		return nil, refuse(Protected, "Refusing to delete virtual host '%s' because it is protected from deletion", name)
	}
	return b.DeleteVHost(now, name, out), nil
}

// DeleteVHost deletes a virtual host with everything in it and closes its connections
// (C-33). Of one that is not there it does nothing.
func (b *Broker) DeleteVHost(now time.Time, name string, out *queue.Effects) *Commit {
	b.mu.Lock()
	v := b.vhosts[name]
	if v == nil {
		b.mu.Unlock()
		return nil
	}
	delete(b.vhosts, name)
	v.mu.Lock()
	v.deleted = true // from here on nobody declares or sets anything in it
	v.mu.Unlock()
	// What a crash leaves of the rest is garbage without the first (S-5).
	records := []topology.Record{v.Settings()}
	records = append(records, b.deletePermissions(func(k grantee) bool { return k.vhost == name })...)
	c := b.writeDeletes(append(records, v.policyRecords()...))
	b.former.Add(v.totals())
	b.mu.Unlock()

	if rest := v.deleteAll(now, out); rest != nil {
		c = rest
	}
	b.closeSessions(func(d SessionInfo) bool { return d.VHost == name },
		amqp.ConnectionForced("vhost '%s' is down", name))
	return c
}

// deleteAll empties a virtual host that nobody can find any more. What it leaves on disk
// would be garbage anyway (S-5), so the record of the virtual host went first.
func (v *VHost) deleteAll(now time.Time, out *queue.Effects) *Commit {
	v.mu.Lock()
	defer v.mu.Unlock()
	var r removal
	for _, n := range v.queues.sorted() {
		if _, err := n.q.Delete(now, queue.DeleteOptions{}, out); err != nil {
			panic("broker: queue refused to be deleted: " + err.Error())
		}
		v.forgetQueue(&r, n)
	}
	for _, n := range v.exchanges.sorted() {
		if (n.x.Name() != exchange.Default || n.delayed != nil) && !slices.Contains(r.exchanges, n) {
			r.exchanges = append(r.exchanges, n)
		}
	}
	return v.remove(&r)
}

// Name is the virtual host's name.
func (v *VHost) Name() string { return v.name }

// Queues returns all queues, by name.
func (v *VHost) Queues() []*queue.Queue {
	nodes := v.queues.sorted()
	all := make([]*queue.Queue, len(nodes))
	for i, n := range nodes {
		all[i] = n.q
	}
	return all
}

// Exchanges returns all exchanges, by name; the default one is first.
func (v *VHost) Exchanges() []*exchange.Exchange {
	nodes := v.exchanges.sorted()
	all := make([]*exchange.Exchange, len(nodes))
	for i, n := range nodes {
		all[i] = n.x
	}
	return all
}

// Bindings returns all bindings, oldest first. Those of the default exchange are not
// among them (EX-24).
func (v *VHost) Bindings() []binding.Binding {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Collect(v.bindings.All())
}

// down is the answer to whoever still works in a virtual host that was deleted. v.mu is
// held.
func (v *VHost) down() error {
	if v.deleted {
		return amqp.ConnectionForced("vhost '%s' is down", v.name)
	}
	return nil
}
