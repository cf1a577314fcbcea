package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/brokertest"
	"github.com/leveretmq/leveret/config"
)

func TestLimitsAreAgreedOn(t *testing.T) { // C-12, C-2, C-3
	t.Parallel()
	s := brokertest.Start(t, brokertest.WithConfig(func(c *config.Config) {
		c.AMQP.FrameMax, c.AMQP.ChannelMax, c.AMQP.Heartbeat = 8192, 2, 30*time.Second
		c.AMQP.CompatProduct, c.AMQP.CompatVersion = "Rabbit", "4.1.9"
	}))
	f := func(asked amqp.Config, frame, channels int, heartbeat time.Duration) {
		t.Helper()
		conn, err := amqp.DialConfig(s.URL(), asked)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if got := conn.Config; got.FrameSize != frame || int(got.ChannelMax) != channels || got.Heartbeat != heartbeat {
			t.Errorf("got frames of %d, %d channels, a heartbeat every %s; want %d, %d, %s",
				got.FrameSize, got.ChannelMax, got.Heartbeat, frame, channels, heartbeat)
		}
		if conn.Properties["product"] != "Rabbit" || conn.Properties["version"] != "4.1.9" || conn.Properties["product_name"] != "Leveret" {
			t.Errorf("got server properties %v, want those that are configured", conn.Properties)
		}
	}
	f(amqp.Config{Heartbeat: time.Minute}, 8192, 2, 30*time.Second)
	f(amqp.Config{Heartbeat: 10 * time.Second, FrameSize: 4096, ChannelMax: 1}, 4096, 1, 10*time.Second)
}

func TestMessageOverTheConfiguredSizeIsRefused(t *testing.T) { // W-23, ERR-21
	t.Parallel()
	s := brokertest.Start(t, brokertest.WithConfig(func(c *config.Config) { c.AMQP.MaxMessageSize = 100 }))
	c := connect(t, s)
	c.queue("q", nil)
	c.publish("", "q", string(make([]byte, 100)))
	closed := c.NotifyClose(make(chan *amqp.Error, 1))
	c.must(c.PublishWithContext(t.Context(), "", "q", false, false, amqp.Publishing{Body: make([]byte, 101)}))
	refused(t, next(t, closed), 406, "PRECONDITION_FAILED - message size 101 is larger than configured max size 100")
	c = c.another()
	if got := c.take("q"); len(got) != 1 || !bytes.Equal(got[0].Body, make([]byte, 100)) {
		t.Errorf("got %d messages, want the one that fits", len(got))
	}
}

func TestConsumersPerChannelAreLimited(t *testing.T) { // ERR-32
	t.Parallel()
	s := brokertest.Start(t, brokertest.WithConfig(func(c *config.Config) { c.AMQP.MaxConsumersPerChannel = 2 }))
	c := connect(t, s)
	c.queue("q", nil)
	c.consume("q", "")
	c.consume("q", "")
	closed := c.conn.NotifyClose(make(chan *amqp.Error, 1))
	if _, err := c.Consume("q", "", false, false, false, false, nil); err == nil {
		t.Error("got a third consumer where two are allowed")
	}
	refused(t, next(t, closed), 530, "NOT_ALLOWED - reached maximum (2) of consumers per channel")
}

func TestLoginIsRefused(t *testing.T) { // C-9, C-15
	t.Parallel()
	s := brokertest.Start(t)
	_, err := amqp.Dial("amqp://guest:wrong@" + s.Addr() + "/")
	if !errors.Is(err, amqp.ErrCredentials) { // what this client makes of 403
		t.Errorf("got %v, want to be told that the credentials are no good", err)
	}
	if _, err := amqp.Dial(s.URL() + "none"); err == nil {
		t.Error("got a connection to a virtual host that is not there")
	}
}

func TestSilentClientIsDisconnected(t *testing.T) { // W-31
	t.Parallel()
	s := brokertest.Start(t, brokertest.WithConfig(func(c *config.Config) { c.AMQP.HandshakeTimeout = 100 * time.Millisecond }))
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("got %d bytes and %v, want to be cut off", n, err)
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Errorf("got nothing within %s, want to be cut off after 100 ms", patience)
	}
}

func TestShutdownTellsClientsAndLosesNothing(t *testing.T) { // C-33, DUR-8, P13
	t.Parallel()
	s := brokertest.Start(t)
	c := connect(t, s)
	c.durable("q", nil)
	closed := c.conn.NotifyClose(make(chan *amqp.Error, 1))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var publishing sync.WaitGroup
	running := make(chan struct{}, 1)
	var sent []*amqp.DeferredConfirmation
	publishing.Go(func() { // under load
		for i := 0; ctx.Err() == nil; i++ {
			d, err := c.PublishWithDeferredConfirmWithContext(ctx, "", "q", false, false,
				amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(fmt.Sprint(i))})
			if err != nil {
				return // it has been told
			}
			sent = append(sent, d)
			if i == 100 {
				running <- struct{}{}
			}
		}
	})
	next(t, running)
	s.Restart()
	refused(t, next(t, closed), 320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'")
	cancel()
	publishing.Wait()
	there := map[string]int{}
	for _, d := range connect(t, s).take("q") {
		there[string(d.Body)]++
	}
	for i, d := range sent {
		if n := there[fmt.Sprint(i)]; d.Acked() && n != 1 {
			t.Errorf("got message %d %d times, want it once: it was confirmed", i, n)
		}
	}
}

func TestConsumerThatReadsNothingHoldsUpNobody(t *testing.T) { // P8, S-27
	t.Parallel()
	s := brokertest.Start(t)
	c := connect(t, s)
	c.queue("much", nil)
	c.queue("little", nil)
	var stalled stalling
	conn, err := amqp.DialConfig(s.URL(), amqp.Config{Dial: stalled.dial})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = onConnection(t, conn).Consume("much", "", true, false, false, false, nil)
	c.must(err)
	stalled.gate.Lock()
	defer stalled.gate.Unlock()
	body := string(make([]byte, 256<<10))
	const n = 200 // more than all the buffers between hold
	for range n {
		c.publish("", "much", body)
	}
	c.publish("", "little", "m")
	c.has("little", "m")
	q, err := c.QueueDeclarePassive("much", false, false, false, false, nil)
	c.must(err)
	if q.Messages == 0 || q.Messages >= n {
		t.Errorf("got %d of %d messages in the queue, want some there and some on their way", q.Messages, n)
	}
}

// stalling is a connection of which nothing is read while its gate is locked.
type stalling struct {
	net.Conn
	gate sync.Mutex
}

func (s *stalling) dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	s.Conn = conn
	return s, err
}

// Read implements net.Conn.
func (s *stalling) Read(b []byte) (int, error) {
	s.gate.Lock()
	s.gate.Unlock() //nolint:staticcheck // to pass the gate is all there is to it
	return s.Conn.Read(b)
}
