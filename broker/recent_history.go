package broker

import (
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

// storedHistoryBytes is how much of a recent history survives a restart. It is written
// whole whenever it has changed, though at most ten times a second, so it is small: the
// newest messages as far as they fit. RabbitMQ's plugin keeps none.
const storedHistoryBytes = 64 << 10

// storedHistory has the recent history of a durable exchange stored, some time soon after each
// change (EX-54). It is the queue.Collector of its exchange; no confirm waits for it.
type storedHistory struct {
	id    queue.ID
	x     *exchange.Exchange
	store queue.Store
	gone  atomic.Bool // the exchange was deleted
}

// keepHistory has the history of a durable exchange stored from now on. It is called before
// anybody can find the exchange.
func (b *Broker) keepHistory(n *exchangeNode) {
	if !n.durable || !n.x.KeepsHistory() {
		return
	}
	n.history = &storedHistory{id: queue.ID(n.id), x: n.x, store: b.messages}
	n.x.OnHistory(func() { b.messages.EnlistSettled(n.history) })
}

// forget has what is stored deleted.
func (h *storedHistory) forget() {
	if h == nil {
		return
	}
	h.gone.Store(true)
	h.store.Drop(h.id)
}

// ID implements queue.Collector.
func (h *storedHistory) ID() queue.ID { return h.id }

// Collect implements queue.Collector.
func (h *storedHistory) Collect(*queue.Batch) (more bool) { return false }

// CollectSettled implements queue.Collector.
func (h *storedHistory) CollectSettled(b *queue.Batch, _ []queue.Position) {
	recent, changed := h.x.TakeHistory()
	if !changed || h.gone.Load() {
		return
	}
	first, bytes := len(recent), 0
	for first > 0 {
		if bytes += recent[first-1].Size(); bytes > storedHistoryBytes {
			break
		}
		first--
	}
	b.Histories = append(b.Histories, queue.History{ID: h.id, Messages: recent[first:]})
}

// Stored implements queue.Collector.
func (h *storedHistory) Stored(uint64, *message.Wakes) {}

// replay delivers the history of an exchange to what was just bound to it: a queue, or the
// queues that another exchange leads to. It begins a batch of its own, because whoever
// binds may have no use for one, and nothing may be locked.
func (v *VHost) replay(to *binding.Destination, history []*message.Message) {
	if len(history) == 0 {
		return
	}
	v.b.batch(func(now time.Time, out *queue.Effects) {
		var r Router
		for _, m := range history {
			switch target := to.Target.(type) {
			case *queue.Queue:
				target.Publish(now, queue.Put{Message: m}, out)
			case *exchange.Exchange:
				v.Publish(now, &r, target, m, nil, out)
			}
		}
	})
}
