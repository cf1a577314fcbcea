package queue

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/message"
)

// EX-56. The naive twin is the set of values that were published and have not ended.
func TestQueueKnowsWhichValuesItHas(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for _, durable := range []bool{false, true} {
		store := &heldStore{}
		q := New(1, Spec{VHost: "/", Name: "q", Durable: durable}, Options{
			MessageTTL: None, Expires: None, MaxLength: None, MaxLengthBytes: None, DeliveryLimit: None, Deduplicate: true}, store)
		now := time.UnixMilli(1_000_000)
		var out Effects
		q.Attach(func(f func(time.Time, *Effects)) { f(now, &out) })
		ready, unacked := make(map[string]bool), make(map[string]Position)
		group := uint64(0)
		for step := range 4000 {
			fail := func(format string, args ...any) {
				t.Helper()
				t.Fatalf("seed %d, durable %v, step %d: %s", seed, durable, step, fmt.Sprintf(format, args...))
			}
			one := func() (value string, p Position) {
				for v := range 10 {
					if p, ok := unacked[fmt.Sprint(v)]; ok {
						return fmt.Sprint(v), p
					}
				}
				return "", Position{}
			}
			switch v := fmt.Sprint(r.IntN(10)); r.IntN(12) {
			case 0, 1, 2, 3:
				p := amqp.Properties{Flags: amqp.FlagHeaders | amqp.FlagDeliveryMode, DeliveryMode: 1 + uint8(r.IntN(2)),
					Headers: amqp.Table{{Name: "x-deduplication-header", Value: v}}}
				m, err := message.New(message.Content{RoutingKey: "q", Properties: p.Append(nil), Body: []byte(v)})
				if err != nil {
					t.Fatal(err)
				}
				q.Publish(now, Put{Message: m}, &out)
				if _, there := unacked[v]; !there {
					ready[v] = true
				}
			case 4, 5, 6:
				if d, _, what := q.Get(now, false, &out); what == GotMessage {
					got := string(d.Message.Body())
					if !ready[got] {
						fail("got %s, which should not be there", got)
					}
					delete(ready, got)
					unacked[got] = d.Position
				}
			case 7:
				if v, p := one(); v != "" {
					q.Ack(now, []Position{p}, &out)
					delete(unacked, v)
				}
			case 8:
				if v, p := one(); v != "" {
					requeue := r.IntN(2) == 0
					q.Reject(now, []Position{p}, requeue, &out)
					delete(unacked, v)
					if requeue {
						ready[v] = true
					}
				}
			case 9:
				if r.IntN(10) == 0 {
					q.Purge(now, &out)
					clear(ready)
				}
			case 10:
				group++
				b := Batch{Group: group}
				q.Collect(&b)
				q.CollectSettled(&b, nil)
				for _, p := range b.Puts {
					store.content = append(store.content, RestoredMessage{Seq: p.Seq, Message: p.Message})
				}
				q.Stored(group, &out.Wakes)
				q.PageOut(1<<40, 0, &out)
			case 11:
				reads := store.reads
				store.reads = nil
				for _, read := range reads {
					read()
				}
			}
			if s := q.Stats(); s.Ready != int64(len(ready)) || s.Unacknowledged != int64(len(unacked)) {
				fail("got %d ready and %d out, want %d and %d", s.Ready, s.Unacknowledged, len(ready), len(unacked))
			}
			if n := len(ready) + len(unacked); q.contents != nil && (len(q.unique.keys) != n || len(q.unique.places) != n) {
				fail("got %d values by message and %d messages by value, want %d", len(q.unique.keys), len(q.unique.places), n)
			}
		}
	}
}
