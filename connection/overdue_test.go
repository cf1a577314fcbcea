package connection

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// CTO-3: the broker's own timeout is for what has no other; a queue's or a consumer's 0
// takes it away.
func TestBrokersTimeoutIsForWhatHasNoOther(t *testing.T) {
	o := broker.DefaultOptions()
	o.ConsumerTimeout = time.Minute
	r := newRigWith(t, o)
	k := r.open(1, 2, 3, 4)
	declare := func(ch uint16, name string, arguments amqp.Table) {
		k.send(frameOf(ch, &amqp.QueueDeclare{Queue: name, Arguments: arguments}))
		k.send(content(ch, &amqp.BasicPublish{RoutingKey: name}, amqp.Properties{}, "m", 4096))
	}
	timeout := func(ms int64) amqp.Table { return amqp.Table{{Name: "x-consumer-timeout", Value: ms}} }
	declare(1, "plain", nil)
	declare(2, "long", timeout(3_600_000))
	declare(3, "ever", timeout(0))
	declare(4, "plain2", nil)
	k.send(frameOf(1, &amqp.BasicConsume{Queue: "plain", ConsumerTag: "plain"}))
	k.send(frameOf(2, &amqp.BasicConsume{Queue: "long", ConsumerTag: "long"}))
	k.send(frameOf(3, &amqp.BasicConsume{Queue: "ever", ConsumerTag: "ever"}))
	k.send(frameOf(4, &amqp.BasicConsume{Queue: "plain2", ConsumerTag: "own", Arguments: timeout(0)}))
	k.lines()
	f := func(after time.Duration, want ...string) {
		t.Helper()
		r.now = r.now.Add(after)
		Ticker(r.b)(r.now)
		r.settle()
		k.want(want...)
	}
	f(59 * time.Second)
	f(2*time.Second, `ch=1 basic.cancel{consumer_tag="plain" no_wait=true}`)
	f(time.Hour, `ch=2 basic.cancel{consumer_tag="long" no_wait=true}`)
	f(1000 * time.Hour)
}

