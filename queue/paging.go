package queue

import (
	"time"

	"github.com/leveretmq/leveret/message"
)

// largeBytes is from when on a queue offers to give memory back.
const largeBytes = 128 << 10

// keep counts a message as held in memory.
func (q *Queue) keep(m *message.Message, out *Effects) { q.weigh(int64(m.Size()), out) }

// release counts the message of an entry as held no more.
func (q *Queue) release(e *entry, out *Effects) {
	if e.msg != nil {
		q.weigh(-int64(e.msg.Size()), out)
	}
}

func (q *Queue) weigh(bytes int64, out *Effects) {
	q.ram += bytes
	out.Memory += bytes
	if !q.large && q.ram > largeBytes && q.batch != nil {
		q.large = true
		out.Large = append(out.Large, q)
	}
}

// Memory is how many bytes of messages the queue holds in memory.
func (q *Queue) Memory() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.contents == nil {
		return 0
	}
	return q.ram
}

// PageOut has bodies that are on disk leave memory until about want bytes are free, and
// returns how many are, or will be soon. Of the ready messages the first keep bytes stay,
// and so does what waits for a commit; what is never stored is spilled, and leaves when
// that is done. It reports small when the queue need not be asked again before it is in
// Effects.Large once more.
func (q *Queue) PageOut(want, keep int64, out *Effects) (freed int64, small bool) {
	q.lock()
	defer q.mu.Unlock()
	before := q.ram
	want -= q.coming
	if target := max(before-want, keep); target < before {
		q.page(target, keep, out)
		if q.ram > target && q.wheel == nil {
			q.spill(q.ram-target, keep, out)
		}
	}
	if q.ram <= largeBytes {
		q.large = false
	}
	return before - q.ram + q.coming, !q.large
}

// page lets bodies go that are on disk, until the queue holds no more than target.
func (q *Queue) page(target, keep int64, out *Effects) {
	if q.wheel != nil {
		q.pageWheel(target, out)
		return
	}
	for i := range q.levels {
		lv := &q.levels[i]
		lv.split(keep)
		q.pageBack(lv, target, out)
		q.pageFront(lv, target, keep, out)
		q.forgetLeft(lv)
	}
	q.pageSlots(target, out)
	// The deadline of a run that has grown while it was read to expire is new.
	q.askTimer(out)
}

// split makes a front of the first keep bytes, and a back of the rest, where everything is
// in memory. The newest messages are not on disk yet, so paging begins in the middle.
func (lv *level) split(keep int64) {
	r := &lv.ready
	if lv.runs.len() > 0 || lv.back.live > 0 || r.bytes <= keep {
		return
	}
	at, bytes, ram := r.start, int64(0), int64(0)
	for at < len(r.blocks) && bytes < keep {
		blockBytes, blockRAM := r.blocks[at].weight()
		bytes += blockBytes
		ram += blockRAM
		at++
	}
	lv.back = ready{left: lv.back.left}
	for _, b := range r.blocks[at:] {
		lv.back.blocks = append(lv.back.blocks, b)
		if b.counted {
			lv.back.emptied++
			r.emptied--
		}
		lv.back.live += b.live
	}
	lv.back.bytes, lv.back.ram = r.bytes-bytes, r.ram-ram
	r.live -= lv.back.live
	r.bytes, r.ram = bytes, ram
	clear(r.blocks[at:])
	r.blocks = r.blocks[:at]
	if r.start == len(r.blocks) {
		r.blocks, r.start = r.blocks[:0], 0
	}
}

// pageBack moves the oldest blocks behind the runs into runs.
func (q *Queue) pageBack(lv *level, target int64, out *Effects) {
	for r := &lv.back; q.ram > target && r.start < len(r.blocks); {
		b := r.blocks[r.start]
		run, ok := lv.runOf(b)
		if !ok || q.wheel != nil && run.Count > 0 && run.MinExpiry <= q.wheel.now+soon {
			return // it would be read again at once
		}
		if run.Count == 0 {
			r.leave(b)
		} else {
			q.forgetBlock(lv, b, run, out)
			n := lv.runs.len()
			filed := int64(0) // the deadline under which it is filed already
			if joined, ok := lv.joinable(n-1, run); ok {
				filed = lv.runs.at(n - 1).MinExpiry
				*lv.runs.at(n - 1) = joined
				run = joined
			} else {
				lv.runs.push(run)
			}
			// Elsewhere what is filed may have been taken out, for a read that will not do now.
			if q.wheel == nil || run.MinExpiry != filed {
				q.fileRun(lv, run)
			}
		}
		r.dropBlock(r.start)
	}
}

