package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// Standing is what came of a scenario that has no messages: things are declared or opened, and
// then stand about.
type Standing struct {
	Connections *Stock `json:"connections,omitempty"` // each with a channel, a queue and a consumer
	Queues      *Stock `json:"queues,omitempty"`      // durable and empty
}

// Stock is a number of things of one kind.
type Stock struct {
	Count     int     `json:"count"`
	PerSecond float64 `json:"per_second"` // as fast as they were opened or declared
	// BytesEach is by how much the broker's RssAnon is larger for each; -1 where its process is
	// not looked at. A broker that has been used before may have the room already.
	BytesEach float64 `json:"bytes_each"`
}

const (
	// openers is how many connections are opened at a time.
	openers = 8
	// standingBuffer is enough for whatever a broker says to a client that does nothing.
	standingBuffer = 1 << 10
	// declaresUnanswered is how many declares are sent before an answer to the first is read.
	declaresUnanswered = 1000
)

// runStanding opens connections first, because queues leave room behind that connections would
// then fill.
func runStanding(ctx context.Context, s Scenario, o Options, where address) (result Result, err error) {
	st := &standing{options: o, where: where, settle: s.Settle, name: newRun(s, o, where).plan.queues[0]}
	result = Result{Scenario: s, URI: where.redacted(), Standing: new(Standing)}
	start := time.Now()
	defer func() { result.Seconds = time.Since(start).Seconds() }()
	if s.Connections > 0 {
		defer func() { err = errors.Join(err, st.closeAll()) }()
		result.Standing.Connections, err = st.weigh(ctx, s.Connections, st.open)
		if err != nil {
			return result, err
		}
	}
	if s.EmptyQueues > 0 {
		defer func() { err = errors.Join(err, st.delete(context.WithoutCancel(ctx), s.EmptyQueues)) }()
		result.Standing.Queues, err = st.weigh(ctx, s.EmptyQueues, st.declare)
	}
	if err == nil {
		result.Broker, err = st.cost()
	}
	return result, err
}

// standing is such a scenario under way.
type standing struct {
	options Options
	where   address
	settle  time.Duration
	name    string // what names of queues begin with

	done  atomic.Int64 // for whoever watches
	mu    sync.Mutex   // guards the field below
	conns []*conn
}

// weigh has n things made and says what that took.
func (st *standing) weigh(ctx context.Context, n int, produce func(context.Context, int) error) (*Stock, error) {
	stock := &Stock{Count: n, BytesEach: -1}
	before, err := st.rssAnon()
	if err != nil {
		return nil, err
	}
	st.done.Store(0)
	stop := st.options.Progress.follow(func() string { return fmt.Sprintf("%d of %d", st.done.Load(), n) })
	start := time.Now()
	err = produce(ctx, n)
	stock.PerSecond = rate(int64(n), time.Since(start))
	stop()
	if err != nil {
		return nil, err
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(st.settle):
	}
	after, err := st.rssAnon()
	if err == nil && st.options.BrokerPID != 0 {
		stock.BytesEach = float64(after-before) / float64(n)
	}
	return stock, err
}

func (st *standing) rssAnon() (int64, error) {
	c, err := st.cost()
	if c == nil {
		return 0, err
	}
	return c.RSSAnonBytes, err
}

// cost is what the broker has taken so far, nil when its process is not looked at.
func (st *standing) cost() (*Cost, error) {
	if st.options.BrokerPID == 0 {
		return nil, nil
	}
	u, err := readUsage(st.options.BrokerPID)
	if err != nil {
		return nil, fmt.Errorf("look at the broker's process: %w", err)
	}
	return newCost(usage{}, u, 0, 0), nil
}

