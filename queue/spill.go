package queue

import "time"

// What is never stored, transient messages and all of a queue that is not durable, leaves
// memory by way of copies on disk. A block of the ready list has one copy, and is left
// alone, or dropped whole, from then on; once the copy can be read the block can become a
// run like any other. A message in a slot has a stray copy of its own. What is read back
// is in memory again and its copy forgotten, so a run costs one write each time it leaves.

// spillState is what is known of a block's copy.
type spillState uint8

const (
	spillNone     spillState = iota
	spillUnderway            // it may be written by now, or not
	spillDone                // it can be read
)

// spillAtOnce is how many bytes of messages one call of PageOut has written at most, a
// single block or message excepted.
const spillAtOnce = 4 << 20

// spilling is what one call has asked the store to write.
type spilling struct {
	blocks []*block
	firsts []uint64 // of the blocks when they were copied: a block may have another use by then
	slots  []Position
	copies []Copy
	bytes  int64
}

// spill asks for copies of about want bytes, in the order in which page lets go of bodies.
func (q *Queue) spill(want, keep int64, out *Effects) {
	want = min(want, spillAtOnce)
	for i := range q.levels {
		lv := &q.levels[i]
		var s spilling
		back := &lv.back
		for at := back.start; at < len(back.blocks) && s.bytes < want; at++ {
			q.copyBlock(lv, back.blocks[at], &s)
		}
		if front := &lv.ready; !lv.reading.active && (lv.runs.len() > 0 || back.live == 0) {
			kept := front.bytes
			for at := len(front.blocks) - 1; at >= front.start && s.bytes < want; at-- {
				b := front.blocks[at]
				bytes, _ := b.weight()
				if kept -= bytes; kept < keep {
					break
				}
				q.copyBlock(lv, b, &s)
			}
		}
		q.copySlots(lv, want, &s)
		want -= s.bytes
		q.send(lv, &s, keep, out)
		if want <= 0 {
			return
		}
	}
}

// copyBlock adds a copy of what is in a block and never stored, unless there is one.
func (q *Queue) copyBlock(lv *level, b *block, s *spilling) {
	if b.spill != spillNone {
		return
	}
	var puts []StoredPut
	for i := b.lo; i < b.hi; i++ {
		e := &b.entries[i]
		if e.msg == nil || e.ordinal != 0 {
			continue
		}
		puts = append(puts, q.copyOf(lv, e))
		s.bytes += int64(e.msg.Size())
	}
	if len(puts) == 0 {
		return
	}
	b.spill, b.last = spillUnderway, b.entries[b.hi-1].seq
	s.blocks, s.firsts = append(s.blocks, b), append(s.firsts, b.first)
	s.copies = append(s.copies, Copy{Range: Range{First: b.first, Last: b.last}, Puts: puts})
}

// copySlots adds copies of messages that are out or came back, beginning where pageSlots
// goes on.
func (q *Queue) copySlots(lv *level, want int64, s *spilling) {
	total := len(q.slots.pages) * slotsPerPage
	for n := 0; n < total && n < 4*slotsPerPage && s.bytes < want; n++ {
		i := uint32((q.scanned + n) % total)
		sl := q.slots.at(i)
		e := &sl.entry
		if sl.level != lv.number || !sl.pages() ||
			e.msg == nil || e.ordinal != 0 || e.flags&(entrySpilling|entrySpilled) != 0 {
			continue
		}
		e.flags |= entrySpilling
		s.bytes += int64(e.msg.Size())
		s.slots = append(s.slots, Position{Seq: e.seq, Slot: i, Level: lv.number})
		s.copies = append(s.copies, Copy{Range: Range{First: e.seq, Last: e.seq}, Puts: []StoredPut{q.copyOf(lv, e)}, Stray: true})
	}
}

func (q *Queue) copyOf(lv *level, e *entry) StoredPut {
	return StoredPut{
		Queue:       q.id,
		Level:       lv.number,
		Redelivered: e.flags&entryRedelivered != 0,
		Seq:         e.seq,
		Expiry:      e.expiry,
		Message:     e.msg,
	}
}

// send hands copies to the store. Publishers wait for what is on its way there, as they do
// for a commit.
func (q *Queue) send(lv *level, s *spilling, keep int64, out *Effects) {
	if len(s.copies) == 0 {
		return
	}
	q.spills = true
	q.coming += s.bytes
	out.Unstored += s.bytes
	copies := s.copies
	s.copies = nil
	q.store.Spill(q.id, lv.number, copies, func(err error) {
		q.batch(func(_ time.Time, out *Effects) {
			q.lock()
			defer q.mu.Unlock()
			out.Unstored -= s.bytes
			q.coming -= s.bytes
			if q.deleted {
				return
			}
			q.copied(s, err == nil)
			if err == nil {
				q.page(max(q.ram-s.bytes, keep), keep, out)
			}
		})
	})
}

// copied notes which copies can be read now, or that none can.
func (q *Queue) copied(s *spilling, ok bool) {
	for i, b := range s.blocks {
		if b.spill != spillUnderway || b.first != s.firsts[i] {
			continue // it is gone
		}
		if b.spill = spillNone; ok {
			b.spill = spillDone
		}
	}
	for _, p := range s.slots {
		sl := q.slots.get(p.Slot)
		if sl == nil || !sl.pages() || sl.entry.seq != p.Seq || sl.level != p.Level || sl.entry.flags&entrySpilling == 0 {
			continue
		}
		if sl.entry.flags &^= entrySpilling; ok {
			sl.entry.flags |= entrySpilled
		}
	}
}

// forgetCopy lets go of the stray copy of a message that has ended.
func (q *Queue) forgetCopy(lv *level, e *entry) {
	if e.flags&(entrySpilling|entrySpilled) != 0 {
		q.store.Forget(Forgotten{Queue: q.id, Level: lv.number, Range: Range{First: e.seq, Last: e.seq}, Stray: true})
	}
}

// forgetLeft lets go of the copies of blocks that were used up in memory.
func (q *Queue) forgetLeft(lv *level) {
	if len(lv.ready.left)+len(lv.back.left) == 0 {
		return
	}
	for _, r := range [...]*ready{&lv.ready, &lv.back} {
		for _, x := range r.left {
			q.store.Forget(Forgotten{Queue: q.id, Level: lv.number, Range: x})
		}
		r.left = nil
	}
}

// forgetRun lets go of the copies of what was in a run.
func (q *Queue) forgetRun(lv *level, r Run) {
	if q.spills {
		q.store.Forget(Forgotten{Queue: q.id, Level: lv.number, Range: r.Range})
	}
}
