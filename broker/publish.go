package broker

import (
	"slices"
	"time"

	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

// Publish routes m from x and puts it into every queue it reaches (EX-26, EX-12). It
// reports whether there was any: a queue that refuses m for its length has still been
// reached (PUB-6), and so has an exchange where m waits for its time (EX-55). Queues that
// store m hold c; the publisher's own hold is not released here. Where m goes from the queues
// is left in out.
func (v *VHost) Publish(now time.Time, r *Router, x *exchange.Exchange, m *message.Message, c *message.Confirm, out *queue.Effects) (routed bool) {
	return v.send(now, r, x, queue.Put{Message: m, Confirm: c}, out)
}

func (v *VHost) send(now time.Time, r *Router, x *exchange.Exchange, p queue.Put, out *queue.Effects) (routed bool) {
	queues := r.route(now, v, x, p.Message, p.Confirm)
	if len(r.delayed) > 0 && r.Mandatory && len(queues) == 0 && r.leadsNowhere(v, p.Message) {
		r.delayed = r.delayed[:0]
	}
	if len(r.originals) > 0 {
		r.publishOriginal(now, p, out)
	} else {
		for _, q := range queues {
			q.Publish(now, p, out)
		}
		if len(r.delayed) > 0 {
			r.delay(now, p, out)
		}
	}
	if len(queues)+len(r.delayed) == 0 {
		return false
	}
	v.b.Counters.MessagesRouted.Add(1)
	return true
}

// Router finds the queues of messages. It is a publisher's working memory: each goroutine
// that publishes has one, so that routing does not allocate, and it remembers the last
// route, because most publishers send to the same place again. The zero value is ready.
type Router struct {
	// Mandatory is set for a publisher who wants to be told that nobody wants a message. One
	// that is to wait does so only if it could be routed now.
	Mandatory bool

	found     []*binding.Destination
	exchanges []*exchange.Exchange // every one the message came through, in order
	queues    []*queue.Queue       // the answer
	delayed   []*exchangeNode      // where the message has to wait, for so many millis
	millis    int64

	// originals are the windows that m has come through and is the first to bring its value
	// to. They are to be told of what becomes of it.
	originals []original

	// last is the exchange that queues was found from, with key, in the given generation of
	// its virtual host. Nil when the answer depended on more than that.
	last       *exchange.Exchange
	key        []byte
	generation uint64
}

// route returns the queues that m reaches from x, each once. The answer is valid until the
// next call. c is held by windows of deduplication, as far as they have something to wait for.
func (r *Router) route(now time.Time, v *VHost, x *exchange.Exchange, m *message.Message, c *message.Confirm) []*queue.Queue {
	// The generation is read first: what changes while the route is worked out makes it
	// stale at once.
	generation := v.generation.Load()
	if r.last == x && r.generation == generation && m.More == nil && string(r.key) == m.RoutingKey {
		x.PublishedIn.Add(1)
		x.PublishedOut.Add(uint64(len(r.queues)))
		return r.queues
	}
	r.follow(now, v, x, m, c)
	r.queues = r.queues[:0]
	for _, d := range r.found {
		r.queues = append(r.queues, d.Target.(*queue.Queue))
	}
	r.last = nil
	if len(r.exchanges) == 1 && m.More == nil && x.ByKey() && !v.b.delays(x) {
		r.last, r.generation = x, generation
		r.key = append(r.key[:0], m.RoutingKey...)
	}
	return r.queues
}

// follow leaves in r.found the queues that m reaches from x, and in r.exchanges the
// exchanges it passes. Each is visited once, so that cycles are harmless.
func (r *Router) follow(now time.Time, v *VHost, x *exchange.Exchange, m *message.Message, c *message.Confirm) {
	r.found = r.found[:0]
	r.exchanges = append(r.exchanges[:0], x)
	r.delayed = r.delayed[:0]
	for i := 0; i < len(r.exchanges); i++ {
		from, start := r.exchanges[i], len(r.found)
		if v.b.delays(from) && r.waits(v, from, m) {
			continue
		}
		switch {
		case from.Name() == exchange.Default:
			r.found = v.routeDefault(from, m, r.found)
		case from.Deduplicates() && !r.admit(now, v, from, m, c):
			from.PublishedIn.Add(1)
		default:
			r.found = from.Route(m, r.found)
		}
		if len(r.found) == start {
			r.visitAlternate(v, from)
			continue
		}
		r.visitExchanges(start)
	}
	if len(r.exchanges) > 1 {
		r.found = binding.Compact(r.found, 0)
	}
}

// visitExchanges takes the exchanges out of r.found[start:] and has them visited.
func (r *Router) visitExchanges(start int) {
	queues := start
	for _, d := range r.found[start:] {
		if d.Kind == binding.Exchange {
			r.visit(d.Target.(*exchange.Exchange))
			continue
		}
		r.found[queues] = d
		queues++
	}
	r.found = r.found[:queues]
}

// visitAlternate goes on with the alternate exchange of one that led nowhere, if there is
// one and it exists (EX-12).
func (r *Router) visitAlternate(v *VHost, x *exchange.Exchange) {
	name, ok := x.AlternateExchange()
	if !ok {
		return
	}
	if n := v.exchanges.find(name); n != nil {
		r.visit(n.x)
	}
}

func (r *Router) visit(x *exchange.Exchange) {
	if !slices.Contains(r.exchanges, x) {
		r.exchanges = append(r.exchanges, x)
	}
}

// routeDefault appends the queues whose names are m's routing keys (EX-24).
func (v *VHost) routeDefault(x *exchange.Exchange, m *message.Message, dst []*binding.Destination) []*binding.Destination {
	start := len(dst)
	dst = v.appendQueue(dst, m.RoutingKey)
	if m.More != nil {
		for _, key := range m.More.CC {
			dst = v.appendQueue(dst, key)
		}
		for _, key := range m.More.BCC {
			dst = v.appendQueue(dst, key)
		}
		dst = binding.Compact(dst, start) // a queue gets one copy (PUB-10)
	}
	x.PublishedIn.Add(1)
	x.PublishedOut.Add(uint64(len(dst) - start))
	return dst
}

func (v *VHost) appendQueue(dst []*binding.Destination, name string) []*binding.Destination {
	if n := v.queues.find(name); n != nil {
		dst = append(dst, &n.destination)
	}
	return dst
}