// joinable joins a run to the one at place i, unless that is being read.
func (lv *level) joinable(i int, later Run) (Run, bool) {
	if i < 0 || lv.reading.active && lv.reading.First == lv.runs.at(i).First {
		return Run{}, false
	}
	return lv.join(*lv.runs.at(i), later)
}

// join joins two runs, unless a message between them is leaving: it would be read with
// them. There may be nothing else that is not settled.
func (lv *level) join(a, b Run) (Run, bool) {
	const far = 256
	if b.First-a.Last > far {
		return a, false
	}
	for seq := a.Last + 1; seq < b.First; seq++ {
		if !lv.acks.has(seq) {
			return a, false
		}
	}
	return join(a, b)
}

// pageFront moves the newest blocks before the runs into runs, as long as enough stays
// at the front.
func (q *Queue) pageFront(lv *level, target, keep int64, out *Effects) {
	if lv.reading.active {
		return // what is being read comes right behind the front
	}
	for r := &lv.ready; q.ram > target && r.start < len(r.blocks); {
		last := len(r.blocks) - 1
		b := r.blocks[last]
		run, ok := lv.runOf(b)
		if !ok || r.bytes-run.Bytes < keep || lv.runs.len() == 0 && lv.back.live > 0 {
			return
		}
		if run.Count == 0 {
			r.leave(b)
		} else {
			q.forgetBlock(lv, b, run, out)
			if lv.runs.len() > 0 {
				if joined, ok := lv.join(run, *lv.runs.at(0)); ok {
					lv.runs.popFront()
					run = joined
				}
			}
			lv.runs.pushFront(run)
			q.fileRun(lv, run)
		}
		r.dropBlock(last)
	}
}

// runOf is the run that a block would make; it makes none while one of its messages is
// not on disk.
func (lv *level) runOf(b *block) (run Run, ok bool) {
	for i := b.lo; i < b.hi; i++ {
		e := &b.entries[i]
		if e.msg == nil {
			continue
		}
		if e.ordinal == 0 && b.spill != spillDone || e.ordinal >= lv.pending.base {
			return Run{}, false
		}
		if run.Count == 0 {
			run.First = e.seq
		}
		run.Last = e.seq
		run.Count++
		run.Bytes += int64(e.size)
		run.MinExpiry = earlier(run.MinExpiry, e.expiry)
	}
	return run, true
}

// forgetBlock lets the bodies of a block go that becomes a run. What was removed from its
// middle and is not settled is leaving.
func (q *Queue) forgetBlock(lv *level, b *block, r Run, out *Effects) {
	for i := b.lo; i < b.hi; i++ {
		e := &b.entries[i]
		if e.msg == nil {
			if e.seq > r.First && e.seq < r.Last {
				lv.skipUnlessSettled(e.seq)
			}
			continue
		}
		q.release(e, out)
		q.unindex(e)
	}
}

// skipUnlessSettled keeps a message that is leaving from being taken for ready when the run
// around it is read.
func (lv *level) skipUnlessSettled(seq uint64) {
	if lv.acks.has(seq) {
		return
	}
	if lv.skips == nil {
		lv.skips = make(map[uint64]struct{})
	}
	lv.skips[seq] = struct{}{}
}

// dropBlock takes the block at place i, the first or the last in use, out of the list.
func (r *ready) dropBlock(i int) {
	b := r.blocks[i]
	bytes, ram := b.weight()
	r.live -= b.live
	r.bytes -= bytes
	r.ram -= ram
	if b.counted {
		r.emptied--
	}
	r.blocks[i] = nil
	switch {
	case i == r.start:
		r.start++
	default:
		r.blocks = r.blocks[:i]
	}
	if r.start == len(r.blocks) {
		r.blocks, r.start = r.blocks[:0], 0
	}
	if r.live == 0 && len(r.blocks) == 0 && cap(r.blocks) > 64 {
		*r = ready{left: r.left}
	}
}

