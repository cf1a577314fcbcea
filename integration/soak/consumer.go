package main

import (
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// take is the life of a consumer: it consumes for some seconds on one connection and one channel
// or a few, and leaves in one of the ways clients have.
func (t tap) take(w *worker) error {
	p, err := w.dial()
	if err != nil {
		return err
	}
	defer p.vanish()
	for range 1 + w.random.IntN(3) {
		c := &consumer{tap: t, worker: w}
		gone, err := c.consume(p)
		if err != nil {
			return err
		}
		away := time.NewTimer(t.away)
		select {
		case <-w.stop:
		case <-away.C:
		}
		if gone {
			return nil
		}
	}
	return p.Close()
}

// A consumer is one of a tap's.
type consumer struct {
	tap
	worker *worker
	ch     *amqp.Channel
	batch  []amqp.Delivery // delivered and not settled
}

const tag = "soak"

// consume tells whether it has left with its connection.
func (c *consumer) consume(p *peer) (gone bool, err error) {
	if c.ch, err = p.Channel(); err != nil {
		return false, err
	}
	if err := c.ch.Qos(prefetch, 0, false); err != nil {
		return false, err
	}
	deliveries, err := c.ch.Consume(c.queue, tag, false, false, false, false, nil)
	if err != nil {
		return false, err
	}
	w := c.worker
	leave := time.NewTimer(w.between(time.Second, 20*time.Second))
	defer leave.Stop()
	idle := time.NewTicker(50 * time.Millisecond) // a quiet queue has its last batch settled, too
	defer idle.Stop()
	for size := 1; ; {
		select {
		case d, open := <-deliveries:
			if !open {
				return false, amqp.ErrClosed
			}
			c.note(d)
			if len(c.batch) < size {
				continue
			}
		case <-idle.C:
		case <-leave.C:
			return c.leave(p, deliveries)
		case <-w.ended:
			return false, c.cancel(deliveries)
		}
		if err := c.settle(); err != nil {
			return false, err
		}
		size = 1 + w.random.IntN(prefetch/2)
	}
}

// leave ends the consumer with a goodbye, or with messages that it has not settled. What it has
// acknowledged must be known to the broker by then, because the ledger has struck it out.
func (c *consumer) leave(p *peer, deliveries <-chan amqp.Delivery) (gone bool, err error) {
	way := c.worker.random.IntN(4)
	if way == 0 {
		return false, c.cancel(deliveries)
	}
	if err := c.settle(); err != nil {
		return false, err
	}
	for range c.worker.random.IntN(prefetch / 2) {
		select {
		case d, open := <-deliveries:
			if !open {
				return false, amqp.ErrClosed
			}
			c.note(d)
		default:
		}
	}
	switch way {
	case 1:
		return false, c.ch.Close()
	case 2:
		return true, p.Close()
	}
	err = c.ch.Qos(prefetch, 0, false) // asked for its answer
	p.vanish()
	return true, err
}

// cancel ends the consumer, settles what it has got and closes the channel.
func (c *consumer) cancel(deliveries <-chan amqp.Delivery) error {
	if err := c.ch.Cancel(tag, false); err != nil {
		return err
	}
	for d := range deliveries {
		c.note(d)
	}
	if err := c.settle(); err != nil {
		return err
	}
	return c.ch.Close()
}

func (c *consumer) note(d amqp.Delivery) {
	c.worker.ledger.deliver(c.end, c.queue, d)
	c.batch = append(c.batch, d)
}

// settle settles what was delivered: most is acknowledged, several at once, and some is put back
// or rejected.
func (c *consumer) settle() error {
	batch := c.batch
	c.batch = c.batch[:0]
	acks := 0 // that are owed for what came before
	for i, d := range batch {
		kill := c.worker.random.IntN(100) < c.kills
		requeue := !d.Redelivered && c.worker.random.IntN(100) < requeues
		if !kill && !requeue {
			acks++
			c.worker.ledger.settle(c.end, d.MessageId)
			continue
		}
		if acks > 0 {
			if err := batch[i-1].Ack(true); err != nil {
				return err
			}
		}
		acks = 0
		if err := d.Nack(false, requeue); err != nil {
			return err
		}
	}
	if acks > 0 {
		return batch[len(batch)-1].Ack(true)
	}
	return nil
}
