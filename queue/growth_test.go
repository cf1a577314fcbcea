package queue

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkGrowth is what a message costs a queue that has ever more of something: published,
// delivered and acknowledged.
func BenchmarkGrowth(b *testing.B) {
	now := time.UnixMilli(1)
	o := Options{MessageTTL: None, Expires: None, MaxLength: None, MaxLengthBytes: None, DeliveryLimit: None}
	f := func(what string, prepare func(q *Queue, n int, out *Effects) (step func())) {
		for _, n := range []int{1000, 10_000, 100_000, 1_000_000} {
			b.Run(fmt.Sprintf("%s=%d", what, n), func(b *testing.B) {
				q, out := New(1, Spec{Name: "q"}, o, &heldStore{}), &Effects{}
				step := prepare(q, n, out)
				before := q.Stats()
				b.ReportAllocs()
				for b.Loop() {
					step()
				}
				s := q.Stats()
				if s.Acknowledged-before.Acknowledged < uint64(b.N) || s.Ready+s.Unacknowledged+s.Consumers < int64(n) {
					b.Fatalf("%d acknowledged of %d, and %+v left", s.Acknowledged-before.Acknowledged, b.N, s)
				}
			})
		}
	}
	f("messages", func(q *Queue, n int, out *Effects) func() {
		m := benchMessage(b, 16)
		for range n {
			q.Publish(now, Put{Message: m}, out)
		}
		return func() {
			q.Publish(now, Put{Message: m}, out)
			d, _, _ := q.Get(now, false, out)
			q.Ack(now, []Position{d.Position}, out)
		}
	})
	// The newest is acknowledged first, so that all that came before stay.
	f("unacknowledged", func(q *Queue, n int, out *Effects) func() {
		m, c := benchMessage(b, 16), &takes{}
		if err := q.Consume(now, c, ConsumeOptions{}, out); err != nil {
			b.Fatal(err)
		}
		for range n {
			q.Publish(now, Put{Message: m}, out)
		}
		return func() {
			q.Publish(now, Put{Message: m}, out)
			q.Ack(now, []Position{c.last}, out)
		}
	})
	// The oldest is acknowledged first, as by a client that is slow.
	f("unacknowledged-oldest", func(q *Queue, n int, out *Effects) func() {
		m, c := benchMessage(b, 16), &takes{}
		if err := q.Consume(now, c, ConsumeOptions{}, out); err != nil {
			b.Fatal(err)
		}
		positions := make([]Position, n)
		for i := range positions {
			q.Publish(now, Put{Message: m}, out)
			positions[i] = c.last
		}
		i := 0
		return func() {
			q.Publish(now, Put{Message: m}, out)
			q.Ack(now, positions[i:i+1], out)
			positions[i] = c.last
			if i++; i == n {
				i = 0
			}
		}
	})
	f("consumers", func(q *Queue, n int, out *Effects) func() {
		m, c := benchMessage(b, 16), make([]takes, n)
		for i := range c {
			if err := q.Consume(now, &c[i], ConsumeOptions{}, out); err != nil {
				b.Fatal(err)
			}
		}
		i := 0
		return func() {
			q.Publish(now, Put{Message: m}, out)
			q.Ack(now, []Position{c[i].last}, out)
			if i++; i == n {
				i = 0
			}
		}
	})
}
