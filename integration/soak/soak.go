package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/leveretmq/leveret/integration/crash"
	amqp "github.com/rabbitmq/amqp091-go"
)

// A soak is one run.
type soak struct {
	length, every time.Duration
	seed          uint64
	dir           string
	out           io.Writer

	watch   *watch
	fleet   *fleet
	idle    sample // before the load
	samples []sample
	rest    sample // after it
	wrong   []string
}

// say prints a line. Whoever does not read it is told by how the command ends.
func (s *soak) say(format string, args ...any) { _, _ = fmt.Fprintf(s.out, format+"\n", args...) }

// run runs the broker and the load, and judges. It returns errVerdict when the verdict is no, and
// another error when there cannot be one.
func (s *soak) run() error {
	broker, err := crash.StartBroker(s.dir)
	if err != nil {
		return err
	}
	s.watch = &watch{broker: broker, client: http.Client{Timeout: patience}}
	s.fleet = newFleet(broker.URL(), broker.Management(), broker.Metrics(), s.seed)
	s.say("seed %d, process %d, %v", s.seed, broker.PID(), s.length)
	err = s.load()
	if err == nil {
		s.judge()
	}
	if stopped := broker.Stop(); stopped != nil {
		err = errors.Join(err, stopped)
	}
	if err != nil {
		return err
	}
	if len(s.wrong) > 0 {
		s.say("verdict: no\n")
		for _, text := range s.wrong {
			s.say("%s", text)
		}
		return errVerdict
	}
	s.say("verdict: yes")
	return nil
}

// load is the run itself: the load begins, lasts and ends, and everything is cleaned up.
func (s *soak) load() (err error) {
	if err := s.manage(declare); err != nil {
		return err
	}
	if s.idle, err = s.watch.look(); err != nil {
		return err
	}
	f := s.fleet
	f.begin()
	err = s.sample()
	close(f.stop)
	f.done[feeders].Wait()
	if err == nil {
		err = s.drain()
	}
	close(f.quit)
	f.done[takers].Wait()
	if err != nil {
		return err
	}
	if err := s.manage(remove); err != nil {
		s.wrong = append(s.wrong, err.Error())
	}
	return s.settle()
}

// begin sets everybody to work.
func (f *fleet) begin() {
	for _, t := range taps() {
		for range t.consumers {
			f.work(takers, "consumer of "+t.queue, t.take)
		}
	}
	f.work(takers, "transactor", transact)
	for _, l := range lanes() {
		f.work(feeders, "producer "+l.name, l.feed)
	}
	for name, v := range map[string]func(*worker) error{"ask": ask, "knock": knock, "blunder": blunder, "dashboard": look, "operator": govern, "tenant": settle} {
		f.work(feeders, name, v)
	}
	for range 3 {
		f.work(feeders, "call", call)
		f.work(feeders, "build", build)
	}
}

// manage does something on a connection of its own.
func (s *soak) manage(do func(*amqp.Channel) error) error {
	conn, err := amqp.Dial(s.watch.broker.URL())
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	return do(ch)
}

// sample takes samples as long as the load lasts.
func (s *soak) sample() error {
	s.say("%s", heading)
	began, used, last := time.Now(), s.idle.cpu, time.Now()
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	over := time.NewTimer(s.length)
	defer over.Stop()
	for {
		select {
		case <-over.C:
			return nil
		case <-s.watch.broker.Ended():
			return fmt.Errorf("the broker has ended: %s", s.watch.broker.LastWords())
		case <-tick.C:
		}
		x, err := s.watch.look()
		if err != nil {
			return err
		}
		now := time.Now()
		x.at = now.Sub(began)
		x.confirmed, x.open = s.fleet.ledger.counts()
		x.cpu, used, last = 100*(x.cpu-used)/now.Sub(last).Seconds(), x.cpu, now
		s.samples = append(s.samples, x)
		s.say("%v", x)
		s.fleet.ledger.overdue(now)
	}
}

