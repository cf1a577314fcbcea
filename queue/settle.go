package queue

import "time"

// Ack settles deliveries for good. Positions that are not out any more are ignored: the
// queue may have been deleted meanwhile.
func (q *Queue) Ack(now time.Time, positions []Position, out *Effects) {
	q.lock()
	defer q.mu.Unlock()
	for _, p := range positions {
		sl := q.slots.out(p)
		if sl == nil {
			continue
		}
		q.totals.Acknowledged++
		c := sl.consumer
		q.cameIn(sl)
		q.settle(&q.levels[sl.level], &sl.entry, out)
		q.slots.put(p.Slot)
		if c != nil {
			q.unblock(c)
		}
	}
	q.dispatch(now, out)
}

// Reject returns deliveries to their places in the queue, or dead-letters them. It serves
// reject as well as a channel that closes, and nack if it does not requeue.
func (q *Queue) Reject(now time.Time, positions []Position, requeue bool, out *Effects) {
	q.reject(now, positions, requeue, true, out)
}

// Return returns deliveries to their places in the queue, for nack and recover. It counts as
// Reject does, and differs in what is said of retries (QQ-6).
func (q *Queue) Return(now time.Time, positions []Position, out *Effects) {
	q.reject(now, positions, true, false, out)
}

func (q *Queue) reject(now time.Time, positions []Position, requeue, failed bool, out *Effects) {
	q.lock()
	defer q.mu.Unlock()
	ms := now.UnixMilli()
	for _, p := range positions {
		sl := q.slots.out(p)
		if sl == nil {
			continue
		}
		c := sl.consumer
		q.cameIn(sl)
		lv := &q.levels[sl.level]
		e := &sl.entry
		switch limit := q.options.DeliveryLimit; {
		case !requeue:
			q.killSlot(lv, p.Slot, Rejected, now, out)
		case limit != None && int64(e.count) >= limit:
			q.killSlot(lv, p.Slot, DeliveryLimit, now, out)
		case e.expiry != 0 && e.expiry <= ms:
			q.killSlot(lv, p.Slot, Expired, now, out)
		default:
			q.cameBack(lv, e)
			e.flags |= entryRedelivered
			if wait := q.options.Retry.wait(failed, e.count); wait > 0 {
				q.holdBack(lv, p.Slot, sl, dueAfter(now, wait.Milliseconds()))
				q.askTimer(out)
			} else {
				q.comeBack(lv, p.Slot, sl, out)
			}
		}
		if c != nil {
			q.unblock(c)
		}
	}
	q.dispatch(now, out)
	q.limit(now, out) // LEN-5
}

// cameIn counts a delivery as no longer out.
func (q *Queue) cameIn(sl *slot) {
	if c := sl.consumer; c != nil {
		c.out--
		q.faded()
	}
	sl.state, sl.consumer = slotFree, nil
	q.unackedCount--
	q.unackedBytes -= int64(sl.entry.size)
}

// comeBack makes the message in slot i ready again, where it was (ACK-6).
func (q *Queue) comeBack(lv *level, i uint32, sl *slot, out *Effects) {
	sl.state = slotReturned
	lv.returned.heap.push(returnedEntry{seq: sl.entry.seq, slot: i})
	if sl.entry.expiry != 0 {
		sl.entry.flags |= entryIndexed
		q.deadlines.push(deadline{at: sl.entry.expiry, seq: sl.entry.seq, slot: i, level: lv.number})
	}
	q.becameReady(lv, sl.entry.size)
	if sl.entry.expiry != 0 {
		q.askTimer(out)
	}
}

// settle ends a message for good: acknowledged, dropped or expired. One that was not
// collected yet is never written, and what its publisher waits for is released here.
func (q *Queue) settle(lv *level, e *entry, out *Effects) {
	q.release(e, out)
	q.left(lv, e.seq)
	lv.acks.set(e.seq)
	q.forgetCount(lv, e)
	if e.ordinal == 0 {
		q.forgetCopy(lv, e)
		return
	}
	switch w := lv.pending.find(e.ordinal); {
	case w == nil:
		lv.stored(e.seq)
		q.settledSome(lv)
	case w.group == 0:
		w.confirm.Release(&out.Wakes)
		w.transfer.Release(out)
		out.Unstored -= int64(w.message.Size())
		*w = waiting{seq: w.seq}
		lv.pending.trim()
	default:
		w.settled = true
	}
}

// stored notes that a message on disk is settled.
func (lv *level) stored(seq uint64) {
	if n := len(lv.settled); n > 0 && lv.settled[n-1].Last+1 == seq {
		lv.settled[n-1].Last = seq
		return
	}
	lv.settled = append(lv.settled, Range{First: seq, Last: seq})
}

// settledSome asks for the acknowledgement state to be written some time soon, if it ever
// is.
func (q *Queue) settledSome(lv *level) {
	if !q.durable {
		lv.settled = nil
		return
	}
	lv.dirty = true
	if !q.enlistedSettled {
		q.enlistedSettled = true
		q.store.EnlistSettled(q)
	}
}
