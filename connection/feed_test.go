package connection

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/leveretmq/leveret/amqp"
)

// conversation is what a client could say that uses most of the protocol and makes no
// mistake: two channels whose contents interleave, confirms, transactions, prefetch.
func conversation() []byte {
	b := []byte(amqp.ProtocolHeader)
	say := func(channel uint16, ms ...amqp.Method) {
		for _, m := range ms {
			b = amqp.AppendMethod(b, channel, m)
		}
	}
	publish := func(channel uint16, m *amqp.BasicPublish, p amqp.Properties, body string) {
		b = append(b, content(channel, m, p, body, 64)...)
	}
	say(0,
		&amqp.ConnectionStartOk{ClientProperties: capabilities, Mechanism: "PLAIN", Response: "\x00guest\x00guest", Locale: "en_US"},
		&amqp.ConnectionTuneOk{ChannelMax: 100, FrameMax: 4096, Heartbeat: 10},
		&amqp.ConnectionOpen{VirtualHost: "/"})
	say(1, &amqp.ChannelOpen{}, &amqp.ConfirmSelect{},
		&amqp.QueueDeclare{Queue: "q", Durable: true},
		&amqp.ExchangeDeclare{Exchange: "x", Type: "topic", Durable: true},
		&amqp.QueueBind{Queue: "q", Exchange: "x", RoutingKey: "a.#"},
		&amqp.BasicQos{PrefetchCount: 3},
		&amqp.BasicConsume{Queue: "q", ConsumerTag: "c"})
	say(2, &amqp.ChannelOpen{}, &amqp.TxSelect{},
		&amqp.QueueDeclare{Queue: "r", Arguments: amqp.Table{{Name: "x-max-length", Value: int32(2)}}})
	persistent := amqp.Properties{Flags: amqp.FlagDeliveryMode | amqp.FlagHeaders, DeliveryMode: 2,
		Headers: amqp.Table{{Name: "CC", Value: amqp.Array{"r"}}, {Name: "BCC", Value: amqp.Array{"q"}}}}
	for range 4 {
		publish(1, &amqp.BasicPublish{Exchange: "x", RoutingKey: "a.b"}, persistent, strings.Repeat("body", 50))
		publish(1, &amqp.BasicPublish{RoutingKey: "nowhere", Mandatory: true}, amqp.Properties{}, "")
	}
	// Contents of two channels, frame by frame.
	say(1, &amqp.BasicPublish{Exchange: "x", RoutingKey: "a"})
	say(2, &amqp.BasicPublish{RoutingKey: "r"})
	b = amqp.AppendHeader(b, 2, 3, []byte{0, 0})
	b = amqp.AppendHeader(b, 1, 3, []byte{0, 0})
	b = amqp.AppendBody(b, 1, []byte("one"), 0)
	b = amqp.AppendHeartbeat(b)
	b = amqp.AppendBody(b, 2, []byte("two"), 0)
	say(2, &amqp.TxCommit{}, &amqp.BasicGet{Queue: "r"}, &amqp.BasicAck{DeliveryTag: 1}, &amqp.TxRollback{},
		&amqp.BasicNack{DeliveryTag: 0, Multiple: true, Requeue: true}, &amqp.TxCommit{})
	say(1, &amqp.BasicAck{DeliveryTag: 2, Multiple: true}, &amqp.BasicReject{DeliveryTag: 3, Requeue: true},
		&amqp.BasicRecover{Requeue: true}, &amqp.BasicCancel{ConsumerTag: "c"},
		&amqp.QueuePurge{Queue: "q"}, &amqp.QueueDelete{Queue: "q"},
		&amqp.QueueDeclare{Queue: "missing", Passive: true}, &amqp.ChannelCloseOk{})
	say(0, &amqp.ConnectionClose{ReplyCode: 200})
	return b
}

// talk has a new broker hear octets in pieces, and returns what it answered.
func talk(t testing.TB, octets []byte, piece func(left int) int) []string {
	r := newRig(t)
	k := r.accept(Options{})
	for len(octets) > 0 {
		n := piece(len(octets))
		k.send(octets[:n])
		octets = octets[n:]
	}
	return k.lines()
}

// answersOf are the lines that say what happened, without those that tell how the octets
// came: confirms are coalesced for each batch.
func answersOf(lines []string) string {
	var kept []string
	for _, l := range lines {
		if !strings.Contains(l, "basic.ack") {
			kept = append(kept, l)
		}
	}
	return strings.Join(kept, "\n")
}

