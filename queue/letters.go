package queue

import (
	"sync/atomic"
	"time"
)

// kill ends a message that is in no list: it is dead-lettered, or dropped when the
// queue has no dead-letter exchange (DLX-2).
func (q *Queue) kill(lv *level, e *entry, why Reason, now time.Time, out *Effects) {
	if !q.options.DeadLetter {
		q.totals.Dropped[why]++
		q.settle(lv, e, out)
		return
	}
	q.left(lv, e.seq)
	if e.msg == nil {
		q.dieLater(lv, e, why)
		return
	}
	if q.options.AtLeastOnce && e.ordinal != 0 {
		q.retain(lv, e, why, now, out)
		return
	}
	l := Letter{Message: e.msg, Reason: why, At: now}
	q.release(e, out)
	if e.ordinal != 0 {
		if w := lv.pending.find(e.ordinal); w != nil && w.group == 0 {
			// Never stored and never to be: its targets take over what waited for it.
			l.Confirm, l.Transfer = w.confirm, w.transfer
			out.Unstored -= int64(e.msg.Size())
			*w = waiting{seq: w.seq}
			lv.acks.set(e.seq)
			q.forgetCount(lv, e)
			lv.pending.trim()
		} else {
			// On disk, or on its way there: it stays, as leaving, until its targets have it.
			i, sl := q.slots.take(*e, lv.number)
			sl.state = slotLeaving
			sl.entry.msg = nil
			q.leaving++
			l.Transfer = NewTransfer(q, Position{Seq: e.seq, Slot: i, Level: lv.number}, nil)
		}
	} else {
		lv.acks.set(e.seq)
		q.forgetCopy(lv, e)
	}
	q.mail(l, out)
}

// killReady takes a ready message, the one first returned, out of its level and ends it.
func (q *Queue) killReady(lv *level, e entry, slot uint32, why Reason, now time.Time, out *Effects) {
	q.takeOut(lv, &e, slot)
	q.kill(lv, &e, why, now, out)
}

// killSlot ends a message that came in from being out.
func (q *Queue) killSlot(lv *level, i uint32, why Reason, now time.Time, out *Effects) {
	e := q.slots.at(i).entry
	q.slots.put(i)
	q.kill(lv, &e, why, now, out)
}

// mail puts a letter into the outbox. Letters leave in the order of their deaths.
func (q *Queue) mail(l Letter, out *Effects) {
	if !q.options.DeadLetter {
		return
	}
	if l.Reason != Due {
		q.totals.DeadLettered[l.Reason]++
	}
	q.post(l, out)
}

// post is mail for a letter that was counted before.
func (q *Queue) post(l Letter, out *Effects) {
	l.Exchange = q.options.DeadLetterExchange
	l.RoutingKey, l.HasRoutingKey = q.options.DeadLetterRoutingKey, q.options.HasDeadLetterKey
	q.outbox = append(q.outbox, l)
	if !q.listed {
		q.listed = true
		out.Letters = append(out.Letters, q)
	}
}

// TakeLetters appends the letters in the outbox to buf. It reports false when there are
// none, or when somebody else is carrying letters of this queue and will carry these
// too. Whoever got true carries them and calls again, until it gets false.
func (q *Queue) TakeLetters(buf []Letter, carrying bool) ([]Letter, bool) {
	q.lock()
	defer q.mu.Unlock()
	q.listed = false
	if q.draining && !carrying {
		return buf, false
	}
	q.draining = len(q.outbox) > 0
	if !q.draining {
		return buf, false
	}
	buf = append(buf, q.outbox...)
	clear(q.outbox)
	q.outbox = q.outbox[:0]
	if cap(q.outbox) > 1024 {
		q.outbox = nil
	}
	return buf, true
}

// NewTransfer returns a transfer with one hold. next, if there is one, is held until it ends.
func NewTransfer(source Source, p Position, next *Transfer) *Transfer {
	next.Hold()
	return &Transfer{holds: 1, source: source, position: p, next: next}
}

// Hold adds a target that will store the letter. The caller must already be covered by
// a hold. It is safe on nil.
func (t *Transfer) Hold() {
	if t != nil {
		atomic.AddInt32(&t.holds, 1)
	}
}

// Release lets go of one hold. The last one leaves the transfer in out, to be settled at
// the source. It is safe on nil and may be called with a queue locked.
func (t *Transfer) Release(out *Effects) {
	for ; t.last(); t = t.next {
		out.Transfers = append(out.Transfers, t)
	}
}

func (t *Transfer) last() bool {
	if t == nil {
		return false
	}
	n := atomic.AddInt32(&t.holds, -1)
	if n < 0 {
		panic("queue: transfer released more often than held")
	}
	return n == 0
}

// Source is where it came from.
func (t *Transfer) Source() Source { return t.source }

// Position is its position in its source.
func (t *Transfer) Position() Position { return t.position }

// SettleTransfers settles, each at its source, the transfers that have ended in their
// last target without being stored there. Nothing may be locked.
func SettleTransfers(out *Effects) {
	for i := 0; i < len(out.Transfers); i++ {
		t := out.Transfers[i]
		out.Transfers[i] = nil
		t.source.Arrived(t.position, out)
	}
	out.Transfers = out.Transfers[:0]
}

// Arrived implements Source.
func (q *Queue) Arrived(p Position, out *Effects) {
	q.lock()
	q.settleLeaving(p, out)
	left := q.takeLeft()
	q.mu.Unlock()
	left()
}

// settleLeaving ends a leaving message whose letter is safe. When the queue was deleted
// meanwhile there is nothing to settle.
func (q *Queue) settleLeaving(p Position, out *Effects) {
	q.leaving--
	sl := q.slots.in(slotLeaving, p)
	if sl == nil {
		return
	}
	e := sl.entry
	q.slots.put(p.Slot)
	q.freed(&e)
	q.settle(&q.levels[p.Level], &e, out)
}

// WhenLeft has done called when the letters of a queue that was deleted are all in a batch
// with the last of their targets, or are settled without: then its record may go, with
// that batch or later, because nothing in it is the only copy (S-9). It reports false, and
// done is never called, when there are none under way. done is called with nothing locked,
// by the committer or by whoever carries letters.
func (q *Queue) WhenLeft(done func()) (waiting bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.contents == nil || q.leaving == 0 {
		return false
	}
	q.whenLeft = done
	return true
}

// takeLeft is what to call, after unlocking, when the last letter of a deleted queue may
// have left.
func (q *Queue) takeLeft() func() {
	if q.whenLeft == nil || q.leaving > 0 {
		return func() {}
	}
	left := q.whenLeft
	q.whenLeft = nil
	return left
}
