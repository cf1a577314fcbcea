package queue

import (
	"time"

	"github.com/leveretmq/leveret/message"
)

// expireAtOnce bounds how many messages one call of Expire ends, so that a million due
// at the same moment stall nobody for long.
const expireAtOnce = 1000

// deadline is when a message somewhere in the queue expires. It is stale when the
// message has left the place it names.
type deadline struct {
	at    int64
	seq   uint64
	slot  uint32 // noSlot for one in the ready list, runSlot for the earliest of a run
	level uint8
}

// deadlines is a heap, earliest first, of the deadlines that do not simply rise from the
// front of the queue to its end. With one time to live for all, the front is always the
// next to expire and nothing is kept here.
type deadlines struct {
	heap heap[deadline]
	live int // elements that are not stale
}

// deadline is when m expires if it comes now: the smaller of the queue's time to live
// and its own (TTL-1). Unix milliseconds, 0 for never.
func (q *Queue) deadline(ms int64, m *message.Message) int64 {
	ttl := int64(None)
	if q.options.MessageTTL >= 0 {
		ttl = q.options.MessageTTL.Milliseconds()
	}
	if m.Expiration != message.NoExpiration && (ttl < 0 || m.Expiration < ttl) {
		ttl = m.Expiration
	}
	if ttl < 0 {
		return 0
	}
	return ms + ttl
}

// index files e's deadline, unless it comes in the order of the queue.
func (q *Queue) index(lv *level, e *entry) {
	if e.expiry == 0 {
		lv.mixed = true
		return
	}
	if !lv.mixed && e.expiry >= lv.lastExpiry {
		lv.lastExpiry = e.expiry
		return
	}
	e.flags |= entryIndexed
	q.deadlines.push(deadline{at: e.expiry, seq: e.seq, slot: noSlot, level: lv.number})
}

// unindex notes that the place of e's deadline is about to be left.
func (q *Queue) unindex(e *entry) {
	if e.flags&entryIndexed == 0 {
		return
	}
	e.flags &^= entryIndexed
	q.deadlines.live--
	if h := &q.deadlines; len(h.heap) > 64 && len(h.heap) > 2*h.live {
		q.sweepDeadlines()
	}
}

// sweepDeadlines drops the stale deadlines, so that messages that were consumed or paged out
// long before they were due leave nothing behind. It works in place: what it is to make small
// may be most of what a queue has in memory.
func (q *Queue) sweepDeadlines() {
	old := q.deadlines.heap
	kept := old[:0]
	for _, d := range old {
		if d.slot == runSlot {
			if q.runDue(&q.levels[d.level], d) {
				kept = append(kept, d)
			}
			continue
		}
		// A message that came back more than once is filed more than once; the flag is
		// taken away so that it is found only the first time.
		if e := q.at(d); e != nil {
			e.flags &^= entryIndexed
			kept = append(kept, d)
		}
	}
	for _, d := range kept {
		if d.slot != runSlot {
			q.place(d).flags |= entryIndexed
		}
	}
	if cap(kept) > 4*len(kept) {
		kept = append(make(heap[deadline], 0, 2*len(kept)), kept...)
	}
	kept.order()
	q.deadlines = deadlines{heap: kept, live: len(kept)}
}

// at returns the ready message a deadline stands for, or nil when it is stale.
func (q *Queue) at(d deadline) *entry {
	if e := q.place(d); e != nil && e.flags&entryIndexed != 0 {
		return e
	}
	return nil
}

// place returns the ready message at the place a deadline names, or nil.
func (q *Queue) place(d deadline) *entry {
	if d.slot == noSlot {
		_, _, e := q.levels[d.level].find(d.seq)
		return e
	}
	if sl := q.slots.in(slotReturned, Position{Seq: d.seq, Slot: d.slot, Level: d.level}); sl != nil {
		return &sl.entry
	}
	return nil
}

// Expire ends what is past its deadline or above a limit, a bounded number at a time, and
// tells when to call again: at once, later, or never (the zero time). A queue that has been
// without use for its x-expires is left in out.Unused.
func (q *Queue) Expire(now time.Time, out *Effects) (next time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return time.Time{}
	}
	if q.wheel != nil {
		return q.turn(now, out)
	}
	ms := now.UnixMilli()
	more := q.contents != nil && q.expire(ms, now, out)
	if due := q.unusedAt(); due != 0 && due <= ms {
		out.Unused = append(out.Unused, q)
		q.lastUse = ms // asked once; a use that comes first wins
	}
	q.timer = q.due()
	if more {
		q.timer = ms
	}
	if q.timer == 0 {
		return time.Time{}
	}
	return time.UnixMilli(q.timer)
}

