package bench

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// Run puts the broker at o.URI under the load of s and returns what came of it. It
// declares what it needs under names of its own, waits until everything published has
// arrived, and deletes what it declared, also when it is cancelled.
//
// A broker that answers wrongly is no error: Result.Faults says what was wrong. An error
// is returned when the load could not be put on, or not to its end, with the result as
// far as it goes.
func Run(ctx context.Context, s Scenario, o Options) (result Result, err error) {
	o = o.withDefaults()
	if err := errors.Join(s.validate(), o.validate(), parted(s, o)); err != nil {
		return Result{}, fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	where, err := parseURI(o.URI)
	if err != nil {
		return Result{}, err
	}
	o.Progress = o.Progress.of(s.Name + "  " + where.redacted() + "  ")
	switch {
	case s.Starts > 0:
		return runStart(ctx, s, o, where)
	case s.still():
		return runStanding(ctx, s, o, where)
	}
	r := newRun(s, o, where)
	if o.DiskDir != "" {
		if r.disk, err = ProbeDisk(o.DiskDir); err != nil {
			return Result{}, err
		}
	}
	defer func() {
		if o.Only == onlyFill && err == nil {
			return // it is for a run that drains
		}
		left, cleanErr := r.deleteAll(ctx)
		result.Left = left
		err = errors.Join(err, cleanErr)
	}()
	if err := r.prepare(ctx); err != nil {
		return Result{}, err
	}
	if s.Backlog == 0 {
		err = r.connectConsumers(ctx)
	}
	if err == nil {
		err = r.connectProducers(ctx)
	}
	if err != nil {
		r.disconnect()
		return Result{}, err
	}
	r.epoch = time.Now()
	stop := o.Progress.follow(r.progressLine)
	err = r.drive(ctx)
	stop()
	return r.result(), err
}

// run is a scenario under way.
type run struct {
	scenario  Scenario
	options   Options
	where     address
	plan      plan
	id        uint32
	bodyBytes uint64

	producers []*producer
	consumers []*consumer
	joining   sync.Mutex // held to add to consumers, and by others to read them
	sinks     []*sink    // by queue
	gate      *gate
	disk      *Latency

	epoch time.Time   // when publishing began
	stop  atomic.Bool // nothing more is published
	end   atomic.Bool // nothing more is waited for

	mark, last snapshot
	full       snapshot // when a backlog was complete
	found      int64    // messages that a drain found in the queues
	sampler    sampler
}

// snapshot is how far things are at a time.
type snapshot struct {
	at                  time.Duration
	published, received int64
	broker, own         usage
}

func newRun(s Scenario, o Options, where address) *run {
	r := &run{scenario: s, options: o, where: where, id: rand.Uint32(), bodyBytes: uint64(s.BodyBytes)}
	name := o.Name
	if name == "" {
		name = fmt.Sprintf("leveret-bench.%08x", r.id)
	} else {
		r.id = crc32.ChecksumIEEE([]byte(name)) // so that a drain knows what a fill has published
	}
	r.plan = newPlan(s, name)
	for range r.plan.queues {
		streams := make([]sequence, len(r.plan.streams))
		for i := range streams {
			streams[i].shuffled = s.Delay > 0
		}
		r.sinks = append(r.sinks, &sink{streams: streams})
	}
	return r
}

func (r *run) stopping() bool         { return r.stop.Load() }
func (r *run) ended() bool            { return r.end.Load() }
func (r *run) elapsed() time.Duration { return time.Since(r.epoch) }

// reaches reports whether a stream's messages go to a queue of c. All its queues are few.
func (r *run) reaches(stream int, c *consumer) bool {
	for _, q := range r.plan.streams[stream] {
		if q == c.queue || c.step > 0 && q%c.step == c.queue {
			return true
		}
	}
	return false
}

// declareAll declares exchange, queues and bindings.
func (r *run) declareAll(ctx context.Context) error { return r.onConnection(ctx, r.declareOn) }

// onConnection does something on a connection of its own.
func (r *run) onConnection(ctx context.Context, f func(*conn) error) error {
	c, err := dial(ctx, r.where)
	if err != nil {
		return err
	}
	return errors.Join(f(c), c.close())
}

func (r *run) declareOn(c *conn) error {
	if r.plan.exchange != "" {
		x := &amqp.ExchangeDeclare{Exchange: r.plan.exchange, Type: r.scenario.ExchangeType, Durable: r.scenario.Durable}
		if r.scenario.Delay > 0 {
			x.Arguments = amqp.Table{{Name: "x-delayed-type", Value: x.Type}}
			x.Type = "x-delayed-message"
		}
		if err := c.call(x, &amqp.ExchangeDeclareOk{}); err != nil {
			return err
		}
	}
	for _, name := range r.plan.queues {
		if err := c.call(&amqp.QueueDeclare{Queue: name, Durable: r.scenario.Durable}, &amqp.QueueDeclareOk{}); err != nil {
			return err
		}
	}
	for i, b := range r.plan.bindings {
		// All in one stream, as a round trip for each would take long. The last is
		// answered when all before it are done.
		bind := &amqp.QueueBind{
			Queue: r.plan.queues[b.queue], Exchange: r.plan.exchange, RoutingKey: b.pattern,
			NoWait: i < len(r.plan.bindings)-1,
		}
		var err error
		if bind.NoWait {
			err = c.send(bind)
		} else {
			err = c.call(bind, &amqp.QueueBindOk{})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// deleteAll deletes what may have been declared, on a connection of its own because the
// others may have ended badly, and returns how many messages were left.
func (r *run) deleteAll(ctx context.Context) (left int64, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), replyTimeout)
	defer cancel()
	c, err := dial(ctx, r.where)
	if err != nil {
		return 0, fmt.Errorf("delete what was declared: %w", err)
	}
	defer func() { err = errors.Join(err, c.close()) }()
	for _, name := range r.plan.queues {
		var ok amqp.QueueDeleteOk
		if err := c.call(&amqp.QueueDelete{Queue: name}, &ok); err != nil {
			return left, err
		}
		left += int64(ok.MessageCount)
	}
	if r.plan.exchange != "" {
		return left, c.call(&amqp.ExchangeDelete{Exchange: r.plan.exchange}, &amqp.ExchangeDeleteOk{})
	}
	return left, nil
}

func (r *run) connectConsumers(ctx context.Context) error {
	if n := r.scenario.ConsumerConnections; n > 0 {
		for first := range n {
			var names []string
			for q := first; q < len(r.plan.queues); q += n {
				names = append(names, r.plan.queues[q])
			}
			// One connection has all of each of its queues' streams.
			if err := r.connectConsumer(ctx, first, n, r.sinks[first], names); err != nil {
				return err
			}
		}
		return nil
	}
	for q, name := range r.plan.queues {
		for range r.scenario.ConsumersPerQueue {
			if err := r.connectConsumer(ctx, q, 0, r.sinks[q], []string{name}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) connectConsumer(ctx context.Context, queue, step int, to *sink, names []string) error {
	s := r.scenario
	conn, err := dial(ctx, r.where)
	if err != nil {
		return err
	}
	c := &consumer{
		conn: conn, run: r, queue: queue, step: step, sink: to, prefetch: s.Prefetch, ackEvery: s.AckEvery,
		highest: make([]uint64, len(r.plan.streams)), latency: newLatency(), timed: s.Backlog == 0,
	}
	conn.linger = s.Linger
	r.joining.Lock()
	r.consumers = append(r.consumers, c)
	r.joining.Unlock()
	return c.setUp(names)
}

func (r *run) connectProducers(ctx context.Context) error {
	s := r.scenario
	fanOut := len(r.plan.streams[0]) // the same for all streams of a scenario
	inFlight := max(s.InFlight, s.Backlog)
	if s.Delay > 0 {
		inFlight = max(inFlight, r.limit()) // all of them wait
	}
	r.gate = newGate(inFlight * fanOut)
	quotas := share(r.limit(), s.Producers)
	if r.options.Only == onlyDrain {
		r.suppose(quotas, fanOut)
		return nil
	}
	for i, routes := range r.plan.routes {
		conn, err := dial(ctx, r.where)
		if err != nil {
			return err
		}
		p := &producer{
			conn: conn, run: r, size: s.Window, quota: quotas[i], reach: fanOut,
			ring:      newRing(s, r.plan.exchange, routes, conn.frameMax, r.options.BatchBytes),
			sequences: make([]uint64, len(r.plan.streams)),
		}
		conn.linger = s.Linger
		p.batch = max(1, r.options.BatchBytes/(p.ring.slots[0].end-p.ring.slots[0].start))
		if s.Window > 0 {
			p.window = newWindow(s.Window)
		}
		if s.Rate > 0 {
			p.interval = time.Duration(s.Producers) * time.Second / time.Duration(s.Rate)
			p.start = p.interval * time.Duration(i) / time.Duration(s.Producers)
		}
		r.producers = append(r.producers, p)
		if err := p.setUp(); err != nil {
			return err
		}
	}
	return nil
}

// limit is how many messages are published at most, 0 for as many as it comes to.
func (r *run) limit() int {
	n := r.options.Messages
	if n == 0 {
		n = r.scenario.Messages
	}
	if r.scenario.Backlog == 0 || n != 0 && n < r.scenario.Backlog {
		return n
	}
	return r.scenario.Backlog
}

// share deals n out to k; 0 is as many as anyone likes.
func share(n, k int) []int {
	shares := make([]int, k)
	for i := range shares {
		switch {
		case n == 0:
			shares[i] = int(^uint(0) >> 1)
		case i < n%k:
			shares[i] = n/k + 1
		default:
			shares[i] = n / k
		}
	}
	return shares
}

// disconnect closes all sockets as they are.
func (r *run) disconnect() {
	for _, c := range r.conns() {
		_ = c.socket.Close() // there is an error already
	}
}

func (r *run) conns() []*conn {
	all := make([]*conn, 0, len(r.producers)+len(r.consumers))
	for _, p := range r.producers {
		if p.conn != nil {
			all = append(all, p.conn)
		}
	}
	for _, c := range r.consumers {
		all = append(all, c.conn)
	}
	return all
}

// drive runs producers and consumers until everything published has arrived.
func (r *run) drive(ctx context.Context) error {
	var (
		publishing, others sync.WaitGroup
		failed             = make(chan error, 2*len(r.producers)+len(r.consumers))
		published          = make(chan struct{})
	)
	start := func(wg *sync.WaitGroup, f func() error) {
		wg.Go(func() {
			if err := f(); err != nil && !(r.ended() && errors.Is(err, os.ErrDeadlineExceeded)) {
				failed <- err
			}
		})
	}
	err := r.snap(&r.mark)
	r.beginSampling()
	for _, c := range r.consumers {
		start(&others, c.consume)
	}
	for _, p := range r.producers {
		if p.conn == nil {
			continue
		}
		start(&publishing, p.publish)
		if p.window == nil {
			start(&others, p.watch)
		}
	}
	others.Go(func() { publishing.Wait(); close(published) })

	if err == nil && r.scenario.Backlog > 0 {
		err = r.supervise(ctx, published, failed, &r.full)
		if err == nil && r.options.Only != onlyFill {
			err = r.connectConsumers(ctx)
		}
		for _, c := range r.consumers {
			start(&others, c.consume)
		}
	}
	if err == nil && r.options.Only != onlyFill {
		err = r.supervise(ctx, published, failed, &r.last)
	}
	r.stop.Store(true)
	r.end.Store(true)
	r.gate.close()
	for _, c := range r.conns() {
		// Whoever waits for the socket returns at once.
		err = errors.Join(err, c.socket.SetDeadline(time.Now()))
	}
	others.Wait()
	close(failed)
	for more := range failed {
		err = errors.Join(err, more)
	}
	if err != nil {
		r.disconnect()
		return err
	}
	for _, c := range r.conns() {
		c.linger = 0
	}
	for _, c := range r.consumers {
		err = errors.Join(err, c.socket.SetDeadline(time.Now().Add(replyTimeout)), c.finish(), c.close())
	}
	for _, p := range r.producers {
		if p.conn == nil {
			continue
		}
		if p.window != nil && p.window.open > 0 {
			err = errors.Join(err, p.socket.Close()) // what is half written cannot be followed by anything
			continue
		}
		err = errors.Join(err, p.close())
	}
	return err
}

// supervise ends publishing in time. It returns when everything is published and, unless
// there is no consumer yet, delivered, or when nothing has moved for too long, having
// written to s how far things had come. It returns early with the first error.
func (r *run) supervise(ctx context.Context, published <-chan struct{}, failed <-chan error, s *snapshot) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var (
		moved   = r.elapsed() // when something last did
		before  int64
		done    bool // producers have
		warming = r.options.Warmup > 0 && r.scenario.Backlog == 0
	)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case <-published:
			done, published = true, nil
		case <-tick.C:
		}
		now := r.elapsed()
		if err := r.sampler.look(r, false); err != nil {
			return err
		}
		if warming && now >= r.options.Warmup {
			warming = false
			if err := r.snap(&r.mark); err != nil {
				return err
			}
		}
		if now >= r.options.Duration && !r.timeless() && !r.stopping() {
			r.stop.Store(true)
			r.gate.close()
		}
		p := r.progress()
		if p.sum != before {
			before, moved = p.sum, now
		}
		switch {
		case done && (p.missing == 0 || len(r.consumers) == 0):
			return errors.Join(r.sampler.look(r, len(r.consumers) > 0), r.snap(s))
		case (p.usedUp || r.stopping()) && now-moved > r.options.DrainTimeout && now > r.scenario.Delay+r.scenario.Spread:
			err := r.snap(s)
			s.at = moved // the time spent waiting in vain says nothing
			return err
		}
	}
}

// progress is how far a run has come.
type progress struct {
	sum     int64 // grows with whatever moves
	missing int64 // deliveries still to come
	usedUp  bool  // as many are published as ever will be
}

func (r *run) progress() (now progress) {
	published := int64(0)
	for _, p := range r.producers {
		n := p.published.Load()
		published += n
		now.sum += n + p.settled.Load()
		now.missing += n * int64(p.reach)
	}
	for _, c := range r.consumers {
		now.sum += c.received.Load()
		now.missing -= c.distinct.Load()
	}
	now.usedUp = r.limit() > 0 && published == int64(r.limit())
	return now
}

// snap reads the counters of messages, processes and clock.
func (r *run) snap(s *snapshot) (err error) {
	*s = snapshot{at: r.elapsed()}
	for _, p := range r.producers {
		s.published += p.published.Load()
	}
	for _, c := range r.consumers {
		s.received += c.received.Load()
	}
	if s.own, err = readUsage(os.Getpid()); errors.Is(err, os.ErrNotExist) {
		err = nil // a system without /proc: the figures are left out
	}
	if err != nil || r.options.BrokerPID == 0 {
		return err
	}
	s.broker, err = readUsage(r.options.BrokerPID)
	if err != nil {
		return fmt.Errorf("look at the broker's process: %w", err)
	}
	return nil
}
