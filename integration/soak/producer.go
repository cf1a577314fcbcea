package main

import (
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// message is the next one of a lane, entered into the ledger by whoever publishes it.
func (l lane) message(w *worker, id string) amqp.Publishing {
	m := amqp.Publishing{
		MessageId:     id,
		CorrelationId: fmt.Sprint(w.random.Uint32()),
		ContentType:   "application/octet-stream",
		Headers:       amqp.Table{"lane": l.name},
		DeliveryMode:  amqp.Persistent,
		Timestamp:     time.Now(),
		Body:          w.body(l.least, l.most),
	}
	if l.dress != nil {
		l.dress(w, &m)
	}
	return m
}

// outstanding is a message that is out.
type outstanding struct {
	id      string
	confirm *amqp.DeferredConfirmation
}

// feed is the life of a producer: it publishes at its lane's rate, with a window, for half a minute
// or so. Then it waits for what is out and leaves. Sometimes it stays connected and opens another
// channel.
func (l lane) feed(w *worker) error {
	p, err := w.dial()
	if err != nil {
		return err
	}
	defer p.vanish()
	for range 1 + w.random.IntN(3) {
		if err := l.publish(w, p); err != nil {
			return err
		}
	}
	return p.Close()
}

func (l lane) publish(w *worker, p *peer) error {
	ch, err := p.Channel()
	if err != nil {
		return err
	}
	if err := ch.Confirm(false); err != nil {
		return err
	}
	returns := ch.NotifyReturn(make(chan amqp.Return, 1))
	go func() {
		for r := range returns { // until the channel is closed
			w.ledger.returned(r.MessageId, r.ReplyText)
		}
	}()
	room, heard := make(chan outstanding, window), make(chan struct{})
	go func() {
		defer close(heard)
		for o := range room {
			w.ledger.confirm(o.id, o.confirm.Wait())
		}
	}()
	err = l.stream(w, ch, room)
	close(room)
	if err != nil {
		return err
	}
	<-heard
	return ch.Close()
}

// stream publishes until its time is over, or the run.
func (l lane) stream(w *worker, ch *amqp.Channel, room chan<- outstanding) error {
	tick := time.NewTicker(time.Second / ticks)
	defer tick.Stop()
	owed := 0.0
	for left := w.between(time.Second, 40*time.Second); left > 0 && !w.over(); left -= time.Second / ticks {
		<-tick.C
		for owed += float64(l.rate) / ticks; owed >= 1; owed-- {
			// A number would do, but this one tells two runs on one broker apart.
			id := fmt.Sprintf("%s.%016x", l.name, w.random.Uint64())
			m := l.message(w, id)
			w.ledger.publish(id, m, time.Now().Add(l.slow+late), l.ends)
			mandatory := w.random.IntN(2) == 0 // each of them has a queue to go to
			confirm, err := ch.PublishWithDeferredConfirm(l.exchange, l.key, mandatory, false, m)
			if err != nil {
				return err
			}
			room <- outstanding{id, confirm}
		}
	}
	return nil
}
