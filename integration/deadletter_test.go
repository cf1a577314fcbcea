package integration

import (
	"reflect"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/brokertest"
)

// deathRow declares a queue whose messages end in dead, through the exchange dlx.
func (c *client) deathRow(name string, args amqp.Table) <-chan amqp.Delivery {
	c.t.Helper()
	c.exchange("dlx", "fanout", nil)
	c.bind("dlx", c.queue("dead", nil), "", nil)
	args["x-dead-letter-exchange"] = "dlx"
	c.queue(name, args)
	dead, err := c.Consume("dead", "dead", true, false, false, false, nil)
	c.must(err)
	return dead
}

// death checks a dead letter that died once, and how.
func death(t *testing.T, d amqp.Delivery, body, reason, queue string) amqp.Table {
	t.Helper()
	if string(d.Body) != body || d.Exchange != "dlx" || d.Redelivered {
		t.Errorf("got %q from %q, redelivered %v; want %s from dlx", d.Body, d.Exchange, d.Redelivered, body)
	}
	for header, want := range map[string]any{
		"x-first-death-reason": reason, "x-first-death-queue": queue, "x-first-death-exchange": "",
		"x-last-death-reason": reason, "x-last-death-queue": queue, "x-last-death-exchange": "",
	} {
		if d.Headers[header] != want {
			t.Errorf("got %s %v, want %v", header, d.Headers[header], want)
		}
	}
	list, _ := d.Headers["x-death"].([]any)
	if len(list) != 1 {
		t.Fatalf("got x-death %v, want one entry", d.Headers["x-death"])
	}
	entry, _ := list[0].(amqp.Table)
	when, _ := entry["time"].(time.Time)
	if age := time.Since(when); age < -time.Minute || age > time.Minute {
		t.Errorf("got a death at %v, want one of now", entry["time"])
	}
	want := amqp.Table{
		"count": int64(1), "reason": reason, "queue": queue, "time": entry["time"], "exchange": "",
		"routing-keys": []any{queue},
	}
	if original, there := entry["original-expiration"]; there {
		want["original-expiration"] = original
	}
	if !reflect.DeepEqual(entry, want) {
		t.Errorf("got x-death entry %v, want %v", entry, want)
	}
	return entry
}

func TestRejectedMessageIsDeadLettered(t *testing.T) { // DLX-1, DLX-4, DLX-6, DLX-9
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	dead := c.deathRow("q", amqp.Table{})
	c.publish("", "q", "1", "2", "3")
	for _, d := range receive(t, c.consume("q", ""), 3) {
		if string(d.Body) == "2" {
			c.must(d.Ack(false))
		} else {
			c.must(d.Reject(false))
		}
	}
	death(t, next(t, dead), "1", "rejected", "q")
	death(t, next(t, dead), "3", "rejected", "q")
}

func TestExpiredMessageIsDeadLetteredWithoutItsExpiration(t *testing.T) { // DLX-5, TTL-1, TTL-3
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	dead := c.deathRow("q", amqp.Table{"x-message-ttl": int32(60000)})
	c.send("", "q", amqp.Publishing{Expiration: "20", Body: []byte("m")})
	d := next(t, dead)
	if entry := death(t, d, "m", "expired", "q"); entry["original-expiration"] != "20" || d.Expiration != "" {
		t.Errorf("got expiration %q and %v before, want none and 20", d.Expiration, entry["original-expiration"])
	}
	c.queue("ttl", amqp.Table{"x-message-ttl": int32(20), "x-dead-letter-exchange": "dlx"})
	c.publish("", "ttl", "n")
	if entry := death(t, next(t, dead), "n", "expired", "ttl"); entry["original-expiration"] != nil {
		t.Errorf("got original-expiration %v, want none: it was the queue's", entry["original-expiration"])
	}
}

func TestMessageOverTheLimitIsDeadLettered(t *testing.T) { // LEN-2, LEN-4, DLX-15
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	dead := c.deathRow("q", amqp.Table{"x-max-length": int32(1)})
	c.publish("", "q", "1", "2", "3")
	death(t, next(t, dead), "1", "maxlen", "q")
	death(t, next(t, dead), "2", "maxlen", "q")
	c.has("q", "3")
	c.queue("r", amqp.Table{"x-max-length": int32(0), "x-overflow": "reject-publish-dlx", "x-dead-letter-exchange": "dlx"})
	if c.send("", "r", amqp.Publishing{Body: []byte("4")}) {
		t.Error("got an ack, want a nack of what was refused")
	}
	death(t, next(t, dead), "4", "maxlen", "r")
}

func TestExpiryWithoutConsumerOfTimeZero(t *testing.T) { // TTL-4
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	dead := c.deathRow("q", amqp.Table{})
	now := amqp.Publishing{Expiration: "0", Body: []byte("m")}
	c.send("", "q", now)
	death(t, next(t, dead), "m", "expired", "q")
	waiting := c.consume("q", "tag")
	c.send("", "q", now)
	if d := next(t, waiting); string(d.Body) != "m" || d.Expiration != "0" {
		t.Errorf("got %q with %q, want the message: somebody waited for it", d.Body, d.Expiration)
	}
}

func TestRetryLoopCountsDeaths(t *testing.T) { // DLX-3, DLX-7, DLX-12
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	c.queue("work", amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "wait"})
	c.queue("wait", amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work", "x-message-ttl": int32(5)})
	c.publish("", "work", "m")
	deliveries := c.consume("work", "")
	for try := range int64(4) {
		d := next(t, deliveries)
		counts := map[any]any{}
		list, _ := d.Headers["x-death"].([]any)
		for _, e := range list {
			entry, _ := e.(amqp.Table)
			counts[entry["queue"]] = entry["count"]
		}
		want := map[any]any{}
		if try > 0 {
			want = map[any]any{"work": try, "wait": try}
		}
		if !reflect.DeepEqual(counts, want) {
			t.Errorf("got deaths %v at try %d, want %v", counts, try, want)
		}
		c.must(d.Nack(false, false))
	}
	next(t, deliveries)
}
