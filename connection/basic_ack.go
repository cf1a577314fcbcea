package connection

import (
	"cmp"
	"slices"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/queue"
)

// settlement is what an acknowledgement says: the zero value that all went well.
type settlement struct {
	rejected bool
	requeue  bool // back to the queue instead of dead-lettered or dropped (ACK-7)
	returned bool // it is not said that the delivery has failed (QQ-6)
}

// positionsPerCall is how many messages one call on a queue settles at most: the queue is
// locked for that long.
const positionsPerCall = 1000

// settle is basic.ack, basic.nack and basic.reject. A tag that is not out changes nothing
// and closes the channel (ACK-2, ACK-5).
func (ch *Channel) settle(tag uint64, multiple bool, s settlement) error {
	ch.mu.Lock()
	taken := ch.c.taken[:0]
	ok := false
	switch {
	case multiple:
		taken, ok = ch.unacked.takeThrough(tag, taken)
	case tag != 0:
		var d delivered
		if d, ok = ch.unacked.take(tag); ok {
			taken = append(taken, d)
		}
	}
	if ch.overdue.lapsed != nil {
		taken, ok = ch.settleLapsed(tag, multiple, taken, ok)
	}
	var err error
	switch {
	case !ok:
		err = amqp.PreconditionFailed("unknown delivery tag %d", tag)
	case ch.tx != nil:
		err = ch.tx.settle(ch.c, taken, s)
	default:
		ch.makeRoom(taken)
		ch.countSettled(taken, s)
	}
	ch.mu.Unlock()
	ch.c.keepTaken(taken)
	if err != nil || ch.tx != nil {
		return err
	}
	ch.apply(taken, s)
	ch.resumeStarved()
	return nil
}

// countSettled counts what is acknowledged. The channel is locked.
func (ch *Channel) countSettled(taken []delivered, s settlement) {
	if !s.rejected {
		ch.totals.Acknowledged += uint64(len(taken))
	}
}

// recover puts everything that is out back into its queue, and may get it again
// (ACK-10), after the answer as in RabbitMQ: a client knows that what comes before it is
// not what it asked for. There is no recover-ok for recover-async.
func (ch *Channel) recover(requeue bool, ok amqp.Method) error {
	if !requeue {
		return amqp.NotImplemented("requeue=false")
	}
	ch.mu.Lock()
	taken, _ := ch.unacked.takeThrough(0, ch.c.taken[:0])
	ch.makeRoom(taken)
	ch.mu.Unlock()
	ch.c.keepTaken(taken)
	if ok != nil {
		ch.c.send(ch.id, ok)
	}
	ch.apply(taken, settlement{rejected: true, requeue: true, returned: true})
	ch.resumeStarved()
	return nil
}

// makeRoom takes settled deliveries out of the windows they filled. A consumer whose own
// delivery is settled is offered messages by its queue; it need not be resumed. But room
// in the shared window is for those who wait for it, so from here to resumeStarved, which
// has to follow, nobody else gets it. The channel is locked.
func (ch *Channel) makeRoom(taken []delivered) {
	for i := range taken {
		if k := taken[i].consumer; k != nil {
			k.window.out--
			k.waits = false
		}
		if taken[i].counted {
			ch.window.out--
		}
	}
	ch.sharing = ch.window.limit > 0 && len(ch.starved) > 0
}

// apply tells the queues, each in the order of the tags. Nothing is locked.
func (ch *Channel) apply(taken []delivered, s settlement) {
	if len(taken) == 0 {
		return
	}
	if slices.ContainsFunc(taken, func(d delivered) bool { return d.queue != taken[0].queue }) {
		slices.SortStableFunc(taken, func(a, b delivered) int { return cmp.Compare(a.queue.ID(), b.queue.ID()) })
	}
	c := ch.c
	for len(taken) > 0 {
		q := taken[0].queue
		positions := c.positions[:0]
		for len(taken) > 0 && taken[0].queue == q && len(positions) < positionsPerCall {
			positions = append(positions, taken[0].position)
			taken = taken[1:]
		}
		c.positions = positions
		switch {
		case s.returned && s.requeue:
			q.Return(c.now, positions, &c.effects)
		case s.rejected:
			q.Reject(c.now, positions, s.requeue, &c.effects)
		default:
			q.Ack(c.now, positions, &c.effects)
		}
	}
}

// resumeStarved has the queues offer messages again to consumers that found no room in a
// window and would now.
func (ch *Channel) resumeStarved() {
	c := ch.c
	c.resumed = ch.resumeWaiting(c.now, &c.effects, c.resumed)
}

// resumeWaiting is resumeStarved for any goroutine. It returns its scratch space.
func (ch *Channel) resumeWaiting(now time.Time, out *queue.Effects, scratch []*consumer) []*consumer {
	ch.mu.Lock()
	if len(ch.starved) == 0 {
		ch.mu.Unlock()
		return scratch
	}
	if ch.window.limit > 0 {
		ch.mu.Unlock()
		ch.shareRoom(now, out)
		return scratch
	}
	resume, kept := scratch[:0], ch.starved[:0]
	for _, k := range ch.starved {
		switch {
		case !k.waits:
			k.listed = false
		case k.window.full() || !k.noAck && ch.crowded():
			kept = append(kept, k)
		default:
			k.listed, k.waits = false, false
			resume = append(resume, k)
		}
	}
	clear(ch.starved[len(kept):])
	ch.starved = kept
	ch.mu.Unlock()
	for i, k := range resume {
		k.queue.Resume(now, k, out)
		resume[i] = nil
	}
	return resume[:0]
}

// shareRoom gives the room in the shared window to those who wait for it, the longest
// waiting first. Offered to whoever settled last it would never leave that consumer, and
// neither the others of its queue nor other queues would ever get anything.
func (ch *Channel) shareRoom(now time.Time, out *queue.Effects) {
	for {
		ch.mu.Lock()
		k := ch.nextStarved()
		ch.sharing, ch.invited = k != nil, k
		ch.mu.Unlock()
		if k == nil {
			return
		}
		k.queue.Resume(now, k, out)
	}
}

// nextStarved takes the consumer that gets room in the shared window next from those that
// wait, or returns nil when there is no room or nobody that could use it: the one that
// waits the longest, or one of the same queue that goes before it (CON-9). The channel is
// locked.
func (ch *Channel) nextStarved() *consumer {
	ch.starved = slices.DeleteFunc(ch.starved, func(k *consumer) bool {
		k.listed = k.waits
		return !k.waits
	})
	if ch.window.full() {
		return nil
	}
	next := -1
	for i, k := range ch.starved {
		switch {
		case !k.noAck && (k.window.full() || ch.crowded()):
		case next < 0, k.queue == ch.starved[next].queue && k.priority > ch.starved[next].priority:
			next = i
		}
	}
	if next < 0 {
		return nil
	}
	k := ch.starved[next]
	ch.starved = slices.Delete(ch.starved, next, next+1)
	k.listed, k.waits = false, false
	return k
}

// keepTaken keeps the scratch space of settlements, and lets go of one that a huge
// multiple has grown.
func (c *Connection) keepTaken(taken []delivered) {
	if cap(taken) > 4096 {
		c.taken, c.positions = nil, nil
		return
	}
	c.taken = taken
}

var _ queue.Consumer = (*consumer)(nil)
