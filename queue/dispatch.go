package queue

import "time"

// dispatch hands ready messages to consumers until one or the other runs out.
func (q *Queue) dispatch(now time.Time, out *Effects) {
	ms := now.UnixMilli()
	for q.readyCount > 0 {
		c := q.nextConsumer()
		if c == nil {
			return
		}
		lv, e, slot := q.nextReady(ms, now, out)
		if lv == nil {
			return
		}
		if !q.deliver(c, lv, e, slot, ms, out) {
			q.block(c)
		} else {
			q.readAhead(lv)
		}
	}
}

// nextReady is the message that goes next. Those found to be past their deadline are
// expired on the way: no message is delivered after it. There is none, too, when it has
// to be read first; the queue goes on when that is done.
func (q *Queue) nextReady(ms int64, now time.Time, out *Effects) (*level, *entry, uint32) {
	for {
		lv := q.top()
		if lv == nil {
			return nil, nil, noSlot
		}
		e, slot := lv.first(&q.slots)
		if e == nil {
			q.load(lv)
			return nil, nil, noSlot
		}
		if e.expiry == 0 || e.expiry > ms {
			return lv, e, slot
		}
		q.killReady(lv, *e, slot, Expired, now, out)
	}
}

// deliver offers a ready message to c and, when c takes it, moves it out of the ready
// messages.
func (q *Queue) deliver(c *consumer, lv *level, e *entry, slot uint32, ms int64, out *Effects) bool {
	d := q.deliveryOf(lv, e, ms)
	if c.noAck {
		if !c.who.Deliver(d, out) {
			return false
		}
		q.totals.DeliveredNoAck++
		q.countRedelivery(e)
		gone := *e
		q.takeOut(lv, &gone, slot)
		q.settle(lv, &gone, out)
		q.rotate(c)
		return true
	}
	i := slot
	if i == noSlot {
		i, _ = q.slots.take(*e, lv.number)
	}
	d.Position.Slot = i
	if !c.who.Deliver(d, out) {
		if slot == noSlot {
			q.slots.put(i)
		}
		return false
	}
	q.totals.DeliveredAck++
	q.countRedelivery(e)
	q.take(lv, slot, i, c)
	q.rotate(c)
	return true
}

// takeOut takes the ready message that first returned, of which e is a copy, out of its
// level and its slot.
func (q *Queue) takeOut(lv *level, e *entry, slot uint32) {
	lv.remove(slot)
	q.leftReady(lv, e.size)
	q.unindex(e)
	if slot != noSlot {
		q.slots.put(slot)
	}
	q.forgetLeft(lv)
}

// take moves a ready message to slot i as out with c.
func (q *Queue) take(lv *level, from, i uint32, c *consumer) {
	sl := q.slots.at(i)
	lv.remove(from)
	q.leftReady(lv, sl.entry.size)
	q.unindex(&sl.entry)
	q.forgetLeft(lv)
	q.wentOut(lv, sl, c)
}

// wentOut counts the message in sl as unacknowledged, with c or, when c is nil, with
// whoever got it.
func (q *Queue) wentOut(lv *level, sl *slot, c *consumer) {
	sl.state, sl.consumer = slotOut, c
	if c != nil {
		c.out++
	}
	q.unackedCount++
	q.unackedBytes += int64(sl.entry.size)
	q.delivered(lv, &sl.entry)
}

// delivered remembers that a message that is stored, or will be, has been handed out
// (DUR-4).
func (q *Queue) delivered(lv *level, e *entry) {
	if e.ordinal != 0 && e.seq > lv.deliveredTo {
		lv.deliveredTo = e.seq
		q.settledSome(lv)
	}
}

func (q *Queue) countRedelivery(e *entry) {
	if e.flags&entryRedelivered != 0 {
		q.totals.Redelivered++
	}
}

func (q *Queue) deliveryOf(lv *level, e *entry, ms int64) Delivery {
	return Delivery{
		Message:      e.msg,
		Position:     Position{Seq: e.seq, Slot: noSlot, Level: lv.number},
		At:           ms,
		Count:        e.count,
		ShowCount:    q.showsCount(),
		ShowAcquired: q.options.Type == Quorum,
		Redelivered:  e.flags&entryRedelivered != 0,
	}
}

// showsCount tells whether redeliveries carry x-delivery-count: quorum queues and queues
// with a limit (QQ-1).
func (q *Queue) showsCount() bool {
	return q.options.Type == Quorum || q.options.DeliveryLimit != None
}

// Got says how a Get went.
type Got uint8

// What Get may answer.
const (
	GotNothing Got = iota // the queue is empty
	GotMessage
	GotLater // the message is on disk: try again when WhenRead says so
)

// Get takes the next message, as basic.get does; left is how many are ready after it.
// With noAck it is settled at once and its position means nothing.
func (q *Queue) Get(now time.Time, noAck bool, out *Effects) (d Delivery, left int, got Got) {
	q.lock()
	defer q.mu.Unlock()
	q.lastUse = now.UnixMilli()
	lv, e, slot := q.nextReady(now.UnixMilli(), now, out)
	if lv == nil {
		q.askTimer(out)
		if q.readyCount > 0 {
			return Delivery{}, 0, GotLater
		}
		q.totals.GetEmpty++
		return Delivery{}, 0, GotNothing
	}
	d = q.deliveryOf(lv, e, now.UnixMilli())
	q.countRedelivery(e)
	if noAck {
		q.totals.GetNoAck++
		gone := *e
		q.takeOut(lv, &gone, slot)
		q.settle(lv, &gone, out)
	} else {
		q.totals.GetAck++
		i := slot
		if i == noSlot {
			i, _ = q.slots.take(*e, lv.number)
		}
		d.Position.Slot = i
		q.take(lv, slot, i, nil)
	}
	q.readAhead(lv)
	return d, int(q.readyCount), GotMessage
}
