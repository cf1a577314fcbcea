// Command topics picks messages by patterns: in a topic exchange * is one word and # is
// any number of words, none included.
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
	exchange := p.Name("animals")
	p.NoError(ch.ExchangeDeclare(exchange, "topic", true, false, false, false, nil), "declare")

	type subscription struct {
		patterns   []string
		want       []string
		queue      string
		deliveries <-chan amqp.Delivery
	}
	subscriptions := []subscription{
		{patterns: []string{"*.orange.*"}, want: []string{"quick.orange.hare", "lazy.orange.fox"}},
		{patterns: []string{"*.*.hare", "lazy.#"}, want: []string{"quick.orange.hare", "lazy.orange.fox", "lazy.brown.hare", "lazy"}},
		{patterns: []string{"#"}, want: []string{"quick.orange.hare", "lazy.orange.fox", "lazy.brown.hare", "quick.brown.fox", "lazy", "orange", "quick.orange.new.hare", ""}},
		{patterns: []string{"*"}, want: []string{"lazy", "orange"}},
		{patterns: []string{"quick.#.hare"}, want: []string{"quick.orange.hare", "quick.orange.new.hare"}},
		{patterns: []string{"orange"}, want: []string{"orange"}},
		{patterns: []string{"#.#.cat"}, want: nil},
	}
	for i := range subscriptions {
		s := &subscriptions[i]
		q, err := ch.QueueDeclare("", false, false, true, false, nil)
		p.NoError(err, "declare")
		s.queue = q.Name
		for _, pattern := range s.patterns {
			p.NoError(ch.QueueBind(q.Name, pattern, exchange, false, nil), "bind")
		}
		s.deliveries, err = ch.Consume(q.Name, "", true, true, false, false, nil)
		p.NoError(err, "consume")
	}

	keys := []string{"quick.orange.hare", "lazy.orange.fox", "lazy.brown.hare", "quick.brown.fox",
		"lazy", "orange", "quick.orange.new.hare", ""}
	for _, key := range keys {
		p.Publish(ch, exchange, key, key)
	}
	for _, s := range subscriptions {
		p.Publish(ch, "", s.queue, "end")
		got := p.Until("end", s.deliveries)
		p.That(slices.Equal(got, s.want), "bound to %q: got %q, want %q", s.patterns, got, s.want)
	}
	p.Done()
}