// TestCuttingTheStreamAnywhereGivesTheSameConversation cuts it into single octets, in two at
// every place, and at random. Deliveries may come later when they come in more batches, so
// the order is compared for each kind of frame.
func TestCuttingTheStreamAnywhereGivesTheSameConversation(t *testing.T) {
	octets := conversation()
	whole := talk(t, octets, func(left int) int { return left })
	if want := `ch=0 connection.close-ok{}`; whole[len(whole)-1] != want {
		t.Fatalf("the conversation ends with %s", whole[len(whole)-1])
	}
	want := answersOf(whole)
	same := func(how string, piece func(left int) int) {
		t.Helper()
		if got := answersOf(talk(t, octets, piece)); got != want {
			t.Fatalf("%s: got\n%s\nwant\n%s", how, got, want)
		}
	}
	same("single octets", func(int) int { return 1 })
	for cut := 1; cut < len(octets); cut += 7 {
		same("in two", func(left int) int {
			if left == len(octets) {
				return cut
			}
			return left
		})
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		same("at random", func(left int) int { return min(left, 1+rnd.IntN(100)) })
	}
}

// FuzzFeed mutates a conversation that is fine. Whatever comes of it, nothing panics, the
// answers are frames, a neighbour is served, and what the client held is given back.
func FuzzFeed(f *testing.F) {
	whole := conversation()
	f.Add(whole, uint16(300))
	f.Add([]byte("AMQP\x00\x00\x09\x01"), uint16(0))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint16(2))
	for i := range uint16(20) {
		broken := append([]byte(nil), whole...)
		broken[int(i)*37%len(broken)] ^= byte(1 << (i % 8))
		f.Add(broken, 13*i)
	}
	f.Fuzz(func(t *testing.T, octets []byte, cut uint16) {
		if len(octets) > 64<<10 {
			return
		}
		r := newRig(t)
		k := r.accept(Options{MaxMessageBytes: 1 << 20})
		neighbour := r.open(1)
		cutAt := int(cut)
		if len(octets) > 0 {
			cutAt %= len(octets) + 1
		} else {
			cutAt = 0
		}
		k.send(octets[:cutAt])
		k.send(octets[cutAt:])
		k.received = bytes.TrimPrefix(k.received, []byte(amqp.ProtocolHeader))
		k.lines()
		k.c.Close(r.now, nil)
		r.settle()
		neighbour.send(frameOf(1, &amqp.QueueDeclare{Queue: "neighbour"}))
		neighbour.send(content(1, &amqp.BasicPublish{RoutingKey: "neighbour"}, amqp.Properties{}, "x", 0))
		neighbour.send(frameOf(1, &amqp.BasicGet{Queue: "neighbour", NoAck: true}))
		if got := len(neighbour.frames()); got != 4 {
			t.Errorf("the neighbour heard %d frames, want 4", got)
		}
		for _, q := range r.b.VHost("/").Queues() {
			if s := q.Stats(); s.Unacknowledged != 0 || s.Consumers != 0 {
				t.Errorf("%v has %d unacknowledged and %d consumers of a client that is gone", q, s.Unacknowledged, s.Consumers)
			}
		}
	})
}

// TestPanicInTheBrokerIsNotBlamedOnOctets: only a panic while a client's octets are read
// may end with its connection.
func TestPanicInTheBrokerIsNotBlamedOnOctets(t *testing.T) {
	f := func(what string, ms ...amqp.Method) {
		t.Helper()
		k := newRig(t).open(1)
		k.c.vhost = nil // whatever uses the topology panics
		defer func() {
			t.Helper()
			if recover() == nil {
				t.Errorf("%s did not panic", what)
			}
			if k.c.Decoding() {
				t.Errorf("%s: the octets are blamed", what)
			}
		}()
		for _, m := range ms {
			k.send(frameOf(1, m))
		}
		t.Errorf("%s went well", what)
	}
	f("declare", &amqp.QueueDeclare{Queue: "q"})
	f("get", &amqp.BasicGet{Queue: "q"})
	f("bind", &amqp.QueueBind{Queue: "q", Exchange: "x"})
}

func TestWhoOnlySaysHelloHasNotSpoken(t *testing.T) { // W-8
	f := func(said string, want bool) {
		t.Helper()
		k := newRig(t).accept(Options{})
		for i := range said { // in whatever pieces it comes
			k.send([]byte{said[i]})
		}
		if got := k.c.Spoke(); got != want {
			t.Errorf("got %v of a client that said %q, want %v", got, said, want)
		}
	}
	f("", false)
	f("AMQP", false)
	f(amqp.ProtocolHeader, false)
	f(amqp.ProtocolHeader+"\x01", true)
	f("GET / HT", true)
}
