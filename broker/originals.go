package broker

import (
	"time"

	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

// original is a message that is the first to bring its value to a window, on its way to the
// queues.
type original struct {
	window *window
	number uint64 // of the flight
}

// admit asks the window of x whether m may pass, and notes it if it is an original there. A
// duplicate goes nowhere from x but to its alternate exchange, and may be returned; its
// publisher has its confirm when the original is safe (EX-56, S-12).
func (r *Router) admit(now time.Time, v *VHost, x *exchange.Exchange, m *message.Message, c *message.Confirm) bool {
	n := v.exchanges.find(x.Name())
	if n == nil || n.window == nil {
		return true // deleted a moment ago
	}
	number, pass := n.window.admit(now, m, c)
	if number != 0 {
		r.originals = append(r.originals, original{n.window, number})
	}
	return pass
}

// follows returns a transfer that tells the windows what becomes of the message just routed,
// and next when it has ended; that is next itself when there is none to tell. The caller
// releases it, unless it is next.
func (r *Router) follows(next *queue.Transfer) *queue.Transfer {
	for i, o := range r.originals {
		t := queue.NewTransfer(o.window, queue.Position{Seq: o.number}, next)
		if i > 0 {
			next.Release(nil) // now held by t
		}
		next = t
	}
	r.originals = r.originals[:0]
	return next
}

// publishOriginal puts a message that some window has seen for the first time into the
// queues that were found, and has it wait where it is to. If one of them refuses it, its publisher may come again.
func (r *Router) publishOriginal(now time.Time, put queue.Put, out *queue.Effects) {
	var room [4]original
	originals := append(room[:0], r.originals...)
	put.Transfer = r.follows(put.Transfer)
	for i, q := range r.queues {
		publish := q.Publish
		if i == len(r.queues)-1 && len(r.delayed) == 0 {
			publish = q.PublishLast // what was seen goes to disk with this put, not after it
		}
		if publish(now, put, out) {
			continue
		}
		for _, o := range originals {
			o.window.refuse(o.number)
		}
	}
	if len(r.delayed) > 0 {
		r.delay(now, put, out)
	}
	if len(r.queues) == 0 || len(r.delayed) > 0 {
		put.Transfer.Release(out)
	}
}
