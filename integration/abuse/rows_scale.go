package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// inNumbers are the rows of crowds. Each has a broker and a neighbour of its own, is told once
// to warm up and once in earnest, and wants memory, descriptors and goroutines back to where
// they were in between, within a twentieth. So what grows only once, such as caches, pools and
// the tables of the store, is not counted; what grows each time is.
func inNumbers() []row {
	const same = "memory, descriptors and goroutines back within 5 % (and 8 MiB of garbage)"
	return []row{
		{id: "A22h", input: "20,000 half-open handshakes of 100 hosts, twice", want: "others log in; " + same, kind: heavy, run: func(t *trial) {
			t.twice(func(s *scale, warm bool) { s.halfOpen(20000, 100) })
		}},
		{id: "C5", input: "a channel opened and closed 100,000 times, twice", want: same, kind: heavy, run: func(t *trial) {
			t.twice(func(s *scale, warm bool) { s.churnChannels(100000) })
		}},
		{id: "C25d", input: "100,000 queues declared and deleted, half of them durable, half with their connection, twice", want: same, kind: heavy, run: func(t *trial) {
			t.twice(func(s *scale, warm bool) { s.declareAndDelete(100000) })
		}},
		{id: "D9", input: "10,000 connections opened and closed in 10 s, for 2 minutes", want: same, kind: heavy, run: func(t *trial) {
			t.twice(func(s *scale, warm bool) {
				if warm {
					s.churnFor(20*time.Second, 1000)
					return
				}
				s.churnFor(2*time.Minute, 1000)
			})
		}},
		{id: "D10", input: "50,000 idle connections of 50 hosts, as far as there are descriptors, twice", want: "at most 24 KiB each; " + same, kind: heavy, run: func(t *trial) {
			n := min(50000, seats())
			t.twice(func(s *scale, warm bool) {
				if n < 50000 {
					s.note("the limit of %d descriptors has the broker let in %d", descriptors(), n)
				}
				s.idle(n, 24)
			})
		}},
		{id: "D14", input: "exclusive reply queues, 1,000 a second for 20 s, twice", want: "declared within 5 ms (p99); " + same, kind: heavy, run: func(t *trial) {
			t.twice(func(s *scale, warm bool) { s.replyQueues(20*time.Second, 1000) })
		}},
		{id: "D15", input: "as many messages as -messages says, then purge, then delete, twice", want: "purge within a second, others undisturbed, the disk used again; " + same, kind: heavy, run: func(t *trial) {
			t.twice(func(s *scale, warm bool) { s.purgeMany(t.deep, warm) })
		}},
	}
}

// scale is a round of a row in numbers, at a broker of its own.
type scale struct {
	*trial
	beside *remote
	usual  time.Duration // the neighbour's p99 before
	data   string        // the broker's directory
}

// crowdStall is how long the neighbour's messages may take while a crowd comes: it takes all the
// processor time there is.
const crowdStall = 500 * time.Millisecond

// scaleMemory is what such a broker may use: 50,000 connections take one GiB.
const scaleMemory = 2 << 30

