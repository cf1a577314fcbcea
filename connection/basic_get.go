package connection

import (
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/queue"
)

// basicGet takes one message from a queue. No window limits it (QOS-5).
func (ch *Channel) basicGet(m *amqp.BasicGet) error {
	q, change, err := ch.readQueue(m.Queue)
	if err != nil {
		return err
	}
	if o := q.Options(); o.SingleActiveConsumer && o.Type == queue.Quorum {
		return amqp.ResourceLocked("cannot obtain access to locked %v. basic.get operations are not supported by quorum queues "+
			"with single active consumer", q)
	}
	ch.whenUsable(q, change, func() error {
		ch.get(q, m.NoAck)
		return nil
	}, m)
	return nil
}

func (ch *Channel) get(q *queue.Queue, noAck bool) {
	c := ch.c
	d, left, got := q.Get(c.now, noAck, &c.effects)
	switch got {
	case queue.GotNothing:
		ch.mu.Lock()
		ch.totals.GotEmpty++
		ch.mu.Unlock()
		c.send(ch.id, &amqp.BasicGetEmpty{})
		return
	case queue.GotLater:
		c.wait(q.WhenRead, func(time.Time) { ch.get(q, noAck) })
		return
	}
	if !noAck {
		ch.watch(timeoutOf(nil, q), c.now)
	}
	// Locked until it is appended, so that tags leave in order.
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.nextTag++
	tag := ch.nextTag
	if noAck {
		ch.totals.Got++
	} else {
		ch.totals.GotAck++
		ch.unacked.add(delivered{tag: tag, queue: q, position: d.Position, at: eighths(d.At)})
	}
	if d.Redelivered {
		ch.totals.Redelivered++
	}
	buf := amqp.AppendMethod(c.out.begin(), ch.id, &amqp.BasicGetOk{
		DeliveryTag:  tag,
		Redelivered:  d.Redelivered,
		Exchange:     d.Message.Exchange,
		RoutingKey:   d.Message.RoutingKey,
		MessageCount: uint32(left),
	})
	buf = c.out.appendContent(buf, ch.id, propertiesOf(d), d.Message.Body(), c.frameMax)
	c.sent(c.out.end(buf, &c.effects.Wakes))
}
