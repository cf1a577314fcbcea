package broker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/queue"
)

// atLeastOnce is a quorum queue that keeps what has died until it is safe (DLX-14).
func atLeastOnce(s *queue.Spec) {
	s.Arguments = s.Arguments.With("x-queue-type", "quorum").With("x-overflow", "reject-publish").
		With("x-dead-letter-strategy", "at-least-once")
}

// pass lets time pass and the disk work.
func (n *node) pass(d time.Duration) {
	n.Helper()
	for step := 100 * time.Millisecond; d > 0; d -= step {
		n.disk.commit()
		n.wait(step)
		n.answerReads()
	}
	n.disk.commit()
	n.disk.commit()
}

// DLX-14: where an at-most-once letter is dropped, this one is kept and sent again: while
// there is no exchange, no route, and while a target refuses.
func TestLetterIsKeptUntilItHasAPlaceToGo(t *testing.T) {
	n := newNode(t)
	source := n.queue("source", atLeastOnce, deadLetter("later"), deadLetterKey("k"))
	n.publish("", "source", "m", amqp.Properties{})
	n.disk.commit()
	n.reject("source")
	f := func(what string, retained int64, stored int) {
		t.Helper()
		n.pass(15 * time.Second)
		if got := source.Stats().Retained; got != retained {
			t.Errorf("%s: got %d retained, want %d", what, got, retained)
		}
		if got := len(n.disk.stored[source.ID()]); got != stored {
			t.Errorf("%s: got %d stored in the source, want %d", what, got, stored)
		}
	}
	f("without the exchange", 1, 1)
	n.exchange("later", "direct")
	f("without a route", 1, 1)
	n.queue("full", with("x-max-length", int32(0)), with("x-overflow", "reject-publish"))
	n.queue("other")
	n.bind("later", "queue", "full", "k")
	n.bind("later", "queue", "other", "k")
	f("while one target refuses", 1, 1)
	n.policy("room", "^full$", define("max-length", int64(5)))
	if _, _, err := n.v.DeleteQueue(n.now, "me", "full", queue.DeleteOptions{}, nil, &n.out); err != nil {
		t.Fatal(err)
	}
	n.b.Flush(n.now, &n.out)
	f("with a target that takes it", 0, 0)
	got := n.take("other")
	if len(got) != 1 || history(t, got[0]) != `1*source rejected from ""[source] at 0s` {
		t.Errorf("got %d letters, want one with the time of its death: %v", len(got), history(t, got[0]))
	}
	if got := n.b.Counters.DeadLettersDropped.Load(); got != 0 {
		t.Errorf("got %d dropped, want none", got)
	}
}

// DLX-14: it counts against the limits of the source until it is away.
func TestRetainedMessagesCountAgainstTheLimit(t *testing.T) {
	n := newNode(t)
	n.queue("source", atLeastOnce, deadLetter("later"), with("x-max-length", int32(2)), with("x-message-ttl", int32(10)))
	n.publish("", "source", "a", amqp.Properties{})
	n.publish("", "source", "b", amqp.Properties{})
	n.pass(time.Second)
	n.publish("", "source", "c", amqp.Properties{})
	if ready, _ := n.v.queues.find("source").q.Counts(); ready != 0 {
		t.Errorf("got %d ready, want the third refused", ready)
	}
	n.exchange("later", "fanout")
	n.queue("target")
	n.bind("later", "queue", "target", "")
	n.pass(15 * time.Second)
	n.publish("", "source", "d", amqp.Properties{})
	n.pass(time.Second)
	if got := n.bodies("target"); got != "a b d" {
		t.Errorf("target has %q, want a b d", got)
	}
}

// DLX-12, DLX-14: what would only go round is dropped, and not kept for ever.
func TestCycleIsNotRetained(t *testing.T) {
	n := newNode(t)
	source := n.queue("source", atLeastOnce, deadLetter(""), with("x-message-ttl", int32(10)))
	n.publish("", "source", "m", amqp.Properties{})
	n.pass(time.Second)
	if s := source.Stats(); s.Retained != 0 || s.Ready != 0 || len(n.disk.stored[source.ID()]) != 0 {
		t.Errorf("got %+v, %d stored", s, len(n.disk.stored[source.ID()]))
	}
}

// DLX-14, S-9: targets come, go, are full and have room again, the disk is now ahead and now
// behind, and the machine dies: every letter arrives in every target that is there in the
// end, and without a death of the machine not twice.
func TestLettersArriveAtLeastOnce(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		crashes := seed%2 == 1
		n := newNode(t)
		declare := func() {
			n.queue("source", atLeastOnce, deadLetter("dlx"))
			n.exchange("dlx", "fanout")
			for _, name := range []string{"a", "b"} {
				n.queue(name, with("x-overflow", "reject-publish"))
				n.bind("dlx", "queue", name, "")
			}
		}
		declare()
		n.disk.commit()
		published, died := 0, 0
		for range 120 {
			switch r.IntN(9) {
			case 0, 1:
				published++
				n.publish("", "source", fmt.Sprint(published), amqp.Properties{DeliveryMode: 2, Flags: amqp.FlagDeliveryMode})
				n.disk.commit()
			case 2, 3:
				if ready, _ := n.v.queues.find("source").q.Counts(); ready > 0 {
					n.reject("source")
					died++
				}
			case 4:
				n.policy("full", []string{"^a$", "^b$", "^[ab]$"}[r.IntN(3)], define("max-length", int64(r.IntN(4))))
			case 5:
				if n.v.policies().User.Find("full") != nil {
					n.deletePolicy("full")
				}
			case 6:
				n.disk.commit()
			case 7:
				n.wait(time.Duration(r.IntN(3000)) * time.Millisecond)
				n.answerReads()
			case 8:
				if crashes && r.IntN(4) == 0 {
					n = restart(t, n.disk)
				}
			}
		}
		if n.v.policies().User.Find("full") != nil {
			n.deletePolicy("full")
		}
		for {
			ready, _ := n.v.queues.find("source").q.Counts()
			if ready == 0 {
				break
			}
			n.reject("source")
		}
		n.pass(15 * time.Second)
		if s := n.v.queues.find("source").q.Stats(); s.Retained != 0 {
			t.Fatalf("seed %d: %d are left of %d", seed, s.Retained, died)
		}
		for _, name := range []string{"a", "b"} {
			all := strings.Fields(n.bodies(name))
			if !crashes && len(all) != published {
				t.Fatalf("seed %d: %s got %v, want each of %d once", seed, name, all, published)
			}
			for i := range published {
				if !slices.Contains(all, fmt.Sprint(i+1)) {
					t.Fatalf("seed %d: %s never got %d of %v", seed, name, i+1, all)
				}
			}
		}
		if got := len(n.disk.stored[n.v.queues.find("source").q.ID()]); got != 0 {
			t.Fatalf("seed %d: %d are still stored in the source", seed, got)
		}
	}
}
