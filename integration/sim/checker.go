package sim

import (
	"fmt"
	"slices"

	"github.com/leveretmq/leveret/amqp"
)

// lineage is one copy of a message: the one that a publish put into a queue, followed
// through that queue and, where it has one, through its dead-letter queue.
type lineage struct {
	id        int
	publisher int // client name
	entry     string
	safe      bool  // persistent, and the queue it came into is durable
	due       int64 // when it may be delivered at the earliest, Unix ms
	start     int   // in which run of the broker it was published

	confirmed bool
	refused   bool
	// maybeGone: something was done that may have ended it: acknowledged, rejected where
	// there is no dead-letter exchange, purged, or taken without acknowledgement.
	maybeGone bool
	// settledIn is the run of the broker in which its acknowledgement was processed: it
	// must not be seen again in that run, nor after a clean stop.
	settledIn int
	count     counted         // how often it came back to the limited queue
	holder    *client         // who has it, unacknowledged
	first     map[string]bool // queues it was delivered from with redelivered=false
	drained   int
}

// counted is the delivery count that was seen last, and in which run of the broker.
type counted struct {
	run int
	n   int64
}

// lineages are the copies that one publish made.
type lineages struct {
	id        int
	mandatory bool // and routed nowhere
	all       []*lineage
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d, step %d (%s): %s\nrun again with -sim.seed %d", w.seed, w.step, w.op, fmt.Sprintf(format, args...), w.seed)
}

// answered is a confirm or a refusal of a publish.
func (w *world) answered(cl *client, ls *lineages, ok bool) {
	if ls.mandatory && !cl.returned[ls.id] {
		w.fail("%d was confirmed before it was returned", ls.id)
	}
	delete(cl.returned, ls.id)
	for _, l := range ls.all {
		switch {
		case ok:
			l.confirmed = true
			w.trace(l.id, "confirmed")
		case l.entry != refusing:
			w.fail("%d was refused by %s", l.id, l.entry)
		default:
			l.refused = true
		}
	}
	if ok {
		w.confirms++
	}
}

func (w *world) returned(cl *client, id int) {
	if id < 0 || id >= len(w.published) || !w.published[id].mandatory {
		w.fail("%d was returned", id)
	}
	cl.returned[id] = true
}

// find is the copy that a delivery from a queue must be.
func (w *world) find(in *incoming, queue string) *lineage {
	id := idOf(in.body)
	if id < 0 || id >= len(w.published) {
		w.fail("a message from %s that nobody published: %d of %d, %d octets", queue, id, len(w.published), len(in.body))
	}
	for _, l := range w.published[id].all {
		if l.entry == queue || queue == dead && deadLetters[l.entry] {
			if queue == dead && l.entry != dead {
				w.checkDeath(in, l)
			}
			return l
		}
	}
	w.fail("%d was delivered from %s, where it was not sent", id, queue)
	return nil
}

// checkDeath looks at the account of a dead letter (DLX-6, DLX-9).
func (w *world) checkDeath(in *incoming, l *lineage) {
	q, _ := in.props.Headers.Get("x-first-death-queue")
	v, _ := in.props.Headers.Get("x-death")
	deaths, _ := v.(amqp.Array)
	if q != l.entry || len(deaths) != 1 {
		w.fail("%d died in %v with %v, it was sent to %s", l.id, q, deaths, l.entry)
	}
}

// checkCount looks at the delivery count: it never goes beyond the limit, and never back
// but after a loss of power (QQ-1, QQ-3).
func (w *world) checkCount(in *incoming, l *lineage) {
	v, _ := in.props.Headers.Get("x-delivery-count")
	n, _ := v.(int64)
	if n > returns || l.count.run == w.run && n < l.count.n {
		w.fail("%d was delivered from %s with a count of %d, after %d", l.id, limited, n, l.count.n)
	}
	l.count = counted{w.run, n}
}

// delivered checks a message that came to a client. One that had gone back already when
// the client read it says nothing of who has it now.
func (w *world) delivered(cl *client, in *incoming, queue string, redelivered, noAck bool) *lineage {
	w.deliveries++
	l := w.find(in, queue)
	w.trace(l.id, "delivered from %s redelivered=%v noAck=%v", queue, redelivered, noAck)
	switch {
	case l.refused:
		w.fail("%d was refused and delivered from %s", l.id, queue)
	case w.now.UnixMilli() < l.due:
		w.fail("%d was delivered from %s at %d, it is due at %d", l.id, queue, w.now.UnixMilli(), l.due)
	case cl.recovering > 0:
	case l.holder != nil:
		w.fail("%d was delivered from %s while client %d has it", l.id, queue, l.holder.name)
	case l.settledIn == w.run && w.run != 0:
		w.fail("%d was delivered from %s after it was settled", l.id, queue)
	}
	if queue == limited && cl.recovering == 0 {
		w.checkCount(in, l)
	}
	if !redelivered {
		if l.first[queue] {
			w.fail("%d was delivered from %s for the first time, twice", l.id, queue)
		}
		if l.first == nil {
			l.first = map[string]bool{}
		}
		l.first[queue] = true
		// First deliveries keep the order of publishing (P3). Dead letters of several
		// queues mix, what waits comes when it is due, and what two clients read says nothing
		// of what was sent first.
		k := flow{l.publisher, queue, cl.name}
		if queue != dead && queue != later {
			if last, some := w.last[k]; some && last >= l.id {
				w.fail("%d was delivered from %s after %d, both for the first time", l.id, queue, last)
			}
			w.last[k] = l.id
		}
	}
	if noAck {
		if w.drained != nil {
			w.drained()
			l.drained++
		} else {
			l.maybeGone = true
		}
		l.settledIn = w.run
	}
	return l
}

// got is the answer to a get; d is nil for get-empty.
func (w *world) got(cl *client, d *delivered) {
	if len(cl.gets) == 0 {
		w.fail("client %d: an answer to a get it did not make", cl.name)
	}
	g := cl.gets[0]
	cl.gets = cl.gets[1:]
	if d == nil {
		return
	}
	l := w.delivered(cl, d.in, g.queue, d.redelivered, g.noAck)
	if !g.noAck && cl.recovering == 0 {
		l.holder = cl
		cl.hold(&delivery{tag: d.tag, l: l, from: g.queue})
	}
}

type delivered struct {
	in          *incoming
	tag         uint64
	redelivered bool
}

// purged: what was in the queue may be gone, but not what was out all the time.
func (w *world) purged(p *purge) {
	w.purges = slices.DeleteFunc(w.purges, func(o *purge) bool { return o == p })
	for _, ls := range w.published {
		for _, l := range ls.all {
			if (l.entry == p.queue || p.queue == dead && deadLetters[l.entry]) && !p.held[l] {
				l.maybeGone = true
			}
		}
	}
}

// drained checks what was found in the queues at the end.
func (w *world) checkDrained() {
	for _, ls := range w.published {
		for _, l := range ls.all {
			switch {
			case l.confirmed && (l.safe || l.start == w.starts) && !l.maybeGone && l.drained == 0:
				w.fail("%d was confirmed for %s and is lost", l.id, l.entry)
			case l.drained > 1:
				w.fail("%d is there %d times", l.id, l.drained)
			}
		}
	}
}

func (w *world) trace(id int, format string, args ...any) {
	if w.watch == id {
		w.t.Logf("step %d (%s): %d %s", w.step, w.op, id, fmt.Sprintf(format, args...))
	}
}
