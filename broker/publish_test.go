package broker

import (
	"fmt"
	"testing"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

// EX-26
func TestMessageVisitsEachExchangeAndEachQueueOnce(t *testing.T) {
	n := newNode(t)
	for _, x := range []string{"a", "b", "c"} {
		n.exchange(x, "fanout")
	}
	n.bind("a", "exchange", "b", "")
	n.bind("a", "exchange", "c", "")
	n.bind("b", "exchange", "c", "")
	n.bind("c", "exchange", "a", "") // a cycle
	n.bind("b", "exchange", "b", "") // and a short one
	n.queue("q")
	n.queue("r")
	for _, x := range []string{"a", "b", "c"} {
		n.bind(x, "queue", "q", "one")
		n.bind(x, "queue", "q", "two")
	}
	n.bind("c", "queue", "r", "")
	f := func(to, q, r string) {
		t.Helper()
		if !n.publish(to, "k", to, amqp.Properties{}) {
			t.Errorf("%s: not routed", to)
		}
		if got := n.bodies("q"); got != q {
			t.Errorf("%s: q has %q, want %q", to, got, q)
		}
		if got := n.bodies("r"); got != r {
			t.Errorf("%s: r has %q, want %q", to, got, r)
		}
	}
	f("a", "a", "a")
	f("b", "b", "b")
	f("c", "c", "c")
	for _, x := range []string{"a", "b", "c"} {
		if got := n.v.exchanges.find(x).x.PublishedIn.Load(); got != 3 {
			t.Errorf("%s was visited %d times by 3 messages", x, got)
		}
	}
}

func TestDeliveryKeepsTheExchangeAndKeyOfThePublish(t *testing.T) {
	n := newNode(t)
	n.exchange("a", "direct", alternate("b"))
	n.exchange("b", "fanout")
	n.exchange("c", "topic")
	n.bind("b", "exchange", "c", "")
	n.queue("q")
	n.bind("c", "queue", "q", "#")
	n.publish("a", "some.key", "m", amqp.Properties{})
	got := n.take("q")
	if len(got) != 1 || got[0].Exchange != "a" || got[0].RoutingKey != "some.key" {
		t.Errorf("got %+v, want one message of exchange a, key some.key", got)
	}
}

// EX-12
func TestAlternateExchangeTakesWhatLeadsNowhere(t *testing.T) {
	n := newNode(t)
	n.exchange("x", "direct", alternate("y"))
	n.exchange("y", "topic", alternate("x")) // comes round
	n.exchange("lost", "direct", alternate("nowhere"))
	n.exchange("home", "direct", alternate(""))
	n.queue("q")
	n.queue("rest")
	n.bind("x", "queue", "q", "k")
	n.bind("y", "queue", "rest", "other")
	f := func(to, key string, routed bool, q, rest string) {
		t.Helper()
		if got := n.publish(to, key, key, amqp.Properties{}); got != routed {
			t.Errorf("%s %s: routed %v, want %v", to, key, got, routed)
		}
		if got := n.bodies("q"); got != q {
			t.Errorf("%s %s: q has %q, want %q", to, key, got, q)
		}
		if got := n.bodies("rest"); got != rest {
			t.Errorf("%s %s: rest has %q, want %q", to, key, got, rest)
		}
	}
	f("x", "k", true, "k", "")
	f("x", "other", true, "", "other")
	f("x", "third", false, "", "")
	f("y", "k", true, "k", "")
	f("lost", "k", false, "", "")
	f("home", "q", true, "q", "") // the default exchange may be the alternate
	f("home", "k", false, "", "")
	// A binding to an exchange is a destination, even if that leads nowhere.
	n.exchange("empty", "fanout")
	n.bind("x", "exchange", "empty", "other")
	f("x", "other", false, "", "")
}

// PUB-10, EX-37
func TestEveryKeyOfTheMessageIsRouted(t *testing.T) {
	n := newNode(t)
	n.exchange("x", "topic")
	for _, q := range []string{"a", "b", "c"} {
		n.queue(q)
	}
	n.bind("x", "queue", "a", "to.a")
	n.bind("x", "queue", "b", "to.b")
	n.bind("x", "queue", "b", "to.*")
	f := func(to, key string, h amqp.Table, want string) {
		t.Helper()
		n.publish(to, key, "m", amqp.Properties{Headers: h})
		got := fmt.Sprintf("a:%s b:%s c:%s", n.bodies("a"), n.bodies("b"), n.bodies("c"))
		if got != want {
			t.Errorf("%s %s %v: got %q, want %q", to, key, h, got, want)
		}
	}
	keys := func(header string, keys ...any) amqp.Table {
		return amqp.Table{{Name: header, Value: amqp.Array(keys)}}
	}
	f("", "a", nil, "a:m b: c:")
	f("", "a", keys("CC", "b", "a"), "a:m b:m c:")
	f("", "nowhere", keys("BCC", "c"), "a: b: c:m")
	f("x", "to.a", keys("CC", "to.b"), "a:m b:m c:")
	f("x", "none", keys("BCC", "to.b", "to.b"), "a: b:m c:")
}

func TestRememberedRouteIsForgottenWhenItChanges(t *testing.T) {
	n := newNode(t)
	n.exchange("x", "direct", alternate("y"))
	n.queue("q")
	n.queue("r")
	n.bind("x", "queue", "q", "k")
	f := func(what, q, r string) {
		t.Helper()
		n.publish("x", "k", what, amqp.Properties{})
		if got := n.bodies("q"); got != q {
			t.Errorf("%s: q has %q, want %q", what, got, q)
		}
		if got := n.bodies("r"); got != r {
			t.Errorf("%s: r has %q, want %q", what, got, r)
		}
	}
	f("1", "1", "")
	f("2", "2", "")
	n.bind("x", "queue", "r", "k")
	f("3", "3", "3")
	n.unbind("x", "queue", "q", "k")
	f("4", "", "4")
	if _, _, err := n.v.DeleteQueue(n.now, "me", "r", queue.DeleteOptions{}, nil, &n.out); err != nil {
		t.Fatal(err)
	}
	n.queue("r")
	f("5", "", "")
	n.exchange("y", "fanout")
	n.bind("y", "queue", "r", "")
	f("6", "", "6")
	if _, err := n.v.DeleteExchange("y", false, nil); err != nil {
		t.Fatal(err)
	}
	f("7", "", "")
	n.bind("amq.fanout", "queue", "r", "")
	f("8", "", "")
	n.exchange("y", "fanout", alternate("amq.fanout"))
	f("9", "", "9")

	// The default exchange follows the queues there are.
	g := func(what string, want bool) {
		t.Helper()
		if got := n.publish("", "new", what, amqp.Properties{}); got != want {
			t.Errorf("%s: routed %v, want %v", what, got, want)
		}
	}
	g("before", false)
	n.queue("new")
	g("after", true)
	g("again", true)
}

func TestRememberedRouteBelongsToOneExchangeAndKey(t *testing.T) {
	n := newNode(t)
	n.exchange("h", "headers")
	n.queue("a")
	n.queue("b")
	match := bindingOf("h", "queue", "a", "")
	match.Arguments = amqp.Table{{Name: "to", Value: "a"}}
	if _, err := n.v.Bind("me", match, nil); err != nil {
		t.Fatal(err)
	}
	match = bindingOf("h", "queue", "b", "")
	match.Arguments = amqp.Table{{Name: "to", Value: "b"}}
	if _, err := n.v.Bind("me", match, nil); err != nil {
		t.Fatal(err)
	}
	f := func(to, key string, p amqp.Properties, a, b string) {
		t.Helper()
		n.publish(to, key, "m", p)
		if got := n.bodies("a") + "," + n.bodies("b"); got != a+","+b {
			t.Errorf("%q %q: got %q, want %q", to, key, got, a+","+b)
		}
	}
	for range 2 {
		f("h", "k", amqp.Properties{Headers: amqp.Table{{Name: "to", Value: "a"}}}, "m", "")
		f("h", "k", amqp.Properties{Headers: amqp.Table{{Name: "to", Value: "b"}}}, "", "m")
		f("", "a", amqp.Properties{}, "m", "")
		f("", "b", amqp.Properties{}, "", "m")
		f("", "b", amqp.Properties{}, "", "m")
		f("", "a", amqp.Properties{Headers: amqp.Table{{Name: "CC", Value: amqp.Array{"b"}}}}, "m", "m")
		f("", "a", amqp.Properties{}, "m", "")
	}
}

// confirmer notes what its publishes were answered.
type confirmer struct{ answers []string }

func (c *confirmer) Confirmed(seq uint64, ok bool, _ *message.Wakes) {
	c.answers = append(c.answers, fmt.Sprintf("%d:%v", seq, ok))
}

// CONF-3, CONF-4
func TestPublisherIsAnsweredWhenEveryQueueIsDone(t *testing.T) {
	n := newNode(t)
	n.exchange("x", "fanout")
	n.queue("durable")
	n.queue("transient", transientQueue)
	n.bind("x", "queue", "durable", "")
	n.bind("x", "queue", "transient", "")
	var c confirmer
	f := func(want string) {
		t.Helper()
		if got := fmt.Sprint(c.answers); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		c.answers = nil
	}
	m := n.message("x", "", "m", amqp.Properties{})
	n.publishConfirmed("x", m, message.NewConfirm(&c, 1))
	f("[]")
	if got, want := n.disk.unstored.Load(), int64(m.Size()); got != want {
		t.Errorf("%d bytes wait for the disk, want %d", got, want)
	}
	n.disk.commit()
	if got := n.disk.unstored.Load(); got != 0 {
		t.Errorf("%d bytes wait for the disk after the commit", got)
	}
	f("[1:true]")
	n.publishConfirmed("", n.message("", "transient", "m", amqp.Properties{}), message.NewConfirm(&c, 2))
	f("[2:true]")
	n.publishConfirmed("", n.message("", "nowhere", "m", amqp.Properties{}), message.NewConfirm(&c, 3))
	f("[3:true]")
	n.queue("full", with("x-max-length", int32(0)), with("x-overflow", "reject-publish"))
	n.bind("x", "queue", "full", "")
	n.publishConfirmed("x", n.message("x", "", "m", amqp.Properties{}), message.NewConfirm(&c, 4))
	n.disk.commit()
	f("[4:false]")
}

func TestExchangesCountWhatPassesThem(t *testing.T) {
	n := newNode(t)
	x := n.exchange("x", "fanout")
	n.queue("q")
	n.queue("r")
	n.bind("x", "queue", "q", "")
	n.bind("x", "queue", "r", "")
	for range 3 { // the first is routed, the others remembered
		n.publish("x", "k", "m", amqp.Properties{})
	}
	if in, out := x.PublishedIn.Load(), x.PublishedOut.Load(); in != 3 || out != 6 {
		t.Errorf("in %d, out %d; want 3 and 6", in, out)
	}
	if got := n.b.Counters.MessagesRouted.Load(); got != 3 {
		t.Errorf("routed %d, want 3", got)
	}
}

func BenchmarkPublish(b *testing.B) {
	f := func(name string, keys ...string) {
		b.Run(name, func(b *testing.B) {
			n := newNode(&testing.T{})
			for _, key := range keys {
				n.queue(key, transientQueue, with("x-max-length", int32(10)))
			}
			x := n.v.exchanges.find("").x
			var messages []*message.Message
			for _, key := range keys {
				messages = append(messages, n.message("", key, "0123456789", amqp.Properties{}))
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if !n.v.Publish(n.now, &n.router, x, messages[i%len(messages)], nil, &n.out) {
					b.Fatal("not routed")
				}
				i++
			}
		})
	}
	f("keys=1", "a")
	f("keys=4", "a", "b", "c", "d")
}
