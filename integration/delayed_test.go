package integration

import (
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/brokertest"
	"github.com/leveretmq/leveret/config"
)

func delayed(millis any, body string) amqp.Publishing {
	return amqp.Publishing{DeliveryMode: amqp.Persistent, Headers: amqp.Table{"x-delay": millis}, Body: []byte(body)}
}

func TestDelayedMessagesComeInTheOrderTheyAreDue(t *testing.T) { // EX-55
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	c.exchange("x", "x-delayed-message", amqp.Table{"x-delayed-type": "direct"})
	c.bind("x", c.queue("q", nil), "k", nil)
	got := c.consume("q", "")
	began := time.Now()
	c.send("x", "k", delayed(int32(120), "last"))
	c.send("x", "k", delayed(int64(60), "second"))
	c.send("x", "k", delayed("30", "first"))
	c.send("x", "k", amqp.Publishing{Body: []byte("now")})
	for i, want := range []struct {
		body  string
		after time.Duration
		delay any
	}{
		{"now", 0, nil},
		{"first", 30 * time.Millisecond, int32(-30)},
		{"second", 60 * time.Millisecond, int32(-60)},
		{"last", 120 * time.Millisecond, int32(-120)},
	} {
		d := next(t, got)
		if string(d.Body) != want.body || d.Headers["x-delay"] != want.delay {
			t.Errorf("%d: got %q with x-delay %v, want %q with %v", i, d.Body, d.Headers["x-delay"], want.body, want.delay)
		}
		if since := time.Since(began); since < want.after {
			t.Errorf("%s came after %v, want %v", d.Body, since, want.after)
		}
	}
	refused(t, c.another().ExchangeDeclare("y", "x-delayed-message", false, false, false, false, nil),
		amqp.PreconditionFailed, "PRECONDITION_FAILED - Invalid argument, 'x-delayed-type' must be an existing exchange type")
}

func TestDelayedMessagesSurviveRestart(t *testing.T) { // EX-55, DUR-7
	t.Parallel()
	s := brokertest.Start(t)
	c := connect(t, s)
	c.must(c.ExchangeDeclare("x", "x-delayed-message", true, false, false, false, amqp.Table{"x-delayed-type": "fanout"}))
	c.bind("x", c.durable("q", nil), "", nil)
	c.send("x", "", delayed(int32(3_600_000), "hour"))
	c.send("x", "", delayed(int32(50), "soon"))
	c.send("x", "", amqp.Publishing{Headers: amqp.Table{"x-delay": int32(100)}, Body: []byte("transient")})
	s.Restart()
	c = connect(t, s)
	got := c.consume("q", "")
	for _, want := range []string{"soon", "transient"} {
		if d := next(t, got); string(d.Body) != want {
			t.Errorf("got %q, want %q", d.Body, want)
		}
	}
	if got := metric(t, s, "leveret_delayed_messages"); got != 1 {
		t.Errorf("%v messages wait, want 1", got)
	}
	c.must(c.ExchangeDelete("x", false, false))
	if got := metric(t, s, "leveret_delayed_messages"); got != 0 {
		t.Errorf("%v messages wait at an exchange that is gone", got)
	}
}

func TestMandatoryDelayedMessageIsReturnedIfItGoesNowhere(t *testing.T) { // EX-55, PUB-4
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	c.exchange("x", "x-delayed-message", amqp.Table{"x-delayed-type": "direct"})
	c.bind("x", c.queue("q", nil), "k", nil)
	returns := c.NotifyReturn(make(chan amqp.Return, 2))
	for _, key := range []string{"k", "nowhere"} {
		d, err := c.PublishWithDeferredConfirmWithContext(t.Context(), "x", key, true, false, delayed(int32(10), key))
		c.must(err)
		if !c.confirmed(d) {
			t.Errorf("%s was refused", key)
		}
	}
	if r := next(t, returns); r.RoutingKey != "nowhere" || r.Headers["x-delay"] != int32(10) {
		t.Errorf("got %q back with %v", r.RoutingKey, r.Headers)
	}
	if d := next(t, c.consume("q", "")); string(d.Body) != "k" {
		t.Errorf("got %q", d.Body)
	}
}

func TestDefaultExchangeDelaysIfItIsTo(t *testing.T) { // EX-55
	t.Parallel()
	s := brokertest.Start(t, brokertest.WithConfig(func(c *config.Config) { c.DelayedDefaultExchange = true }))
	c := connect(t, s)
	c.durable("q", nil)
	got := c.consume("q", "")
	const delay = 200 * time.Millisecond
	sent := time.Now()
	c.send("", "q", delayed(int32(delay/time.Millisecond), "later"))
	c.publish("", "q", "now")
	came := make(map[string]time.Duration)
	for range 2 {
		d := next(t, got)
		came[string(d.Body)] = time.Since(sent)
	}
	// In which order they come is the machine's affair: to publish may take it longer.
	if after, ok := came["later"]; len(came) != 2 || !ok || after < delay-time.Millisecond {
		t.Errorf("got messages after %v, want two, and the later one after %v", came, delay)
	}
}

// A backlog that does not fit into memory comes whole. It takes seconds because nothing leaves
// memory that is due in two.
func TestManyDelayedMessagesLeaveMemoryAndComeBack(t *testing.T) { // S-16
	t.Parallel()
	s := brokertest.Start(t, brokertest.WithConfig(func(c *config.Config) { c.Store.QueueMemory = config.MiB }))
	c := connect(t, s)
	c.exchange("x", "x-delayed-message", amqp.Table{"x-delayed-type": "fanout"})
	c.bind("x", c.queue("q", nil), "", nil)
	const n = 4000
	body := make([]byte, 2048)
	for i := range n {
		body[0], body[1] = byte(i), byte(i>>8)
		c.must(c.PublishWithContext(t.Context(), "x", "", false, false, amqp.Publishing{
			Headers: amqp.Table{"x-delay": int32(3500 + i%100)}, Body: body,
		}))
	}
	c.publish("x", "", "now")
	if got := metric(t, s, "leveret_delayed_messages"); got != n {
		t.Errorf("%v messages wait, want %v", got, n)
	}
	got := c.consume("q", "")
	seen := make([]bool, n)
	for range n + 1 {
		d := next(t, got)
		if string(d.Body) == "now" {
			continue
		}
		i := int(d.Body[0]) | int(d.Body[1])<<8
		if seen[i] || len(d.Body) != len(body) {
			t.Fatalf("%d came twice, or with %d bytes", i, len(d.Body))
		}
		seen[i] = true
	}
}

func TestReturnedMessagesWaitForTheirRetry(t *testing.T) { // QQ-6
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	c.queue("q", amqp.Table{"x-delayed-retry-type": "failed", "x-delayed-retry-min": int32(40), "x-delivery-limit": int32(3)})
	c.publish("", "q", "bad", "good")
	got := c.consume("q", "")
	bad := next(t, got)
	c.must(bad.Nack(false, true)) // which is no failure
	good := next(t, got)
	again := next(t, got)
	if string(again.Body) != "bad" || string(good.Body) != "good" {
		t.Fatalf("got %q and %q", good.Body, again.Body)
	}
	began := time.Now()
	c.must(again.Reject(true))
	again = next(t, got)
	// It came back twice, so it waits for twice the time.
	if since := time.Since(began); since < 80*time.Millisecond {
		t.Errorf("it came after %v", since)
	}
	if again.Headers["x-delivery-count"] != int64(2) || !again.Redelivered {
		t.Errorf("got %v, redelivered %v", again.Headers, again.Redelivered)
	}
}
