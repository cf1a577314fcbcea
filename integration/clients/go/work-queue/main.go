// Command work-queue shares a durable queue between three workers who hold one message at
// a time, so that the slow one gets fewer.
package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/leveretmq/leveret/integration/clients/go/check"
	amqp "github.com/rabbitmq/amqp091-go"
)

const jobs = 60

func main() {
	p := check.Start()
	conn, ch := p.Connect()
	defer conn.Close()

	queue := p.Name("jobs")
	_, err := ch.QueueDeclare(queue, true, false, false, false, nil)
	p.NoError(err, "declare")
	p.NoError(ch.Confirm(false), "confirm mode")

	// Workers first, so that the fast ones do not find everything already taken.
	var (
		handled = make(map[string]int)
		byWho   [3]int
		mu      sync.Mutex
		all     = make(chan struct{})
		workers sync.WaitGroup
		closing []*amqp.Connection
	)
	for who, effort := range []time.Duration{time.Millisecond, time.Millisecond, 80 * time.Millisecond} {
		conn, ch := p.Connect()
		closing = append(closing, conn)
		p.NoError(ch.Qos(1, 0, false), "qos")
		deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
		p.NoError(err, "consume")
		workers.Go(func() {
			for d := range deliveries {
				time.Sleep(effort)
				p.NoError(d.Ack(false), "ack")
				mu.Lock()
				handled[string(d.Body)]++
				byWho[who]++
				if len(handled) == jobs && all != nil {
					close(all)
					all = nil
				}
				mu.Unlock()
			}
		})
	}

	done := all
	for i := range jobs {
		p.Publish(ch, "", queue, fmt.Sprintf("job %d", i))
	}
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		mu.Lock()
		p.Fail("after 10s only %d of %d jobs were handled", len(handled), jobs)
	}
	for _, conn := range closing {
		p.NoError(conn.Close(), "close a worker")
	}
	workers.Wait()

	for job, times := range handled {
		p.That(times == 1, "%s was handled %d times", job, times)
	}
	p.That(byWho[2] < byWho[0] && byWho[2] < byWho[1],
		"the slow worker did %d jobs, the others %d and %d", byWho[2], byWho[0], byWho[1])

	// What a worker had not acknowledged would have come back when it closed.
	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	p.NoError(err, "look at the queue")
	p.That(q.Messages == 0 && q.Consumers == 0, "%d messages and %d consumers are left", q.Messages, q.Consumers)
	p.Done()
}
