package broker

import (
	"slices"
	"strings"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// DeclareQueue makes a queue, or finds the one that is there equivalent. An empty
// name gets a generated one. owner is the connection that declares; an exclusive
// queue becomes its.
func (v *VHost) DeclareQueue(now time.Time, owner Owner, spec queue.Spec, permit Permit, out *queue.Effects) (*queue.Queue, *Commit, error) {
	spec.VHost, spec.Name = v.name, stripped(spec.Name)
	if spec.Exclusive {
		spec.Durable = false
	} else {
		owner = nil
	}
	switch {
	case spec.Name == "":
		if err := checkServerNamed(spec); err != nil {
			return nil, nil, err
		}
		spec.Name = v.b.GeneratedName("amq.gen-")
	case strings.HasPrefix(spec.Name, "amq."):
		return nil, nil, amqp.AccessRefused("queue name '%s' contains reserved prefix 'amq.*'", spec.Name)
	}
	if err := permit.check(auth.Configure, binding.Queue, spec.Name); err != nil {
		return nil, nil, err
	}
	limits := v.b.userLimits(spec.By)
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.down(); err != nil {
		return nil, nil, err
	}
	if n := v.queues.find(spec.Name); n != nil {
		return v.redeclareQueue(now, owner, n, spec, out)
	}
	if t := v.Settings().DefaultQueueType; canBe(t, spec) {
		spec = typed(spec, t)
	}
	options, err := v.checkNewQueue(spec, limits, permit)
	if err != nil {
		return nil, nil, err
	}
	n := v.addQueue(spec, options, owner)
	n.q.Touch(now, out)
	v.b.Counters.QueuesDeclared.Add(1)
	return n.q, n.commit.Load(), nil
}

// canBe tells whether a queue is to be of the type that is the default of its virtual host,
// which it is not if it cannot be.
func canBe(t string, spec queue.Spec) bool {
	return t == queue.Quorum.String() && spec.Durable && !spec.Exclusive && !spec.AutoDelete && !strings.HasPrefix(spec.Name, "amq.")
}

// typed is spec with a type, unless it has one. The argument is kept with the queue, so that
// the queue stays what it is when the default changes.
func typed(spec queue.Spec, t string) queue.Spec {
	const key = "x-queue-type"
	if _, given := spec.Arguments.Get(key); !given {
		spec.Arguments = spec.Arguments.With(key, t)
	}
	return spec
}

// redeclareQueue is a declare of a queue that is there.
func (v *VHost) redeclareQueue(now time.Time, owner Owner, n *queueNode, spec queue.Spec, out *queue.Effects) (*queue.Queue, *Commit, error) {
	// Unlike any other use, a declare has to ask for exclusive exactly when the queue is
	//
	if n.owner != owner {
		return nil, nil, n.locked()
	}
	if v.Settings().DefaultQueueType != "" {
		// Who leaves the type to the virtual host takes the one that there is.
		spec = typed(spec, n.q.Options().Type.String())
	}
	if err := n.q.Spec().Equivalent(spec); err != nil {
		return nil, nil, err
	}
	n.q.Touch(now, out)
	v.b.Counters.QueuesDeclared.Add(1)
	return n.q, n.commit.Load().pending(), nil
}

// checkServerNamed refuses a name of the broker's making to types that replicate: a new
// name at every reconnect would leave them behind for ever (ERR-12).
func checkServerNamed(spec queue.Spec) error {
	if t, _ := spec.Arguments.Get("x-queue-type"); t == "quorum" || t == "stream" {
		return amqp.PreconditionFailed("Cannot declare a server-named queue for type rabbit_%s_queue", t)
	}
	return nil
}

// checkNewQueue is what only a queue that is not there yet has to pass. limits are those of the
// user who makes it. v.mu is held.
func (v *VHost) checkNewQueue(spec queue.Spec, limits auth.Limits, permit Permit) (queue.Options, error) {
	if err := v.b.spare("declare queue", spec.Name); err != nil {
		return queue.Options{}, err
	}
	if limit, reached := v.Settings().Limits.Reached(auth.MaxQueues, v.queueCount); reached {
		return queue.Options{}, amqp.PreconditionFailed("cannot declare queue '%s': queue limit in vhost '%s' (%d) is reached",
			spec.Name, v.name, limit)
	}
	if limit, reached := limits.Reached(auth.MaxQueues, v.made[spec.By].queues); reached {
		v.b.Counters.UserLimitsReached.Add(1)
		return queue.Options{}, amqp.PreconditionFailed("cannot declare queue '%s': queue limit of user '%s' in vhost '%s' (%d) is reached",
			spec.Name, spec.By, v.name, limit)
	}
	if err := v.b.checkQueues(spec.Name); err != nil {
		return queue.Options{}, err
	}
	if err := checkDeadLetterExchange(spec, permit); err != nil {
		return queue.Options{}, err
	}
	return queue.ParseArguments(spec)
}

// checkDeadLetterExchange refuses a dead-letter exchange that is not a name, or that messages
// may not go to.
func checkDeadLetterExchange(spec queue.Spec, permit Permit) error {
	const key = "x-dead-letter-exchange"
	if value, there := spec.Arguments.Get(key); there {
		dlx, ok := value.(string)
		if !ok {
			return amqp.PreconditionFailed("invalid type '%s' for arg '%s' in %s",
				amqp.TypeName(value), key, resource(binding.Queue, spec.Name, spec.VHost))
		}
		if err := permit.check(auth.Read, binding.Queue, spec.Name); err != nil {
			return err
		}
		if err := permit.check(auth.Write, binding.Exchange, dlx); err != nil {
			return err
		}
	}
	return nil
}

// addQueue makes a queue. v.mu is held.
func (v *VHost) addQueue(spec queue.Spec, options queue.Options, owner Owner) *queueNode {
	options, applied := v.newQueueOptions(spec, options)
	q := v.b.newQueue(queue.ID(v.b.records.NextID()), spec, options)
	n := newQueueNode(q, owner)
	n.applied.Store(applied)
	if n.durable {
		n.commit.Store(v.b.write(topology.Unit{Puts: []topology.Record{topology.Queue{ID: q.ID(), Spec: spec}}}))
	}
	if owner != nil {
		v.exclusive[owner] = append(v.exclusive[owner], n)
	}
	v.queues.put(spec.Name, n)
	v.queueCount++
	v.credit(spec.By, made{queues: 1})
	v.b.queueCount.Add(1)
	v.generation.Add(1) // the default exchange routes to it
	v.b.Counters.QueuesCreated.Add(1)
	return n
}

// Queue finds a queue for a connection that gets, consumes or purges. The errors are the
// soft 404, and the soft 405 for another connection's exclusive queue. The commit
// is the one that its declare may still be waiting for (S-4).
func (v *VHost) Queue(owner Owner, name string) (*queue.Queue, *Commit, error) {
	n := v.queues.find(name)
	if n == nil {
		return nil, nil, amqp.NotFound("no %s", resource(binding.Queue, name, v.name))
	}
	if err := n.checkAccess(owner); err != nil {
		return nil, nil, err
	}
	return n.q, n.commit.Load().pending(), nil
}

// DeclareQueuePassive finds a queue for a passive declare, which counts as use (Q-9,
// TTL-9).
func (v *VHost) DeclareQueuePassive(now time.Time, owner Owner, name string, out *queue.Effects) (*queue.Queue, *Commit, error) {
	q, c, err := v.Queue(owner, stripped(name))
	if err != nil {
		return nil, nil, err
	}
	q.Touch(now, out)
	v.b.Counters.QueuesDeclared.Add(1)
	return q, c, nil
}

// DeleteQueue deletes a queue with its bindings and tells how many ready messages went
// with it. One that is missing had none. Its consumers are left in out.
func (v *VHost) DeleteQueue(now time.Time, owner Owner, name string, o queue.DeleteOptions, permit Permit, out *queue.Effects) (ready int, c *Commit, err error) {
	name = stripped(name)
	if err := permit.check(auth.Configure, binding.Queue, name); err != nil {
		return 0, nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	n := v.queues.find(name)
	if n == nil {
		return 0, v.lastDelete.pending(), nil
	}
	if err := n.checkAccess(owner); err != nil {
		return 0, nil, err
	}
	if err := checkQuorumDelete(n.q, o); err != nil {
		return 0, nil, err
	}
	ready, err = n.q.Delete(now, o, out)
	if err != nil {
		return 0, nil, err
	}
	var r removal
	v.forgetQueue(&r, n)
	return ready, v.remove(&r), nil
}

// checkQuorumDelete refuses the conditions that quorum queues do not know (Q-61, ERR-34).
func checkQuorumDelete(q *queue.Queue, o queue.DeleteOptions) error {
	if q.Options().Type != queue.Quorum || !o.IfUnused && !o.IfEmpty {
		return nil
	}
	flag := "if-unused"
	if !o.IfUnused {
		flag = "if-empty"
	}
	return amqp.NotImplemented("cannot delete %s. queue.delete operations with %s flag set are not supported by quorum queues", q, flag)
}

// deleteUnused deletes a queue that asked for it: auto-delete without consumers, or
// expired. Somebody may have begun to consume meanwhile, and then it stays.
func (b *Broker) deleteUnused(now time.Time, q *queue.Queue, out *queue.Effects) {
	spec := q.Spec()
	v := b.VHost(spec.VHost)
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	n := v.queues.find(spec.Name)
	if n == nil || n.q != q {
		return
	}
	if _, err := q.Delete(now, queue.DeleteOptions{IfUnused: true}, out); err != nil {
		return // in use again; it asks once more when that ends
	}
	var r removal
	v.forgetQueue(&r, n)
	v.remove(&r)
}

// Release deletes the exclusive queues of a connection that has ended.
func (v *VHost) Release(now time.Time, owner Owner, out *queue.Effects) *Commit {
	v.mu.Lock()
	all := v.exclusive[owner]
	delete(v.exclusive, owner) // so that none has to be looked for in it
	v.mu.Unlock()
	var c *Commit
	for owned := range slices.Chunk(all, releasedAtOnce) {
		if next := v.release(now, owned, out); next != nil {
			c = next // commits end in order
		}
	}
	return c
}

// release deletes queues whose owner has gone. Somebody else may have deleted one meanwhile.
func (v *VHost) release(now time.Time, owned []*queueNode, out *queue.Effects) *Commit {
	v.mu.Lock()
	defer v.mu.Unlock()
	var r removal
	for _, n := range owned {
		if v.queues.find(n.q.Name()) != n {
			continue
		}
		if _, err := n.q.Delete(now, queue.DeleteOptions{}, out); err != nil {
			panic("broker: queue refused to be deleted: " + err.Error())
		}
		v.forgetQueue(&r, n)
	}
	if len(r.queues) == 0 {
		return nil
	}
	return v.remove(&r)
}

// releasedAtOnce is how many queues of a connection are deleted at once. There may be a
// hundred thousand with many bindings each: to write down what goes with all of them would
// take memory when it is to be given back, and others declare in between.
const releasedAtOnce = 100

// disown forgets who a queue that goes away belonged to. Mostly that is the oldest or the newest
// of its owner's, who may have a hundred thousand. v.mu is held.
func (v *VHost) disown(n *queueNode) {
	owned := v.exclusive[n.owner]
	if n.owner == nil || len(owned) == 0 {
		return
	}
	switch last := len(owned) - 1; {
	case owned[last] == n:
		owned[last], owned = nil, owned[:last]
	case owned[0] == n:
		owned[0], owned = nil, owned[1:]
	default:
		owned = slices.DeleteFunc(owned, func(o *queueNode) bool { return o == n })
	}
	if len(owned) == 0 {
		delete(v.exclusive, n.owner)
	} else {
		v.exclusive[n.owner] = owned
	}
}

// checkAccess refuses another connection's exclusive queue (ERR-4).
func (n *queueNode) checkAccess(owner Owner) error {
	if n.owner == nil || n.owner == owner {
		return nil
	}
	return n.locked()
}

func (n *queueNode) locked() error {
	return amqp.ResourceLocked("cannot obtain exclusive access to locked %s. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration.", n.q)
}

// FindQueue returns a queue whoever it belongs to, nil when there is none of that name.
func (v *VHost) FindQueue(name string) *queue.Queue {
	if n := v.queues.find(name); n != nil {
		return n.q
	}
	return nil
}
