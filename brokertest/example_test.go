package brokertest_test

import (
	"context"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/brokertest"
)

func ExampleStart() {
	var t *testing.T // of the test this stands in

	s := brokertest.Start(t, brokertest.WithTopology(`
queues:
  - name: orders
`))
	conn, err := amqp.Dial(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	order := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("one of everything")}
	if err := ch.PublishWithContext(context.Background(), "", "orders", true, false, order); err != nil {
		t.Fatal(err)
	}
	// The code that is tested would consume from orders here.
}