// expire is what Expire does of messages. It tells whether there is more.
func (q *Queue) expire(ms int64, now time.Time, out *Effects) (more bool) {
	retries := q.retryDue(ms, expireAtOnce, out)
	left := min(q.expireDue(ms, now, out), retries)
	if retries < expireAtOnce {
		q.dispatch(now, out)
	}
	limited := q.dropAbove(now, out) // what was restored may be too much, and what a policy changed
	q.sendRetained(ms, now, out)
	return left == 0 || !limited
}

// expireDue ends what is past its deadline and returns how many more it would have.
func (q *Queue) expireDue(ms int64, now time.Time, out *Effects) (left int) {
	left = q.expireIndexed(ms, expireAtOnce, now, out)
	for i := len(q.levels) - 1; i >= 0; i-- {
		left = q.expireFront(&q.levels[i], ms, left, now, out)
	}
	return left
}

// expireFront ends due messages at the front of a level, and at the front of what comes
// after its runs.
func (q *Queue) expireFront(lv *level, ms int64, left int, now time.Time, out *Effects) int {
	lv.front() // brings the back to the front if there is nothing before it
	for _, r := range [...]*ready{&lv.ready, &lv.back} {
		for ; left > 0; left-- {
			p := r.front()
			if p == nil || p.expiry == 0 || p.expiry > ms {
				break
			}
			e := *p
			r.pop()
			q.leftReady(lv, e.size)
			q.unindex(&e)
			q.kill(lv, &e, Expired, now, out)
		}
	}
	q.forgetLeft(lv)
	return left
}

// expireIndexed ends due messages wherever they are. Those on disk are read first, and
// expire when that is done.
func (q *Queue) expireIndexed(ms int64, left int, now time.Time, out *Effects) int {
	for h := &q.deadlines; left > 0 && len(h.heap) > 0 && h.heap[0].at <= ms; left-- {
		d := h.heap[0]
		h.heap.pop()
		lv := &q.levels[d.level]
		if d.slot == runSlot {
			q.expireRun(lv, d)
			continue
		}
		p := q.at(d)
		if p == nil {
			continue
		}
		e := *p
		if d.slot == noSlot {
			r, b, at := lv.find(d.seq)
			r.removeAt(b, at)
		} else {
			q.slots.put(d.slot) // the returned heap skips it
		}
		q.leftReady(lv, e.size)
		q.unindex(&e)
		q.kill(lv, &e, Expired, now, out)
	}
	return left
}

// due is the next moment something is due, Unix milliseconds, 0 for never. It may be too
// early by a message that has left meanwhile, never too late.
func (q *Queue) due() int64 {
	if q.wheel != nil {
		return q.dueInWheel()
	}
	if q.contents == nil {
		return q.unusedAt()
	}
	due := earlier(q.unusedAt(), q.retained.at)
	if h := q.deadlines.heap; len(h) > 0 {
		due = earlier(due, h[0].at)
	}
	if len(q.held) > 0 {
		due = earlier(due, q.held[0].at)
	}
	for i := range q.levels {
		if lv := &q.levels[i]; lv.count > 0 {
			if e := lv.front(); e != nil {
				due = earlier(due, e.expiry)
			}
			if e := lv.back.front(); e != nil {
				due = earlier(due, e.expiry)
			}
		}
	}
	return due
}

// unusedAt is when the queue is deleted if nobody uses it (TTL-9).
func (q *Queue) unusedAt() int64 {
	if q.options.Expires < 0 || len(q.consumers) > 0 {
		return 0
	}
	return q.lastUse + q.options.Expires.Milliseconds()
}

func earlier(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// askTimer asks for Expire to be called, unless that is asked for early enough already.
func (q *Queue) askTimer(out *Effects) {
	if q.deleted {
		return
	}
	if due := q.due(); due != 0 && (q.timer == 0 || due < q.timer) {
		q.timer = due
		out.Timers = append(out.Timers, Timer{Queue: q, At: time.UnixMilli(due)})
	}
}

func (d deadline) before(other deadline) bool { return d.at < other.at }

func (h *deadlines) push(d deadline) {
	h.live++
	h.heap.push(d)
}
