package queue

import "time"

// reading is the read of the first run, or of bodies that came back, that is under way
// for a level. There is one at a time.
type reading struct {
	Range
	active bool
	stale  bool // what was asked for is gone
}

// read asks the disk for a range of a level. done gets what is there, in order, with the
// queue locked; it is not called when the queue is deleted or the store has failed.
func (q *Queue) read(lv *level, r Range, done func(now time.Time, found []RestoredMessage, out *Effects)) {
	q.readAnyway(lv, r, func(now time.Time, found []RestoredMessage, out *Effects) {
		if !q.deleted {
			done(now, found, out)
		}
	})
}

// readAnyway is read for what is done even when the queue is deleted.
func (q *Queue) readAnyway(lv *level, r Range, done func(now time.Time, found []RestoredMessage, out *Effects)) {
	q.store.Read(q.id, lv.number, r, func(found []RestoredMessage, err error) {
		q.batch(func(now time.Time, out *Effects) {
			q.lock()
			if err == nil {
				done(now, found, out)
				q.dispatch(now, out)
				q.limit(now, out)
				q.askTimer(out)
			}
			waiters := q.waiters
			q.waiters = nil
			left := q.takeLeft()
			q.mu.Unlock()
			left()
			for _, w := range waiters {
				w(err)
			}
		})
	})
}

// WhenRead has done called when something the queue was waiting for has been read, or
// cannot be. It reports false, and done is never called, when the queue waits for
// nothing.
func (q *Queue) WhenRead(done func(error)) (waiting bool) {
	q.lock()
	defer q.mu.Unlock()
	if q.deleted {
		return false
	}
	for i := range q.levels {
		if q.levels[i].reading.active {
			q.waiters = append(q.waiters, done)
			return true
		}
	}
	return false
}

// load asks for what goes next in a level and is not in memory.
func (q *Queue) load(lv *level) {
	if lv.reading.active {
		return
	}
	r, ok := lv.returned.first(&q.slots)
	if ok && (lv.runs.len() == 0 || r.seq < lv.runs.at(0).First) {
		q.loadReturned(lv, r.seq)
		return
	}
	if lv.runs.len() > 0 {
		q.loadRun(lv)
	}
}

// readAhead asks for the next run before the front has been used up.
func (q *Queue) readAhead(lv *level) {
	if lv.runs.len() > 0 && !lv.reading.active && lv.ready.bytes < RunBytes/2 && lv.ready.live < RunMessages/2 {
		q.loadRun(lv)
	}
}

// loadRun reads the first run and puts its messages at the end of the front.
func (q *Queue) loadRun(lv *level) {
	lv.reading = reading{Range: lv.runs.at(0).Range, active: true}
	q.read(lv, lv.reading.Range, func(_ time.Time, found []RestoredMessage, out *Effects) {
		rd := lv.reading
		lv.reading = reading{}
		if rd.stale || lv.runs.len() == 0 || lv.runs.at(0).Range != rd.Range {
			return
		}
		run := *lv.runs.at(0)
		lv.runs.popFront()
		q.forgetRun(lv, run)
		lv.count -= run.Count
		q.readyCount -= int64(run.Count)
		q.readyBytes -= run.Bytes
		q.eachFound(lv, run.Range, found, true, func(e entry) {
			// What comes behind may be due before it, and has to be indexed then.
			if e.expiry == 0 {
				lv.mixed = true
			} else {
				lv.lastExpiry = max(lv.lastExpiry, e.expiry)
				e.flags |= entryIndexed
				q.deadlines.push(deadline{at: e.expiry, seq: e.seq, slot: noSlot, level: lv.number})
			}
			q.keep(e.msg, out)
			lv.ready.push(e)
			q.becameReady(lv, e.size)
		})
	})
}