// open opens n connections.
func (st *standing) open(ctx context.Context, n int) error {
	var (
		opening sync.WaitGroup
		next    atomic.Int64
		failed  = make(chan error, openers)
	)
	for range openers {
		opening.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if err := st.openOne(ctx, st.name+".c"+strconv.FormatInt(i, 10)); err != nil {
					next.Store(int64(n)) // the others stop
					failed <- err
					return
				}
				st.done.Add(1)
			}
		})
	}
	opening.Wait()
	close(failed)
	var err error
	for more := range failed {
		err = errors.Join(err, more)
	}
	return err
}

// openOne opens a connection that consumes from a queue of its own, which goes with it.
func (st *standing) openOne(ctx context.Context, queue string) error {
	c, err := dial(ctx, st.where)
	if err != nil {
		return err
	}
	st.mu.Lock()
	st.conns = append(st.conns, c)
	st.mu.Unlock()
	if err := c.call(&amqp.QueueDeclare{Queue: queue, AutoDelete: true}, &amqp.QueueDeclareOk{}); err != nil {
		return err
	}
	err = c.call(&amqp.BasicConsume{Queue: queue}, &amqp.BasicConsumeOk{})
	c.buf, c.r, c.w, c.out = make([]byte, standingBuffer), 0, 0, nil // nothing is left in it
	return err
}

func (st *standing) closeAll() error {
	var (
		closing sync.WaitGroup
		mu      sync.Mutex
		failed  int
		first   error // a broker that is gone fails them all alike
	)
	for i := range openers {
		closing.Go(func() {
			for k := i; k < len(st.conns); k += openers {
				if err := st.conns[k].close(); err != nil {
					mu.Lock()
					failed++
					first = cmp.Or(first, err)
					mu.Unlock()
				}
			}
		})
	}
	closing.Wait()
	if failed > 0 {
		return fmt.Errorf("close %d of %d connections: %w", failed, len(st.conns), first)
	}
	return nil
}

// declare declares n durable queues one after the other without waiting for the answer to each.
func (st *standing) declare(ctx context.Context, n int) error {
	return st.pipeline(ctx, n,
		func(i int) amqp.Method {
			return &amqp.QueueDeclare{Queue: st.name + ".e" + strconv.Itoa(i), Durable: true}
		},
		func() amqp.Method { return &amqp.QueueDeclareOk{} })
}

func (st *standing) delete(ctx context.Context, n int) error {
	return st.pipeline(ctx, n,
		func(i int) amqp.Method { return &amqp.QueueDelete{Queue: st.name + ".e" + strconv.Itoa(i)} },
		func() amqp.Method { return &amqp.QueueDeleteOk{} })
}

// pipeline sends n methods on a connection of its own and reads the answers as they come.
func (st *standing) pipeline(ctx context.Context, n int, method func(i int) amqp.Method, answer func() amqp.Method) error {
	c, err := dial(ctx, st.where)
	if err != nil {
		return err
	}
	sent := 0
	for got := 0; got < n && err == nil && ctx.Err() == nil; got++ {
		if sent < n && sent-got < declaresUnanswered/2 {
			var batch []amqp.Method
			for ; sent < n && sent-got < declaresUnanswered; sent++ {
				batch = append(batch, method(sent))
			}
			err = c.send(batch...)
		}
		if err == nil {
			err = errors.Join(c.socket.SetReadDeadline(time.Now().Add(replyTimeout)), c.expect(answer()))
			st.done.Add(1)
		}
	}
	if err != nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err(), c.socket.Close())
	}
	return c.close()
}

// rows are those of a result's table.
func (s *Standing) rows(row rowFunc) {
	if s == nil {
		return
	}
	for _, kind := range []struct {
		name, verb string
		stock      *Stock
	}{
		{"connections", "opened", s.Connections},
		{"empty queues", "declared", s.Queues},
	} {
		if kind.stock == nil {
			continue
		}
		each := ""
		if kind.stock.BytesEach >= 0 {
			each = fmt.Sprintf(", %.2f KiB each", kind.stock.BytesEach/(1<<10))
		}
		row(kind.name, "%d, %s at %.0f/s%s", kind.stock.Count, kind.verb, kind.stock.PerSecond, each)
	}
}
