// Command request-reply asks questions through a queue. The answers come to an exclusive
// queue of the one who asked, each under the correlation id of its question.
package main

import (
	"fmt"
	"strconv"

	"github.com/leveretmq/leveret/integration/clients/go/check"
	amqp "github.com/rabbitmq/amqp091-go"
)

func main() {
	p := check.Start()
	requests := p.Name("squares")
	serve(p, requests)

	_, ch := p.Connect()
	replies, err := ch.QueueDeclare("", false, true, true, false, nil)
	p.NoError(err, "declare the reply queue")
	deliveries, err := ch.Consume(replies.Name, "", true, true, false, false, nil)
	p.NoError(err, "consume")

	// All questions are asked before any answer is read, so the ids have to sort them out.
	want := make(map[string]string)
	for n := range 10 {
		id := fmt.Sprintf("question %d", n)
		want[id] = strconv.Itoa(n * n)
		p.NoError(ch.Publish("", requests, true, false, amqp.Publishing{
			CorrelationId: id,
			ReplyTo:       replies.Name,
			Body:          []byte(strconv.Itoa(n)),
		}), "ask")
	}
	for len(want) > 0 {
		d := p.Next(deliveries)
		answer, asked := want[d.CorrelationId]
		p.That(asked, "an answer to %q, which was not asked or is answered already", d.CorrelationId)
		p.That(string(d.Body) == answer, "answer to %q: got %s, want %s", d.CorrelationId, d.Body, answer)
		delete(want, d.CorrelationId)
	}
	p.Done()
}

// serve answers requests on connections of its own, two at once, so that answers do not
// come in the order of the questions.
func serve(p *check.Program, requests string) {
	for range 2 {
		_, ch := p.Connect()
		_, err := ch.QueueDeclare(requests, false, false, false, false, nil)
		p.NoError(err, "declare")
		p.NoError(ch.Qos(1, 0, false), "qos")
		deliveries, err := ch.Consume(requests, "", false, false, false, false, nil)
		p.NoError(err, "consume")
		go func() {
			for d := range deliveries {
				n, err := strconv.Atoi(string(d.Body))
				p.NoError(err, "read the question")
				p.NoError(ch.Publish("", d.ReplyTo, false, false, amqp.Publishing{
					CorrelationId: d.CorrelationId,
					Body:          []byte(strconv.Itoa(n * n)),
				}), "answer")
				p.NoError(d.Ack(false), "ack")
			}
		}()
	}
}
