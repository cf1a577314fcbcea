package crash

import (
	"context"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A message that came back three times and may come back five times has two left after
// the broker was killed, and then it is gone (QQ-1, QQ-3).
func TestDeliveryCountGoesOnAfterAKill(t *testing.T) {
	l := newLoop(t)
	l.start()
	publishing := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("m")}
	open := func() *amqp.Channel {
		t.Helper()
		conn, err := amqp.Dial(l.process.url())
		l.check(err, "dial")
		t.Cleanup(func() { conn.Close() })
		ch, err := conn.Channel()
		l.check(err, "open a channel")
		for _, q := range []string{"counted", "other"} {
			_, err = ch.QueueDeclare(q, true, false, false, false, amqp.Table{"x-delivery-limit": int64(5)})
			l.check(err, "declare")
		}
		return ch
	}
	// goesBack gets the message, which came back so often before, and returns it.
	goesBack := func(ch *amqp.Channel, count any) {
		t.Helper()
		d, ok, err := ch.Get("counted", false)
		l.check(err, "get")
		if !ok || d.Headers["x-delivery-count"] != count || d.Redelivered != (count != nil) {
			t.Fatalf("got %v, a count of %v, redelivered %v, want a count of %v", ok, d.Headers["x-delivery-count"], d.Redelivered, count)
		}
		l.check(d.Reject(true), "reject")
	}

	ch := open()
	l.check(ch.Tx(), "tx.select")
	l.check(ch.PublishWithContext(context.Background(), "", "counted", false, false, publishing), "publish")
	l.check(ch.TxCommit(), "tx.commit")
	again := open()
	for _, count := range []any{nil, int64(1), int64(2)} {
		goesBack(again, count)
	}
	// Its answer comes after the last reject was obeyed. A transaction takes the
	// acknowledgement state of before with it to the disk.
	_, err := again.QueueDeclarePassive("counted", true, false, false, false, nil)
	l.check(err, "wait")
	l.check(ch.PublishWithContext(context.Background(), "", "other", false, false, publishing), "publish")
	l.check(ch.TxCommit(), "tx.commit")
	l.check(l.process.kill(), "kill")

	l.start()
	ch = open()
	for _, count := range []any{int64(3), int64(4), int64(5)} {
		goesBack(ch, count)
	}
	if _, ok, err := ch.Get("counted", false); ok || err != nil {
		t.Errorf("got %v, %v after it had come back too often", ok, err)
	}
	l.check(l.process.kill(), "kill")
}
