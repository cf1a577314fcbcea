package queue

import (
	"cmp"
	"slices"
)

// copies are what a queue has had spilled, on a disk of a test. What is written later than
// it is forgotten is not kept, as with a store that does one after the other.
type copies struct{ list []*testCopy }

type testCopy struct {
	Copy
	level     uint8
	forgotten bool
	readable  bool
}

// spill takes copies. They can be read once the result has been called without an error.
func (c *copies) spill(level uint8, list []Copy, done func(error)) func(error) {
	mine := make([]*testCopy, 0, len(list))
	for _, x := range list {
		for _, old := range c.list {
			if !old.Stray && !x.Stray && old.level == level && old.First <= x.Last && old.Last >= x.First {
				panic("two copies of one number")
			}
		}
		mine = append(mine, &testCopy{Copy: x, level: level})
	}
	c.list = append(c.list, mine...)
	return func(err error) {
		for _, x := range mine {
			x.readable = err == nil
			x.forgotten = x.forgotten || err != nil
		}
		c.sweep()
		done(err)
	}
}

func (c *copies) forget(f Forgotten) {
	for _, x := range c.list {
		x.forgotten = x.forgotten || f.All ||
			x.level == f.Level && x.Stray == f.Stray && x.First <= f.Last && x.Last >= f.First
	}
	c.sweep()
}

func (c *copies) sweep() {
	c.list = slices.DeleteFunc(c.list, func(x *testCopy) bool { return x.forgotten })
}

// read adds what is in copies to what was found elsewhere.
func (c *copies) read(found []RestoredMessage, level uint8, r Range) []RestoredMessage {
	for _, x := range c.list {
		if !x.readable || x.level != level {
			continue
		}
		for _, p := range x.Puts {
			if p.Seq >= r.First && p.Seq <= r.Last {
				found = append(found, RestoredMessage{Seq: p.Seq, Expiry: p.Expiry, Redelivered: p.Redelivered, Spilled: true, Message: p.Message})
			}
		}
	}
	slices.SortFunc(found, func(a, b RestoredMessage) int { return cmp.Compare(a.Seq, b.Seq) })
	return found
}

// written counts the copies nobody has forgotten.
func (c *copies) written() int { return len(c.list) }
