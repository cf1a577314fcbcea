package server

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/amqp"
)

// TestWhatASocketDoesNotTakeAtOnceFollowsInOrder publishes one message at a time to a client that
// reads nothing, until its socket takes no more: every message is written at once for as long as
// that goes, one of them in part, and the writer goes on from there.
func TestWhatASocketDoesNotTakeAtOnceFollowsInOrder(t *testing.T) {
	r := start(t, func(o *Options) { o.HighWater = 64 << 10 })
	ch := r.channel()
	_, err := ch.QueueDeclare("q", false, false, false, false, nil)
	check(t, err)
	check(t, ch.Confirm(false))
	confirms := ch.NotifyPublish(make(chan amqp091.Confirmation, 1))
	consumer, err := net.Dial("tcp", r.address())
	check(t, err)
	defer consumer.Close()
	_, err = consumer.Write(lazyConsumer())
	check(t, err)
	waitFor(t, func() bool {
		q, err := ch.QueueDeclarePassive("q", false, false, false, false, nil)
		check(t, err)
		return q.Consumers == 1
	})

	// Until messages stay in the queue: socket and buffer are full then.
	n := 0
	for ready := 0; ready < 10; n++ {
		body := make([]byte, 5000)
		binary.BigEndian.PutUint32(body, uint32(n))
		check(t, ch.PublishWithContext(context.Background(), "", "q", false, false, amqp091.Publishing{Body: body}))
		if c := <-confirms; !c.Ack {
			t.Fatalf("publish %d was refused", n)
		}
		if n%100 == 99 {
			q, err := ch.QueueDeclarePassive("q", false, false, false, false, nil)
			check(t, err)
			ready = q.Messages
		}
	}

	check(t, consumer.SetReadDeadline(time.Now().Add(10*time.Second)))
	for got := 0; got < n; {
		head := make([]byte, 7)
		_, err := io.ReadFull(consumer, head)
		check(t, err)
		frame := make([]byte, 8+binary.BigEndian.Uint32(head[3:]))
		_, err = io.ReadFull(consumer, frame[copy(frame, head):])
		check(t, err)
		f, _, err := amqp.ParseFrame(frame, 0)
		check(t, err)
		if f.Type != amqp.FrameBody {
			continue
		}
		if i := int(binary.BigEndian.Uint32(f.Payload)); i != got || len(f.Payload) != 5000 {
			t.Fatalf("message %d is number %d with %d bytes", got, i, len(f.Payload))
		}
		got++
	}
}
