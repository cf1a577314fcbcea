package integration

import (
	"slices"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/brokertest"
)

func TestWorkGoesToWhoeverHasRoom(t *testing.T) { // CON-8, QOS-2
	t.Parallel()
	s := brokertest.Start(t)
	slow, quick := connect(t, s), connect(t, s)
	slow.queue("work", nil)
	for _, c := range []*client{slow, quick} {
		c.must(c.Qos(1, 0, false))
	}
	stuck, done := slow.consume("work", ""), quick.consume("work", "")
	quick.another().publish("", "work", "a", "b", "c", "d", "e")
	got := bodies(receive(t, stuck, 1)) // and never acknowledges it
	for range 4 {
		d := next(t, done)
		got = append(got, string(d.Body))
		quick.must(d.Ack(false))
	}
	slices.Sort(got)
	if want := []string{"a", "b", "c", "d", "e"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want each once", got)
	}
	slow.counts("work", 0, 2)
}

func TestPrefetchIsTheMostThatIsOut(t *testing.T) { // QOS-2, QOS-5, ACK-3
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	c.queue("q", nil)
	c.publish("", "q", "1", "2", "3", "4", "5", "6", "7")
	c.must(c.Qos(3, 0, false))
	deliveries := c.consume("q", "")
	first := receive(t, deliveries, 3)
	c.counts("q", 4, 1)
	nothing(t, deliveries)
	c.must(first[2].Ack(true))
	if got := bodies(receive(t, deliveries, 3)); !slices.Equal(got, []string{"4", "5", "6"}) {
		t.Errorf("got %q, want 4, 5 and 6", got)
	}
	c.counts("q", 1, 1)
	nothing(t, deliveries)
}

func TestGlobalPrefetchIsSharedByTheChannel(t *testing.T) { // QOS-3
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	c.queue("a", nil)
	c.queue("b", nil)
	c.publish("", "a", "a1", "a2", "a3", "a4")
	c.publish("", "b", "b1", "b2", "b3", "b4")
	c.must(c.Qos(3, 0, true))
	a := c.consume("a", "")
	out := receive(t, a, 3)
	b := c.consume("b", "")
	c.counts("b", 4, 1)
	nothing(t, a)
	nothing(t, b)
	c.must(out[0].Ack(false))
	ready := 0
	for _, q := range []string{"a", "b"} {
		got, err := c.QueueDeclarePassive(q, false, false, false, false, nil)
		c.must(err)
		ready += got.Messages
	}
	if ready != 4 {
		t.Errorf("got %d ready in both after one acknowledgement, want 4 of 8: 3 out and 1 done", ready)
	}
}

func TestReturnedMessagesGoBackToTheirPlace(t *testing.T) { // ACK-6
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	c.queue("q", nil)
	c.publish("", "q", "1", "2", "3", "4", "5")
	deliveries := c.consume("q", "tag")
	all := receive(t, deliveries, 5)
	c.must(c.Cancel("tag", false))
	c.must(all[2].Nack(false, true))
	c.must(all[0].Reject(true))
	c.must(all[1].Ack(false))
	c.has("q", "1'", "3'")
	c.must(all[4].Nack(true, true)) // 4 and 5, the rest
	c.has("q", "4'", "5'")
}

func TestUnacknowledgedMessagesReturnWithTheirChannel(t *testing.T) { // CH-7, C-36, CON-6
	t.Parallel()
	s := brokertest.Start(t)
	c, other := connect(t, s), connect(t, s)
	c.queue("q", nil)
	c.publish("", "q", "1", "2", "3")
	all := receive(t, c.consume("q", "tag"), 3)
	c.must(c.Cancel("tag", false))
	other.counts("q", 0, 0) // they stay with the channel
	c.must(all[1].Ack(false))
	c.must(c.Close())
	other.has("q", "1'", "3'")
}

