package broker

import (
	"fmt"
	"testing"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/message"
)

// BenchmarkGrowth is what it costs to route a message and put it into a queue, in a virtual host
// with ever more of something. The messages go round 256 keys whatever there is, so that the
// processor's caches have as much to do.
func BenchmarkGrowth(b *testing.B) {
	const keys = 256
	f := func(what string, prepare func(n *node, count int) (x *exchange.Exchange, key func(i int) string)) {
		for _, count := range []int{1000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%s=%d", what, count), func(b *testing.B) {
				n := newNode(&testing.T{})
				x, key := prepare(n, count)
				var messages []*message.Message
				for i := range keys {
					messages = append(messages, n.message(x.Name(), key(i*count/keys), "0123456789", amqp.Properties{}))
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if !n.v.Publish(n.now, &n.router, x, messages[i%keys], nil, &n.out) {
						b.Fatal("not routed")
					}
				}
			})
		}
	}
	name := func(i int) string { return fmt.Sprint("q", i) }
	f("queues", func(n *node, count int) (*exchange.Exchange, func(int) string) {
		for i := range count {
			n.queue(name(i), transientQueue, with("x-max-length", int32(10)))
		}
		return n.v.exchanges.find("").x, name
	})
	bound := func(typ string, pattern func(i int) string) func(n *node, count int) *exchange.Exchange {
		return func(n *node, count int) *exchange.Exchange {
			x := n.exchange("x", typ)
			for i := range 10 {
				n.queue(name(i), transientQueue, with("x-max-length", int32(10)))
			}
			for i := range count {
				n.bind("x", "queue", name(i%10), pattern(i))
			}
			return x
		}
	}
	direct := bound("direct", name)
	f("direct-bindings", func(n *node, count int) (*exchange.Exchange, func(int) string) { return direct(n, count), name })
	// Each key matches one binding of its own.
	topic := bound("topic", func(i int) string {
		return fmt.Sprintf([]string{"a%d.*.c%[1]d", "a%d.#", "*.b%d.*", "#.c%d"}[i%4], i)
	})
	f("topic-bindings", func(n *node, count int) (*exchange.Exchange, func(int) string) {
		return topic(n, count), func(i int) string { return fmt.Sprintf("a%d.b%[1]d.c%[1]d", i) }
	})
}
