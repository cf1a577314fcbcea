package queue

import (
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// Retry says which messages wait before they are ready again when they come back, and for
// how long (QQ-6). The zero value has none wait.
//
// RabbitMQ has this for quorum queues; here it is for all. Its failed returns are those that
// count as a failed delivery on RabbitMQ 4.3: basic.reject, and a channel that closes. The
// others are basic.nack and basic.recover. Here all of them raise the delivery count.
type Retry struct {
	Failed, Returned bool
	// A message waits for Min times as often as it came back, or, with a Multiplier, for Min
	// and so many times longer each time, but never longer than Max.
	Min, Max   time.Duration
	Multiplier int64 // 0 for none; 1 is the same time again and again
}

// defaultRetry is how long a message waits the first time where nothing is said but that
// it does.
const defaultRetry = time.Second

// wait is for how long a message waits that has come back for the n-th time; 0 for not at
// all.
func (r *Retry) wait(failed bool, n uint32) time.Duration {
	if failed && !r.Failed || !failed && !r.Returned {
		return 0
	}
	d, factor := r.Min, int64(n)
	if r.Multiplier > 0 {
		factor = 1
		for ; n > 1 && factor <= int64(r.Max/d); n-- {
			if factor > int64(r.Max)/r.Multiplier {
				return r.Max
			}
			factor *= r.Multiplier
			if r.Multiplier == 1 {
				break
			}
		}
	}
	if factor > int64(r.Max/d) {
		return r.Max
	}
	return d * time.Duration(factor)
}

// retry completes what arguments and policies have said. A time alone is enough to have
// messages wait, as LavinMQ has it; RabbitMQ wants to be told which.
func (o *Options) retry(said bool) {
	r := &o.Retry
	switch {
	case !said && r.Min > 0:
		r.Failed, r.Returned = true, true
	case !r.Failed && !r.Returned:
		*r = Retry{}
		return
	}
	if r.Min == 0 {
		r.Min = defaultRetry
	}
	if r.Max == 0 {
		r.Max = millis(longest)
	}
	r.Min = min(r.Min, r.Max)
}

func retryType(v any, _ amqp.Table, o *Options) string {
	s, ok := v.(string)
	if !ok {
		return unacceptable(v)
	}
	r := &o.Retry
	switch s {
	case "disabled":
		r.Failed, r.Returned = false, false
	case "all":
		r.Failed, r.Returned = true, true
	case "failed":
		r.Failed, r.Returned = true, false
	case "returned":
		r.Failed, r.Returned = false, true
	default:
		return "invalid_delayed_retry_type"
	}
	return ""
}

// holdBack keeps a message that came back until it may be ready again.
func (q *Queue) holdBack(lv *level, i uint32, sl *slot, until int64) {
	e := &sl.entry
	sl.state = slotHeld
	// What expires meanwhile does so in time: it is ready for no longer than that takes.
	q.held.push(deadline{at: earlier(until, e.expiry), seq: e.seq, slot: i, level: lv.number})
	q.heldCount++
	q.heldBytes += int64(e.size)
}

// letGo stops counting a message as held back.
func (q *Queue) letGo(e *entry) {
	q.heldCount--
	q.heldBytes -= int64(e.size)
}

// retryDue makes messages ready again that have waited long enough, at most so many, and
// returns how many more it would have.
func (q *Queue) retryDue(ms int64, left int, out *Effects) int {
	for ; left > 0 && len(q.held) > 0 && q.held[0].at <= ms; left-- {
		d := q.held[0]
		q.held.pop()
		sl := q.slots.in(slotHeld, Position{Seq: d.seq, Slot: d.slot, Level: d.level})
		if sl == nil {
			continue // purged
		}
		q.letGo(&sl.entry)
		q.comeBack(&q.levels[d.level], d.slot, sl, out)
	}
	return left
}

// dropHeld drops what is held back.
func (q *Queue) dropHeld(out *Effects) {
	for _, d := range q.held {
		sl := q.slots.in(slotHeld, Position{Seq: d.seq, Slot: d.slot, Level: d.level})
		e := sl.entry
		q.slots.put(d.slot)
		q.letGo(&e)
		q.settle(&q.levels[d.level], &e, out)
	}
	q.held = nil
}
