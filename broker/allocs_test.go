//go:build !race

// The race detector makes a sync.Pool forget at random what was put into it.

package broker

import (
	"fmt"
	"testing"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/message"
)

func TestRoutingDoesNotAllocate(t *testing.T) {
	n := newNode(t)
	n.exchange("fan", "fanout")
	n.exchange("top", "topic")
	n.bind("fan", "exchange", "top", "")
	for i := range 20 {
		n.queue(fmt.Sprint("q", i), with("x-max-length", int32(0)))
		n.bind("top", "queue", fmt.Sprint("q", i), "#")
	}
	f := func(what string, x *exchange.Exchange, keys ...string) {
		t.Helper()
		var messages []*message.Message
		for _, key := range keys {
			messages = append(messages, n.message(x.Name(), key, "m", amqp.Properties{}))
		}
		i := 0
		if got := testing.AllocsPerRun(100, func() {
			i++
			if len(n.router.route(n.now, n.v, x, messages[i%len(messages)], nil)) == 0 {
				t.Fatal("no route")
			}
		}); got != 0 {
			t.Errorf("%s: %v allocations, want none", what, got)
		}
	}
	find := func(name string) *exchange.Exchange { return n.v.exchanges.find(name).x }
	f("default, one key", find(""), "q1")
	f("default, changing keys", find(""), "q1", "q2", "q3")
	f("topic", find("top"), "a.b", "c.d")
	f("exchange to exchange", find("fan"), "a.b")
}
