package integration

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/brokertest"
)

func TestExchangesRouteByTheirType(t *testing.T) { // EX-30 to EX-35
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	f := func(kind, bound, key string, arguments, headers amqp.Table, want bool) {
		t.Helper()
		q := c.queue("", nil)
		x := c.exchange("x-"+q, kind, nil)
		c.bind(x, q, bound, arguments)
		c.send(x, key, amqp.Publishing{Headers: headers})
		if got := len(c.take(q)) == 1; got != want {
			t.Errorf("%s exchange, bound %q %v, message %q %v: got %v, want %v", kind, bound, arguments, key, headers, got, want)
		}
	}
	f("direct", "a.b", "a.b", nil, nil, true)
	f("direct", "a.*", "a.b", nil, nil, false)
	f("fanout", "", "anything", nil, nil, true)
	f("topic", "a.*.c", "a.b.c", nil, nil, true)
	f("topic", "a.*", "a.b.c", nil, nil, false)
	f("topic", "a.#", "a", nil, nil, true)
	f("topic", "#.b.#", "a.b.c", nil, nil, true)
	f("topic", "*", "", nil, nil, false)
	all := amqp.Table{"x-match": "all", "h": "v", "n": int64(1)}
	f("headers", "", "", all, amqp.Table{"h": "v", "n": int32(1), "more": true}, true)
	f("headers", "", "", all, amqp.Table{"h": "v"}, false)
	f("headers", "", "", amqp.Table{"x-match": "any", "h": "v", "n": int64(1)}, amqp.Table{"h": "v"}, true)
	f("headers", "", "", amqp.Table{"x-match": "any"}, amqp.Table{"h": "v"}, false)
	f("headers", "", "", amqp.Table{}, nil, true)
}

func TestMessageReachesAQueueOnceThroughExchanges(t *testing.T) { // EX-26, EX-27
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	q := c.queue("q", nil)
	for _, x := range []string{"in", "left", "right"} {
		c.exchange(x, "topic", nil)
	}
	for _, to := range []string{"left", "right"} {
		c.must(c.ExchangeBind(to, "a.#", "in", false, nil))
		c.must(c.ExchangeBind("in", "#", to, false, nil)) // a cycle
		c.bind(to, q, "*.b", nil)
	}
	c.bind("in", q, "#", nil)
	c.publish("in", "a.b", "m")
	got := c.take(q)
	if len(got) != 1 || got[0].Exchange != "in" || got[0].RoutingKey != "a.b" {
		t.Errorf("got %+v, want one copy, as it was published", got)
	}
	c.must(c.ExchangeUnbind("left", "a.#", "in", false, nil))
	c.must(c.QueueUnbind(q, "#", "in", nil))
	c.must(c.ExchangeDelete("right", false, false))
	c.publish("in", "a.b", "m")
	c.has(q)
}

func TestAlternateExchangeTakesWhatIsNotRouted(t *testing.T) { // EX-12
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	c.exchange("x", "direct", amqp.Table{"alternate-exchange": "rest"})
	returns := c.NotifyReturn(make(chan amqp.Return, 1))
	publish := func() {
		t.Helper()
		d, err := c.PublishWithDeferredConfirmWithContext(t.Context(), "x", "k", true, false, amqp.Publishing{Body: []byte("m")})
		c.must(err)
		c.confirmed(d)
	}
	publish() // there is none yet
	if r := next(t, returns); r.ReplyText != "NO_ROUTE" {
		t.Errorf("got %q, want NO_ROUTE", r.ReplyText)
	}
	c.exchange("rest", "fanout", nil)
	c.bind("rest", c.queue("q", nil), "", nil)
	publish()
	if got := c.take("q"); len(got) != 1 || got[0].Exchange != "x" || got[0].RoutingKey != "k" {
		t.Errorf("got %+v, want the message as it was published to x", got)
	}
	c.bind("x", c.queue("direct", nil), "k", nil)
	publish()
	c.has("q")
	c.has("direct", "m")
	select {
	case r := <-returns:
		t.Errorf("got %+v back, want nothing: it was routed", r)
	default:
	}
}

func TestAutoDeleteExchangeGoesWithItsLastBinding(t *testing.T) { // EX-9
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	c.must(c.ExchangeDeclare("x", "fanout", false, true, false, false, nil))
	c.must(c.ExchangeDeclare("y", "fanout", false, true, false, false, nil))
	c.must(c.ExchangeBind("x", "", "y", false, nil))
	c.bind("x", c.queue("q", nil), "", nil)
	if _, err := c.QueueDelete("q", false, false, false); err != nil {
		t.Fatal(err)
	}
	for _, x := range []string{"x", "y"} {
		err := c.another().ExchangeDeclarePassive(x, "fanout", false, true, false, false, nil)
		refused(t, err, amqp.NotFound, "NOT_FOUND - no exchange '"+x+"' in vhost '/'")
	}
}
