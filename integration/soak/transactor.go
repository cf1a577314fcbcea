package main

import (
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// transacted is the queue that is published to and consumed in transactions, by one client.
const transacted = "soak.transacted"

// transact is the life of a transactor: some times a second it publishes some messages, takes some
// out and acknowledges them, and commits that, or takes it back one time in four. It takes more
// than it publishes, so that the queue stays short.
func transact(w *worker) error {
	p, ch, err := w.open()
	if err != nil {
		return err
	}
	defer p.vanish()
	if err := ch.Tx(); err != nil {
		return err
	}
	var held []amqp.Delivery // what was taken out, and whose acknowledgement was taken back
	for lives := 20 + w.random.IntN(100); lives > 0 || len(held) > 0; lives-- {
		w.pause(200 * time.Millisecond)
		publishing := lives > 0 && !isClosed(w.stop)
		if held, err = once(w, ch, held, publishing); err != nil {
			return err
		}
		if w.over() && len(held) == 0 {
			break
		}
	}
	return p.Close()
}

// once is one transaction. It returns what is still held.
func once(w *worker, ch *amqp.Channel, held []amqp.Delivery, publishing bool) ([]amqp.Delivery, error) {
	for len(held) < 16 {
		d, ok, err := ch.Get(transacted, false)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		w.ledger.deliver("transacted", transacted, d)
		held = append(held, d)
	}
	back := publishing && w.random.IntN(4) == 0
	var ids []string
	for n := w.random.IntN(10); publishing && n > 0; n-- {
		l := lane{name: "transacted", least: 10, most: 4 << 10}
		id := fmt.Sprintf("transacted.%016x", w.random.Uint64())
		m := l.message(w, id)
		if !back { // what is taken back must never be seen, and the ledger knows nothing of it
			w.ledger.publish(id, m, time.Now().Add(late), []string{"transacted"})
			ids = append(ids, id)
		}
		if err := ch.Publish("", transacted, false, false, m); err != nil {
			return nil, err
		}
	}
	for _, d := range held {
		if err := d.Ack(false); err != nil {
			return nil, err
		}
	}
	if back {
		// What was acknowledged is not, and is held as before (TX-5).
		return held, ch.TxRollback()
	}
	if err := ch.TxCommit(); err != nil {
		return nil, err
	}
	for _, d := range held {
		w.ledger.settle("transacted", d.MessageId)
	}
	for _, id := range ids {
		w.ledger.confirm(id, true)
	}
	return nil, nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
