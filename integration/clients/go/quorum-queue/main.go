// Command quorum-queue is the work queue as RabbitMQ's tutorials have it today: a durable
// quorum queue, acknowledged by hand. A worker whose connection breaks loses nothing.
package main

import (
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/leveretmq/leveret/integration/clients/go/check"
	amqp "github.com/rabbitmq/amqp091-go"
)

func main() {
	p := check.Start()
	_, ch := p.Connect()
	p.NoError(ch.Confirm(false), "confirm mode")
	queue := p.Name("tasks")
	quorum := amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}
	_, err := ch.QueueDeclare(queue, true, false, false, false, quorum)
	p.NoError(err, "declare a quorum queue")

	var want []string
	for i := range 5 {
		task := fmt.Sprintf("task %d", i)
		want = append(want, task)
		p.Publish(ch, "", queue, task)
	}

	// The first worker may hold three tasks, finishes one of the four it gets, and its
	// network goes.
	var wire net.Conn
	broken, err := amqp.DialConfig(p.URL(), amqp.Config{
		Dial: func(network, addr string) (net.Conn, error) {
			var err error
			wire, err = amqp.DefaultDial(10*time.Second)(network, addr)
			return wire, err
		},
	})
	p.NoError(err, "connect")
	worker := p.Channel(broken)
	p.NoError(worker.Qos(3, 0, false), "qos")
	deliveries, err := worker.Consume(queue, "", false, false, false, false, nil)
	p.NoError(err, "consume")
	for i := range 4 {
		d := p.Next(deliveries)
		p.That(string(d.Body) == want[i] && !d.Redelivered, "got %q (redelivered %t), want %q for the first time", d.Body, d.Redelivered, want[i])
		if i == 0 {
			p.NoError(d.Ack(false), "ack") // which is what lets the fourth come
		}
	}
	p.NoError(wire.Close(), "cut the connection")

	// The second finds the other four, and those that had been out are marked.
	_, ch = p.Connect()
	p.NoError(ch.Qos(1, 0, false), "qos")
	deliveries, err = ch.Consume(queue, "", false, false, false, false, nil)
	p.NoError(err, "consume")
	var got []string
	for range 4 {
		d := p.Next(deliveries)
		task := string(d.Body)
		got = append(got, task)
		out := task != want[4]
		p.That(d.Redelivered == out, "%s: redelivered is %t, want %t", task, d.Redelivered, out)
		if out {
			p.That(d.Headers["x-delivery-count"] == int64(1), "%s: x-delivery-count is %v, want 1", task, d.Headers["x-delivery-count"])
		}
		p.NoError(d.Ack(false), "ack")
	}
	slices.Sort(got)
	p.That(slices.Equal(got, want[1:]), "the second worker got %q, want %q", got, want[1:])

	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, quorum)
	p.NoError(err, "look at the queue")
	p.That(q.Messages == 0, "%d messages are left", q.Messages)
	p.Done()
}
