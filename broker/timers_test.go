package broker

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/queue"
)

func TestTickSaysWhenToComeBack(t *testing.T) {
	n := newNode(t)
	if next := n.b.Tick(n.now, &n.out); !next.IsZero() {
		t.Errorf("with nothing due: %v", next)
	}
	called := 0
	n.b.OnEarlierTimer(func() { called++ })
	n.queue("q")
	f := func(ttl string, wantCalled int, wantNext time.Duration) {
		t.Helper()
		called = 0
		n.publish("", "q", ttl, amqp.Properties{Expiration: ttl})
		if called != wantCalled {
			t.Errorf("%s: told %d times, want %d", ttl, called, wantCalled)
		}
		if next := n.b.Tick(n.now, &n.out); !next.Equal(start.Add(wantNext)) {
			t.Errorf("%s: next in %v, want %v", ttl, next.Sub(start), wantNext)
		}
	}
	f("5000", 1, 5*time.Second)
	f("9000", 0, 5*time.Second)
	f("100", 1, 100*time.Millisecond)
	n.now = start.Add(5 * time.Second)
	next := n.b.Tick(n.now, &n.out)
	if !next.Equal(start.Add(9 * time.Second)) {
		t.Errorf("then: %v, want 9s", next.Sub(start))
	}
	if got := n.bodies("q"); got != "9000" {
		t.Errorf("left %q, want 9000", got)
	}
}

func TestManyQueuesDueAtOnceAreTakenInTurns(t *testing.T) {
	n := newNode(t)
	const queues = 3*timersATick + 5
	for i := range queues {
		n.queue(fmt.Sprint("q", i), transientQueue)
		n.publish("", fmt.Sprint("q", i), "m", amqp.Properties{Expiration: "10"})
	}
	n.now = start.Add(time.Second)
	turns := 1
	for ; ; turns++ {
		next := n.b.Tick(n.now, &n.out)
		if next.IsZero() {
			break
		}
		if next.After(n.now) {
			t.Fatalf("wants to be called at %v", next)
		}
	}
	if turns != 4 {
		t.Errorf("%d turns, want 4", turns)
	}
	for _, q := range n.v.Queues() {
		if ready, _ := q.Counts(); ready != 0 {
			t.Errorf("%s still has %d", q.Name(), ready)
		}
	}
}

func TestTimerOfADeletedQueueIsForgotten(t *testing.T) {
	n := newNode(t)
	n.queue("q", with("x-expires", int64(315_360_000_000)))
	n.b.Flush(n.now, &n.out)
	if len(n.b.timers.heap) != 1 {
		t.Fatalf("%d timers, want one", len(n.b.timers.heap))
	}
	if _, _, err := n.v.DeleteQueue(n.now, "me", "q", queue.DeleteOptions{}, nil, &n.out); err != nil {
		t.Fatal(err)
	}
	if len(n.b.timers.heap) != 0 || len(n.b.timers.of) != 0 {
		t.Error("still there")
	}
}

// Every queue comes up once, at the earliest moment that was asked for, whatever the
// order of asking and forgetting.
func TestTimersComeInOrder(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 0))
		var ts timers
		want := make(map[*queue.Queue]time.Time)
		queues := make([]*queue.Queue, 20)
		for i := range queues {
			queues[i] = queue.New(queue.ID(i), queue.Spec{}, queue.Options{}, nil)
		}
		for range 200 {
			q := queues[r.IntN(len(queues))]
			if r.IntN(5) == 0 {
				ts.forget(q)
				delete(want, q)
				continue
			}
			at := start.Add(time.Duration(r.IntN(1000)) * time.Millisecond)
			ts.set(q, at)
			if before, ok := want[q]; !ok || at.Before(before) {
				want[q] = at
			}
		}
		last := start
		for len(want) > 0 {
			next := ts.wait()
			if next.Before(last) {
				t.Fatalf("seed %d: %v after %v", seed, next, last)
			}
			if q := ts.due(next.Add(-1)); q != nil {
				t.Fatalf("seed %d: due too early", seed)
			}
			q := ts.due(next)
			if q == nil || !want[q.(*queue.Queue)].Equal(next) {
				t.Fatalf("seed %d: queue at %v, want %v", seed, next, want[q.(*queue.Queue)])
			}
			delete(want, q.(*queue.Queue))
			last = next
		}
		if !ts.wait().IsZero() {
			t.Fatalf("seed %d: something is left", seed)
		}
	}
}

// wokenConsumer asks to be woken for everything it is given.
type wokenConsumer struct {
	consumer
	woken int
}

func (c *wokenConsumer) Deliver(d queue.Delivery, out *queue.Effects) bool {
	out.Wakes.Add(c)
	return c.consumer.Deliver(d, out)
}

func (c *wokenConsumer) Wake(bool) { c.woken++ }

// S-24: a tick ends with a flush, because nobody else will.
func TestWhoIsGivenSomethingByATimerIsWoken(t *testing.T) {
	n := newNode(t)
	n.queue("q", deadLetter(""), deadLetterKey("dead"))
	c := &wokenConsumer{}
	if err := n.queue("dead").Consume(n.now, c, queue.ConsumeOptions{}, &n.out); err != nil {
		t.Fatal(err)
	}
	n.publish("", "q", "m", amqp.Properties{Expiration: "10"})
	n.b.Tick(n.now.Add(time.Second), &n.out)
	if len(c.got) != 1 || c.woken != 1 {
		t.Errorf("got %d messages and was woken %d times, want once for one", len(c.got), c.woken)
	}
}