// pageSlots lets go of bodies of messages that are out or came back, a bounded number of
// slots at a time.
func (q *Queue) pageSlots(target int64, out *Effects) {
	total := len(q.slots.pages) * slotsPerPage
	for n := 0; n < total && n < 4*slotsPerPage && q.ram > target; n++ {
		if q.scanned >= total {
			q.scanned = 0
		}
		sl := q.slots.at(uint32(q.scanned))
		q.scanned++
		if !sl.pages() || sl.entry.msg == nil {
			continue
		}
		if e := &sl.entry; q.levels[sl.level].onDisk(e) {
			q.release(e, out)
			e.msg = nil
		}
	}
}

// onDisk tells whether an entry that is in no block can be read again.
func (lv *level) onDisk(e *entry) bool {
	if e.ordinal == 0 {
		return e.flags&entrySpilled != 0
	}
	return e.ordinal < lv.pending.base
}

// fileRun files the earliest deadline of a run.
func (q *Queue) fileRun(lv *level, r Run) {
	if r.MinExpiry == 0 {
		return
	}
	d := deadline{at: q.readToExpire(&r), seq: r.First, slot: runSlot, level: lv.number}
	if q.wheel != nil {
		q.wheel.runs[circleOf(lv.number)].push(d)
		return
	}
	q.deadlines.push(d)
}

// dropRuns settles everything on disk that is not in memory, without reading it.
func (q *Queue) dropRuns(lv *level) {
	for lv.runs.len() > 0 {
		r := *lv.runs.at(0)
		lv.runs.popFront()
		lv.count -= r.Count
		q.readyCount -= int64(r.Count)
		q.readyBytes -= r.Bytes
		q.settleRun(lv, r)
		q.forgetRun(lv, r)
	}
	lv.reading.stale = true
}

// settleRun settles the messages of a run, but for those that are leaving.
func (q *Queue) settleRun(lv *level, r Run) {
	for seq := range lv.skips {
		if seq >= r.First && seq <= r.Last {
			// Rare: settle one by one around it.
			q.settleAround(lv, r)
			return
		}
	}
	lv.acks.setRange(r.First, r.Last)
	lv.counts.removeRange(r.First, r.Last)
	lv.settled = append(lv.settled, r.Range)
	q.settledSome(lv)
}

func (q *Queue) settleAround(lv *level, r Run) {
	for seq := r.First; seq <= r.Last; seq++ {
		if _, leaving := lv.skips[seq]; leaving {
			delete(lv.skips, seq)
			continue
		}
		lv.acks.set(seq)
		lv.counts.removeRange(seq, seq)
		lv.stored(seq)
	}
	q.settledSome(lv)
}

// dieLater keeps a message that is to be dead-lettered until its body has been read. It
// died before whatever is done to the queue until then.
func (q *Queue) dieLater(lv *level, e *entry, why Reason) {
	i, sl := q.slots.take(*e, lv.number)
	sl.state = slotDying
	q.leaving++
	p := Position{Seq: e.seq, Slot: i, Level: lv.number}
	q.readAnyway(lv, Range{First: p.Seq, Last: p.Seq}, func(now time.Time, found []RestoredMessage, out *Effects) {
		q.leaving--
		sl := q.slots.in(slotDying, p)
		if sl == nil {
			if len(found) > 0 { // the queue was deleted meanwhile
				q.leaving++
				q.mail(Letter{Message: found[0].Message, Reason: why, At: now, Transfer: NewTransfer(q, p, nil)}, out)
			}
			return
		}
		e := sl.entry
		q.slots.put(i)
		if len(found) == 0 {
			q.settle(lv, &e, out) // damaged: there is nothing to send
			return
		}
		e.msg = found[0].Message
		q.keep(e.msg, out)
		q.kill(lv, &e, why, now, out)
	})
}
