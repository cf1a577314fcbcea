package integration

import (
	"fmt"
	"slices"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/brokertest"
)

func TestWhatIsDurableSurvivesRestart(t *testing.T) { // DUR-1 to DUR-3, EX-11, EX-27
	t.Parallel()
	s := brokertest.Start(t)
	c := connect(t, s)
	c.must(c.ExchangeDeclare("x", "topic", true, false, false, false, nil))
	c.must(c.ExchangeDeclare("y", "fanout", true, false, true, false, nil))
	c.must(c.ExchangeDeclare("gone", "fanout", false, false, false, false, nil))
	c.durable("q", amqp.Table{"x-max-length": int32(10)})
	c.queue("transient", nil)
	c.must(c.ExchangeBind("y", "a.#", "x", false, nil))
	c.bind("y", "q", "", nil)
	c.bind("gone", "q", "", nil)
	c.bind("x", "transient", "#", nil)
	for i := range 6 {
		mode := amqp.Persistent
		if i%2 == 1 {
			mode = amqp.Transient
		}
		c.send("x", "a.b", amqp.Publishing{DeliveryMode: mode, Body: []byte(fmt.Sprint(i))})
	}
	s.Restart()
	c = connect(t, s)
	c.has("q", "0", "2", "4")
	c.gone("transient")
	refused(t, c.another().ExchangeDeclarePassive("gone", "fanout", false, false, false, false, nil),
		amqp.NotFound, "NOT_FOUND - no exchange 'gone' in vhost '/'")
	c.publish("x", "a.c", "new") // the bindings are there
	c.has("q", "new")
	_, err := c.another().QueueDeclare("q", true, false, false, false, amqp.Table{"x-max-length": int32(11)})
	refused(t, err, amqp.PreconditionFailed, "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received '11' but current is '10'")
}

func TestDeliveredMessagesComeBackAfterRestartInTheirPlace(t *testing.T) { // DUR-4, ACK-8, P4
	t.Parallel()
	s := brokertest.Start(t)
	c := connect(t, s)
	c.durable("q", nil)
	c.publish("", "q", "1", "2", "3", "4", "5")
	c.must(c.Qos(3, 0, false))
	out := receive(t, c.consume("q", ""), 3)
	c.must(out[1].Ack(false))
	// The acknowledgement is processed once something later on the channel is answered, and
	// by then the fourth message has gone out as well.
	c.counts("q", 1, 1)
	s.Restart()
	c = connect(t, s)
	c.has("q", "1'", "3'", "4'", "5")
	s.Restart()
	connect(t, s).has("q") // what was acknowledged is gone for good
}

func TestQueueDeclaredAgainIsEmpty(t *testing.T) { // I7: nothing of a deleted queue comes back
	t.Parallel()
	s := brokertest.Start(t)
	c := connect(t, s)
	c.durable("q", nil)
	c.publish("", "q", "old")
	if _, err := c.QueueDelete("q", false, false, false); err != nil {
		t.Fatal(err)
	}
	c.durable("q", nil)
	c.publish("", "q", "new")
	s.Restart()
	connect(t, s).has("q", "new")
}

func TestDeathIsRememberedOverRestart(t *testing.T) { // DLX-6, DUR-1
	t.Parallel()
	s := brokertest.Start(t)
	c := connect(t, s)
	c.durable("dead", nil)
	c.durable("q", amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead", "x-max-length": int32(1)})
	c.publish("", "q", "1", "2")
	s.Restart()
	c = connect(t, s)
	c.has("q", "2")
	if got := c.take("dead"); len(got) != 1 || got[0].Headers["x-first-death-reason"] != "maxlen" {
		t.Errorf("got %+v, want the first message, dead of maxlen", got)
	}
}

func TestManyRestartsLoseNothing(t *testing.T) { // P1, P9
	t.Parallel()
	s := brokertest.Start(t)
	var want []string
	for round := range 5 {
		c := connect(t, s)
		c.durable("q", nil)
		for i := range 20 {
			body := fmt.Sprintf("%d.%d", round, i)
			c.publish("", "q", body)
			want = append(want, body)
		}
		for range 5 { // some leave as well
			d, ok, err := c.Get("q", false)
			c.must(err)
			if !ok || string(d.Body) != want[0] {
				t.Fatalf("got %q, want %s", d.Body, want[0])
			}
			c.must(d.Ack(false))
			want = want[1:]
		}
		c.counts("q", len(want), 0)
		s.Restart()
	}
	c := connect(t, s)
	var got []string
	for _, d := range c.take("q") {
		got = append(got, string(d.Body))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestLoneConfirmDoesNotWaitForMore: a persistent message is confirmed though nothing follows
// it, and not before it is safe (DUR-6, DUR-5).
func TestLoneConfirmDoesNotWaitForMore(t *testing.T) {
	s := brokertest.Start(t)
	c := connect(t, s)
	q := c.durable("q", nil)
	const n = 7
	var took []time.Duration
	for i := range n {
		start := time.Now()
		confirm, err := c.PublishWithDeferredConfirm("", q, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte{byte(i)}})
		c.must(err)
		select {
		case <-confirm.Done():
		case <-time.After(patience):
			t.Fatal("a message was not confirmed")
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	if took[n/2] > 300*time.Millisecond {
		t.Errorf("confirms took %v, want them within a few hundred milliseconds", took)
	}
	s.Restart()
	state, err := connect(t, s).QueueDeclarePassive(q, true, false, false, false, nil)
	c.must(err)
	if state.Messages != n {
		t.Errorf("got %d messages after a restart, want the %d that were confirmed", state.Messages, n)
	}
}
