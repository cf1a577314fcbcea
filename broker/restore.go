package broker

import (
	"fmt"
	"time"

	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// restoreTopology brings back exchanges, queues and bindings. Records that belong to
// something which is no longer there are garbage and are deleted (S-5).
func (b *Broker) restoreTopology(now time.Time, c topology.Catalog, messages func(queue.ID) (queue.Restored, error), out *queue.Effects) error {
	var garbage []topology.Record
	past := pasts(c)
	exchanges, queues := newest(c)
	for _, r := range c.Exchanges {
		v := b.vhosts[r.Spec.VHost]
		if v == nil || exchanges[place{r.Spec.VHost, r.Spec.Name}] != r.ID {
			garbage = append(garbage, r)
			b.messages.Drop(queue.ID(r.ID))
			continue
		}
		if err := v.restoreExchange(now, r, past[r.ID], messages, out); err != nil {
			return err
		}
	}
	for _, v := range b.VHosts() {
		if err := v.completePredeclared(); err != nil {
			return err
		}
	}
	for _, r := range c.Queues {
		v := b.vhosts[r.Spec.VHost]
		if v == nil || queues[place{r.Spec.VHost, r.Spec.Name}] != r.ID {
			garbage = append(garbage, r)
			b.messages.Drop(r.ID)
			continue
		}
		if err := v.restoreQueue(now, r, messages, out); err != nil {
			return err
		}
	}
	for _, r := range c.Bindings {
		if v := b.vhosts[r.VHost]; v == nil || !v.restoreBinding(r) {
			garbage = append(garbage, r)
		}
	}
	b.writeDeletes(garbage)
	return nil
}

// place is a virtual host and the name of something there.
type place struct{ vhost, name string }

// newest are the exchanges and queues that count: those deleted late may have outlived
// their successors' declaration when the broker died in between (S-9).
func newest(c topology.Catalog) (exchanges map[place]uint64, queues map[place]queue.ID) {
	exchanges = make(map[place]uint64, len(c.Exchanges))
	for _, r := range c.Exchanges {
		p := place{r.Spec.VHost, r.Spec.Name}
		exchanges[p] = max(exchanges[p], r.ID)
	}
	queues = make(map[place]queue.ID, len(c.Queues))
	for _, r := range c.Queues {
		p := place{r.Spec.VHost, r.Spec.Name}
		queues[p] = max(queues[p], r.ID)
	}
	return exchanges, queues
}

// past is what an exchange has kept.
type past struct {
	history []*message.Message
	windows []queue.Window
}

func pasts(c topology.Catalog) map[uint64]past {
	all := make(map[uint64]past)
	for _, h := range c.Histories {
		p := all[uint64(h.ID)]
		p.history = h.Messages
		all[uint64(h.ID)] = p
	}
	for _, w := range c.Windows {
		p := all[uint64(w.ID)]
		p.windows = append(p.windows, w)
		all[uint64(w.ID)] = p
	}
	return all
}

// restoreExchange brings back an exchange, and what waits there for its time.
func (v *VHost) restoreExchange(now time.Time, r topology.Exchange, p past, messages func(queue.ID) (queue.Restored, error), out *queue.Effects) error {
	n, err := v.putExchange(now, r, p)
	if err != nil || n.delayed == nil {
		return err
	}
	restored, err := messages(n.delayed.ID())
	if err != nil {
		return fmt.Errorf("restore delayed messages of %s: %w", r.Spec.Resource(), err)
	}
	n.delayed.Restore(now, restored, out)
	return nil
}

func (v *VHost) putExchange(now time.Time, r topology.Exchange, p past) (*exchangeNode, error) {
	x, err := exchange.New(r.Spec, v.b.seed)
	if err != nil {
		return nil, fmt.Errorf("restore %s: %w", r.Spec.Resource(), err)
	}
	x.RestoreHistory(p.history)
	n := newExchangeNode(r.ID, x)
	v.b.giveDelayed(n)
	v.applyTo(n)
	v.b.keepHistory(n)
	v.b.openWindow(n)
	n.window.restore(now.UnixMilli(), p.windows)
	v.exchanges.put(r.Spec.Name, n)
	v.countExchange(n, 1)
	return n, nil
}

func (v *VHost) restoreQueue(now time.Time, r topology.Queue, messages func(queue.ID) (queue.Restored, error), out *queue.Effects) error {
	r.Spec.By = v.b.userName(r.Spec.By)
	options, err := queue.ParseArguments(r.Spec)
	if err != nil {
		return fmt.Errorf("restore queue '%s' in vhost '%s': %w", r.Spec.Name, v.name, err)
	}
	restored, err := messages(r.ID)
	if err != nil {
		return fmt.Errorf("restore queue '%s' in vhost '%s': %w", r.Spec.Name, v.name, err)
	}
	options, applied := v.newQueueOptions(r.Spec, options)
	q := v.b.newQueue(r.ID, r.Spec, options)
	q.Restore(now, restored, out)
	n := newQueueNode(q, nil)
	n.applied.Store(applied)
	v.queues.put(r.Spec.Name, n)
	v.queueCount++
	v.credit(r.Spec.By, made{queues: 1})
	v.b.queueCount.Add(1)
	return nil
}

// restoreBinding reports whether both ends are the ones the binding was made for.
func (v *VHost) restoreBinding(r topology.Binding) bool {
	source := v.exchanges.find(r.Binding.Source)
	to, ok := v.end(r.Binding.Kind, r.Binding.Destination)
	if source == nil || !ok || source.id != r.SourceID || to.id != r.DestinationID {
		return false
	}
	r.Binding.By = v.b.userName(r.Binding.By)
	if v.bindings.Add(r.Binding) {
		v.credit(r.Binding.By, made{bindings: 1})
		source.x.Bind(r.Binding, to.destination)
	}
	return true
}

// end is what a binding may lead to.
type end struct {
	destination *binding.Destination
	id          uint64
	durable     bool
}

func (v *VHost) end(kind binding.Kind, name string) (end, bool) {
	if kind == binding.Exchange {
		n := v.exchanges.find(name)
		if n == nil {
			return end{}, false
		}
		return end{&n.destination, n.id, n.durable}, true
	}
	n := v.queues.find(name)
	if n == nil {
		return end{}, false
	}
	return end{&n.destination, uint64(n.q.ID()), n.durable}, true
}
