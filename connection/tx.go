package connection

import (
	"sync"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/message"
)

// settlementBytes is what a settlement counts for in a transaction.
const settlementBytes = 64

// transaction is what a channel published and settled since tx.select or the last commit
// or rollback (TX-2).
type transaction struct {
	publishes []txPublish
	settled   []txSettled
	bytes     int
}

type txPublish struct {
	m         *message.Message
	x         *exchange.Exchange
	mandatory bool
}

// txSettled is one acknowledgement. Its deliveries are out of the channel's unacked, and
// still fill its windows.
type txSettled struct {
	deliveries []delivered
	settlement settlement
}

func (ch *Channel) txSelect() error {
	if ch.confirming {
		return amqp.PreconditionFailed("cannot switch from confirm to tx mode")
	}
	if ch.tx == nil {
		ch.begin()
	}
	ch.c.send(ch.id, &amqp.TxSelectOk{})
	return nil
}

// begin starts a transaction.
func (ch *Channel) begin() {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.tx = new(transaction)
}

// publish keeps a message that was checked until the commit.
func (t *transaction) publish(c *Connection, m *message.Message, x *exchange.Exchange, mandatory bool) error {
	t.publishes = append(t.publishes, txPublish{m, x, mandatory})
	return t.grow(c, m.Size(), amqp.ClassBasic, amqp.MethodBasicPublish)
}

// settle keeps an acknowledgement until the commit.
func (t *transaction) settle(c *Connection, taken []delivered, s settlement) error {
	t.settled = append(t.settled, txSettled{append([]delivered(nil), taken...), s})
	return t.grow(c, len(taken)*settlementBytes, 0, 0)
}

// grow refuses a transaction that has become too large with 506.
func (t *transaction) grow(c *Connection, bytes int, class, method uint16) error {
	t.bytes += bytes
	c.holding += bytes
	if limit := c.opts.MaxTransactionBytes; t.bytes > limit {
		return amqp.ResourceError("transaction larger than %d bytes", limit).On(class, method)
	}
	return nil
}

// endTransaction is for when what a transaction holds is done or forgotten.
func (ch *Channel) endTransaction() {
	if ch.tx != nil {
		ch.c.holding -= ch.tx.bytes
		ch.tx.bytes = 0
	}
}

// takeSettled takes back the deliveries that were settled; the transaction forgets them.
func (t *transaction) takeSettled() []delivered {
	var all []delivered
	for _, s := range t.settled {
		all = append(all, s.deliveries...)
	}
	t.settled = nil
	return all
}

// txCommit does what was kept: publishes first, then settlements (TX-3). The answer waits
// for what a publisher's confirm would wait for. RabbitMQ is not atomic across queues;
// here everything reaches the disk together, so that a crash keeps all of it or nothing.
func (ch *Channel) txCommit() error {
	if ch.tx == nil {
		return amqp.PreconditionFailed("channel is not transactional")
	}
	c, t := ch.c, ch.tx
	ch.endTransaction()
	ch.begin()
	c.published = c.published || len(t.publishes) > 0

	w := new(commitWaiter)
	confirm := message.NewConfirm(w, 0)
	c.b.Together(func() {
		for _, p := range t.publishes {
			ch.countPublisher()
			ch.receive(p.m)
			ch.route(p.m, p.x, p.mandatory, confirm)
		}
		for _, s := range t.settled {
			ch.mu.Lock()
			ch.makeRoom(s.deliveries)
			ch.countSettled(s.deliveries, s.settlement)
			ch.mu.Unlock()
			ch.apply(s.deliveries, s.settlement)
		}
	})
	ch.resumeStarved()
	confirm.Release(&c.effects.Wakes)
	c.wait(w.then, func(time.Time) {
		if w.refused {
			ch.fail(amqp.PreconditionFailed("partial tx completion"), amqp.ClassTx, amqp.MethodTxCommit)
			return
		}
		c.send(ch.id, &amqp.TxCommitOk{})
	})
	return nil
}

// txRollback forgets what was kept. Settled deliveries are out again under the tags they
// had (TX-5).
func (ch *Channel) txRollback() error {
	if ch.tx == nil {
		return amqp.PreconditionFailed("channel is not transactional")
	}
	ch.mu.Lock()
	ch.unacked.restore(ch.tx.takeSettled())
	ch.endTransaction()
	ch.tx = new(transaction)
	ch.mu.Unlock()
	ch.c.send(ch.id, &amqp.TxRollbackOk{})
	return nil
}

// commitWaiter is the one confirm that all publishes of a transaction share.
type commitWaiter struct {
	refused bool // set before over, read after it

	mu   sync.Mutex // guards the fields below
	over bool
	done func(error)
}

// Confirmed implements message.Confirmer. A queue may be locked, so whoever waits is told
// at the end of the batch.
func (w *commitWaiter) Confirmed(_ uint64, ok bool, wakes *message.Wakes) {
	w.refused = !ok
	wakes.Add(w)
}

// Wake implements message.Waker.
func (w *commitWaiter) Wake(bool) {
	w.mu.Lock()
	w.over = true
	done := w.done
	w.mu.Unlock()
	if done != nil {
		done(nil)
	}
}

// then is a change that is over when all queues have what they need.
func (w *commitWaiter) then(done func(error)) (waiting bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = done
	return !w.over
}
