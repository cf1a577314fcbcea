package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// S-7: a transaction puts a message into each of two queues, and takes the one before out
// of a third. Whenever the broker dies, all of it has happened or nothing.
func TestTransactionIsWholeAfterAKill(t *testing.T) {
	l := newLoop(t)
	rng := rand.New(rand.NewPCG(*seedFlag, 7))
	queues := []string{"tx-left", "tx-right", "tx-moved"}
	for range rounds(4) {
		l.start()
		conn, err := amqp.Dial(l.process.url())
		l.check(err, "dial")
		ended := make(chan int)
		go func() { ended <- commitUntilCut(t, conn, queues) }()
		time.Sleep(time.Duration(20+rng.IntN(300)) * time.Millisecond)
		l.check(l.process.kill(), "kill")
		committed := <-ended

		l.start()
		var counts []int
		for _, q := range queues {
			counts = append(counts, l.emptied(q))
		}
		if counts[0] != counts[1] || counts[2] > 1 || counts[0] < committed {
			t.Fatalf("%d transactions were committed; left %d, right %d, moved %d messages",
				committed, counts[0], counts[1], counts[2])
		}
		t.Logf("%d committed, %d found", committed, counts[0])
		l.check(l.process.kill(), "kill")
	}
}

// commitUntilCut commits transactions until the connection is gone, and returns how many
// were answered.
func commitUntilCut(t *testing.T, conn *amqp.Connection, queues []string) (committed int) {
	ch, err := conn.Channel()
	if err != nil {
		return 0
	}
	for _, q := range queues {
		if _, err := ch.QueueDeclare(q, true, false, false, false, nil); err != nil {
			return 0
		}
	}
	if err := ch.Tx(); err != nil {
		return 0
	}
	for {
		n := fmt.Append(nil, committed)
		for _, q := range queues {
			err := ch.PublishWithContext(context.Background(), "", q, true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: n})
			if err != nil {
				return committed
			}
		}
		if committed > 0 {
			d, ok, err := ch.Get("tx-moved", false)
			if err != nil {
				return committed
			}
			if !ok {
				t.Errorf("the message of transaction %d is not there", committed-1)
				return committed
			}
			if err := d.Ack(false); err != nil {
				return committed
			}
		}
		if err := ch.TxCommit(); err != nil {
			return committed
		}
		committed++
	}
}

// emptied deletes a queue and returns how many messages it had.
func (l *loop) emptied(name string) int {
	conn, err := amqp.Dial(l.process.url())
	l.check(err, "dial")
	ch, err := conn.Channel()
	l.check(err, "open a channel")
	n, err := ch.QueueDelete(name, false, false, false)
	l.check(err, "delete "+name)
	l.check(conn.Close(), "close")
	return n
}
