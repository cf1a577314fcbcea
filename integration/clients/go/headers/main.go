// Command headers picks messages by what their headers say: all of it, or any of it.
package main

import (
	"slices"

	"github.com/leveretmq/leveret/integration/clients/go/check"
	amqp "github.com/rabbitmq/amqp091-go"
)

func main() {
	p := check.Start()
	_, ch := p.Connect()
	p.NoError(ch.Confirm(false), "confirm mode")
	exchange := p.Name("documents")
	p.NoError(ch.ExchangeDeclare(exchange, "headers", false, false, false, false, nil), "declare")

	type subscription struct {
		arguments  amqp.Table
		want       []string
		queue      string
		deliveries <-chan amqp.Delivery
	}
	subscriptions := []subscription{
		{arguments: amqp.Table{"x-match": "all", "format": "pdf", "pages": int32(2)}, want: []string{"pdf of two", "signed pdf of two"}},
		{arguments: amqp.Table{"x-match": "any", "format": "pdf", "signed": true}, want: []string{"pdf of two", "signed pdf of two", "pdf of nine", "signed text"}},
		{arguments: amqp.Table{"format": "text"}, want: []string{"signed text"}}, // all is what is meant when nothing is said
	}
	for i := range subscriptions {
		s := &subscriptions[i]
		q, err := ch.QueueDeclare("", false, false, true, false, nil)
		p.NoError(err, "declare")
		s.queue = q.Name
		p.NoError(ch.QueueBind(q.Name, "", exchange, false, s.arguments), "bind")
		s.deliveries, err = ch.Consume(q.Name, "", true, true, false, false, nil)
		p.NoError(err, "consume")
	}

	publish := func(body string, headers amqp.Table) {
		p.PublishMessage(ch, exchange, "ignored", amqp.Publishing{Headers: headers, Body: []byte(body)})
	}
	publish("pdf of two", amqp.Table{"format": "pdf", "pages": int32(2)})
	publish("signed pdf of two", amqp.Table{"format": "pdf", "pages": int32(2), "signed": true})
	publish("pdf of nine", amqp.Table{"format": "pdf", "pages": int32(9)})
	publish("signed text", amqp.Table{"format": "text", "signed": true})
	publish("image", amqp.Table{"format": "png", "signed": false})
	publish("nothing said", nil)

	for _, s := range subscriptions {
		p.Publish(ch, "", s.queue, "end")
		got := p.Until("end", s.deliveries)
		p.That(slices.Equal(got, s.want), "bound with %v: got %q, want %q", s.arguments, got, s.want)
	}
	p.Done()
}
