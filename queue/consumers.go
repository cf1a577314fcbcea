package queue

import (
	"cmp"
	"slices"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// consumer is one subscription.
type consumer struct {
	who      Consumer
	noAck    bool
	priority int32
	joined   uint64 // order of subscription
	out      int    // messages it has not settled
	gone     bool

	// in is the group whose circle the consumer stands in, nil while it has no room or
	// waits behind the single active consumer.
	in         *group
	prev, next *consumer
}

// group is the consumers of one priority that have room, in a circle; head is served
// next (CON-8, CON-9).
type group struct {
	priority int32
	head     *consumer
}

// CanConsume reports why a subscription would be refused (CON-3, SAC-4), or nil.
func (q *Queue) CanConsume(o ConsumeOptions) error {
	q.lock()
	defer q.mu.Unlock()
	return q.canConsume(o)
}

func (q *Queue) canConsume(o ConsumeOptions) error {
	if q.deleted {
		return amqp.NotFound("no %v", q)
	}
	exclusive := o.Exclusive && q.options.Type != Quorum // quorum queues ignore the flag
	if q.exclusive != nil || exclusive && (len(q.consumers) > 0 || q.options.SingleActiveConsumer) {
		return amqp.AccessRefused("%v in exclusive use", q)
	}
	return nil
}

// Consume subscribes c and hands it what is ready. It is refused with 403 when the
// queue is in exclusive use (ERR-26).
func (q *Queue) Consume(now time.Time, c Consumer, o ConsumeOptions, out *Effects) error {
	q.lock()
	defer q.mu.Unlock()
	if err := q.canConsume(o); err != nil {
		return err
	}
	q.joined++
	x := &consumer{who: c, noAck: o.NoAck, priority: o.Priority, joined: q.joined}
	if q.consumers == nil {
		q.consumers = make(map[Consumer]*consumer)
	}
	q.consumers[c] = x
	if o.Exclusive && q.options.Type != Quorum {
		q.exclusive = x
	}
	switch {
	case !q.options.SingleActiveConsumer:
		q.unblock(x)
	case q.active == nil:
		q.activate(x)
	default:
		q.fade()
	}
	q.dispatch(now, out)
	q.askTimer(out)
	return nil
}

// Cancel ends c's subscription. What c has not acknowledged stays out (CON-6). Cancelling
// a consumer the queue does not have changes nothing.
func (q *Queue) Cancel(now time.Time, c Consumer, out *Effects) {
	q.lock()
	defer q.mu.Unlock()
	x := q.consumers[c]
	if x == nil {
		return
	}
	delete(q.consumers, c)
	q.block(x)
	x.gone = true
	if q.exclusive == x {
		q.exclusive = nil
	}
	switch {
	case q.active == x:
		q.activate(q.successor())
		q.dispatch(now, out)
	case q.fading && q.successor() == q.active:
		q.activate(q.active)
		q.dispatch(now, out)
	}
	if len(q.consumers) == 0 {
		q.lastUse = now.UnixMilli()
		if q.spec.AutoDelete && !q.deleted {
			out.Unused = append(out.Unused, q)
		}
		q.askTimer(out)
	}
}

// activate makes x the single active consumer; nil when there is none.
func (q *Queue) activate(x *consumer) {
	q.active, q.fading = x, false
	if x != nil {
		q.unblock(x)
	}
}

// fade has the active consumer of a quorum queue make way for one of higher priority: it
// gets nothing more, and when all that it has is settled the other one takes over (SAC-3).
// On a classic queue it stays.
func (q *Queue) fade() {
	if q.options.Type != Quorum || q.successor().priority <= q.active.priority {
		return
	}
	q.fading = true
	q.block(q.active)
	q.faded()
}

// faded lets another consumer take over if the active one makes way and has nothing left.
func (q *Queue) faded() {
	if q.fading && q.active.out == 0 {
		q.activate(q.successor())
	}
}

// successor is who becomes the single active consumer: the highest priority, then the
// earliest (SAC-2).
func (q *Queue) successor() *consumer {
	var best *consumer
	for _, x := range q.consumers {
		if best == nil || x.priority > best.priority || x.priority == best.priority && x.joined < best.joined {
			best = x
		}
	}
	return best
}

// consumersInOrder are the consumers as they came.
func (q *Queue) consumersInOrder() []*consumer {
	all := make([]*consumer, 0, len(q.consumers))
	for _, x := range q.consumers {
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b *consumer) int { return cmp.Compare(a.joined, b.joined) })
	return all
}

// Resume tells that c has room again.
func (q *Queue) Resume(now time.Time, c Consumer, out *Effects) {
	q.lock()
	defer q.mu.Unlock()
	if x := q.consumers[c]; x != nil && x.in == nil {
		q.unblock(x)
		q.dispatch(now, out)
	}
}

// nextConsumer is who is served next, or nil when nobody has room.
func (q *Queue) nextConsumer() *consumer {
	if len(q.groups) == 0 {
		return nil
	}
	return q.groups[0].head
}

// rotate moves on to the next consumer of the same priority after x was served.
func (q *Queue) rotate(x *consumer) {
	if x.in != nil {
		x.in.head = x.next
	}
}

// unblock puts x at the end of its circle.
func (q *Queue) unblock(x *consumer) {
	if x.in != nil || x.gone || q.options.SingleActiveConsumer && (q.active != x || q.fading) {
		return
	}
	i := 0
	for i < len(q.groups) && q.groups[i].priority > x.priority {
		i++
	}
	if i == len(q.groups) || q.groups[i].priority != x.priority {
		q.groups = append(q.groups, nil)
		copy(q.groups[i+1:], q.groups[i:])
		x.prev, x.next = x, x
		q.groups[i] = &group{priority: x.priority, head: x}
		x.in = q.groups[i]
		return
	}
	g := q.groups[i]
	x.in, x.next, x.prev = g, g.head, g.head.prev
	x.prev.next, x.next.prev = x, x
}

// block takes x out of its circle: it has no room, or is gone.
func (q *Queue) block(x *consumer) {
	g := x.in
	if g == nil {
		return
	}
	x.in = nil
	if x.next != x {
		x.prev.next, x.next.prev = x.next, x.prev
		if g.head == x {
			g.head = x.next
		}
		x.prev, x.next = nil, nil
		return
	}
	x.prev, x.next = nil, nil
	for i := range q.groups {
		if q.groups[i] == g {
			q.groups = append(q.groups[:i], q.groups[i+1:]...)
			return
		}
	}
}
