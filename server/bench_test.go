package server

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// BenchmarkLoopback is one publisher and one consumer that need no acknowledgement, over
// TCP, both ends in this process. The clients write what they have encoded before and only
// count what they read.
func BenchmarkLoopback(b *testing.B) {
	for _, size := range []int{16, 1024, 16384} {
		b.Run(fmt.Sprintf("body=%d", size), func(b *testing.B) {
			r := start(b)
			ch := r.channel()
			_, err := ch.QueueDeclare("q", false, false, false, false, nil)
			check(b, err)
			throughLoopback(b, r, size)
		})
	}
}

// throughLoopback has b.N messages go from a publisher to a consumer on queue q, which is there.
func throughLoopback(b *testing.B, r *running, size int) {
	ch := r.channel()
	consumer := rawClient(b, r, amqp.AppendMethod(nil, 1, &amqp.BasicConsume{Queue: "q", ConsumerTag: "c", NoAck: true}))
	publisher := rawClient(b, r, nil)
	waitFor(b, func() bool {
		q, err := ch.QueueDeclarePassive("q", false, false, false, false, nil)
		check(b, err)
		return q.Consumers == 1
	})
	publish := amqp.AppendMethod(nil, 1, &amqp.BasicPublish{RoutingKey: "q"})
	content := amqp.AppendHeader(nil, 1, uint64(size), []byte{0, 0})
	content = amqp.AppendBody(content, 1, make([]byte, size), 131072)
	delivery := len(amqp.AppendMethod(nil, 1, &amqp.BasicDeliver{ConsumerTag: "c", RoutingKey: "q"})) + len(content)
	var batch []byte
	n := 0
	for len(batch) < 64<<10 {
		batch = append(append(batch, publish...), content...)
		n++
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	total := (b.N + n - 1) / n * n
	go func() {
		for i := 0; i < total; i += n {
			if _, err := publisher.Write(batch); err != nil {
				return
			}
		}
	}()
	got, err := io.CopyN(io.Discard, consumer, int64(total)*int64(delivery))
	if err != nil {
		b.Fatalf("got %d bytes: %v", got, err)
	}
}

// rawClient opens a connection and a channel, says more, and reads the answers to it.
func rawClient(b *testing.B, r *running, more []byte) net.Conn {
	c, err := net.Dial("tcp", r.address())
	check(b, err)
	b.Cleanup(func() { c.Close() })
	octets := amqp.AppendMethod(hello(0), 1, &amqp.ChannelOpen{})
	_, err = c.Write(append(octets, more...))
	check(b, err)
	// The answers end when nothing comes any more.
	buf := make([]byte, 4096)
	for {
		check(b, c.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
		if _, err := c.Read(buf); err != nil {
			check(b, c.SetReadDeadline(time.Time{}))
			return c
		}
	}
}
