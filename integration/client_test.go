package integration

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/brokertest"
)

// patience is how long something may take that is bound to happen.
const patience = 10 * time.Second

// client is a channel in confirm mode, and what tests say to it. A failure of the broker
// to do as it is told ends the test.
type client struct {
	*amqp.Channel
	t    *testing.T
	conn *amqp.Connection
}

// connect opens a connection of its own.
func connect(t *testing.T, s *brokertest.Server) *client {
	t.Helper()
	conn, err := amqp.Dial(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return onConnection(t, conn)
}

func onConnection(t *testing.T, conn *amqp.Connection) *client {
	t.Helper()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	c := &client{ch, t, conn}
	c.must(ch.Confirm(false))
	return c
}

// another is a channel of the same connection.
func (c *client) another() *client {
	c.t.Helper()
	return onConnection(c.t, c.conn)
}

func (c *client) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// queue declares a queue that lasts as long as the broker.
func (c *client) queue(name string, args amqp.Table) string {
	c.t.Helper()
	q, err := c.QueueDeclare(name, false, false, false, false, args)
	c.must(err)
	return q.Name
}

// durable declares a queue that survives a restart.
func (c *client) durable(name string, args amqp.Table) string {
	c.t.Helper()
	q, err := c.QueueDeclare(name, true, false, false, false, args)
	c.must(err)
	return q.Name
}

func (c *client) exchange(name, kind string, args amqp.Table) string {
	c.t.Helper()
	c.must(c.ExchangeDeclare(name, kind, false, false, false, false, args))
	return name
}

func (c *client) bind(exchange, queue, key string, args amqp.Table) {
	c.t.Helper()
	c.must(c.QueueBind(queue, key, exchange, false, args))
}

// publish sends persistent messages and waits until the broker has confirmed each.
func (c *client) publish(exchange, key string, bodies ...string) {
	c.t.Helper()
	for _, b := range bodies {
		if !c.send(exchange, key, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(b)}) {
			c.t.Fatalf("got a nack for %q, want an ack", b)
		}
	}
}

// send publishes one message and reports whether it was acked.
func (c *client) send(exchange, key string, p amqp.Publishing) bool {
	c.t.Helper()
	d, err := c.PublishWithDeferredConfirmWithContext(c.t.Context(), exchange, key, false, false, p)
	c.must(err)
	return c.confirmed(d)
}

func (c *client) confirmed(d *amqp.DeferredConfirmation) bool {
	c.t.Helper()
	select {
	case <-d.Done():
		return d.Acked()
	case <-time.After(patience):
		c.t.Fatal("got no confirm")
		return false
	}
}

// consume consumes with manual acknowledgement.
func (c *client) consume(queue, tag string) <-chan amqp.Delivery {
	c.t.Helper()
	d, err := c.Consume(queue, tag, false, false, false, false, nil)
	c.must(err)
	return d
}

// take gets everything from a queue and acknowledges it.
func (c *client) take(queue string) []amqp.Delivery {
	c.t.Helper()
	var all []amqp.Delivery
	for {
		d, ok, err := c.Get(queue, true)
		c.must(err)
		if !ok {
			return all
		}
		all = append(all, d)
	}
}

// has checks what is ready in a queue, and takes it.
func (c *client) has(queue string, want ...string) {
	c.t.Helper()
	if got := bodies(c.take(queue)); !slices.Equal(got, want) {
		c.t.Errorf("got %q in %s, want %q", got, queue, want)
	}
}

// counts checks what a passive declare tells.
func (c *client) counts(queue string, messages, consumers int) {
	c.t.Helper()
	q, err := c.QueueDeclarePassive(queue, false, false, false, false, nil)
	c.must(err)
	if q.Messages != messages || q.Consumers != consumers {
		c.t.Errorf("got %d messages and %d consumers in %s, want %d and %d", q.Messages, q.Consumers, queue, messages, consumers)
	}
}

// gone checks that a queue is not there, on a channel of its own.
func (c *client) gone(queue string) {
	c.t.Helper()
	_, err := c.another().QueueDeclarePassive(queue, false, false, false, false, nil)
	refused(c.t, err, amqp.NotFound, fmt.Sprintf("NOT_FOUND - no queue '%s' in vhost '/'", queue))
}

// bodies are what the messages say; those delivered before carry a prime.
func bodies(all []amqp.Delivery) []string {
	var texts []string
	for _, d := range all {
		text := string(d.Body)
		if d.Redelivered {
			text += "'"
		}
		texts = append(texts, text)
	}
	return texts
}

// next waits for something to come.
func next[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v, ok := <-from:
		if !ok {
			t.Fatal("got the end of the channel, want something to come")
		}
		return v
	case <-time.After(patience):
		t.Fatal("got nothing, want something to come")
		panic("not reached")
	}
}

// receive waits for n deliveries.
func receive(t *testing.T, from <-chan amqp.Delivery, n int) []amqp.Delivery {
	t.Helper()
	var all []amqp.Delivery
	for range n {
		all = append(all, next(t, from))
	}
	return all
}

// nothing checks that nothing has come. The caller has made a round trip that would have
// come after it.
func nothing(t *testing.T, from <-chan amqp.Delivery) {
	t.Helper()
	select {
	case d, ok := <-from:
		if ok {
			t.Errorf("got %q, want nothing", d.Body)
		}
	default:
	}
}

// refused checks the reply code and text of a channel or connection that was closed.
func refused(t *testing.T, err error, code int, text string) {
	t.Helper()
	var e *amqp.Error
	if !errors.As(err, &e) {
		t.Errorf("got %v, want %d %s", err, code, text)
		return
	}
	if e.Code != code || e.Reason != text {
		t.Errorf("got %d %s, want %d %s", e.Code, e.Reason, code, text)
	}
}
