// Command dead-letter gives a job three attempts. The worker counts them by the x-death
// header, and puts a job that failed three times where somebody can look at it.
package main

import (
	"fmt"
	"slices"

	"github.com/leveretmq/leveret/integration/clients/go/check"
	amqp "github.com/rabbitmq/amqp091-go"
)

func main() {
	p := check.Start()
	_, ch := p.Connect()
	p.NoError(ch.Confirm(false), "confirm mode")

	work, waiting, dead := p.Name("work"), p.Name("waiting"), p.Name("dead")
	declare := func(name string, arguments amqp.Table) {
		_, err := ch.QueueDeclare(name, true, false, false, false, arguments)
		p.NoError(err, "declare")
	}
	declare(work, amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": waiting})
	declare(waiting, amqp.Table{"x-message-ttl": int32(50), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": work})
	declare(dead, nil)

	for i := range 6 {
		p.Publish(ch, "", work, fmt.Sprintf("job %d", i))
	}

	// Jobs 2 and 5 fail whatever one does, job 3 fails once.
	deliveries, err := ch.Consume(work, "", false, false, false, false, nil)
	p.NoError(err, "consume")
	attempts := make(map[string]int)
	var finished []string
	for left := 6; left > 0; {
		d := p.Next(deliveries)
		job := string(d.Body)
		attempts[job]++
		failures := check.Deaths(d, work, "rejected")
		p.That(failures == int64(attempts[job]-1), "%s at attempt %d: x-death says %d failures", job, attempts[job], failures)

		switch {
		case job == "job 2", job == "job 5", job == "job 3" && failures == 0:
			if failures < 2 {
				p.NoError(d.Reject(false), "reject")
				continue
			}
			// Kept safe first and acknowledged then: a worker that dies between the two
			// leaves it twice, never not at all.
			p.PublishMessage(ch, "", dead, amqp.Publishing{
				Headers:      amqp.Table{"failures": failures + 1},
				DeliveryMode: amqp.Persistent,
				Body:         d.Body,
			})
		default:
			finished = append(finished, job)
		}
		p.NoError(d.Ack(false), "ack")
		left--
	}

	slices.Sort(finished)
	want := []string{"job 0", "job 1", "job 3", "job 4"}
	p.That(slices.Equal(finished, want), "finished: got %q, want %q", finished, want)
	p.That(attempts["job 0"] == 1 && attempts["job 3"] == 2, "attempts: %v", attempts)

	var failed []string
	for {
		d, ok, err := ch.Get(dead, true)
		p.NoError(err, "get")
		if !ok {
			break
		}
		p.That(d.Headers["failures"] == int64(3), "%s failed %v times, want 3", d.Body, d.Headers["failures"])
		failed = append(failed, string(d.Body))
	}
	slices.Sort(failed)
	p.That(slices.Equal(failed, []string{"job 2", "job 5"}), "failed for good: got %q", failed)

	for _, queue := range []string{work, waiting} {
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		p.NoError(err, "look at the queue")
		p.That(q.Messages == 0, "%d messages are left in %s", q.Messages, queue)
	}
	p.Done()
}
