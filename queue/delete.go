package queue

import (
	"sort"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// DeleteOptions are the conditions of queue.delete.
type DeleteOptions struct {
	IfUnused bool // only without consumers
	IfEmpty  bool // only without ready messages
}

// Purge drops every message that is ready or will be by itself (QQ-6), without
// dead-lettering, and returns how many there were. Messages that are out or leaving stay
// (Q-62, S-9).
func (q *Queue) Purge(now time.Time, out *Effects) int {
	q.lock()
	defer q.mu.Unlock()
	n := int(q.readyCount + q.heldCount)
	q.dropReady(out)
	q.lastUse = now.UnixMilli()
	return n
}

func (q *Queue) dropReady(out *Effects) {
	for i := range q.levels {
		lv := &q.levels[i]
		q.dropRuns(lv)
		for {
			r, ok := lv.returned.first(&q.slots)
			if !ok {
				break
			}
			e := q.slots.at(r.slot).entry
			lv.returned.heap.pop()
			q.slots.put(r.slot)
			q.dropped(lv, &e, out)
		}
		q.dropLists(lv, out)
	}
	q.dropHeld(out)
	if q.wheel != nil {
		q.dropLoaded(out)
	}
	q.forgetSettled()
	q.deadlines = deadlines{} // nothing is ready
}

// dropLists drops what is ready in memory, all at once: a purge holds up nobody for long,
// however much there is (S-13).
func (q *Queue) dropLists(lv *level, out *Effects) {
	var gone []Range
	for _, r := range [...]*ready{&lv.ready, &lv.back} {
		gone = r.ranges(gone)
		for _, b := range r.blocks[r.start:] {
			r.leave(b)
		}
		lv.count -= r.live
		q.readyCount -= int64(r.live)
		q.readyBytes -= r.bytes
		q.weigh(-r.ram, out)
		*r = ready{left: r.left}
	}
	q.forgetLeft(lv)
	for _, r := range gone {
		lv.acks.setRange(r.First, r.Last)
		lv.counts.removeRange(r.First, r.Last)
	}
	if len(gone) == 0 || !q.durable {
		return
	}
	// What is under way is stored before this state is.
	lv.settled = append(lv.settled, gone...)
	q.settledSome(lv)
	p := &lv.pending
	for i := range p.puts[p.start:] {
		if w := &p.puts[p.start+i]; w.message != nil && w.group == 0 && within(gone, w.seq) {
			q.unstore(w, out)
		}
	}
	p.trim()
}

// unstore ends a message that was not collected yet, and is never stored.
func (q *Queue) unstore(w *waiting, out *Effects) {
	w.confirm.Release(&out.Wakes)
	w.transfer.Release(out)
	out.Unstored -= int64(w.message.Size())
	*w = waiting{seq: w.seq}
}

// within tells whether seq is in one of the ranges, which are in order.
func within(ranges []Range, seq uint64) bool {
	i := sort.Search(len(ranges), func(i int) bool { return ranges[i].Last >= seq })
	return i < len(ranges) && ranges[i].First <= seq
}

// dropped ends a message that was ready and is in no list any more.
func (q *Queue) dropped(lv *level, e *entry, out *Effects) {
	q.leftReady(lv, e.size)
	q.unindex(e)
	q.settle(lv, e, out)
}

// Delete ends the queue and returns how many messages went with it that were ready or waited
// to be; nothing is dead-lettered. Its consumers are left in out.Cancelled.
// Afterwards publishes are accepted and dropped, and settlements ignored. It is refused with
// 406 when a condition does not hold.
func (q *Queue) Delete(_ time.Time, o DeleteOptions, out *Effects) (ready int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.contents != nil {
		ready = int(q.readyCount + q.heldCount)
	}
	switch {
	case q.deleted:
		return 0, nil
	case o.IfEmpty && ready > 0:
		return 0, amqp.PreconditionFailed("%v not empty", q)
	case o.IfUnused && len(q.consumers) > 0:
		return 0, amqp.PreconditionFailed("%v in use", q)
	}
	q.deleted = true
	if q.contents == nil {
		return 0, nil
	}
	q.forget(out)
	for _, x := range q.consumersInOrder() {
		x.gone = true
		out.Cancelled = append(out.Cancelled, x.who)
	}
	q.consumers, q.groups, q.exclusive, q.active, q.fading = nil, nil, nil, nil, false
	return ready, nil
}

// Deleted tells whether the queue was deleted. Once it was, it stays so.
func (q *Queue) Deleted() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.deleted
}

// forget lets go of every message. What publishers wait for is released, save for what
// is under way with a commit: that is released by the commit.
func (q *Queue) forget(out *Effects) {
	for i := range q.levels {
		lv := &q.levels[i]
		p := &lv.pending
		for j := range p.puts[p.start:] {
			w := &p.puts[p.start+j]
			if w.message == nil || w.group != 0 {
				continue
			}
			q.unstore(w, out)
		}
		p.trim()
		lv.ready, lv.back, lv.runs, lv.skips = ready{}, ready{}, runs{}, nil
		lv.returned, lv.count, lv.settled, lv.dirty = returned{}, 0, nil, false
		lv.counts = counts{}
		lv.reading.stale = true
	}
	if q.spills {
		q.store.Forget(Forgotten{Queue: q.id, All: true})
	}
	for _, r := range q.retained.waiting {
		r.transfer.Release(out)
	}
	q.slots, q.deadlines, q.retained = slots{}, deadlines{}, retained{}
	q.held, q.heldCount, q.heldBytes = nil, 0, 0
	if q.wheel != nil {
		q.wheel = &wheel{now: q.wheel.now}
	}
	q.weigh(-q.ram, out)
	q.readyCount, q.readyBytes, q.unackedCount, q.unackedBytes = 0, 0, 0, 0
}
