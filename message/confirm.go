package message

import "sync/atomic"

// Waker is someone who was given something to send and has not been told yet: a
// connection with frames in its buffer, a channel with confirms to write.
type Waker interface {
	// Wake ends the batch for this waker. It is called with nothing locked. few tells that
	// not many are woken with it, so that what is to be written may be written by the caller.
	Wake(few bool)
}

// Wakes gathers wakers during a batch so that each is woken once, at its end. A waker
// adds itself only when it was not already waiting to be woken.
type Wakes []Waker

// Add notes w.
func (w *Wakes) Add(x Waker) { *w = append(*w, x) }

// fewWakes is how many wakers may write for themselves at the end of one batch. Each write is a
// system call; beyond this their own goroutines do it, on other cores while the batch's goes on.
const fewWakes = 4

// Wake wakes everyone and forgets them. Nothing may be locked.
func (w *Wakes) Wake() {
	few := len(*w) <= fewWakes
	for i, x := range *w {
		(*w)[i] = nil
		x.Wake(few)
	}
	*w = (*w)[:0]
}

// Confirmer is the publisher's side of a Confirm.
type Confirmer interface {
	// Confirmed is told once per publish, possibly with a queue locked and from any
	// goroutine: ok is false when a queue refused the message (CONF-4). It must not call
	// back into a queue.
	Confirmed(seq uint64, ok bool, wakes *Wakes)
}

// Confirm counts what must still happen before a publisher may be answered. It is born
// with the publisher's own hold, let go at the end of the publish; every queue that has
// to store the message holds it until that is done (S-8). All methods are safe on nil,
// which is the Confirm of a publish nobody waits for.
type Confirm struct {
	to       Confirmer
	seq      uint64
	holds    atomic.Int32
	rejected atomic.Bool
}

// NewConfirm returns the confirm of publish number seq, with one hold.
func NewConfirm(to Confirmer, seq uint64) *Confirm {
	c := &Confirm{to: to, seq: seq}
	c.holds.Store(1)
	return c
}

// Hold adds a reason to wait. The caller must already be covered by a hold.
func (c *Confirm) Hold() {
	if c != nil {
		c.holds.Add(1)
	}
}

// Reject marks the publish as refused. It only marks; the last release answers.
func (c *Confirm) Reject() {
	if c != nil {
		c.rejected.Store(true)
	}
}

// Release lets go of one hold. The last one answers the publisher.
func (c *Confirm) Release(wakes *Wakes) {
	if c == nil {
		return
	}
	switch n := c.holds.Add(-1); {
	case n == 0:
		c.to.Confirmed(c.seq, !c.rejected.Load(), wakes)
	case n < 0:
		panic("message: confirm released more often than held")
	}
}

// Both returns a confirm that stands for a and b: it has the hold of a that its caller had,
// and a new one of b, and releases each when it is released. The caller must be covered by a
// hold of b. A refusal of it is not passed on.
func Both(a, b *Confirm) *Confirm {
	if b == nil {
		return a
	}
	b.Hold()
	if a == nil {
		return b
	}
	return NewConfirm(both{a, b}, 0)
}

// both is the Confirmer of two confirms.
type both struct{ a, b *Confirm }

// Confirmed implements Confirmer.
func (t both) Confirmed(_ uint64, _ bool, wakes *Wakes) {
	t.a.Release(wakes)
	t.b.Release(wakes)
}
