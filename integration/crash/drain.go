package crash

import (
	"fmt"
	"math/rand/v2"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// drain consumes every queue of the load to its end, when nobody else works on them.
func (w *load) drain(url string, limit time.Duration) error {
	conn, err := dial(url, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	// What would expire has become a letter when the queue of the letters is drained, which is
	// the last.
	<-time.After(2 * longestTTL * time.Millisecond)
	for q := range queues {
		ch, err := conn.Channel()
		if err != nil {
			return err
		}
		c := &consumer{
			load: w, ch: ch, queue: q,
			log:    w.history.Log("drain " + w.queue(q)),
			random: rand.New(rand.NewPCG(0, 0)),
		}
		if err := conn.explain(c.drain(limit)); err != nil {
			return fmt.Errorf("drain %s: %w", w.queue(q), err)
		}
	}
	return nil
}

// drain consumes up to a last message that it publishes itself: what was returned to the
// queue has gone back to its place, which is before that.
func (c *consumer) drain(limit time.Duration) error {
	const last = "last"
	name := c.load.queue(c.queue)
	if err := c.ch.Publish("", name, false, false, amqp.Publishing{MessageId: last}); err != nil {
		return err
	}
	if err := c.ch.Qos(prefetch, 0, false); err != nil {
		return err
	}
	deliveries, err := c.ch.Consume(name, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	late := time.After(limit)
	for ended := false; !ended; {
		select {
		case d, open := <-deliveries:
			if !open {
				return fmt.Errorf("the broker ended the consumer")
			}
			if ended = d.MessageId == last; ended {
				if err := d.Ack(false); err != nil {
					return err
				}
			} else if err := c.take(d); err != nil {
				return err
			}
		case <-late:
			return fmt.Errorf("the end of the queue is not reached after %v", limit)
		}
		if ended || len(c.batch) == prefetch/2 {
			if err := c.ack(c.batch); err != nil {
				return err
			}
			c.batch = nil
		}
	}
	q, err := c.ch.QueueDeclarePassive(name, true, false, false, false, nil)
	if err != nil {
		return err
	}
	c.log.Processed()
	if q.Messages != 0 {
		return fmt.Errorf("%d messages came after the last one", q.Messages)
	}
	return c.ch.Close()
}
