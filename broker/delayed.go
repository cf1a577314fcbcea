package broker

import (
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

// headerDelay is the header with the milliseconds for which an exchange is to keep a message
// (EX-55).
const headerDelay = "x-delay"

// giveDelayed makes a place for messages that are not due yet, if the exchange is of the type
// for it or is the default exchange, of which only those are stored that have such a place.
// The store knows it by the exchange's own number.
func (b *Broker) giveDelayed(n *exchangeNode) {
	spec := n.x.Spec()
	if !n.x.Delays() && (spec.Name != exchange.Default || n.id == 0) {
		return
	}
	n.delayed = queue.NewDelayed(queue.ID(n.id), queue.Spec{VHost: spec.VHost, Name: spec.Name, Durable: spec.Durable}, b.messages)
	n.delayed.Attach(b.batched)
}

// delays tells whether messages may have to wait at an exchange. The default exchange keeps
// what it has when it does not delay any more.
func (b *Broker) delays(x *exchange.Exchange) bool {
	return x.Delays() || b.options.DelayedDefaultExchange && x.Name() == exchange.Default
}

// Delayed returns what keeps the messages that wait at an exchange, to be counted or purged;
// nil when there is no such exchange, or it is none at which messages wait.
func (v *VHost) Delayed(exchange string) *queue.Queue {
	n := v.exchanges.find(exchange)
	if n == nil {
		return nil
	}
	return n.delayed
}

// DelayedMessages is how many messages wait at all exchanges together.
func (b *Broker) DelayedMessages() (messages int64) {
	for _, v := range b.VHosts() {
		v.exchanges.each(func(n *exchangeNode) {
			if n.delayed != nil {
				ready, _ := n.delayed.Counts()
				messages += int64(ready)
			}
		})
	}
	return messages
}

// delayOf is for how long a message is to wait: milliseconds above zero, or 0 for not at all.
// The header may be any number, or a text that is an integer; what else there is in it
// delays nothing. Fractions of a millisecond count for nothing.
func delayOf(m *message.Message) int64 {
	view, err := amqp.ScanProperties(m.Properties())
	if err != nil {
		return 0
	}
	if _, _, there := amqp.FindHeader(view.Headers, headerDelay); !there {
		return 0
	}
	headers, err := m.Headers()
	if err != nil {
		return 0
	}
	v, _ := headers.Get(headerDelay)
	return max(wholeMillis(v), 0)
}

func wholeMillis(v any) int64 {
	if n, ok := amqp.AsInt64(v); ok {
		return n
	}
	switch v := v.(type) {
	case string:
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return n
		}
	case float32:
		return truncated(float64(v))
	case float64:
		return truncated(v)
	case amqp.Decimal:
		return truncated(float64(v.Value) / math.Pow10(int(v.Scale)))
	}
	return 0
}

// truncated is the integer part of a number, 0 for what is none.
func truncated(f float64) int64 {
	switch {
	case f != f:
		return 0
	case f >= math.MaxInt64:
		return math.MaxInt64
	case f <= math.MinInt64:
		return math.MinInt64
	}
	return int64(f)
}

// negated is a message as it is kept, and as it is delivered in the end: its delay has the
// opposite sign, so that nothing it comes through delays it again.
func negated(m *message.Message, millis int64) *message.Message {
	var p amqp.Properties
	if err := p.Decode(m.Properties()); err != nil {
		panic("broker: properties that were read before: " + err.Error())
	}
	p.Headers = p.Headers.With(headerDelay, shortest(-millis))
	kept, err := message.New(message.Content{
		Exchange:   m.Exchange,
		RoutingKey: m.RoutingKey,
		Properties: p.Append(nil),
		Body:       m.Body(),
		Dead:       m.Dead,
		More:       m.More,
	})
	if err != nil {
		panic("broker: a message that was read before: " + err.Error())
	}
	return kept
}

// shortest is n as the plugin writes it, where that has room for it.
func shortest(n int64) any {
	if n >= math.MinInt32 && n <= math.MaxInt32 {
		return int32(n)
	}
	return n
}

// waits notes that the message being followed is to wait at x, and reports false when it is
// not.
func (r *Router) waits(v *VHost, x *exchange.Exchange, m *message.Message) bool {
	if r.millis = delayOf(m); r.millis == 0 {
		return false
	}
	n := v.exchanges.find(x.Name())
	if n == nil || n.x != x || n.delayed == nil {
		return false
	}
	r.delayed = append(r.delayed, n)
	return true
}

// delay has a message wait at the exchanges that route found for that.
func (r *Router) delay(now time.Time, p queue.Put, out *queue.Effects) {
	p.Message = negated(p.Message, r.millis)
	for _, n := range r.delayed {
		n.delayed.Delay(now, p, r.millis, out)
	}
}

// leadsNowhere tells whether nothing that is bound now would take a delayed message. A
// publisher who wants to know is told at once, and the message does not wait: when its time
// comes there may be nobody to tell.
func (r *Router) leadsNowhere(v *VHost, m *message.Message) bool {
	for _, n := range r.delayed {
		r.found = r.found[:0]
		if n.x.Name() == exchange.Default {
			r.found = v.routeDefault(n.x, m, r.found)
		} else {
			r.found = n.x.Route(m, r.found)
		}
		if len(r.found) > 0 {
			return false
		}
		if name, ok := n.x.AlternateExchange(); ok && v.exchanges.find(name) != nil {
			return false
		}
	}
	return true
}

// fire routes a message that has waited at an exchange. It reports false when it came nowhere:
// nothing is bound that takes it, or the exchange was deleted.
func (v *VHost) fire(now time.Time, c *carrier, q *queue.Queue, l *queue.Letter, out *queue.Effects) bool {
	n := v.exchanges.find(l.Exchange)
	if n == nil || n.delayed != q {
		return false
	}
	return v.send(now, &c.router, n.x, queue.Put{Message: l.Message, Confirm: l.Confirm, Transfer: l.Transfer}, out)
}

// doomed are delayed queues whose exchanges were deleted. They go when the topology is not
// locked any more, with the effects of whoever comes first.
type doomed struct {
	mu     sync.Mutex // a leaf; guards the field below
	queues []doomedQueue
}

type doomedQueue struct {
	q     *queue.Queue
	drops bool // and what is stored of it
}

// doom has what waits at exchanges deleted. What is stored of keeps goes later.
func (v *VHost) doom(exchanges []*exchangeNode, keeps *queue.Queue) {
	d := &v.b.doomed
	for _, n := range exchanges {
		if n.delayed != nil {
			d.mu.Lock()
			d.queues = append(d.queues, doomedQueue{n.delayed, n.delayed != keeps})
			d.mu.Unlock()
		}
	}
}

func (d *doomed) take() (queues []doomedQueue) {
	d.mu.Lock()
	defer d.mu.Unlock()
	queues, d.queues = d.queues, nil
	return queues
}

// deleteDoomed reports whether there was anything to delete.
func (b *Broker) deleteDoomed(now time.Time, out *queue.Effects) bool {
	queues := b.doomed.take()
	for _, d := range queues {
		if _, err := d.q.Delete(now, queue.DeleteOptions{}, out); err != nil {
			panic("broker: queue refused to be deleted: " + err.Error())
		}
		b.timers.forget(d.q)
		b.memory.forget(d.q)
		if d.drops {
			b.messages.Drop(d.q.ID())
		}
	}
	return len(queues) > 0
}
