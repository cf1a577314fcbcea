package connection

import (
	"testing"

	"github.com/leveretmq/leveret/amqp"
)

// discard is a writer that forgets.
func (k *rigConn) discard() {
	for {
		n, drained := k.out.Take(&k.batch)
		if drained {
			k.c.Drained(k.r.now)
		}
		if n == 0 && !drained {
			return
		}
	}
}

func repeated(b []byte, n int) (out []byte) {
	for range n {
		out = append(out, b...)
	}
	return out
}

// perMessage feeds batches of publishes on one connection to a consumer on another, and
// acknowledgements back, and counts allocations for each message.
func perMessage(t testing.TB, k, to *rigConn, acks bool, messages int) func() {
	publish := repeated(content(1, &amqp.BasicPublish{RoutingKey: "q"}, amqp.Properties{}, "sixteen octets!!", 0), messages)
	tag := uint64(0)
	var ack []byte
	return func() {
		if _, err := k.c.Feed(k.r.now, publish); err != nil {
			t.Fatal(err)
		}
		k.c.Flush(k.r.now)
		to.discard()
		if acks {
			ack = ack[:0]
			for range messages {
				tag++
				start := len(ack)
				ack = amqp.BeginFrame(ack, amqp.FrameMethod, 1)
				m := amqp.BasicAck{DeliveryTag: tag}
				ack = amqp.EndFrame(m.Append(ack), start)
			}
			if _, err := to.c.Feed(to.r.now, ack); err != nil {
				t.Fatal(err)
			}
			to.c.Flush(to.r.now)
		}
		k.discard()
	}
}

// TestMessageCostsItsOwnMemoryAndNoMore: a message and its bytes are two allocations, a
// confirm is a third. Nothing else on its way from one client to the other, and back
// again as an acknowledgement, allocates.
func TestMessageCostsItsOwnMemoryAndNoMore(t *testing.T) {
	f := func(name string, confirm, acks bool, want float64) {
		t.Helper()
		r := newRig(t)
		k, to := r.open(1), r.open(1)
		to.send(frameOf(1, &amqp.QueueDeclare{Queue: "q"}))
		to.send(frameOf(1, &amqp.BasicConsume{Queue: "q", NoAck: !acks}))
		if confirm {
			k.send(frameOf(1, &amqp.ConfirmSelect{}))
		}
		const messages = 100
		run := perMessage(t, k, to, acks, messages)
		for range 10 {
			run() // buffers grow to their size
		}
		if got := testing.AllocsPerRun(50, run) / messages; got > want+0.1 {
			t.Errorf("%s: %.2f allocations a message, want %.0f", name, got, want)
		}
	}
	f("automatic acknowledgement", false, false, 2)
	f("acknowledged", false, true, 2)
	f("confirmed and acknowledged", true, true, 3)
}

func BenchmarkPublishAndDeliver(b *testing.B) {
	f := func(name string, confirm, acks bool) {
		b.Run(name, func(b *testing.B) {
			r := newRig(b)
			k, to := r.open(1), r.open(1)
			to.send(frameOf(1, &amqp.QueueDeclare{Queue: "q"}))
			to.send(frameOf(1, &amqp.BasicConsume{Queue: "q", NoAck: !acks}))
			if confirm {
				k.send(frameOf(1, &amqp.ConfirmSelect{}))
			}
			const messages = 500
			run := perMessage(b, k, to, acks, messages)
			b.ReportAllocs()
			for i := 0; i < b.N; i += messages {
				run()
			}
			if got := r.b.Counters.MessagesReceived.Load(); got < uint64(b.N) {
				b.Errorf("%d messages were received, want %d", got, b.N)
			}
		})
	}
	f("mode=automatic", false, false)
	f("mode=acknowledged", false, true)
	f("mode=confirmed", true, true)
}
