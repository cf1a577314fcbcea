package queue

import (
	"fmt"
	"testing"
	"time"

	"github.com/leveretmq/leveret/message"
)

// takes is a consumer that takes everything and remembers the last position.
type takes struct {
	last Position
	n    int
}

func (c *takes) Deliver(d Delivery, _ *Effects) bool {
	c.last = d.Position
	c.n++
	return true
}

func benchMessage(b *testing.B, size int) *message.Message {
	b.Helper()
	m, err := message.New(message.Content{Properties: []byte{0x10, 0x00, 2}, Body: make([]byte, size)})
	if err != nil {
		b.Fatal(err)
	}
	return m
}

// One publish, one delivery, one acknowledgement; the depth of the queue must not
// matter.
func BenchmarkPublishDeliverAck(b *testing.B) {
	for _, kind := range []string{"no-ack", "ack", "backlog"} {
		b.Run(kind, func(b *testing.B) {
			q := New(1, Spec{Name: "q"}, Options{MessageTTL: None, Expires: None, MaxLength: None, MaxLengthBytes: None, DeliveryLimit: None}, &heldStore{})
			m, now := benchMessage(b, 16), time.UnixMilli(1)
			c, out := &takes{}, &Effects{}
			if kind == "backlog" {
				for range 100_000 {
					q.Publish(now, Put{Message: m}, out)
				}
			} else if err := q.Consume(now, c, ConsumeOptions{NoAck: kind == "no-ack"}, out); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				q.Publish(now, Put{Message: m}, out)
				switch kind {
				case "ack":
					q.Ack(now, []Position{c.last}, out)
				case "backlog":
					d, _, _ := q.Get(now, false, out)
					q.Ack(now, []Position{d.Position}, out)
				}
			}
			if kind != "backlog" && c.n < b.N {
				b.Fatalf("%d delivered of %d", c.n, b.N)
			}
		})
	}
}

func BenchmarkRequeue(b *testing.B) {
	for _, depth := range []int{10, 100_000} {
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			q := New(1, Spec{Name: "q"}, Options{MessageTTL: None, Expires: None, MaxLength: None, MaxLengthBytes: None, DeliveryLimit: None}, &heldStore{})
			m, now, out := benchMessage(b, 16), time.UnixMilli(1), &Effects{}
			for range depth {
				q.Publish(now, Put{Message: m}, out)
			}
			b.ReportAllocs()
			for b.Loop() {
				d, _, got := q.Get(now, false, out)
				if got != GotMessage {
					b.Fatal("empty")
				}
				q.Reject(now, []Position{d.Position}, true, out)
			}
		})
	}
}