// SAC-2: who becomes the single active consumer gets first what came back.
func TestSuccessorGetsWhatTheLateConsumerHad(t *testing.T) {
	r := newRig(t)
	k := r.open(1, 2)
	k.send(frameOf(1, &amqp.QueueDeclare{Queue: "q", Arguments: amqp.Table{
		{Name: "x-single-active-consumer", Value: true}, {Name: "x-consumer-timeout", Value: int64(1000)}}}))
	k.send(frameOf(1, &amqp.BasicQos{PrefetchCount: 2}))
	k.send(frameOf(2, &amqp.BasicQos{PrefetchCount: 3}))
	k.send(frameOf(1, &amqp.BasicConsume{Queue: "q", ConsumerTag: "a"}))
	k.send(frameOf(2, &amqp.BasicConsume{Queue: "q", ConsumerTag: "b"}))
	for _, body := range []string{"1", "2", "3", "4"} {
		k.send(content(1, &amqp.BasicPublish{RoutingKey: "q"}, amqp.Properties{}, body, 4096))
	}
	k.lines()
	r.now = r.now.Add(1020 * time.Millisecond)
	Ticker(r.b)(r.now)
	r.settle()
	var bodies []string
	for _, l := range k.lines() {
		if strings.HasPrefix(l, "ch=2 BODY") {
			bodies = append(bodies, l[len("ch=2 BODY "):])
		}
	}
	if got, want := fmt.Sprint(bodies), `["1" "2" "3"]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// QOS-3: what was taken back takes no place in the shared window any more.
func TestLateConsumerMakesRoomForOthersOfItsChannel(t *testing.T) {
	r := newRig(t)
	k := r.open(1)
	k.send(frameOf(1, &amqp.QueueDeclare{Queue: "slow", Arguments: amqp.Table{{Name: "x-consumer-timeout", Value: int64(1000)}}}))
	k.send(frameOf(1, &amqp.QueueDeclare{Queue: "other"}))
	k.send(frameOf(1, &amqp.BasicQos{PrefetchCount: 1, Global: true}))
	k.send(frameOf(1, &amqp.BasicConsume{Queue: "slow", ConsumerTag: "slow"}))
	k.send(frameOf(1, &amqp.BasicConsume{Queue: "other", ConsumerTag: "other"}))
	k.send(content(1, &amqp.BasicPublish{RoutingKey: "slow"}, amqp.Properties{}, "1", 4096))
	k.send(content(1, &amqp.BasicPublish{RoutingKey: "other"}, amqp.Properties{}, "2", 4096))
	k.lines()
	r.now = r.now.Add(1020 * time.Millisecond)
	Ticker(r.b)(r.now)
	r.settle()
	k.want(
		`ch=1 basic.cancel{consumer_tag="slow" no_wait=true}`,
		`ch=1 basic.deliver{consumer_tag="other" delivery_tag=2 redelivered=false exchange="" routing_key="other"}`,
		`ch=1 HEADER class=60 weight=0 size=1 flags=0000`,
		`ch=1 BODY "2"`,
	)
}

// TX-5: what a transaction has acknowledged is not late, and is again when it is rolled back.
func TestAcknowledgedInATransactionIsNotLate(t *testing.T) {
	r := newRig(t)
	k := r.open(1)
	k.send(frameOf(1, &amqp.QueueDeclare{Queue: "q", Arguments: amqp.Table{{Name: "x-consumer-timeout", Value: int64(1000)}}}))
	k.send(frameOf(1, &amqp.TxSelect{}))
	k.send(frameOf(1, &amqp.BasicConsume{Queue: "q", ConsumerTag: "c"}))
	k.send(content(1, &amqp.BasicPublish{RoutingKey: "q"}, amqp.Properties{}, "1", 4096))
	k.send(frameOf(1, &amqp.TxCommit{}))
	k.send(frameOf(1, &amqp.BasicAck{DeliveryTag: 1}))
	k.lines()
	for range 3 {
		r.now = r.now.Add(time.Second)
		Ticker(r.b)(r.now)
	}
	k.want()
	k.send(frameOf(1, &amqp.TxRollback{}))
	k.want(`ch=1 tx.rollback-ok{}`)
	r.now = r.now.Add(time.Second)
	Ticker(r.b)(r.now)
	r.settle()
	k.want(`ch=1 basic.cancel{consumer_tag="c" no_wait=true}`)
}

// A channel that is gone is not looked at any more.
func TestClosedChannelsAreNotWatched(t *testing.T) {
	r := newRig(t)
	k := r.open(1, 2)
	k.send(frameOf(1, &amqp.QueueDeclare{Queue: "q", Arguments: amqp.Table{{Name: "x-consumer-timeout", Value: int64(1000)}}}))
	k.send(frameOf(1, &amqp.BasicConsume{Queue: "q", ConsumerTag: "c"}))
	k.send(frameOf(2, &amqp.BasicConsume{Queue: "q", ConsumerTag: "c", NoAck: true}))
	if next := Ticker(r.b)(r.now); !next.Equal(r.now.Add(time.Second)) {
		t.Errorf("got %v, want one second from now", next)
	}
	k.send(frameOf(1, &amqp.ChannelClose{}))
	if next := Ticker(r.b)(r.now); !next.IsZero() {
		t.Errorf("got %v, want never", next)
	}
}

func TestLapsedTagsAreASet(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		var l lapsed
		is, highest := map[uint64]bool{}, uint64(0)
		for range 300 {
			switch tag := uint64(r.IntN(40)); r.IntN(6) {
			case 0:
				all := r.IntN(3) == 0
				l.forget(tag, all)
				for x := range is {
					if x == tag || all && (tag == 0 || x < tag) {
						delete(is, x)
					}
				}
			default:
				highest += uint64(r.IntN(3))
				for _, x := range []uint64{highest, tag + 1} {
					l.add(x)
					is[x] = true
				}
			}
			for x := range highest + 45 {
				if l.has(x) != is[x] {
					t.Fatalf("seed %d: %d is among %v: %v, want %v", seed, x, l.ranges, l.has(x), is[x])
				}
			}
		}
	}
	var l lapsed
	for i := range uint64(maxLapsed + 1) {
		l.add(2*i + 1)
	}
	if len(l.ranges) != maxLapsed || l.has(1) || !l.has(3) {
		t.Errorf("got %d ranges, the first %v", len(l.ranges), l.ranges[0])
	}
}

// Deliveries are taken back by one goroutine while another settles them, a third publishes
// and channels come and go: nothing is lost, and nothing is settled for somebody else.
func TestDeliveriesAreTakenBackWhileTheyAreSettled(t *testing.T) {
	store := new(silent)
	b := broker.New(broker.DefaultOptions(), store, store, rand.NewChaCha8([32]byte{}))
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := b.Restore(start, topology.Catalog{}, nil); err != nil {
		t.Fatal(err)
	}
	var clock atomic.Int64
	now := func() time.Time { return start.Add(time.Duration(clock.Load()) * time.Millisecond) }
	open := func(out *Outbound) *Connection {
		c := New(now(), b, out, Peer{Name: "c", Loopback: true}, Options{})
		in := []byte(amqp.ProtocolHeader)
		in = append(in, frameOf(0, &amqp.ConnectionStartOk{ClientProperties: capabilities, Mechanism: "PLAIN", Response: "\x00guest\x00guest"})...)
		in = append(in, frameOf(0, &amqp.ConnectionTuneOk{ChannelMax: 2047, FrameMax: 131072})...)
		in = append(in, frameOf(0, &amqp.ConnectionOpen{VirtualHost: "/"})...)
		in = append(in, frameOf(1, &amqp.ChannelOpen{})...)
		in = append(in, frameOf(1, &amqp.QueueDeclare{Queue: "q", Arguments: amqp.Table{{Name: "x-consumer-timeout", Value: int64(20)}}})...)
		feedAll(t, c, now(), in)
		return c
	}
	const messages, workers = 400, 3
	owner := open(NewOutbound(0, func() {}))
	for range messages {
		feedAll(t, owner, now(), content(1, &amqp.BasicPublish{RoutingKey: "q"}, amqp.Properties{}, "m", 4096))
	}

	done := make(chan struct{})
	var ticking, working sync.WaitGroup
	ticking.Go(func() {
		tick := Ticker(b)
		for {
			select {
			case <-done:
				return
			default:
				clock.Add(3)
				tick(now())
			}
		}
	})
	var acked atomic.Int64
	for worker := range workers {
		working.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 0))
			for range 60 {
				out := NewOutbound(0, func() {})
				c := open(out)
				feedAll(t, c, now(), append(frameOf(1, &amqp.BasicQos{PrefetchCount: 5}), frameOf(1, &amqp.BasicConsume{Queue: "q", ConsumerTag: "k"})...))
				var batch Batch
				for tag := uint64(1); tag <= 5; tag++ {
					if r.IntN(3) == 0 {
						feedAll(t, c, now(), frameOf(1, &amqp.BasicAck{DeliveryTag: tag}))
						acked.Add(1)
					}
					out.Take(&batch)
				}
				c.Close(now(), nil)
			}
		})
	}
	working.Wait()
	close(done)
	ticking.Wait()
	owner.Close(now(), nil)
	s := b.VHost("/").Queues()[0].Stats()
	if s.Unacknowledged != 0 || s.Ready+int64(s.Acknowledged) != messages || int64(s.Acknowledged) > acked.Load() {
		t.Errorf("got %d ready, %d out, %d acknowledged of %d, clients tried %d", s.Ready, s.Unacknowledged, s.Acknowledged, messages, acked.Load())
	}
}

func feedAll(t *testing.T, c *Connection, now time.Time, in []byte) {
	t.Helper()
	for len(in) > 0 {
		n, err := c.Feed(now, in)
		c.Flush(now)
		if in = in[n:]; err != nil {
			t.Errorf("feed: %v", err)
			return
		}
	}
}

// silent is a store that has everything on disk at once.
type silent struct{ ids atomic.Uint64 }

func (s *silent) Enlist(queue.Collector)                                                  {}
func (s *silent) EnlistSettled(queue.Collector)                                           {}
func (s *silent) Barrier(_ queue.Collector, done func(error))                             { done(nil) }
func (s *silent) Drop(queue.ID)                                                           {}
func (s *silent) NextID() uint64                                                          { return s.ids.Add(1) }
func (s *silent) Write(_ topology.Unit, done func(error))                                 { done(nil) }
func (s *silent) Forget(queue.Forgotten)                                                  {}
func (s *silent) Spill(queue.ID, uint8, []queue.Copy, func(error))                        {}
func (s *silent) Read(queue.ID, uint8, queue.Range, func([]queue.RestoredMessage, error)) {}
