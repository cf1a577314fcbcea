package integration

import (
	"fmt"
	"sync"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/brokertest"
)

func TestShardsKeepTheirKeysOverRestartAndGrowth(t *testing.T) { // EX-50, EX-11
	t.Parallel()
	s := brokertest.Start(t)
	c := connect(t, s)
	c.must(c.ExchangeDeclare("shards", "x-consistent-hash", true, false, false, false, amqp.Table{"hash-header": "customer"}))
	shard := func(i, weight int) string {
		name := c.durable(fmt.Sprint("shard-", i), nil)
		c.bind("shards", name, fmt.Sprint(weight), nil)
		return name
	}
	shards := []string{shard(0, 10), shard(1, 10), shard(2, 20)}
	// where publishes one message for each customer and finds each in one queue.
	where := func() map[string]string {
		t.Helper()
		var all []*amqp.DeferredConfirmation
		for i := range 300 {
			d, err := c.PublishWithDeferredConfirmWithContext(t.Context(), "shards", fmt.Sprint(i), true, false,
				amqp.Publishing{Headers: amqp.Table{"customer": fmt.Sprint("c", i)}, Body: fmt.Append(nil, "c", i)})
			c.must(err)
			all = append(all, d)
		}
		for _, d := range all {
			c.confirmed(d)
		}
		found := make(map[string]string)
		for _, q := range shards {
			for _, m := range c.take(q) {
				found[string(m.Body)] = q
			}
		}
		if len(found) != 300 {
			t.Fatalf("got %d messages, want each of 300 once", len(found))
		}
		return found
	}
	before := where()
	s.Restart()
	c = connect(t, s)
	for customer, q := range where() {
		if before[customer] != q {
			t.Errorf("after the restart %s went to %s, want %s", customer, q, before[customer])
		}
	}
	added := shard(3, 10)
	shards = append(shards, added)
	moved := 0
	for customer, q := range where() {
		if before[customer] != q {
			moved++
			if q != added {
				t.Errorf("%s moved to %s, want it where it was or in %s", customer, q, added)
			}
		}
	}
	if moved < 30 || moved > 100 { // 60
		t.Errorf("got %d of 300 customers moved, want about a fifth", moved)
	}
}

func TestOneOfTheQueuesGetsTheMessage(t *testing.T) { // EX-51, EX-53
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	for _, kind := range []string{"x-random", "x-modulus-hash"} {
		x := c.exchange("one-"+kind, kind, nil)
		queues := []string{c.queue("", nil), c.queue("", nil)}
		for _, q := range queues {
			c.bind(x, q, "whatever", nil)
		}
		for i := range 100 {
			c.send(x, fmt.Sprint(i), amqp.Publishing{Headers: amqp.Table{"CC": []any{"further"}}})
		}
		first, second := len(c.take(queues[0])), len(c.take(queues[1]))
		if first+second != 100 || first < 20 || second < 20 {
			t.Errorf("%s: got %d and %d messages, want 100 in all, about half in each", kind, first, second)
		}
	}
}

// TestLocalRandomExchangePicksAClassicQueue, and nothing else may be bound to it (EX-52).
func TestLocalRandomExchangePicksAClassicQueue(t *testing.T) {
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	x := c.exchange("rpc", "x-local-random", nil)
	returned := c.NotifyReturn(make(chan amqp.Return, 1))
	c.must(c.PublishWithContext(t.Context(), x, "", true, false, amqp.Publishing{}))
	if r := <-returned; r.ReplyCode != amqp.NoRoute {
		t.Errorf("got %+v returned while nothing was bound, want 312", r)
	}
	queues := []string{c.queue("", nil), c.queue("", nil)}
	for _, q := range queues {
		c.bind(x, q, "", nil)
	}
	for i := range 100 {
		c.send(x, fmt.Sprint("key of no meaning ", i), amqp.Publishing{})
	}
	first, second := len(c.take(queues[0])), len(c.take(queues[1]))
	if first+second != 100 || first < 20 || second < 20 {
		t.Errorf("got %d and %d messages, want 100 in all, about half in each", first, second)
	}

	if _, err := c.QueueDeclare("quorum", true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
		t.Fatal(err)
	}
	f := func(text string, err error) {
		t.Helper()
		refused(t, err, amqp.PreconditionFailed, "PRECONDITION_FAILED - "+text)
	}
	f("Non empty binding 'k' key not permitted", c.another().QueueBind(queues[0], "k", x, false, nil))
	f("Destination not found", c.another().ExchangeBind("amq.fanout", "", x, false, nil))
	f("Queue type rabbit_quorum_queue not valid for this exchange type", c.another().QueueBind("quorum", "", x, false, nil))
}

