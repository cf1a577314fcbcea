package crash

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/leveretmq/leveret/integration/crash/history"
	amqp "github.com/rabbitmq/amqp091-go"
)

// A consumer consumes one queue on a channel of its own and acknowledges in batches. Some
// messages it puts back, some it rejects, and now and then it asks for something, to know that
// its acknowledgements were taken in.
type consumer struct {
	load   *load
	crew   *crew
	ch     *amqp.Channel
	queue  int
	log    *history.Log
	random *rand.Rand

	batch []delivery // delivered and not settled
}

type delivery struct {
	tag uint64
	id  history.ID
}

func (c *consumer) begin() error {
	if err := c.ch.Qos(prefetch, 0, false); err != nil {
		return err
	}
	deliveries, err := c.ch.Consume(c.load.queue(c.queue), "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	c.crew.done.Go(func() {
		if err := c.consume(deliveries); err != nil {
			c.crew.fail(err)
		}
		c.log.Lost()
	})
	return nil
}

// consume works until the channel is closed. Errors of settling are not errors of the broker:
// the connection is gone, which the deliveries' end says as well.
func (c *consumer) consume(deliveries <-chan amqp.Delivery) error {
	size := 1
	idle := time.NewTicker(20 * time.Millisecond) // a quiet queue has its last batch settled, too
	defer idle.Stop()
	for {
		select {
		case d, open := <-deliveries:
			if !open {
				return nil
			}
			if err := c.take(d); err != nil {
				return err
			}
			if len(c.batch) < size {
				continue
			}
		case <-idle.C:
			if len(c.batch) == 0 {
				continue
			}
		}
		if c.settle() != nil {
			continue
		}
		size = 1 + c.random.IntN(prefetch/2)
		if c.random.IntN(10) == 0 {
			if _, err := c.ch.QueueDeclarePassive(c.load.queue(c.queue), true, false, false, false, nil); err == nil && !c.crew.dark.Load() {
				c.log.Processed()
			}
		}
	}
}

// take notes a delivery.
func (c *consumer) take(d amqp.Delivery) error {
	id, err := parseID(d.MessageId)
	if err != nil {
		return fmt.Errorf("a message nobody sent, from %s: %+v: %w", c.load.queue(c.queue), d, err)
	}
	c.log.Delivered(c.load.numbers[c.queue], id, digest(published(d)), d.Redelivered)
	c.batch = append(c.batch, delivery{d.DeliveryTag, id})
	if c.queue == queueDead {
		if err := c.load.checkDeath(d); err != nil {
			return fmt.Errorf("message %v from %s: %w", id, c.load.queue(c.queue), err)
		}
	}
	return nil
}

// checkDeath looks at what a dead letter says about itself.
func (w *load) checkDeath(d amqp.Delivery) error {
	deaths, ok := d.Headers["x-death"].([]any)
	if !ok || len(deaths) != 1 {
		return fmt.Errorf("it has the deaths %v", d.Headers["x-death"])
	}
	death, ok := deaths[0].(amqp.Table)
	if !ok || death["queue"] != w.queue(queueDying) || death["count"] != int64(1) ||
		death["reason"] != "rejected" && death["reason"] != "expired" || d.Expiration != "" {
		return fmt.Errorf("it died of %v and expires %q", deaths[0], d.Expiration)
	}
	return nil
}

// settle settles the batch: one of its messages may be put back or rejected, the others are
// acknowledged together, up to that one and after it.
func (c *consumer) settle() error {
	batch := c.batch
	c.batch = nil
	if c.random.IntN(4) == 0 {
		i := c.random.IntN(len(batch))
		if err := c.ack(batch[:i]); err != nil {
			return err
		}
		requeue := c.random.IntN(2) == 0
		if requeue {
			c.log.Requeued(c.load.numbers[c.queue], batch[i].id)
		} else {
			c.log.Rejected(c.load.numbers[c.queue], batch[i].id)
		}
		if err := c.ch.Nack(batch[i].tag, false, requeue); err != nil {
			return err
		}
		batch = batch[i+1:]
	}
	return c.ack(batch)
}

// ack acknowledges what was delivered, up to and with the last of the batch.
func (c *consumer) ack(batch []delivery) error {
	if len(batch) == 0 {
		return nil
	}
	for _, d := range batch {
		c.log.Acked(c.load.numbers[c.queue], d.id)
	}
	return c.ch.Ack(batch[len(batch)-1].tag, true)
}

func parseID(s string) (history.ID, error) {
	writer, seq, _ := strings.Cut(s, ".")
	w, err := strconv.ParseUint(writer, 10, 32)
	if err != nil {
		return history.ID{}, err
	}
	n, err := strconv.ParseUint(seq, 10, 32)
	return history.ID{Writer: uint32(w), Seq: uint32(n)}, err
}
