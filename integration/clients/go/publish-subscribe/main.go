// Command publish-subscribe sends every message to every subscriber, through a fanout
// exchange and queues that the broker names and that belong to one connection.
package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/leveretmq/leveret/integration/clients/go/check"
	amqp "github.com/rabbitmq/amqp091-go"
)

func main() {
	p := check.Start()
	conn, ch := p.Connect()
	p.NoError(ch.Confirm(false), "confirm mode")
	exchange := p.Name("logs")
	p.NoError(ch.ExchangeDeclare(exchange, "fanout", false, false, false, false, nil), "declare")

	// Nobody listens yet: this one is lost, and that is not an error.
	p.Publish(ch, exchange, "", "too early")

	type subscriber struct {
		conn       *amqp.Connection
		queue      string
		deliveries <-chan amqp.Delivery
	}
	var subscribers []subscriber
	for range 3 {
		conn, ch := p.Connect()
		q, err := ch.QueueDeclare("", false, false, true, false, nil)
		p.NoError(err, "declare a queue named by the broker")
		p.That(q.Name != "", "the broker gave the queue no name")
		p.NoError(ch.QueueBind(q.Name, "", exchange, false, nil), "bind")
		deliveries, err := ch.Consume(q.Name, "", true, true, false, false, nil)
		p.NoError(err, "consume")
		subscribers = append(subscribers, subscriber{conn, q.Name, deliveries})
	}

	var want []string
	for i := range 20 {
		line := fmt.Sprintf("line %d", i)
		want = append(want, line)
		p.Publish(ch, exchange, "the key does not matter", line)
	}
	p.Publish(ch, exchange, "", "end")
	for i, s := range subscribers {
		got := p.Until("end", s.deliveries)
		p.That(slices.Equal(got, want), "subscriber %d got %q, want %q", i, got, want)
	}

	// An exclusive queue is nobody else's while its connection lives ...
	_, err := p.Channel(conn).QueueDeclarePassive(subscribers[0].queue, false, false, true, false, nil)
	var closed *amqp.Error
	errors.As(err, &closed)
	p.That(closed != nil && closed.Code == amqp.ResourceLocked, "looking at another's exclusive queue: got %v, want 405", err)

	// ... and is gone with it.
	p.NoError(subscribers[0].conn.Close(), "close")
	_, err = p.Channel(conn).QueueDeclarePassive(subscribers[0].queue, false, false, true, false, nil)
	closed = nil
	errors.As(err, &closed)
	p.That(closed != nil && closed.Code == amqp.NotFound, "looking at a closed connection's queue: got %v, want 404", err)
	p.Done()
}
