package integration

import (
	"context"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/brokertest"
	"github.com/leveretmq/leveret/config"
)

// TestPublishersAreStoppedByAnAlarm, and nobody else is (RES-2, RES-3, C-34).
func TestPublishersAreStoppedByAnAlarm(t *testing.T) {
	s := brokertest.Start(t)
	p, consumer := connect(t, s), connect(t, s)
	q := p.durable("q", nil)
	blocked := p.conn.NotifyBlocked(make(chan amqp.Blocking, 4))
	other := consumer.conn.NotifyBlocked(make(chan amqp.Blocking, 4))
	got, err := consumer.Consume(q, "", true, false, false, false, nil)
	consumer.must(err)
	publish := func(body string) *amqp.DeferredConfirmation {
		t.Helper()
		c, err := p.PublishWithDeferredConfirm("", q, false, false, amqp.Publishing{DeliveryMode: 2, Body: []byte(body)})
		p.must(err)
		return c
	}
	confirmed := func(c *amqp.DeferredConfirmation) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if ok, err := c.WaitContext(ctx); !ok || err != nil {
			t.Fatalf("got %v and %v, want a confirm", ok, err)
		}
	}
	delivered := func(body string) {
		t.Helper()
		select {
		case d := <-got:
			if string(d.Body) != body {
				t.Fatalf("got %q, want %q", d.Body, body)
			}
		case <-time.After(patience):
			t.Fatalf("got nothing, want %q", body)
		}
	}
	told := func(want amqp.Blocking) {
		t.Helper()
		select {
		case b := <-blocked:
			if b != want {
				t.Fatalf("got %+v, want %+v", b, want)
			}
		case <-time.After(patience):
			t.Fatalf("got nothing, want %+v", want)
		}
	}

	for _, reason := range []string{"low on disk", "low on memory"} {
		alarm := map[string]broker.Alarm{"low on disk": broker.DiskAlarm, "low on memory": broker.MemoryAlarm}[reason]
		s.SetAlarm(alarm, true)
		first := publish("first")
		confirmed(first)
		delivered("first")
		told(amqp.Blocking{Active: true, Reason: reason})
		second := publish("second")
		// What other connections do is done, also by one that comes now; by then the second
		// would have been.
		late := connect(t, s)
		for range 3 {
			state, err := late.QueueDeclarePassive(q, true, false, false, false, nil)
			late.must(err)
			if state.Messages != 0 {
				t.Errorf("got %d messages, want none of a publisher that is blocked", state.Messages)
			}
		}
		if second.Acked() {
			t.Error("the second message was confirmed under the alarm")
		}
		s.SetAlarm(alarm, false)
		told(amqp.Blocking{Active: false})
		confirmed(second)
		delivered("second")
	}
	if len(other)+len(blocked) != 0 {
		t.Error("somebody was told more than once, or for nothing")
	}
}

// TestBrokerStopsUnderAnAlarm as if there were none, and keeps what it had confirmed.
func TestBrokerStopsUnderAnAlarm(t *testing.T) {
	s := brokertest.Start(t)
	p := connect(t, s)
	q := p.durable("q", nil)
	s.SetAlarm(broker.MemoryAlarm, true)
	c, err := p.PublishWithDeferredConfirm("", q, false, false, amqp.Publishing{DeliveryMode: 2, Body: []byte("kept")})
	p.must(err)
	if !c.Wait() {
		t.Fatal("the message was refused")
	}
	p.must(p.Publish("", q, false, false, amqp.Publishing{DeliveryMode: 2, Body: []byte("not read")}))
	start := time.Now()
	s.Restart()
	if took := time.Since(start); took > patience {
		t.Errorf("the broker took %v to stop and start", took)
	}
	late := connect(t, s) // the alarm was that of the run before
	state, err := late.QueueDeclarePassive(q, true, false, false, false, nil)
	late.must(err)
	if state.Messages != 1 {
		t.Errorf("got %d messages, want the one that was confirmed", state.Messages)
	}
}

// TestLimitsAreWatched: both are passed from the beginning here.
func TestLimitsAreWatched(t *testing.T) { // RES-1
	f := func(want string, change func(*config.Config)) {
		t.Helper()
		p := connect(t, brokertest.Start(t, brokertest.WithConfig(change), brokertest.WithLogger(zerolog.Nop())))
		blocked := p.conn.NotifyBlocked(make(chan amqp.Blocking, 1))
		p.must(p.Publish("", p.queue("q", nil), false, false, amqp.Publishing{}))
		select {
		case b := <-blocked:
			if b.Reason != want {
				t.Errorf("got %q, want %q", b.Reason, want)
			}
		case <-time.After(patience):
			t.Errorf("got nothing, want %q", want)
		}
	}
	f("low on memory", func(c *config.Config) { c.MemoryLimit = 1 })
	f("low on disk", func(c *config.Config) { c.DiskFreeLimit = 1 << 60 })
	f("low on disk & memory", func(c *config.Config) { c.MemoryLimit, c.DiskFreeLimit = 1, 1<<60 })
}
