// Command routing picks messages by their routing key with a direct exchange, and hears
// about the ones that nobody wanted.
package main

import (
	"slices"
	"time"

	"github.com/leveretmq/leveret/integration/clients/go/check"
	amqp "github.com/rabbitmq/amqp091-go"
)

func main() {
	p := check.Start()
	_, ch := p.Connect()
	p.NoError(ch.Confirm(false), "confirm mode")
	exchange := p.Name("severities")
	p.NoError(ch.ExchangeDeclare(exchange, "direct", false, false, false, false, nil), "declare")

	subscribe := func(keys ...string) (string, <-chan amqp.Delivery) {
		q, err := ch.QueueDeclare("", false, false, true, false, nil)
		p.NoError(err, "declare")
		for _, key := range keys {
			p.NoError(ch.QueueBind(q.Name, key, exchange, false, nil), "bind")
		}
		deliveries, err := ch.Consume(q.Name, "", true, true, false, false, nil)
		p.NoError(err, "consume")
		return q.Name, deliveries
	}
	serious, seriousOnes := subscribe("error", "fatal")
	everything, everyOne := subscribe("info", "error", "fatal")

	for _, severity := range []string{"info", "error", "debug", "fatal", "Error", "error.disk"} {
		p.Publish(ch, exchange, severity, severity)
	}
	for _, queue := range []string{serious, everything} {
		p.Publish(ch, "", queue, "end")
	}
	got, want := p.Until("end", seriousOnes), []string{"error", "fatal"}
	p.That(slices.Equal(got, want), "bound to error and fatal: got %q, want %q", got, want)
	got, want = p.Until("end", everyOne), []string{"info", "error", "fatal"}
	p.That(slices.Equal(got, want), "bound to info, error and fatal: got %q, want %q", got, want)

	// A mandatory message that reaches no queue comes back, and its confirm follows.
	returns := ch.NotifyReturn(make(chan amqp.Return, 1))
	confirm, err := ch.PublishWithDeferredConfirm(exchange, "debug", true, false, amqp.Publishing{Body: []byte("anybody?")})
	p.NoError(err, "publish")
	select {
	case r := <-returns:
		p.That(r.ReplyCode == amqp.NoRoute && r.RoutingKey == "debug" && string(r.Body) == "anybody?",
			"the returned message: got %d, key %q, body %q", r.ReplyCode, r.RoutingKey, r.Body)
	case <-time.After(10 * time.Second):
		p.Fail("the message for nobody was not returned")
	}
	p.That(confirm.Wait(), "the returned message was refused")
	p.Done()
}
