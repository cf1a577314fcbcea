package broker

import "github.com/leveretmq/leveret/queue"

// QueueTotals are what queues have counted, added up by queue.Type.
type QueueTotals [queue.Quorum + 1]queue.Totals

func (t *QueueTotals) count(q *queue.Queue) {
	t[q.Options().Type].Add(q.Stats().Totals)
}

// Add adds o to t.
func (t *QueueTotals) Add(o QueueTotals) {
	for i := range t {
		t[i].Add(o[i])
	}
}

// QueueTotals are what all queues have counted since the start, those that are gone
// included, so that a total never falls.
func (b *Broker) QueueTotals() QueueTotals {
	b.mu.RLock()
	defer b.mu.RUnlock()
	sum := b.former
	for _, v := range b.vhosts {
		sum.Add(v.totals())
	}
	return sum
}

// QueueTotals are what all queues of the virtual host have counted, those that are gone
// included.
func (v *VHost) QueueTotals() QueueTotals { return v.totals() }

// totals holds the topology still, so that a queue that is being deleted is counted once.
func (v *VHost) totals() QueueTotals {
	v.mu.Lock()
	defer v.mu.Unlock()
	sum := v.former
	v.queues.each(func(n *queueNode) { sum.count(n.q) })
	return sum
}
