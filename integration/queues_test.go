package integration

import (
	"regexp"
	"slices"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/brokertest"
)

func TestServerNamesQueuesWithoutAName(t *testing.T) {
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	a, b := c.queue("", nil), c.queue("", nil)
	if name := regexp.MustCompile(`^amq\.gen-[A-Za-z0-9_-]{22}$`); !name.MatchString(a) || !name.MatchString(b) || a == b {
		t.Errorf("got %q and %q, want two generated names", a, b)
	}
	c.exchange("x", "direct", nil)
	c.bind("x", "", "", nil) // the last one, by its own name (EX-25)
	c.publish("x", b, "m")
	c.has(b, "m")
}

func TestExclusiveQueueBelongsToItsConnection(t *testing.T) {
	t.Parallel()
	s := brokertest.Start(t)
	mine, other := connect(t, s), connect(t, s)
	_, err := mine.QueueDeclare("q", false, false, true, false, nil)
	mine.must(err)
	other.publish("", "q", "m") // everyone may publish
	locked := "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be originally declared on " +
		"another connection or the exclusive property value does not match that of the original declaration."
	_, err = other.another().QueueDeclarePassive("q", false, false, true, false, nil)
	refused(t, err, amqp.ResourceLocked, locked)
	_, _, err = other.another().Get("q", true)
	refused(t, err, amqp.ResourceLocked, locked)
	_, err = other.another().Consume("q", "", true, false, false, false, nil)
	refused(t, err, amqp.ResourceLocked, locked)
	mine.another().counts("q", 1, 0)
	mine.must(mine.conn.Close()) // it is gone before the answer (C-30)
	other.gone("q")
}

func TestAutoDeleteQueueGoesWithItsLastConsumer(t *testing.T) {
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	_, err := c.QueueDeclare("q", false, true, false, false, nil)
	c.must(err)
	c.publish("", "q", "1", "2")
	if _, _, err := c.Get("q", true); err != nil { // no consumer
		t.Fatal(err)
	}
	c.counts("q", 1, 0)
	c.consume("q", "a")
	c.consume("q", "b")
	c.must(c.Cancel("a", false))
	c.counts("q", 0, 1)
	c.must(c.Cancel("b", false))
	c.gone("q")
}

func TestPurgeAndDeleteCountReadyMessages(t *testing.T) {
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	c.queue("q", nil)
	c.publish("", "q", "1", "2", "3")
	d, _, err := c.Get("q", false)
	c.must(err)
	if n, err := c.QueuePurge("q", false); n != 2 || err != nil {
		t.Errorf("got %d purged, %v; want 2: one is out", n, err)
	}
	c.must(d.Nack(false, true))
	_, err = c.another().QueueDelete("q", false, true, false)
	refused(t, err, amqp.PreconditionFailed, "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty")
	c.consume("q", "tag")
	_, err = c.another().QueueDelete("q", true, false, false)
	refused(t, err, amqp.PreconditionFailed, "PRECONDITION_FAILED - queue 'q' in vhost '/' in use")
	c.must(c.Cancel("tag", false))
	c.publish("", "q", "4", "5")
	if n, err := c.QueueDelete("q", false, false, false); n != 2 || err != nil {
		t.Errorf("got %d deleted, %v; want 2", n, err)
	}
	if n, err := c.QueueDelete("q", false, false, false); n != 0 || err != nil {
		t.Errorf("got %d, %v for a queue that is not there; want 0", n, err)
	}
}

func TestUnusedQueueExpires(t *testing.T) { // TTL-9
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	c.queue("q", amqp.Table{"x-expires": int32(30)})
	returns := c.NotifyReturn(make(chan amqp.Return, 1))
	for end := time.Now().Add(patience); ; { // publishing is no use
		d, err := c.PublishWithDeferredConfirmWithContext(t.Context(), "", "q", true, false, amqp.Publishing{})
		c.must(err)
		c.confirmed(d)
		select {
		case <-returns:
			c.gone("q")
			return
		default:
		}
		if time.Now().After(end) {
			t.Fatal("got a queue that is still there long after it expired")
		}
	}
}