// eachFound calls f with the messages found in a range that are ready, and settles the
// numbers in it that stand for nothing. With last the range is not read again.
func (q *Queue) eachFound(lv *level, r Range, found []RestoredMessage, last bool, f func(entry)) {
	at := r.First
	for i := range found {
		m := &found[i]
		if m.Seq < at || m.Seq > r.Last {
			continue
		}
		q.settleGap(lv, at, m.Seq)
		at = m.Seq + 1
		if _, leaving := lv.skips[m.Seq]; leaving {
			if last {
				delete(lv.skips, m.Seq)
			}
			continue
		}
		if lv.acks.has(m.Seq) {
			continue
		}
		e := entry{
			msg:    m.Message,
			seq:    m.Seq,
			expiry: m.Expiry,
			size:   uint32(m.Message.BodyBytes()),
		}
		if !m.Spilled {
			e.ordinal = ordinalStored
		}
		e.count = lv.counts.get(m.Seq)
		if m.Redelivered || m.Seq <= lv.marked || e.count > 0 {
			e.flags |= entryRedelivered
		}
		f(e)
	}
	q.settleGap(lv, at, r.Last+1)
}

// settleGap settles the numbers from first up to, but not including, end: nothing was
// ever stored under them. Those that are leaving have not been found because they are
// settled by now.
func (q *Queue) settleGap(lv *level, first, end uint64) {
	if first >= end {
		return
	}
	for seq := range lv.skips {
		if seq >= first && seq < end {
			delete(lv.skips, seq)
			q.settleGap(lv, first, seq)
			q.settleGap(lv, seq+1, end)
			return
		}
	}
	lv.acks.setRange(first, end-1)
}

// loadReturned reads bodies of messages that came back.
func (q *Queue) loadReturned(lv *level, first uint64) {
	const together = 256
	r := Range{First: first, Last: first + together - 1}
	if lv.runs.len() > 0 {
		r.Last = min(r.Last, lv.runs.at(0).First-1)
	}
	lv.reading = reading{Range: r, active: true}
	q.read(lv, r, func(_ time.Time, found []RestoredMessage, out *Effects) {
		lv.reading = reading{}
		bodies := make(map[uint64]*RestoredMessage, len(found))
		for i := range found {
			bodies[found[i].Seq] = &found[i]
		}
		for _, x := range lv.returned.heap {
			sl := q.slots.in(slotReturned, Position{Seq: x.seq, Slot: x.slot, Level: lv.number})
			if sl == nil || sl.entry.msg != nil || x.seq < r.First || x.seq > r.Last {
				continue
			}
			if m := bodies[x.seq]; m != nil {
				sl.entry.msg = m.Message
				q.keep(m.Message, out)
				continue
			}
			// Damaged: it can not be delivered any more.
			e := sl.entry
			q.slots.put(x.slot)
			q.dropped(lv, &e, out)
		}
	})
}

// expireRun reads a run of which something is due, and ends that.
func (q *Queue) expireRun(lv *level, d deadline) {
	if !q.runDue(lv, d) {
		return
	}
	r := lv.runs.at(lv.runs.find(d.seq)).Range
	if lv.reading.active && lv.reading.Range == r {
		return // it is coming to the front, and expires there
	}
	q.read(lv, r, func(now time.Time, found []RestoredMessage, out *Effects) {
		i := lv.runs.find(r.First)
		if i < 0 || lv.runs.at(i).Range != r || lv.reading.active && lv.reading.Range == r {
			return
		}
		run := *lv.runs.at(i)
		left := Run{Range: run.Range}
		var dead []entry
		ms := now.UnixMilli()
		q.eachFound(lv, run.Range, found, false, func(e entry) {
			if e.expiry != 0 && e.expiry <= ms {
				dead = append(dead, e)
				return
			}
			left.Count++
			left.Bytes += int64(e.size)
			left.MinExpiry = earlier(left.MinExpiry, e.expiry)
		})
		lv.count -= run.Count - left.Count
		q.readyCount -= int64(run.Count - left.Count)
		q.readyBytes -= run.Bytes - left.Bytes
		if left.Count == 0 {
			lv.runs.remove(i)
			q.forgetRun(lv, run)
		} else {
			*lv.runs.at(i) = left
			q.fileRun(lv, left)
		}
		for j := range dead {
			e := dead[j]
			q.keep(e.msg, out)
			q.kill(lv, &e, Expired, now, out)
			if left.Count > 0 {
				lv.skipUnlessSettled(e.seq)
			}
		}
	})
}
