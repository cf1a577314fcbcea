package queue

import "github.com/leveretmq/leveret/message"

// Collect hands over what is not stored yet and still wanted. It takes pointers only;
// the committer encodes them after the lock is let go (S-23).
func (q *Queue) Collect(b *Batch) (more bool) {
	q.lock()
	defer q.mu.Unlock()
	for i := range q.levels {
		lv := &q.levels[i]
		p := &lv.pending
		for n := len(p.puts) - p.start; p.collected < n; p.collected++ {
			w := &p.puts[p.start+p.collected]
			if w.message == nil {
				continue
			}
			if b.Full() {
				return true // and stay enlisted
			}
			w.group = b.Group
			b.Puts = append(b.Puts, StoredPut{
				Queue:   q.id,
				Level:   lv.number,
				Seq:     w.seq,
				Expiry:  w.expiry,
				Message: w.message,
			})
			b.Bytes += w.message.Size()
			for t := w.transfer; t.last(); t = t.next {
				b.Transfers = append(b.Transfers, t)
			}
			w.transfer = nil
		}
	}
	q.enlisted = false
	return false
}

// CollectSettled hands over the acknowledgement state of every level that has some to
// write, after settling the letters whose last target is in b.
func (q *Queue) CollectSettled(b *Batch, done []Position) {
	q.lock()
	q.collectSettled(b, done)
	left := q.takeLeft()
	q.mu.Unlock()
	left()
}

func (q *Queue) collectSettled(b *Batch, done []Position) {
	q.enlistedSettled = true // what is settled here goes into this very state
	for _, p := range done {
		// A leaving message is stored or under way, so settling it releases nothing.
		q.settleLeaving(p, nil)
	}
	q.enlistedSettled = false
	if q.deleted {
		return
	}
	for i := range q.levels {
		lv := &q.levels[i]
		if !lv.dirty {
			continue
		}
		counts, more := lv.counts.changed()
		b.States = append(b.States, State{
			Queue:       q.id,
			Level:       lv.number,
			Head:        lv.acks.head,
			Next:        lv.next,
			DeliveredTo: lv.deliveredTo,
			HadConsumer: q.used != unused,
			Pages:       lv.acks.changed(nil),
			DeadPages:   lv.acks.head / PagePositions,
			Counts:      counts,
			Settled:     lv.settled,
		})
		lv.settled, lv.dirty = nil, false
		if more {
			q.settledSome(lv)
		}
		if q.used == usedUnstored {
			q.used, q.usedGroup = usedCollected, b.Group
		}
	}
}

// Stored tells that a commit is on disk. What was settled while it was under way goes
// into the next acknowledgement state.
func (q *Queue) Stored(group uint64, wakes *message.Wakes) {
	q.lock()
	defer q.mu.Unlock()
	if q.used == usedCollected && q.usedGroup <= group {
		q.used = usedStored
	}
	for i := range q.levels {
		lv := &q.levels[i]
		p := &lv.pending
		for p.start < len(p.puts) {
			w := &p.puts[p.start]
			if w.message != nil && (w.group == 0 || w.group > group) {
				break
			}
			if w.message != nil {
				w.confirm.Release(wakes)
				if w.settled && !q.deleted {
					lv.stored(w.seq)
					q.settledSome(lv)
				}
			}
			p.shift()
		}
	}
}
