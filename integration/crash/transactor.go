package crash

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/leveretmq/leveret/integration/crash/history"
	amqp "github.com/rabbitmq/amqp091-go"
)

// A transactor does everything in transactions: it publishes to several queues, takes messages
// out of one and acknowledges them, and then commits, or in one of four takes it all back.
type transactor struct {
	load     *load
	crew     *crew
	ch       *amqp.Channel
	sent     *history.Log // what was published and what became of it
	received *history.Log // what was taken out
	random   *rand.Rand

	held []delivery // delivered and not acknowledged
}

var errNobodySent = errors.New("a message nobody sent")

// transactions is the writer of what transactors publish.
const transactions = producers

func (x *transactor) begin() error {
	if err := x.ch.Tx(); err != nil {
		return err
	}
	x.crew.done.Go(func() {
		for {
			select {
			case <-x.crew.stop:
				return
			default:
			}
			if err := x.once(); err != nil {
				if errors.Is(err, errNobodySent) {
					x.crew.fail(err)
				}
				x.received.Lost()
				return
			}
		}
	})
	return nil
}

// once is one transaction. An error is the end of the connection, unless the broker did something
// that nobody asked for.
func (x *transactor) once() error {
	w := x.load
	for len(x.held) < 3 {
		d, ok, err := x.ch.Get(w.queue(queueTx), false)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		id, err := parseID(d.MessageId)
		if err != nil {
			return fmt.Errorf("%w, from %s: %+v: %w", errNobodySent, w.queue(queueTx), d, err)
		}
		x.received.Delivered(w.numbers[queueTx], id, digest(published(d)), d.Redelivered)
		x.held = append(x.held, delivery{d.DeliveryTag, id})
	}
	back := x.random.IntN(4) == 0
	var ids []history.ID
	for range 1 + x.random.IntN(4) {
		to := x.random.IntN(fed)
		w.seq[transactions]++
		id := history.ID{Writer: transactions, Seq: w.seq[transactions]}
		msg := w.message(id, x.random, to)
		if !back { // what is taken back was never published, and may never be seen
			x.sent.Published(id, described(msg), w.numbers[to])
			ids = append(ids, id)
		}
		if err := x.ch.Publish("", w.queue(to), false, false, msg); err != nil {
			return err
		}
	}
	for _, d := range x.held {
		if !back {
			x.received.Acked(w.numbers[queueTx], d.id)
		}
		if err := x.ch.Ack(d.tag, false); err != nil {
			return err
		}
	}
	if back {
		// What was acknowledged is not, and is still held (TX-5).
		return x.ch.TxRollback()
	}
	if err := x.ch.TxCommit(); err != nil || x.crew.dark.Load() {
		return errors.Join(err, x.darkness())
	}
	for _, id := range ids {
		x.sent.Confirmed(id)
	}
	if len(x.held) > 0 {
		x.received.Processed()
	}
	x.held = nil
	return nil
}

// darkness ends a transactor once the power is cut.
func (x *transactor) darkness() error {
	if x.crew.dark.Load() {
		return amqp.ErrClosed
	}
	return nil
}
