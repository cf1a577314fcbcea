package crash

import (
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/leveretmq/leveret/integration/crash/history"
	amqp "github.com/rabbitmq/amqp091-go"
)

// A producer publishes on one channel in confirm mode, with a window of messages out.
type producer struct {
	load     *load
	crew     *crew
	ch       *amqp.Channel
	writer   int
	sent     *history.Log // what was published; owned by publish
	outcomes *history.Log // what became of it; owned by listen
	random   *rand.Rand

	room chan struct{} // has an element for each message that is out

	mu  sync.Mutex   // guards the fields below
	ids []history.ID // by delivery tag, from 1
}

func (p *producer) begin() error {
	if err := p.ch.Confirm(false); err != nil {
		return err
	}
	p.room = make(chan struct{}, window)
	confirms := p.ch.NotifyPublish(make(chan amqp.Confirmation, window))
	p.crew.done.Go(func() { p.listen(confirms) })
	p.crew.done.Go(p.publish)
	return nil
}

// publish publishes until the connection is gone or the crew should stop.
func (p *producer) publish() {
	w := p.load
	for {
		select {
		case <-p.crew.stop:
			return
		case p.room <- struct{}{}:
		}
		w.seq[p.writer]++
		id := history.ID{Writer: uint32(p.writer), Seq: w.seq[p.writer]}

		exchange, key, to := "", "", []int{p.random.IntN(fed)}
		if p.random.IntN(8) == 0 {
			exchange, to = w.fanout(), fanned
		} else {
			key = w.queue(to[0])
		}
		msg := w.message(id, p.random, to[0])
		if len(to) > 1 && len(msg.Body) >= 64<<10 {
			w.large.Add(1)
		}
		numbers := make([]history.Queue, len(to))
		for i, q := range to {
			numbers[i] = w.numbers[q]
		}
		// Noted before it is sent: a confirm or a delivery may come at once.
		p.mu.Lock()
		p.ids = append(p.ids, id)
		p.mu.Unlock()
		p.sent.Published(id, described(msg), numbers...)
		if err := p.ch.Publish(exchange, key, false, false, msg); err != nil {
			return // the connection is gone; whether it was sent is unknown
		}
	}
}

// listen notes what the broker says of each message, until the channel is closed.
func (p *producer) listen(confirms <-chan amqp.Confirmation) {
	for c := range confirms {
		p.mu.Lock()
		known := c.DeliveryTag >= 1 && c.DeliveryTag <= uint64(len(p.ids))
		var id history.ID
		if known {
			id = p.ids[c.DeliveryTag-1]
		}
		p.mu.Unlock()
		if !known {
			p.crew.fail(fmt.Errorf("a confirm for tag %d, of %d published", c.DeliveryTag, len(p.ids)))
			continue
		}
		switch {
		case p.crew.dark.Load():
		case c.Ack:
			p.outcomes.Confirmed(id)
		default:
			p.outcomes.Refused(id)
		}
		<-p.room
	}
	// Nobody takes from the window any more; publish notices by its next message at the latest.
	for {
		select {
		case <-p.room:
		default:
			return
		}
	}
}