// drain waits until everything has arrived, or is overdue.
func (s *soak) drain() error {
	began := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for s.fleet.ledger.waiting() > 0 && time.Since(began) < 2*late {
		select {
		case <-s.watch.broker.Ended():
			return fmt.Errorf("the broker has ended: %s", s.watch.broker.LastWords())
		case <-tick.C:
		}
	}
	s.fleet.ledger.overdue(time.Now().Add(time.Hour))
	return nil
}

// settle waits until there is nothing left of the load.
func (s *soak) settle() (err error) {
	http.DefaultClient.CloseIdleConnections() // the dashboard's
	began := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if s.rest, err = s.watch.look(); err != nil {
			return err
		}
		if s.left() == "" || time.Since(began) > patience {
			return nil
		}
		<-tick.C
	}
}

// left tells what is there after the load that was not there before.
func (s *soak) left() string {
	for name, of := range map[string]func(sample) float64{
		"connections":      func(x sample) float64 { return x.connections },
		"channels":         func(x sample) float64 { return x.channels },
		"consumers":        func(x sample) float64 { return x.consumers },
		"queues":           func(x sample) float64 { return x.queues },
		"messages":         func(x sample) float64 { return x.messages },
		"delayed messages": func(x sample) float64 { return x.delayed },
	} {
		if n := of(s.rest); n != 0 {
			return fmt.Sprintf("%v %s are left", n, name)
		}
	}
	// The store has files of its own, and the HTTP server connections that it keeps a while.
	if now, was := s.rest.goroutines, s.idle.goroutines; now > was+4 {
		return fmt.Sprintf("%v goroutines are left, of %v before the load", now, was)
	}
	if now, was := s.rest.descriptors, s.idle.descriptors; now > was+8 {
		return fmt.Sprintf("%v descriptors are left, of %v before the load", now, was)
	}
	return ""
}

// judge says what became of it all, and notes what is wrong.
func (s *soak) judge() {
	f := s.fleet
	s.say("\n%v", f.ledger)
	lives := ""
	for _, name := range slices.Sorted(maps.Keys(f.visits)) {
		lives += fmt.Sprintf("%s %d, ", name, f.visits[name])
	}
	s.say("lives: %s%d in trouble", lives, f.troubles)
	s.say("at rest: RssAnon %.1f MiB, goroutines %.0f, descriptors %.0f, disk %.0f MiB; before the load %.1f MiB, %.0f, %.0f, %.0f MiB\n",
		s.rest.rss, s.rest.goroutines, s.rest.descriptors, s.rest.disk, s.idle.rss, s.idle.goroutines, s.idle.descriptors, s.idle.disk)
	if err := f.ledger.err(); err != nil {
		s.wrong = append(append(s.wrong, err.Error()), f.ledger.told...)
	}
	if f.troubles > 0 {
		s.wrong = append(append(s.wrong, fmt.Sprintf("%d times something went wrong", f.troubles)), f.told...)
	}
	if text := s.left(); text != "" {
		s.wrong = append(s.wrong, text)
	}
	counted := judged(s.samples)
	if len(counted) < fewest {
		s.say("%d samples after the warm-up are too few to see a slope; it takes %d", len(counted), fewest)
		return
	}
	at := make([]time.Duration, len(counted))
	values := make([]float64, len(counted))
	s.say("%-16s %29s %9s %9s", "", "medians of the thirds", "rise", "at most")
	for _, q := range quantities() {
		for i, x := range counted {
			at[i], values[i] = x.at, q.of(x)
		}
		t := trendOf(at, values, q.bound)
		s.say("%-16s %v", q.name, t)
		if t.rises() {
			s.wrong = append(s.wrong, fmt.Sprintf("%s rises by %.1f in %v", q.name, t.rise, (at[len(at)-1]-at[0]).Round(time.Second)))
		}
	}
}
