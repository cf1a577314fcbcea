package server

import (
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/broker"
)

func TestNobodyIsAcceptedWhenThereAreNoSeats(t *testing.T) { // D11
	r := start(t, func(o *Options) { o.MaxSockets = 2 })
	first, second := r.dial(), r.dial()
	if !r.b.Alarms().Has(broker.DescriptorAlarm) {
		t.Error("there is no alarm")
	}
	third, err := net.Dial("tcp", r.address())
	check(t, err)
	defer third.Close()
	_, err = third.Write([]byte(amqp.ProtocolHeader))
	check(t, err)
	check(t, third.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	if _, err := third.Read(make([]byte, 1)); err == nil {
		t.Fatal("a third was accepted")
	}
	check(t, first.Close())
	check(t, third.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = third.Read(make([]byte, 1))
	check(t, err)
	check(t, second.Close())
}

func TestNewcomersAreTurnedAwayWhenMemoryIsExhausted(t *testing.T) { // E18
	r := start(t)
	before := r.channel()
	r.b.SetAlarm(broker.ExhaustionAlarm, true)
	c, err := net.Dial("tcp", r.address())
	check(t, err)
	defer c.Close()
	check(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("it was let in")
	}
	if _, err := before.QueueDeclarePassive("amq.rabbitmq.reply-to", false, false, false, false, nil); err != nil {
		t.Errorf("got %v for who was there, want to be served", err)
	}
	r.b.SetAlarm(broker.ExhaustionAlarm, false)
	r.dial()
	if got := r.b.Counters.ConnectionsTurnedAway.Load(); got != 1 {
		t.Errorf("got %d turned away, want 1", got)
	}
}

// TestLargeFrameIsNotWaitedForWhenTooMuchIsBuffered, while frames of usual size are.
func TestLargeFrameIsNotWaitedForWhenTooMuchIsBuffered(t *testing.T) { // E18
	r := start(t, func(o *Options) { o.MaxBuffered = 100 << 10 })
	half := func(size int) net.Conn {
		c, err := net.Dial("tcp", r.address())
		check(t, err)
		t.Cleanup(func() { c.Close() })
		check(t, c.SetDeadline(time.Now().Add(10*time.Second)))
		b := amqp.AppendFrameHeader(hello(0), amqp.FrameBody, 1, uint32(size+1))
		_, err = c.Write(append(b, make([]byte, size)...))
		check(t, err)
		return c
	}
	ended := func(c net.Conn) bool {
		for b := make([]byte, 4096); ; {
			if _, err := c.Read(b); err != nil {
				return !isTimeout(err)
			}
		}
	}
	first := half(120 << 10)
	for r.s.buffered.Load() < 100<<10 {
		time.Sleep(time.Millisecond)
	}
	usual := half(10 << 10)
	if !ended(half(120 << 10)) {
		t.Error("another large frame is waited for")
	}
	for _, c := range []net.Conn{first, usual} {
		check(t, c.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		if ended(c) {
			t.Error("it was cut")
		}
		c.Close()
	}
	r.stop()
	if n := r.s.buffered.Load(); n != 0 {
		t.Errorf("%d bytes are buffered by nobody", n)
	}
}

func isTimeout(err error) bool {
	t, ok := err.(net.Error)
	return ok && t.Timeout()
}

// TestBlockedClientThatGoesIsNoticed though there is no room to read its end: what it holds
// may be what the alarm is about.
func TestBlockedClientThatGoesIsNoticed(t *testing.T) { // E18
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells without reading")
	}
	r := start(t)
	r.b.SetAlarm(broker.MemoryAlarm, true)
	c, err := net.Dial("tcp", r.address())
	check(t, err)
	defer c.Close()
	_, err = c.Write(helloOf(0))
	check(t, err)
	more := amqp.AppendMethod(nil, 1, &amqp.BasicPublish{RoutingKey: strings.Repeat("k", 200)})
	check(t, c.SetWriteDeadline(time.Now().Add(100*time.Millisecond)))
	for err == nil { // until nothing is taken any more
		_, err = c.Write(amqp.AppendHeader(more, 1, 0, []byte{0, 0}))
	}
	if len(r.b.Sessions()) != 1 {
		t.Fatal("the client is not connected")
	}
	c.Close()
	for began := time.Now(); len(r.b.Sessions()) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatal("the client is still taken for connected")
		}
	}
}
