package server

import (
	"bufio"
	"io"
	"net"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// lazyConsumer is everything a client has to say to consume from q, all at once.
func lazyConsumer() []byte {
	b := []byte(amqp.ProtocolHeader)
	b = amqp.AppendMethod(b, 0, &amqp.ConnectionStartOk{Mechanism: "PLAIN", Response: "\x00guest\x00guest", Locale: "en_US"})
	b = amqp.AppendMethod(b, 0, &amqp.ConnectionTuneOk{ChannelMax: 10, FrameMax: 131072})
	b = amqp.AppendMethod(b, 0, &amqp.ConnectionOpen{VirtualHost: "/"})
	b = amqp.AppendMethod(b, 1, &amqp.ChannelOpen{})
	return amqp.AppendMethod(b, 1, &amqp.BasicConsume{Queue: "q", ConsumerTag: "lazy"})
}

// countBodies reads frames until n whole messages came.
func countBodies(c net.Conn, n, bodyBytes int) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return 0, err
	}
	in := bufio.NewReader(c)
	got := 0
	for got < n {
		head, err := in.Peek(7)
		if err != nil {
			return got, err
		}
		frame := make([]byte, 8+int(head[3])<<24+int(head[4])<<16+int(head[5])<<8+int(head[6]))
		if _, err := io.ReadFull(in, frame); err != nil {
			return got, err
		}
		f, _, err := amqp.ParseFrame(frame, 0)
		if err != nil {
			return got, err
		}
		if f.Type == amqp.FrameBody && len(f.Payload) == bodyBytes {
			got++
		}
	}
	return got, nil
}
