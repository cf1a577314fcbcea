package integration

import (
	"slices"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/brokertest"
)

func TestTransactionHappensAtItsCommitOrNotAtAll(t *testing.T) { // TX-1 to TX-6
	t.Parallel()
	s := brokertest.Start(t)
	c := connect(t, s)
	c.durable("q", nil)
	c.publish("", "q", "before")
	ch, err := c.conn.Channel() // one in confirm mode cannot
	c.must(err)
	tx := &client{ch, t, c.conn}
	tx.must(tx.Tx())
	put := func(body string) {
		t.Helper()
		tx.must(tx.PublishWithContext(t.Context(), "", "q", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)}))
	}
	d, _, err := tx.Get("q", false)
	tx.must(err)
	put("undone")
	tx.must(d.Ack(false))
	tx.must(tx.TxRollback())
	c.counts("q", 0, 0)
	put("1")
	put("2")
	tx.must(d.Ack(false)) // it is still out
	c.counts("q", 0, 0)
	tx.must(tx.TxCommit())
	c.counts("q", 2, 0)
	put("never")
	s.Restart()
	c = connect(t, s)
	if got := bodies(c.take("q")); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("got %q, want what was committed", got)
	}
	_, err = c.another().QueueDeclarePassive("q", true, false, false, false, nil)
	c.must(err)
	refused(t, c.another().Tx(), 406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode")
}