func TestHashExchangesRefuseInTheWordsOfTheirPlugin(t *testing.T) { // EX-50, EX-5
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	c.exchange("hash", "x-consistent-hash", nil)
	c.queue("q", nil)
	f := func(text string, do func(*client) error) {
		t.Helper()
		refused(t, do(c.another()), amqp.PreconditionFailed, "PRECONDITION_FAILED - "+text)
	}
	f("hash-header and hash-property are mutually exclusive", func(c *client) error {
		return c.ExchangeDeclare("x", "x-consistent-hash", false, false, false, false,
			amqp.Table{"hash-header": "h", "hash-property": "message_id"})
	})
	f("Unsupported property: reply_to", func(c *client) error {
		return c.ExchangeDeclare("x", "x-consistent-hash", false, false, false, false, amqp.Table{"hash-property": "reply_to"})
	})
	f(`The binding key must be an integer: <<"heavy">>`, func(c *client) error {
		return c.QueueBind("q", "heavy", "hash", false, nil)
	})
	f("The binding key must be greater than 0", func(c *client) error {
		return c.QueueBind("q", "0", "hash", false, nil)
	})
	// One that is there already is compared and not checked: nothing but an alternate
	// exchange makes a difference (EX-6).
	c.exchange("hash", "x-consistent-hash", amqp.Table{"hash-property": "reply_to"})
}

func TestWhoComesLateGetsTheRecentHistory(t *testing.T) { // EX-54
	t.Parallel()
	s := brokertest.Start(t)
	c := connect(t, s)
	c.must(c.ExchangeDeclare("chat", "x-recent-history", true, false, false, false, amqp.Table{"x-recent-history-length": int32(3)}))
	for _, body := range []string{"a", "b", "c"} {
		c.send("chat", "k", amqp.Publishing{Body: []byte(body)})
	}
	c.send("chat", "k", amqp.Publishing{Headers: amqp.Table{"x-recent-history-no-store": true}, Body: []byte("secret")})
	c.send("chat", "last", amqp.Publishing{Headers: amqp.Table{"h": "v"}, Body: []byte("d")})
	join := func(name string, want ...string) {
		t.Helper()
		c.queue(name, nil)
		c.bind("chat", name, name, nil)
		got := c.take(name)
		c.has(name)
		if text := bodies(got); fmt.Sprint(text) != fmt.Sprint(want) {
			t.Errorf("%s: got %q, want %q", name, text, want)
		}
		if last := got[len(got)-1]; last.Exchange != "chat" || last.RoutingKey != "last" || last.Headers["h"] != "v" {
			t.Errorf("%s: got %+v, want it as it was published", name, last)
		}
	}
	join("first", "b", "c", "d")
	c.bind("chat", "first", "first", nil) // there already
	c.has("first")
	c.bind("chat", "first", "again", nil) // a new binding is a new listener, as in 3.10
	c.has("first", "b", "c", "d")

	// Through an exchange that is bound, oldest first.
	c.exchange("rooms", "topic", nil)
	c.queue("room", nil)
	c.bind("rooms", "room", "last", nil)
	c.must(c.ExchangeBind("rooms", "", "chat", false, nil))
	c.has("room", "d")

	s.Restart()
	c = connect(t, s)
	join("late", "b", "c", "d")
	c.must(c.ExchangeDelete("chat", false, false))
	c.must(c.ExchangeDeclare("chat", "x-recent-history", true, false, false, false, nil))
	c.queue("new", nil)
	c.bind("chat", "new", "", nil)
	c.has("new") // nothing of the one before
	s.Restart()
	c = connect(t, s)
	c.queue("new", nil)
	c.bind("chat", "new", "", nil)
	c.has("new")
}

