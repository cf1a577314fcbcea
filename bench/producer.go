package bench

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// producer publishes on a connection of its own. With confirms, its one goroutine writes
// what the window has room for and then reads what has been confirmed.
type producer struct {
	*conn    // nil when another run has published
	run      *run
	ring     *ring
	window   *window // nil without confirms
	size     int     // of the window
	batch    int     // messages it writes at once where it can
	quota    int     // messages it may still publish
	reach    int     // queues a message reaches
	interval time.Duration
	start    time.Duration // when its first message is due, if it has an interval

	sequences []uint64 // by stream; how many were published

	published atomic.Int64
	settled   atomic.Int64 // confirmed or refused
}

// setUp makes the producer's channel ready.
func (p *producer) setUp() error {
	if p.window == nil {
		return nil
	}
	return p.call(&amqp.ConfirmSelect{}, &amqp.ConfirmSelectOk{})
}

// publish goes on until the run is to stop or the quota is used up, and then until all is
// confirmed. Without confirms, what comes back is only watched for errors.
func (p *producer) publish() error {
	if p.window == nil {
		return p.publishUnconfirmed()
	}
	least := max(1, min(p.size/2, p.batch))
	for !p.run.stopping() && p.quota > 0 {
		room := min(p.window.room(p.size), p.quota)
		if room < min(least, p.quota) {
			if err := p.awaitConfirms(); err != nil {
				return err
			}
			continue
		}
		n := p.run.gate.take(room*p.reach, p.reach) / p.reach
		if n == 0 {
			break
		}
		if err := p.write(n); err != nil {
			return err
		}
	}
	for p.window.open > 0 {
		if err := p.awaitConfirms(); err != nil {
			return err
		}
	}
	return nil
}

func (p *producer) publishUnconfirmed() error {
	pace := pacer{interval: p.interval, due: p.start}
	for !p.run.stopping() && p.quota > 0 {
		n, sent := min(p.batch, p.quota), time.Duration(0)
		if p.interval > 0 {
			n, sent = pace.wait(p.run.elapsed, n)
		}
		for n > 0 {
			taken := p.run.gate.take(n*p.reach, p.reach) / p.reach
			if taken == 0 {
				return nil
			}
			n -= taken
			if err := p.writeAt(taken, sent); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *producer) write(n int) error { return p.writeAt(n, 0) }

// writeAt publishes n messages stamped with the time sent; 0 is when they are written.
func (p *producer) writeAt(n int, sent time.Duration) error {
	for n > 0 {
		now := sent
		if now == 0 {
			now = p.run.elapsed()
		}
		b, count := p.ring.next(n, p.run.options.BatchBytes, func(stream int) stamp {
			s := stamp{run: p.run.id, stream: uint32(stream), sequence: p.sequences[stream], sent: int64(now)}
			p.sequences[stream]++
			if p.run.scenario.Delay > 0 {
				p.delay(&s, now)
			}
			return s
		})
		if p.window != nil {
			p.window.publish(count, int64(now))
		}
		// Counted before it is written, as it may be delivered before Write returns.
		p.published.Add(int64(count))
		p.quota -= count
		if _, err := p.socket.Write(b); err != nil {
			return err
		}
		n -= count
	}
	return nil
}

// awaitConfirms reads once and takes note of all the confirms that came.
func (p *producer) awaitConfirms() error {
	if err := p.fill(); err != nil {
		return err
	}
	now := int64(p.run.elapsed())
	used, err := scanConfirms(p.buf[p.r:p.w], func(tag uint64, multiple, nack bool) {
		p.window.confirm(tag, multiple, nack, now)
	})
	p.r += used
	p.settled.Store(int64(p.window.confirmed + p.window.nacked))
	return err
}

// watch reads what the broker sends to a producer without confirms, until it says what is
// wrong or the socket is closed.
func (p *producer) watch() error {
	for {
		if err := p.fill(); err != nil {
			return err
		}
		used, err := scanConfirms(p.buf[p.r:p.w], func(uint64, bool, bool) {})
		p.r += used
		if err != nil {
			return err
		}
	}
}

// pacer says when messages are due that are interval apart.
type pacer struct {
	interval time.Duration
	due      time.Duration // when the next one is
}

// wait returns how many messages are due, up to most, waiting for the first, and the time
// to stamp them with.
//
// Who is late decides on the time. If the producer slept too long, that is none of the
// broker's doing, and the stamp says when they were really sent. If it comes late because
// the broker did not take what went before, they are stamped with the time they were due:
// otherwise those that had to wait the longest would not be in the latencies at all.
func (p *pacer) wait(elapsed func() time.Duration, most int) (n int, sent time.Duration) {
	now := elapsed()
	if now < p.due {
		sleep(p.due - now)
		// Not max of the two, as a sleep may end early: what is stamped with a time to come
		// would seem to arrive before it was sent.
		sent = elapsed()
		now = max(sent, p.due)
	} else {
		sent = p.due
	}
	n = min(most, 1+int((now-p.due)/p.interval))
	p.due += time.Duration(n) * p.interval
	return n, max(sent, 1)
}

// delay has a message wait until a moment of the scenario's spread. What is written too late
// for it does not wait, and counts as late.
func (p *producer) delay(s *stamp, now time.Duration) {
	due := p.run.scenario.Delay
	if spread := p.run.scenario.Spread; spread > 0 {
		due += rand.N(spread)
	}
	// Whole milliseconds from now; a millisecond too much is not the broker's.
	s.delay = max(1, (due - now).Milliseconds())
	s.sent = int64(now) + s.delay*int64(time.Millisecond)
	if due < now {
		s.sent = int64(due)
	}
}
