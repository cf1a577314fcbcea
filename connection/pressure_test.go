package connection

import (
	"strings"
	"testing"

	"github.com/leveretmq/leveret/amqp"
)

// TestChannelWithMuchUnacknowledgedGetsNoMoreUnderPressure until it acknowledges, or the
// pressure is gone; whoever has little out is served (E18).
func TestChannelWithMuchUnacknowledgedGetsNoMoreUnderPressure(t *testing.T) {
	r := newRig(t)
	k, little := r.open(1), r.open(1)
	deliveries := func(k *rigConn) int { return strings.Count(strings.Join(k.lines(), "\n"), "basic.deliver") }
	k.send(frameOf(1, &amqp.QueueDeclare{Queue: "q"}))
	k.send(frameOf(1, &amqp.QueueDeclare{Queue: "other"}))
	fill := func(queue string, n int) {
		k.send(repeated(content(1, &amqp.BasicPublish{RoutingKey: queue}, amqp.Properties{}, "x", 0), n))
	}
	fill("q", 2*pressedUnacked)
	r.b.SetPressure(true)
	k.send(frameOf(1, &amqp.BasicConsume{Queue: "q"}))
	if n := deliveries(k); n != pressedUnacked {
		t.Errorf("got %d deliveries, want %d", n, pressedUnacked)
	}
	k.send(frameOf(1, &amqp.BasicAck{DeliveryTag: 10, Multiple: true}))
	if n := deliveries(k); n != 10 {
		t.Errorf("got %d deliveries for ten acknowledgements, want as many", n)
	}
	little.send(frameOf(1, &amqp.BasicConsume{Queue: "other"}))
	fill("other", 10)
	if n := deliveries(little); n != 10 {
		t.Errorf("got %d deliveries with little out, want all", n)
	}
	attend := false
	k.c.opts.Attend = func() { attend = true }
	r.b.SetPressure(false)
	if !attend {
		t.Fatal("the connection does not hear that the pressure is gone")
	}
	if _, err := k.c.Tick(r.now); err != nil {
		t.Fatal(err)
	}
	r.settle()
	if n := deliveries(k); n != pressedUnacked-10 {
		t.Errorf("got %d deliveries, want the rest", n)
	}
}