func TestRetryOverRestartIsNotDeliveredTwice(t *testing.T) { // EX-56, S-12
	t.Parallel()
	s := brokertest.Start(t)
	c := connect(t, s)
	declare := func(name, persistence string) {
		t.Helper()
		c.must(c.ExchangeDeclare(name, "x-message-deduplication", true, false, false, false,
			amqp.Table{"x-cache-size": int32(1000), "x-cache-persistence": persistence}))
		c.durable("q-"+name, nil)
		c.bind(name, "q-"+name, "", nil)
	}
	declare("orders", "disk")
	declare("events", "memory")
	// send publishes with a value, and reports whether it was routed; it is confirmed anyhow.
	send := func(x string, v any) bool {
		t.Helper()
		ch := c.another()
		returns := ch.NotifyReturn(make(chan amqp.Return, 1))
		d, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), x, "k", true, false, amqp.Publishing{
			DeliveryMode: amqp.Persistent, Body: fmt.Append(nil, v), Headers: amqp.Table{"x-deduplication-header": v}})
		c.must(err)
		if !ch.confirmed(d) {
			t.Errorf("%v: got a nack, want an ack", v)
		}
		select {
		case r := <-returns:
			if r.ReplyText != "NO_ROUTE" {
				t.Errorf("%v: got %q, want NO_ROUTE", v, r.ReplyText)
			}
			return false
		default: // a return comes before its confirm
			return true
		}
	}
	f := func(x string, v any, want bool) {
		t.Helper()
		if got := send(x, v); got != want {
			t.Errorf("%s, %v: routed %v, want %v", x, v, got, want)
		}
	}
	for _, x := range []string{"orders", "events"} {
		f(x, "order-1", true)
		f(x, "order-1", false)
		f(x, int32(1), true)
		f(x, int64(1), false)
	}
	c.has("q-events", "order-1", "1")

	s.Restart()
	c = connect(t, s)
	f("orders", "order-1", false)
	f("orders", int64(1), false)
	f("events", "order-1", true) // forgotten, as asked for
	c.has("q-orders", "order-1", "1")
	c.must(c.ExchangeDelete("orders", false, false))
	declare("orders", "disk")
	f("orders", "order-1", true) // another exchange, with nothing seen
}

func TestQueueKeepsOutWhatItHas(t *testing.T) { // EX-56
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	c.durable("jobs", amqp.Table{"x-message-deduplication": true})
	publish := func(body string, job any) {
		t.Helper()
		if !c.send("", "jobs", amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body),
			Headers: amqp.Table{"x-deduplication-header": job}}) {
			t.Errorf("%s: got a nack, want an ack", body)
		}
	}
	publish("a", "job")
	publish("b", "job")
	publish("c", int32(7))
	publish("d", int64(7))
	c.counts("jobs", 2, 0)
	got := receive(t, c.consume("jobs", "worker"), 2)
	publish("e", "job") // it is being worked on
	c.must(got[0].Ack(false))
	c.must(c.Cancel("worker", false))
	publish("f", "job")
	c.has("jobs", "f")
}

func TestPublishersOfTheSameValuesDeliverEachOnce(t *testing.T) { // EX-56, S-12
	t.Parallel()
	s := brokertest.Start(t)
	c := connect(t, s)
	c.must(c.ExchangeDeclare("d", "x-message-deduplication", true, false, false, false,
		amqp.Table{"x-cache-size": int32(1000), "x-cache-persistence": "disk"}))
	queues := []string{c.durable("one", nil), c.durable("two", nil)}
	for _, q := range queues {
		c.bind("d", q, "", nil)
	}
	var all sync.WaitGroup
	for range 4 {
		p := connect(t, s)
		all.Go(func() {
			var confirms []*amqp.DeferredConfirmation
			for i := range 200 {
				d, err := p.PublishWithDeferredConfirmWithContext(t.Context(), "d", "", false, false, amqp.Publishing{
					DeliveryMode: amqp.Persistent, Body: fmt.Append(nil, i), Headers: amqp.Table{"x-deduplication-header": int32(i)}})
				if err != nil {
					t.Error(err)
					return
				}
				confirms = append(confirms, d)
			}
			for _, d := range confirms {
				if acked, err := d.WaitContext(t.Context()); !acked || err != nil {
					t.Errorf("got %v and %v, want every publish confirmed", acked, err)
				}
			}
		})
	}
	all.Wait()
	for _, q := range queues {
		seen := make(map[string]bool)
		got := c.take(q)
		for _, d := range got {
			seen[string(d.Body)] = true
		}
		if len(got) != 200 || len(seen) != 200 {
			t.Errorf("%s: got %d messages with %d values, want each of 200 once", q, len(got), len(seen))
		}
	}
	s.Restart()
	c = connect(t, s)
	for i := range 200 {
		c.send("d", "", amqp.Publishing{Headers: amqp.Table{"x-deduplication-header": int32(i)}})
	}
	c.has("one")
}
