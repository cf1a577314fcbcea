// Command retry tries a job again after a pause. The worker rejects it; the work queue
// dead-letters it to a queue where nobody consumes; when its time there is up it is
// dead-lettered back.
package main

import (
	"fmt"
	"time"

	"github.com/leveretmq/leveret/integration/clients/go/check"
	amqp "github.com/rabbitmq/amqp091-go"
)

const pause = 300 * time.Millisecond

func main() {
	p := check.Start()
	_, ch := p.Connect()
	p.NoError(ch.Confirm(false), "confirm mode")

	work, waiting, retries := p.Name("work"), p.Name("waiting"), p.Name("retries")
	p.NoError(ch.ExchangeDeclare(retries, "direct", true, false, false, false, nil), "declare")
	_, err := ch.QueueDeclare(work, true, false, false, false, amqp.Table{
		"x-dead-letter-exchange": retries,
	})
	p.NoError(err, "declare")
	_, err = ch.QueueDeclare(waiting, true, false, false, false, amqp.Table{
		"x-message-ttl":             pause.Milliseconds(),
		"x-dead-letter-exchange":    "", // the default exchange: the key is a queue's name
		"x-dead-letter-routing-key": work,
	})
	p.NoError(err, "declare")
	p.NoError(ch.QueueBind(waiting, work, retries, false, nil), "bind")

	deliveries, err := ch.Consume(work, "", false, false, false, false, nil)
	p.NoError(err, "consume")
	p.Publish(ch, "", work, "job")

	var rejected time.Time
	for attempt := int64(1); attempt <= 3; attempt++ {
		d := p.Next(deliveries)
		p.That(string(d.Body) == "job", "attempt %d: got %q", attempt, d.Body)
		p.That(!d.Redelivered, "attempt %d is marked redelivered, but a dead letter is a new message", attempt)
		if attempt > 1 {
			took := time.Since(rejected)
			// A millisecond of grace: the broker's clock need not tick with ours.
			p.That(took > pause-time.Millisecond, "attempt %d came after %v, want %v", attempt, took, pause)
			checkHistory(p, d, attempt-1, work, waiting, retries)
		}
		if attempt < 3 {
			rejected = time.Now()
			p.NoError(d.Reject(false), "reject")
		} else {
			p.NoError(d.Ack(false), "ack")
		}
	}
	p.Done()
}

// checkHistory fails the program unless d says that it was rejected and expired so often.
func checkHistory(p *check.Program, d amqp.Delivery, times int64, work, waiting, retries string) {
	p.That(check.Deaths(d, work, "rejected") == times && check.Deaths(d, waiting, "expired") == times,
		"after %d rejections x-death is %v", times, d.Headers["x-death"])
	history := d.Headers["x-death"].([]any)
	p.That(len(history) == 2, "x-death has %d entries, want one for each queue: %v", len(history), history)

	// The latest comes first, and says where the message had been published to.
	latest := history[0].(amqp.Table)
	p.That(latest["reason"] == "expired" && latest["queue"] == waiting && latest["exchange"] == retries &&
		fmt.Sprint(latest["routing-keys"]) == fmt.Sprint([]any{work}), "the latest death is %v", latest)
	_, isTime := latest["time"].(time.Time)
	p.That(isTime, "the time of death is %v", latest["time"])

	p.That(d.Headers["x-first-death-reason"] == "rejected" && d.Headers["x-first-death-queue"] == work &&
		d.Headers["x-first-death-exchange"] == "", "the first death is told as %v", d.Headers)
}