// twice runs a round at a broker of its own to warm it up, notes how it is when that has
// settled, and runs it again.
func (t *trial) twice(round func(s *scale, warm bool)) {
	t.needProcess()
	dir, err := os.MkdirTemp("", "leveret-abuse-")
	t.must(err)
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
	tg, err := launch(dir, t.process.cmd.Args[3], scaleMemory)
	t.must(err)
	defer tg.process.stop()
	tg.stall = crowdStall
	beside, err := newNeighbour(tg)
	t.must(err)
	defer beside.close()
	time.Sleep(time.Second) // of an ordinary second
	usual, err := beside.take()
	t.must(err)

	run := func(warm bool) (took time.Duration, got []string) {
		s := &scale{trial: &trial{target: tg, patience: 30 * time.Second}, beside: beside, usual: usual, data: filepath.Join(dir, "data")}
		s.row.run = func(*trial) { round(s, warm) }
		began := time.Now()
		t.must(s.attempt())
		t.must(tg.process.up())
		return time.Since(began), s.got
	}
	run(true)
	before := t.calm(tg)
	_, err = beside.take()
	t.must(err)
	took, got := run(false)
	for _, n := range got {
		t.note("%s", n)
	}
	p99, err := beside.take()
	t.must(err)
	t.note("%.0f s, the neighbour's p99 %v and then %v", took.Seconds(), usual.Round(10*time.Microsecond), p99.Round(10*time.Microsecond))
	if p99 > tg.most(usual) {
		t.failf("the neighbour's p99 is %v, want at most %v", p99, tg.most(usual))
	}
	began := time.Now()
	var after gauges
	for back := false; !back; {
		after, err = tg.read()
		t.must(err)
		back = after.within(before)
		if !back && time.Since(began) > 3*time.Minute {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	text := fmt.Sprintf("after %.1f s: %.1f MiB of memory (%.1f), %.0f descriptors (%.0f), %.0f goroutines (%.0f)", time.Since(began).Seconds(),
		after.memory/(1<<20), before.memory/(1<<20), after.descriptors, before.descriptors, after.goroutines, before.goroutines)
	if !after.within(before) {
		t.failf("not back %s", text)
	}
	t.note("%s", text)
}

// calm waits until nothing gets less any more, and tells how that is: two minutes at most,
// which is when the collector runs by itself.
func (t *trial) calm(tg target) (least gauges) {
	began := time.Now()
	for last := began; time.Since(last) < 25*time.Second && time.Since(began) < 130*time.Second; time.Sleep(200 * time.Millisecond) {
		now, err := tg.read()
		t.must(err)
		if !least.known || now.memory < least.memory*0.99 || now.descriptors < least.descriptors || now.goroutines < least.goroutines {
			least, last = now, time.Now()
		}
	}
	return least
}

// within is whether nothing is more than a twentieth more than it was. Descriptors and
// goroutines are so few that four more are none. Some 8 MiB are in use in a broker with nothing
// to do, and as much again may be garbage before the runtime looks for it.
func (g gauges) within(before gauges) bool {
	return g.memory <= before.memory*1.05+8<<20 &&
		g.descriptors <= before.descriptors*1.05+4 && g.goroutines <= before.goroutines*1.05+4
}

// seats is how many clients can be connected to a broker that has as many descriptors as this
// process, and neighbours beside them: it lets in as many as three fifths.
func seats() int { return descriptors()/5*3 - 20 }

// declareAndDelete makes queues on twenty connections and deletes them: every second one is
// durable and deleted by name, the others go with their connection.
func (s *scale) declareAndDelete(n int) {
	const clients, batch = 20, 100
	began := time.Now()
	each(s.trial, upTo(clients), func(t *trial, x int) {
		p := t.client()
		for range n / clients / batch {
			var declare, remove []byte
			for i := range batch {
				if i%2 == 0 {
					declare = amqp.AppendMethod(declare, 1, &amqp.QueueDeclare{Exclusive: true})
					continue
				}
				name := fmt.Sprintf("abuse.c25d.%d.%d", x, i)
				declare = amqp.AppendMethod(declare, 1, &amqp.QueueDeclare{Queue: name, Durable: true})
				remove = amqp.AppendMethod(remove, 1, &amqp.QueueDelete{Queue: name})
			}
			p.raw(declare)
			for range batch {
				p.want("queue.declare-ok")
			}
			p.raw(remove)
			for range batch / 2 {
				p.want("queue.delete-ok")
			}
		}
	})
	took := time.Since(began)
	s.note("%.0f queues a second", float64(n)/took.Seconds())
	// All connections have ended, and half of the queues end with them.
	began = time.Now()
	p := s.client()
	p.call(1, &amqp.QueueDeclare{Queue: "abuse.c25d", Durable: true}, "queue.declare-ok")
	p.call(1, &amqp.QueueDelete{Queue: "abuse.c25d"}, "queue.delete-ok")
	s.note("another declares and deletes within %v of their end", time.Since(began).Round(time.Millisecond))
}

// upTo is the numbers below n.
func upTo(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

// churnFor opens and closes connections for a time, so many a second or as many as this
// machine can.
func (s *scale) churnFor(long time.Duration, rate int) {
	n := int(long.Seconds()) * rate
	began := time.Now()
	var next atomic.Int64
	failed, err := crowd(16, 16, func() error {
		for {
			i := next.Add(1)
			due := began.Add(time.Duration(i) * time.Second / time.Duration(rate))
			if i > int64(n) || time.Since(began) > long {
				return nil
			}
			time.Sleep(time.Until(due))
			t := &trial{target: s.target, patience: s.patience} // so that nobody keeps it
			p, err := t.try()
			if p != nil {
				p.reset()
			}
			if err != nil {
				return err
			}
		}
	})
	if failed > 0 {
		s.failf("%v", err)
	}
	done := min(next.Load(), int64(n))
	reached := float64(done) / time.Since(began).Seconds() * 10
	s.note("%d connections, %.0f in 10 s", done, reached)
	if reached < float64(rate)*9.5 {
		s.note("this machine reaches no more")
	}
}

// replyQueues has ten clients declare an exclusive queue, consume from it, get a message over
// it and delete it, all of them together so many times a second.
func (s *scale) replyQueues(long time.Duration, rate int) {
	const clients = 10
	pause := time.Second * clients / time.Duration(rate)
	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	errs := make([]error, clients)
	began := time.Now()
	for i := range clients {
		wg.Go(func() {
			one := &trial{target: s.target, patience: s.patience}
			one.row.run = func(t *trial) {
				p := t.client()
				var mine []time.Duration
				for k := 0; time.Since(began) < long; k++ {
					time.Sleep(time.Until(began.Add(time.Duration(k)*pause + time.Duration(i)*pause/clients)))
					start := time.Now()
					q := p.declare(nil)
					mine = append(mine, time.Since(start))
					p.call(1, &amqp.BasicConsume{Queue: q, ConsumerTag: "c", NoAck: true}, "basic.consume-ok")
					p.publish("", q, nil, []byte("reply"))
					p.delivered()
					p.call(1, &amqp.BasicCancel{ConsumerTag: "c"}, "basic.cancel-ok")
					p.call(1, &amqp.QueueDelete{Queue: q}, "queue.delete-ok")
				}
				mu.Lock()
				took = append(took, mine...)
				mu.Unlock()
			}
			errs[i] = one.attempt()
		})
	}
	wg.Wait()
	s.must(cmp.Or(errs...))
	reached := float64(len(took)) / time.Since(began).Seconds()
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	s.note("%.0f a second, declared within %v (p99)", reached, p99.Round(10*time.Microsecond))
	if p99 > 5*time.Millisecond {
		s.failf("99 of 100 queues are declared within %v, want 5ms", p99)
	}
}

// purgeMany fills a queue with small persistent messages, empties it, and deletes one that is
// as full. Whether others are disturbed is seen at the neighbour, while it lasts.
func (s *scale) purgeMany(n int, warm bool) {
	s.patience = 10 * time.Minute
	p := s.client()
	properties := amqp.Properties{DeliveryMode: 2, Flags: amqp.FlagDeliveryMode}
	during := func(what string, f func()) {
		_, err := s.beside.take()
		s.must(err)
		began := time.Now()
		f()
		took := time.Since(began)
		time.Sleep(time.Second) // what is done behind it
		p99, err := s.beside.take()
		s.must(err)
		s.note("%s in %v, the neighbour's p99 %v", what, took.Round(time.Millisecond), p99.Round(10*time.Microsecond))
		if took > time.Second {
			s.failf("%s took %v", what, took)
		}
		if most := max(5*s.usual, 100*time.Millisecond); p99 > most {
			s.failf("the neighbour's p99 is %v when a queue is %s, want at most %v", p99, what, most)
		}
	}
	fill := func() {
		p.call(1, &amqp.QueueDeclare{Queue: "abuse.d15", Durable: true}, "queue.declare-ok")
		p.fill1("abuse.d15", n, make([]byte, 100), &properties)
	}
	before := s.used()
	fill()
	large := s.used()
	during("purged", func() {
		if m := p.call(1, &amqp.QueuePurge{Queue: "abuse.d15"}, "queue.purge-ok").(*amqp.QueuePurgeOk); int(m.MessageCount) != n {
			s.failf("purged %d, want %d", m.MessageCount, n)
		}
	})
	fill()
	during("deleted", func() { p.call(1, &amqp.QueueDelete{Queue: "abuse.d15"}, "queue.delete-ok") })
	// The store gives room back as it is written to, or at once when the disk is short of it
	// (P12): the second round has to find that of the first.
	after := s.used()
	s.note("%d messages, the store takes %d MiB before, %d with them, %d after", n, before>>20, large>>20, after>>20)
	if most := before + max(128<<20, before/10); !warm && after > most {
		s.failf("the store took %d MiB after the first round, and takes %d after the second", before>>20, after>>20)
	}
}

// used is how many bytes of the disk the broker's directory takes.
func (s *scale) used() (bytes int64) {
	err := filepath.WalkDir(s.data, func(_ string, d fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = d.Info()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was there a moment ago
		}
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && !d.IsDir() {
			bytes += st.Blocks * 512 // files of the store have holes
		}
		return nil
	})
	s.must(err)
	return bytes
}