func TestHigherPriorityMessagesComeFirst(t *testing.T) { // PRI-1
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	c.queue("q", amqp.Table{"x-max-priority": int32(5)})
	for _, p := range []uint8{0, 3, 9, 1, 5, 3} {
		c.send("", "q", amqp.Publishing{Priority: p, Body: []byte{'0' + p}})
	}
	c.has("q", "9", "5", "3", "3", "1", "0")
}

func TestQuorumQueueCountsDeliveries(t *testing.T) { // QQ-1, QQ-3, QQ-4, Q-45
	t.Parallel()
	s := brokertest.Start(t)
	c := connect(t, s)
	c.queue("dead", nil)
	c.durable("q", amqp.Table{
		"x-queue-type": "quorum", "x-delivery-limit": int32(2),
		"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead",
	})
	c.publish("", "q", "m")
	for _, want := range []any{nil, int64(1), int64(2)} {
		d, ok, err := c.Get("q", false)
		c.must(err)
		if got := d.Headers["x-delivery-count"]; !ok || got != want || d.Redelivered != (want != nil) {
			t.Errorf("got x-delivery-count %v, redelivered %v; want %v", got, d.Redelivered, want)
		}
		c.must(d.Nack(false, true))
	}
	c.has("q")
	if got := c.take("dead"); len(got) != 1 || got[0].Headers["x-first-death-reason"] != "delivery_limit" {
		t.Errorf("got %+v, want the message, dead of its delivery_limit", got)
	}
	_, err := c.another().QueueDeclare("t", false, false, false, false, amqp.Table{"x-queue-type": "quorum"})
	refused(t, err, amqp.PreconditionFailed, "PRECONDITION_FAILED - invalid property 'non-durable' for queue 't' in vhost '/'")
	_, err = c.another().QueueDeclare("q", true, false, false, false, nil)
	var e *amqp.Error
	if e, _ = err.(*amqp.Error); e == nil || e.Code != amqp.PreconditionFailed {
		t.Errorf("got %v for a classic queue where a quorum queue is, want 406", err)
	}
}

func TestLengthLimitsDropTheHeadOrRefuse(t *testing.T) { // LEN-2, LEN-3, CONF-4, CONF-5
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	c.queue("drop", amqp.Table{"x-max-length": int32(2)})
	c.publish("", "drop", "1", "2", "3", "4")
	c.has("drop", "3", "4")
	c.queue("bytes", amqp.Table{"x-max-length-bytes": int32(5)})
	c.publish("", "bytes", "aa", "bb", "cc")
	c.has("bytes", "bb", "cc")
	c.publish("", "bytes", "aa", "larger than all of it")
	c.has("bytes")

	c.queue("refuse", amqp.Table{"x-max-length": int32(2), "x-overflow": "reject-publish"})
	c.queue("other", nil)
	c.exchange("both", "fanout", nil)
	c.bind("both", "refuse", "", nil)
	c.bind("both", "other", "", nil)
	var acked []bool
	for _, b := range []string{"1", "2", "3"} {
		acked = append(acked, c.send("both", "", amqp.Publishing{Body: []byte(b)}))
	}
	if want := []bool{true, true, false}; !slices.Equal(acked, want) {
		t.Errorf("got acks %v, want %v", acked, want)
	}
	c.has("refuse", "1", "2")
	c.has("other", "1", "2", "3") // it has taken what the other refused
	c.publish("", "refuse", "4")
	c.has("refuse", "4")
}

func TestQuorumQueueKeepsItsClassesOverRestart(t *testing.T) { // PRI-5, QQ-4
	t.Parallel()
	s := brokertest.Start(t)
	c := connect(t, s)
	q := c.durable("q", amqp.Table{"x-queue-type": "quorum"})
	for _, m := range []struct {
		body     string
		priority uint8
	}{{"none", 0}, {"four", 4}, {"five", 5}, {"nine", 9}} {
		confirm, err := c.PublishWithDeferredConfirm("", q, false, false, amqp.Publishing{Priority: m.priority, Body: []byte(m.body)})
		c.must(err)
		if !confirm.Wait() {
			t.Fatalf("%s was refused", m.body)
		}
	}
	s.Restart()
	c = connect(t, s)
	for _, want := range []string{"five", "nine", "none", "four"} {
		d, ok, err := c.Get(q, true)
		c.must(err)
		if !ok || string(d.Body) != want {
			t.Errorf("got %q, want %s", d.Body, want)
		}
	}
}
