package broker

import (
	"time"

	"github.com/leveretmq/leveret/queue"
)

// Cancellable is a queue.Consumer that wants to know when its queue is gone, so that its
// client can be told. It is called with nothing locked.
type Cancellable interface{ QueueGone(out *queue.Effects) }

// CarryOut does what calls on queues have left to be done: dead letters are published,
// queues nobody uses deleted, consumers told, timers set, letters settled where they came
// from. All of that may leave more to do; when CarryOut returns, nothing is left but whom
// to wake. It works in rounds and not by recursion, so that a letter's letter finds the
// stack as its forerunner left it.
func (b *Broker) CarryOut(now time.Time, out *queue.Effects) {
	for {
		switch {
		case len(out.Letters) > 0:
			b.carryLetters(now, out)
		case len(out.Transfers) > 0:
			queue.SettleTransfers(out)
		case len(out.Cancelled) > 0:
			tellCancelled(out)
		case len(out.Retimed) > 0:
			tellRetimed(now, out)
		case len(out.Unused) > 0:
			for i := 0; i < len(out.Unused); i++ {
				b.deleteUnused(now, out.Unused[i], out)
			}
			clear(out.Unused)
			out.Unused = out.Unused[:0]
		case len(out.Timers) > 0:
			for _, t := range out.Timers {
				b.timers.set(t.Queue, t.At)
			}
			clear(out.Timers)
			out.Timers = out.Timers[:0]
		case b.deleteDoomed(now, out):
		default:
			return
		}
	}
}

// Flush ends a batch: what is left to do is carried out, the backlog of the store is
// brought up to date, and everyone who was given something to send is woken. Nothing may
// be locked.
func (b *Broker) Flush(now time.Time, out *queue.Effects) {
	b.CarryOut(now, out)
	b.account(now, out)
	if b.backlog != nil && out.Unstored != 0 {
		b.backlog.AddUnstored(out.Unstored)
	}
	out.Unstored = 0
	out.Wakes.Wake()
}

// tellCancelled goes by index because being told may add more.
func tellCancelled(out *queue.Effects) {
	for i := 0; i < len(out.Cancelled); i++ {
		c := out.Cancelled[i]
		out.Cancelled[i] = nil
		if c, ok := c.(Cancellable); ok {
			c.QueueGone(out)
		}
	}
	out.Cancelled = out.Cancelled[:0]
}