func TestRecoverDeliversAgain(t *testing.T) { // ACK-10
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	c.queue("q", nil)
	c.publish("", "q", "1", "2")
	deliveries := c.consume("q", "")
	receive(t, deliveries, 2)
	c.must(c.Recover(true)) //nolint:staticcheck // deprecated, and still in use
	again := receive(t, deliveries, 2)
	if got := bodies(again); !slices.Equal(got, []string{"1'", "2'"}) || again[0].DeliveryTag != 3 {
		t.Errorf("got %q from tag %d, want both again from tag 3", got, again[0].DeliveryTag)
	}
}

func TestGetTellsHowManyAreLeft(t *testing.T) { // GET-1, GET-2, ACK-1
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	c.queue("q", nil)
	c.publish("", "q", "1", "2")
	for i, want := range []string{"1", "2"} {
		d, ok, err := c.Get("q", false)
		c.must(err)
		if !ok || string(d.Body) != want || int(d.MessageCount) != 1-i || int(d.DeliveryTag) != i+1 {
			t.Errorf("got %q, tag %d, %d left; want %s, tag %d, %d left", d.Body, d.DeliveryTag, d.MessageCount, want, i+1, 1-i)
		}
	}
	if _, ok, err := c.Get("q", false); ok || err != nil {
		t.Errorf("got %v, %v; want none", ok, err)
	}
}

func TestConsumerHearsThatItsQueueIsGone(t *testing.T) { // Q-63, CON-7
	t.Parallel()
	s := brokertest.Start(t)
	c, other := connect(t, s), connect(t, s)
	c.queue("q", nil)
	cancelled := c.NotifyCancel(make(chan string, 1))
	deliveries := c.consume("q", "tag")
	other.publish("", "q", "1")
	next(t, deliveries)
	if n, err := other.QueueDelete("q", false, false, false); err != nil || n != 0 {
		t.Errorf("got %d, %v; want 0: the one message was out", n, err)
	}
	if tag := next(t, cancelled); tag != "tag" {
		t.Errorf("got a cancel of %q, want tag", tag)
	}
	c.must(c.Ack(1, false)) // of a message whose queue is gone: fine
	c.queue("q", nil)
}

func TestExclusiveConsumerIsAlone(t *testing.T) { // CON-3, ERR-26
	t.Parallel()
	s := brokertest.Start(t)
	c := connect(t, s)
	c.queue("q", nil)
	_, err := c.Consume("q", "only", false, true, false, false, nil)
	c.must(err)
	_, err = connect(t, s).Consume("q", "", false, false, false, false, nil)
	refused(t, err, amqp.AccessRefused, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use")
	c.must(c.Cancel("only", false))
	connect(t, s).consume("q", "")
}

func TestHigherPriorityConsumersComeFirst(t *testing.T) { // CON-9
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	c.queue("q", nil)
	c.must(c.Qos(2, 0, false))
	low := c.consume("q", "")
	high, err := c.Consume("q", "", false, false, false, false, amqp.Table{"x-priority": int32(10)})
	c.must(err)
	c.another().publish("", "q", "1", "2", "3", "4")
	if got := bodies(receive(t, high, 2)); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("got %q first, want 1 and 2", got)
	}
	if got := bodies(receive(t, low, 2)); !slices.Equal(got, []string{"3", "4"}) {
		t.Errorf("got %q for the others, want 3 and 4", got)
	}
}

func TestSingleActiveConsumerHandsOver(t *testing.T) { // SAC-1, SAC-2
	t.Parallel()
	s := brokertest.Start(t)
	a, b := connect(t, s), connect(t, s)
	a.queue("q", amqp.Table{"x-single-active-consumer": true})
	first, second := a.consume("q", ""), b.consume("q", "")
	a.another().publish("", "q", "1", "2")
	out := receive(t, first, 2)
	b.counts("q", 0, 2)
	nothing(t, second)
	a.must(out[0].Ack(false))
	a.must(a.conn.Close())
	if got := bodies(receive(t, second, 1)); !slices.Equal(got, []string{"2'"}) {
		t.Errorf("got %q, want 2 again", got)
	}
}
