package sim

import (
	"errors"
	"slices"

	"github.com/leveretmq/leveret/queue"
)

// spilled is a copy of messages that are never stored. It is not on the platters: a run
// ends without it, however it ends.
type spilled struct {
	levelKey
	queue.Copy
}

// Spill implements queue.Store. Copies are written when the seed says so.
func (d *disk) Spill(id queue.ID, level uint8, copies []queue.Copy, done func(error)) {
	d.spills = append(d.spills, func() {
		if d.full {
			done(errors.New("no room"))
			return
		}
		for _, c := range copies {
			d.copies = append(d.copies, spilled{levelKey{id, level}, c})
		}
		done(nil)
	})
}

// Forget implements queue.Store. It waits for what is to be written before it.
func (d *disk) Forget(f queue.Forgotten) {
	d.spills = append(d.spills, func() {
		d.copies = slices.DeleteFunc(d.copies, func(s spilled) bool {
			return s.queue == f.Queue && (f.All || s.level == f.Level && s.Stray == f.Stray && s.First <= f.Last && s.Last >= f.First)
		})
	})
}

// spill writes or forgets the oldest of what is to be.
func (d *disk) spill() {
	if len(d.spills) > 0 {
		s := d.spills[0]
		d.spills = d.spills[1:]
		s()
	}
}

func (d *disk) readCopies(found []queue.RestoredMessage, k levelKey, r queue.Range) []queue.RestoredMessage {
	for _, s := range d.copies {
		if s.levelKey != k {
			continue
		}
		for _, p := range s.Puts {
			if p.Seq >= r.First && p.Seq <= r.Last {
				found = append(found, queue.RestoredMessage{Seq: p.Seq, Expiry: p.Expiry, Redelivered: p.Redelivered, Spilled: true, Message: p.Message})
			}
		}
	}
	return found
}
