package connection

import (
	"strings"
	"testing"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/broker"
)

// begun is a publish of which size octets of the body have come, and some have not.
func begun(channel uint16, size int) []byte {
	b := frameOf(channel, &amqp.BasicPublish{RoutingKey: "nowhere"})
	b = amqp.AppendHeader(b, channel, uint64(size)+1, []byte{0, 0})
	return amqp.AppendBody(b, channel, make([]byte, size), 131072)
}

func unpublished(r *rig) int64 {
	n, _ := r.b.Unpublished()
	return n
}

// TestLargestHolderOfWhatIsNotPublishedIsClosed and nobody else (E18).
func TestLargestHolderOfWhatIsNotPublishedIsClosed(t *testing.T) {
	o := broker.DefaultOptions()
	o.MaxUnpublished = 1 << 20
	r := newRigWith(t, o)
	small, large := r.open(1), r.open(1, 2)
	small.send(begun(1, 100<<10))
	large.send(begun(1, 600<<10))
	if n := unpublished(r); n < 700<<10 || n > 1<<20 {
		t.Fatalf("got %d bytes, want what has come", n)
	}
	small.send(frameOf(1, &amqp.BasicQos{})) // a method where a body belongs, to let go of it
	if !strings.Contains(strings.Join(small.lines(), ""), "UNEXPECTED_FRAME") {
		t.Error("the rules of content are not kept")
	}
	other := r.open(1)
	other.send(begun(1, 100<<10))
	large.send(begun(2, 500<<10))
	if got := strings.Join(large.lines(), "\n"); !strings.Contains(got, "reply_code=506") {
		t.Errorf("got %s, want 506", got)
	}
	other.want()
	if n := unpublished(r); n > 200<<10 {
		t.Errorf("got %d bytes, want those of the other", n)
	}
	other.c.Close(r.now, nil)
	if n := unpublished(r); n != 0 {
		t.Errorf("got %d bytes of nobody", n)
	}
}

// TestWhatATransactionHoldsIsNotPublished until it ends, in whatever way.
func TestWhatATransactionHoldsIsNotPublished(t *testing.T) {
	r := newRig(t)
	k := r.open(1)
	k.send(frameOf(1, &amqp.TxSelect{}))
	publish := content(1, &amqp.BasicPublish{RoutingKey: "nowhere"}, amqp.Properties{}, strings.Repeat("x", 10000), 0)
	for _, end := range []amqp.Method{&amqp.TxCommit{}, &amqp.TxRollback{}, &amqp.ChannelClose{ReplyCode: 200}} {
		k.send(publish)
		if n := unpublished(r); n < 10000 {
			t.Errorf("got %d bytes before %s, want those of the message", n, end.Name())
		}
		k.send(frameOf(1, end))
		if n := unpublished(r); n != 0 {
			t.Errorf("got %d bytes after %s, want none", n, end.Name())
		}
	}
}

// TestMessagesThatAreNotCompleteAreNotReadOnUnderAnAlarm beyond what may be small change.
func TestMessagesThatAreNotCompleteAreNotReadOnUnderAnAlarm(t *testing.T) { // RES-2
	r := newRig(t)
	k := r.open(1, 2)
	r.b.SetAlarm(broker.MemoryAlarm, true)
	k.send(begun(1, 100<<10))
	k.want()
	k.send(begun(2, 100<<10))
	k.want(`ch=0 connection.blocked{reason="low on memory"}`)
	r.b.SetAlarm(broker.MemoryAlarm, false)
	r.settle()
	k.want(`ch=0 connection.unblocked{}`)
	k.send(amqp.AppendBody(nil, 1, []byte("x"), 0))
	k.send(amqp.AppendBody(nil, 2, []byte("x"), 0))
	if n := r.b.Counters.MessagesReceived.Load(); n != 2 {
		t.Errorf("got %d messages, want both", n)
	}
}

// TestAnnouncedBodyTakesNoRoomBeforeItComes: sixteen megabytes on each of many channels are
// announced in a few octets (C10).
func TestAnnouncedBodyTakesNoRoomBeforeItComes(t *testing.T) {
	r := newRig(t)
	k := r.open()
	const channels = 1000
	var b []byte
	for ch := uint16(1); ch <= channels; ch++ {
		b = append(b, frameOf(ch, &amqp.ChannelOpen{})...)
		b = append(b, frameOf(ch, &amqp.BasicPublish{RoutingKey: "nowhere"})...)
		b = amqp.AppendHeader(b, ch, 16<<20, []byte{0, 0})
	}
	k.send(b)
	if n := unpublished(r); n > channels*100 {
		t.Errorf("got %d bytes, want little more than the routing keys", n)
	}
}

// TestNothingNewIsMadeWhenMemoryIsExhausted, and what there is works (E18).
func TestNothingNewIsMadeWhenMemoryIsExhausted(t *testing.T) {
	r := newRig(t)
	k := r.open(1)
	k.send(frameOf(1, &amqp.QueueDeclare{Queue: "q"}))
	k.send(frameOf(1, &amqp.QueueBind{Queue: "q", Exchange: "amq.direct", RoutingKey: "k"}))
	k.frames()
	r.b.SetAlarm(broker.ExhaustionAlarm, true)
	for _, m := range []amqp.Method{
		&amqp.QueueDeclare{Queue: "q"}, &amqp.QueueBind{Queue: "q", Exchange: "amq.direct", RoutingKey: "k"},
		&amqp.QueueUnbind{Queue: "q", Exchange: "amq.direct", RoutingKey: "k"}, &amqp.BasicGet{Queue: "q"},
	} {
		k.send(frameOf(1, m))
		if got := k.lines(); len(got) != 1 || strings.Contains(got[0], "close") {
			t.Errorf("got %q for %s, want it done", got, m.Name())
		}
	}
	for _, m := range []amqp.Method{
		&amqp.QueueDeclare{Queue: "new"}, &amqp.ExchangeDeclare{Exchange: "new", Type: "fanout"},
		&amqp.QueueBind{Queue: "q", Exchange: "amq.direct", RoutingKey: "new"}, &amqp.BasicConsume{Queue: "q"},
	} {
		k.send(frameOf(1, m))
		got := strings.Join(k.lines(), "\n")
		if !strings.Contains(got, "reply_code=406") || !strings.Contains(got, "memory is exhausted") {
			t.Errorf("got %s for %s, want 406", got, m.Name())
		}
		r.b.SetAlarm(broker.ExhaustionAlarm, false)
		k.send(append(frameOf(1, &amqp.ChannelCloseOk{}), frameOf(1, &amqp.ChannelOpen{})...))
		k.frames()
		r.b.SetAlarm(broker.ExhaustionAlarm, true)
	}
	k.send(frameOf(2, &amqp.ChannelOpen{}))
	if got := strings.Join(k.lines(), "\n"); !strings.Contains(got, "reply_code=506") {
		t.Errorf("got %s for a channel, want 506", got)
	}
}
