package queue

import (
	"time"

	"github.com/leveretmq/leveret/message"
)

// Publish takes a message: it goes to a consumer that has room, or to the end of the
// queue. It reports false when the queue refuses it for its length (LEN-3, LEN-4); the
// confirm is then marked rejected. A put that will be stored holds the confirm and the
// transfer until it is.
func (q *Queue) Publish(now time.Time, p Put, out *Effects) bool {
	q.lock()
	defer q.mu.Unlock()
	return q.publish(now, p, out)
}

// PublishLast is Publish into the last target of p's transfer: the caller's hold of that goes
// over to the queue, so that nobody can collect the message before the transfer.
func (q *Queue) PublishLast(now time.Time, p Put, out *Effects) bool {
	q.lock()
	defer q.mu.Unlock()
	ok := q.publish(now, p, out)
	p.Transfer.Release(out)
	return ok
}

func (q *Queue) publish(now time.Time, p Put, out *Effects) bool {
	ms := now.UnixMilli()
	m := p.Message
	if q.deleted {
		return true // what a deleted queue was sent is dropped and confirmed
	}
	if q.options.Overflow != DropHead && q.wouldExceed(m) {
		q.expireDue(ms, now, out)
	}
	if q.options.Overflow != DropHead && q.wouldExceed(m) {
		p.Confirm.Reject()
		if q.options.Overflow == RejectPublishDLX {
			q.mail(Letter{Message: m, Reason: MaxLength, At: now}, out)
		}
		return false
	}
	if q.unique != nil && q.duplicate(ms, m, p.Confirm) {
		return true
	}
	q.totals.Published++

	lv := q.levelOf(m)
	e := entry{msg: m, seq: lv.next, expiry: q.deadline(ms, m), size: uint32(m.BodyBytes())}
	lv.next++
	// The invariant: messages are ready only while no consumer has room. So one that has
	// room may have this message at once, before any limit or a TTL of zero strikes it.
	if q.readyCount == 0 {
		for c := q.nextConsumer(); c != nil; c = q.nextConsumer() {
			if q.handOver(c, lv, e, p, ms, out) {
				return true
			}
			q.block(c)
		}
	}
	q.admit(lv, &e, p, out)
	q.remember(lv, &e)
	q.keep(m, out)
	if e.expiry != 0 && e.expiry <= ms {
		q.kill(lv, &e, Expired, now, out)
		return true
	}
	q.append(lv, e, out)
	q.limit(now, out)
	return true
}

// levelOf is the priority level of a message: its priority, clamped (PRI-1), or on a quorum
// queue which of the two classes it is in (PRI-5).
func (q *Queue) levelOf(m *message.Message) *level {
	if q.options.Type == Quorum {
		if m.Priority > normalPriority {
			return &q.levels[1]
		}
		return &q.levels[0]
	}
	return &q.levels[min(int(m.Priority), len(q.levels)-1)]
}

// handOver offers a message that was just published to c. What c will acknowledge is
// put on the way to the disk first; what needs no acknowledgement is settled with the
// delivery and never stored.
func (q *Queue) handOver(c *consumer, lv *level, e entry, p Put, ms int64, out *Effects) bool {
	d := Delivery{Message: e.msg, Position: Position{Seq: e.seq, Slot: noSlot, Level: lv.number}, At: ms}
	if c.noAck {
		if !c.who.Deliver(d, out) {
			return false
		}
		q.totals.DeliveredNoAck++
		lv.acks.set(e.seq)
		q.rotate(c)
		return true
	}
	i, sl := q.slots.take(e, lv.number)
	d.Position.Slot = i
	if !c.who.Deliver(d, out) {
		q.slots.put(i)
		return false
	}
	q.admit(lv, &sl.entry, p, out)
	q.remember(lv, &sl.entry)
	q.keep(e.msg, out)
	q.wentOut(lv, sl, c)
	q.totals.DeliveredAck++
	q.rotate(c)
	return true
}

// admit puts a message on its way to the disk, if it belongs there.
func (q *Queue) admit(lv *level, e *entry, p Put, out *Effects) {
	if !q.durable || !q.stores(e.msg) {
		return
	}
	p.Confirm.Hold()
	p.Transfer.Hold()
	e.ordinal = lv.pending.push(waiting{
		message:  e.msg,
		confirm:  p.Confirm,
		transfer: p.Transfer,
		seq:      e.seq,
		expiry:   e.expiry,
	})
	out.Unstored += int64(e.msg.Size())
	if !q.enlisted {
		q.enlisted = true
		q.store.Enlist(q)
	}
}

// stores tells whether a durable queue stores m: persistent messages, and all of them in
// a quorum queue (QQ-4) or a delayed one.
func (q *Queue) stores(m *message.Message) bool {
	return m.Persistent || q.options.Type == Quorum || q.wheel != nil
}

// append adds an entry to the end of its level.
func (q *Queue) append(lv *level, e entry, out *Effects) {
	if lv.count == 0 {
		lv.mixed, lv.lastExpiry = false, 0
	}
	q.index(lv, &e)
	lv.push(e)
	q.becameReady(lv, e.size)
	if e.expiry != 0 {
		q.askTimer(out)
	}
}

func (q *Queue) becameReady(lv *level, size uint32) {
	lv.count++
	q.readyCount++
	q.readyBytes += int64(size)
}

func (q *Queue) leftReady(lv *level, size uint32) {
	lv.count--
	q.readyCount--
	q.readyBytes -= int64(size)
}
