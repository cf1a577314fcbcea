package queue

import "time"

// Dead-lettering at least once (DLX-14): a message that has died stays in its queue, as
// leaving, until every target has it on disk. What a target refuses, and what finds no
// exchange or no route, waits and is sent again, to those that have not got it yet. A
// letter that waits holds up no other. Its body is on disk only; what stays in memory is a
// slot, as for a message that is out.

const (
	// retryAfter is when letters are sent again that some target has not taken. It doubles
	// as long as none gets away, up to retryAtMost.
	retryAfter  = time.Second
	retryAtMost = 10 * time.Second
	// retryAtOnce is how many letters are sent again in one turn.
	retryAtOnce = 1024
	// storedSoon is when a message that was not on its way to the disk as it died is tried
	// again: it is not sent before, because it would not be kept then.
	storedSoon = 20 * time.Millisecond
)

// retained are the dead messages of a queue that are kept until their targets have them.
type retained struct {
	count, bytes int64
	waiting      []unsent
	at           int64         // when those that wait are sent again, Unix ms; 0 for none
	pause        time.Duration // until then, the last time
	moved        bool          // one was settled since the last time
}

// unsent is a letter that waits.
type unsent struct {
	transfer *Transfer
	reached  []ID
}

// retain keeps a message that has died, and sends its letter.
func (q *Queue) retain(lv *level, e *entry, why Reason, now time.Time, out *Effects) {
	m := e.msg
	q.totals.DeadLettered[why]++
	q.release(e, out)
	i, sl := q.slots.take(*e, lv.number)
	sl.state = slotLeaving
	sl.entry.msg = nil
	sl.entry.flags = e.flags&^entryIndexed | entryRetained | uint8(why)<<entryReason
	sl.entry.expiry = now.UnixMilli() // from now on when it died
	q.leaving++
	q.retained.count++
	q.retained.bytes += int64(e.size)
	t := NewTransfer(q, Position{Seq: e.seq, Slot: i, Level: lv.number}, nil)
	if w := lv.pending.find(e.ordinal); w != nil && w.group == 0 {
		q.wait(unsent{transfer: t}, now.Add(storedSoon), out)
		return
	}
	l := q.letterOf(sl, t)
	l.Message = m
	q.post(l, out)
}

// letterOf is the letter of a retained message, without the message.
func (q *Queue) letterOf(sl *slot, t *Transfer) Letter {
	return Letter{
		Reason:      Reason(sl.entry.flags >> entryReason),
		At:          time.UnixMilli(sl.entry.expiry),
		Transfer:    t,
		AtLeastOnce: q.options.AtLeastOnce, // a policy may have changed it
	}
}

// freed notes that a message is settled that may have been retained.
func (q *Queue) freed(e *entry) {
	if e.flags&entryRetained != 0 {
		q.retained.count--
		q.retained.bytes -= int64(e.size)
		q.retained.moved = true
	}
}

// Retain keeps a letter of the queue that not every target has taken, to be sent again to
// those that are not among reached.
func (q *Queue) Retain(now time.Time, l *Letter, reached []ID, out *Effects) {
	q.lock()
	defer q.mu.Unlock()
	if q.slots.in(slotLeaving, l.Transfer.position) == nil {
		l.Transfer.Release(out) // the queue was deleted meanwhile
		return
	}
	if q.retained.pause == 0 {
		q.retained.pause = retryAfter
	}
	q.wait(unsent{transfer: l.Transfer, reached: reached}, now.Add(q.retained.pause), out)
}

// wait has a letter sent no later than at.
func (q *Queue) wait(u unsent, at time.Time, out *Effects) {
	r := &q.retained
	r.waiting = append(r.waiting, u)
	r.at = earlier(r.at, at.UnixMilli())
	q.askTimer(out)
}

// retryNow has what waits sent again at once: where to may have changed.
func (q *Queue) retryNow(now time.Time) {
	if r := &q.retained; r.at != 0 {
		r.at, r.pause = now.UnixMilli(), retryAfter
	}
}

// sendRetained sends letters again if it is time, those that have waited longest. The
// others have their turn later, and sooner when this one gets something away.
func (q *Queue) sendRetained(ms int64, now time.Time, out *Effects) {
	r := &q.retained
	if r.at == 0 || r.at > ms {
		return
	}
	if r.pause = min(2*r.pause, retryAtMost); r.moved {
		r.pause = 0
	}
	r.moved = false
	turn := r.waiting
	if len(turn) > retryAtOnce {
		turn = turn[:retryAtOnce]
	}
	rest := r.waiting[len(turn):]
	r.waiting, r.at = nil, 0
	if len(rest) > 0 {
		r.waiting = append(r.waiting, rest...)
		r.at = now.Add(max(r.pause, storedSoon)).UnixMilli()
	}
	for len(turn) > 0 {
		turn = turn[q.sendTogether(turn, now, out):]
	}
}

// sendTogether sends the first of some letters, and those behind it whose bodies are read
// with its own. It returns how many these are.
func (q *Queue) sendTogether(turn []unsent, now time.Time, out *Effects) int {
	const apart, together = 16, 256
	first := turn[0].transfer.position
	lv := &q.levels[first.Level]
	sl := q.slots.in(slotLeaving, first)
	if w := lv.pending.find(sl.entry.ordinal); w != nil {
		if w.group == 0 {
			q.wait(turn[0], now.Add(storedSoon), out)
		} else {
			q.sendAgain(turn[0], sl, RestoredMessage{Message: w.message}, out)
		}
		return 1
	}
	n, last := 1, first.Seq
	for ; n < len(turn) && n < together; n++ {
		p := turn[n].transfer.position
		if p.Level != first.Level || p.Seq <= last || p.Seq > last+apart ||
			lv.pending.find(q.slots.at(p.Slot).entry.ordinal) != nil {
			break
		}
		last = p.Seq
	}
	letters := turn[:n]
	q.readAnyway(lv, Range{First: first.Seq, Last: last}, func(_ time.Time, found []RestoredMessage, out *Effects) {
		for _, u := range letters {
			p := u.transfer.position
			for len(found) > 0 && found[0].Seq < p.Seq {
				found = found[1:]
			}
			m := RestoredMessage{}
			if len(found) > 0 && found[0].Seq == p.Seq {
				m = found[0]
			}
			q.sendAgain(u, q.slots.in(slotLeaving, p), m, out)
		}
	})
	return n
}

// sendAgain sends a letter whose body has been read. Without one, because it is damaged,
// without an exchange it might go to by now, and without a queue, whose slot is nil, it has
// nowhere to go.
func (q *Queue) sendAgain(u unsent, sl *slot, m RestoredMessage, out *Effects) {
	if sl == nil || m.Message == nil || !q.options.DeadLetter {
		u.transfer.Release(out)
		return
	}
	l := q.letterOf(sl, u.transfer)
	l.Message, l.Reached = m.Message, u.reached
	q.post(l, out)
}
