package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// afterLogin are the rows of clients that have logged in and break the rules of the protocol.
func afterLogin() []row {
	all := framing()
	all = append(all, contents()...)
	all = append(all, topologies()...)
	all = append(all, deliveries()...)
	return all
}

// framing are the rows about frames and channels.
func framing() []row {
	return []row{
		{id: "C1", input: "a frame longer than frame_max", want: "conn 501", run: func(t *trial) {
			p := t.client()
			p.raw(amqp.AppendFrameHeader(nil, amqp.FrameBody, 1, frameMax+1))
			p.ends("conn 501")
		}},
		{id: "C2", input: "a channel number above channel_max; one channel more than that", want: "open (CH-3); conn 530 (CH-4)", run: func(t *trial) {
			p := t.tuned()
			p.open(frameMax, 2, 0)
			p.call(65535, &amqp.ChannelOpen{}, "channel.open-ok")
			p.call(1, &amqp.ChannelOpen{}, "channel.open-ok")
			p.send(2, &amqp.ChannelOpen{})
			p.ends("conn 530")
		}},
		{id: "C3", input: "open twice; a closed channel; one that was never opened", want: "conn 504", run: func(t *trial) {
			p := t.client()
			p.send(1, &amqp.ChannelOpen{})
			p.ends("conn 504")
			p = t.client()
			p.call(1, &amqp.ChannelClose{ReplyCode: 200}, "channel.close-ok")
			p.send(1, &amqp.QueueDeclare{})
			p.ends("conn 504")
			p = t.client()
			p.send(2, &amqp.BasicQos{})
			p.ends("conn 504")
		}},
		{id: "C4", input: "2047 channels open and idle", want: "less than 4 KiB each", run: func(t *trial) {
			before, err := t.read()
			t.must(err)
			p := t.connected()
			p.channels(1, 2047)
			after, err := t.read()
			t.must(err)
			if each := (after.memory - before.memory - 8<<20) / 2047; each > 4096 {
				t.failf("a channel takes %.0f bytes", each)
			}
			p.alive2047()
			t.note("open")
		}},
		{id: "C5s", input: "a channel opened and closed 5,000 times", want: "no growth", run: func(t *trial) { t.churnChannels(5000) }},
		{id: "C6", input: "a content header of another class, with a weight", want: "conn 505 (W-18)", run: func(t *trial) {
			each(t, []string{"\x00\x0a\x00\x00", "\x00\x3c\x00\x01"}, func(t *trial, head string) {
				p := t.client()
				p.send(1, &amqp.BasicPublish{RoutingKey: "q"})
				p.raw(amqp.AppendFrame(nil, amqp.Frame{Type: amqp.FrameHeader, Channel: 1, Payload: []byte(head + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")}))
				p.ends("conn 505")
			})
		}},
		{id: "C7", input: "body sizes 2^63-1 and over max_message_size", want: "conn 501 (W-22); chan 406 after the body (W-23)", run: func(t *trial) {
			p := t.client()
			p.send(1, &amqp.BasicPublish{RoutingKey: "q"})
			p.raw(amqp.AppendHeader(nil, 1, math.MaxInt64, []byte{0, 0}))
			p.ends("conn 501")
			p = t.client()
			size := 16<<20 + 1
			p.send(1, &amqp.BasicPublish{RoutingKey: "q"})
			p.raw(amqp.AppendHeader(nil, 1, uint64(size), []byte{0, 0}))
			piece := make([]byte, 64<<10)
			for left := size; left > 0; left -= len(piece) {
				p.raw(amqp.AppendBody(nil, 1, piece[:min(left, len(piece))], frameMax))
			}
			p.ends("chan 406")
			p.alive()
		}},
	}
}

// channels opens channels of these numbers, and waits for all.
func (p *peer) channels(from, to int) {
	var buf []byte
	for n := from; n <= to; n++ {
		buf = amqp.AppendMethod(buf, uint16(n), &amqp.ChannelOpen{})
	}
	p.raw(buf)
	for range to - from + 1 {
		p.want("channel.open-ok")
	}
}

// alive2047 is alive for a connection that has no channel to spare.
func (p *peer) alive2047() {
	p.call(2047, &amqp.ChannelClose{ReplyCode: 200}, "channel.close-ok")
}

func (t *trial) churnChannels(n int) {
	p := t.connected()
	const batch = 100
	for range n / batch {
		var buf []byte
		for range batch {
			buf = amqp.AppendMethod(buf, 1, &amqp.ChannelOpen{})
			buf = amqp.AppendMethod(buf, 1, &amqp.ChannelClose{ReplyCode: 200})
		}
		p.raw(buf)
		for range batch {
			p.want("channel.open-ok")
			p.want("channel.close-ok")
		}
	}
	t.note("%d times", n)
}

// contents are the rows about messages on their way in.
func contents() []row {
	publish := func(p *peer, size uint64) {
		p.raw(amqp.AppendHeader(amqp.AppendMethod(nil, 1, &amqp.BasicPublish{RoutingKey: "abuse.none"}), 1, size, []byte{0, 0}))
	}
	return []row{
		{id: "C8", input: "a body longer than announced; a header or a method instead of it", want: "conn 501; conn 505", run: func(t *trial) {
			p := t.client()
			publish(p, 3)
			p.raw(amqp.AppendBody(nil, 1, []byte("four"), frameMax))
			p.ends("conn 501")
			p = t.client()
			publish(p, 3)
			p.raw(amqp.AppendHeader(nil, 1, 3, []byte{0, 0}))
			p.ends("conn 505")
			p = t.client()
			publish(p, 3)
			p.send(1, &amqp.BasicQos{})
			p.ends("conn 505")
			p = t.client()
			p.send(1, &amqp.BasicPublish{RoutingKey: "q"}, &amqp.BasicQos{})
			p.ends("conn 505")
		}},
		{id: "C9", input: "a body of nothing; one in frames of one octet", want: "accepted", run: func(t *trial) {
			p := t.client()
			q := p.declare(nil)
			p.publish("", q, nil, nil)
			p.send(1, &amqp.BasicGet{Queue: q, NoAck: true})
			if d := p.delivered(); len(d.body) != 0 {
				t.failf("got a body of %d", len(d.body))
			}
			size := 1 << 17
			if t.long {
				size = 16 << 20
			}
			body := bytes.Repeat([]byte("x"), size)
			p.raw(amqp.AppendHeader(amqp.AppendMethod(nil, 1, &amqp.BasicPublish{RoutingKey: q}), 1, uint64(size), []byte{0, 0}))
			for rest := body; len(rest) > 0; {
				n := min(len(rest), 1<<14)
				p.raw(amqp.AppendBody(nil, 1, rest[:n], 9)) // a frame of nine octets holds one
				rest = rest[n:]
			}
			p.send(1, &amqp.BasicGet{Queue: q, NoAck: true})
			if d := p.delivered(); !bytes.Equal(d.body, body) {
				t.failf("the body is not what was sent")
			}
			t.note("accepted")
		}},
		{id: "C10", input: "16 MiB announced on 1,000 channels, then silence", want: "room for what came only; cut by heartbeat", kind: slow, run: func(t *trial) {
			before, err := t.read()
			t.must(err)
			p := t.tuned()
			p.open(frameMax, 2047, 1)
			p.channels(1, 1000)
			var buf []byte
			for ch := range uint16(1000) {
				buf = amqp.AppendMethod(buf, ch+1, &amqp.BasicPublish{RoutingKey: "q"})
				buf = amqp.AppendHeader(buf, ch+1, 16<<20, []byte{0, 0})
			}
			p.raw(buf)
			time.Sleep(500 * time.Millisecond)
			after, err := t.read()
			t.must(err)
			if grown := after.memory - before.memory; grown > 160<<20 {
				t.failf("memory grew by %.0f MiB", grown/(1<<20))
			}
			if !p.closed(6 * time.Second) {
				t.failf("not cut")
			}
			t.note("%.0f MiB; cut", max(0, after.memory-before.memory)/(1<<20))
		}},
		{id: "C11", input: "property flags that go on for ever, that are unknown, that lie", want: "conn 501, 502 or 541", run: func(t *trial) {
			each(t, []string{"\xff\xff\xff\xff\xff\xff", "\x00\x01\x00\x01", "\x80\x00", "\x80\x00\x05ab", "\x20\x00\x7f\xff\xff\xff", "\x00\x00extra"}, func(t *trial, properties string) {
				p := t.client()
				p.raw(amqp.AppendHeader(amqp.AppendMethod(nil, 1, &amqp.BasicPublish{RoutingKey: "q"}), 1, 0, []byte(properties)))
				p.ends("conn 501", "conn 502", "conn 541")
			})
		}},
		{id: "C12", input: "names of 255 octets, and of none", want: "round trip", run: func(t *trial) {
			p := t.client()
			long := func(c string) string { return strings.Repeat(c, 255) }
			p.call(1, &amqp.ExchangeDeclare{Exchange: long("x"), Type: "direct", AutoDelete: true}, "exchange.declare-ok")
			p.call(1, &amqp.QueueDeclare{Queue: long("q"), Exclusive: true}, "queue.declare-ok")
			for _, key := range []string{long("k"), ""} {
				p.call(1, &amqp.QueueBind{Queue: long("q"), Exchange: long("x"), RoutingKey: key}, "queue.bind-ok")
			}
			p.call(1, &amqp.BasicConsume{Queue: long("q"), ConsumerTag: long("t"), NoAck: true}, "basic.consume-ok")
			for _, key := range []string{long("k"), ""} {
				properties := amqp.Properties{MessageID: long("m"), Type: "", Flags: amqp.FlagMessageID | amqp.FlagType}
				p.publish(long("x"), key, &properties, []byte("b"))
				d := p.delivered()
				m := d.method.(*amqp.BasicDeliver)
				var back amqp.Properties
				t.must(back.Decode(d.header.Properties))
				if m.RoutingKey != key || m.Exchange != long("x") || m.ConsumerTag != long("t") || back.MessageID != long("m") || back.Flags != properties.Flags {
					t.failf("the message is not what was sent")
				}
			}
			p.call(1, &amqp.ExchangeDelete{Exchange: long("x")}, "exchange.delete-ok")
			t.note("round trip")
		}},
		{id: "C13", input: "headers of 120 KiB with 10,000 entries; nested 33 and 10,000 deep", want: "round trip; conn 502", run: func(t *trial) {
			p := t.client()
			q := p.declare(nil)
			var headers amqp.Table
			for i := range 10000 {
				headers = append(headers, amqp.Field{Name: fmt.Sprintf("h%05d", i), Value: true})
			}
			properties := amqp.Properties{Headers: headers, Flags: amqp.FlagHeaders}
			p.publish("", q, &properties, []byte("b"))
			p.send(1, &amqp.BasicGet{Queue: q, NoAck: true})
			var back amqp.Properties
			t.must(back.Decode(p.delivered().header.Properties))
			if !back.Headers.Equal(headers) {
				t.failf("the headers are not what was sent")
			}
			each(t, []int{33, 10000}, func(t *trial, depth int) {
				p := t.client()
				list := append([]byte{0x20, 0}, nested(depth)...)
				p.raw(amqp.AppendHeader(amqp.AppendMethod(nil, 1, &amqp.BasicPublish{RoutingKey: "q"}), 1, 0, list))
				p.ends("conn 502")
			})
		}},
		{id: "C14", input: "every field type at its ends; an unknown one", want: "bit for bit; conn 502", run: func(t *trial) {
			p := t.client()
			q := p.declare(nil)
			headers := amqp.Table{
				{Name: "t", Value: true}, {Name: "b", Value: int8(math.MinInt8)}, {Name: "B", Value: uint8(math.MaxUint8)},
				{Name: "s", Value: int16(math.MinInt16)}, {Name: "u", Value: uint16(math.MaxUint16)}, {Name: "I", Value: int32(math.MinInt32)},
				{Name: "i", Value: uint32(math.MaxUint32)}, {Name: "l", Value: int64(math.MinInt64)}, {Name: "f", Value: float32(math.NaN())},
				{Name: "d", Value: math.Inf(-1)}, {Name: "D", Value: amqp.Decimal{Scale: 255, Value: math.MaxUint32}}, {Name: "S", Value: "\xff"},
				{Name: "x", Value: []byte{0}}, {Name: "A", Value: amqp.Array{nil, amqp.Array{}}}, {Name: "T", Value: amqp.Timestamp(math.MaxUint64)},
				{Name: "F", Value: amqp.Table{}}, {Name: "V", Value: nil},
			}
			properties := amqp.Properties{Headers: headers, Timestamp: math.MaxUint64, Flags: amqp.FlagHeaders | amqp.FlagTimestamp}
			p.publish("", q, &properties, []byte("b"))
			p.send(1, &amqp.BasicGet{Queue: q, NoAck: true})
			if got, want := p.delivered().header.Properties, properties.Append(nil); !bytes.Equal(got, want) {
				t.failf("got %x, want %x", got, want)
			}
			p.raw(amqp.AppendHeader(amqp.AppendMethod(nil, 1, &amqp.BasicPublish{RoutingKey: "q"}), 1, 0, []byte("\x20\x00\x00\x00\x00\x04\x01k?\x00")))
			p.ends("conn 502")
		}},
		{id: "C15", input: "publish to an exchange that is missing, with confirms", want: "chan 404 and no confirm", run: func(t *trial) {
			p := t.client()
			p.call(1, &amqp.ConfirmSelect{}, "confirm.select-ok")
			p.publish("abuse.missing", "k", nil, []byte("b"))
			p.ends("chan 404")
			if got := p.outcomeWithin(200 * time.Millisecond); got != "open" {
				t.failf("got %s after it", got)
			}
		}},
		{id: "C16", input: "publish to an internal exchange, declare amq.*", want: "chan 403", run: func(t *trial) {
			p := t.client()
			p.call(1, &amqp.ExchangeDeclare{Exchange: "abuse.internal", Type: "fanout", Internal: true, AutoDelete: true}, "exchange.declare-ok")
			p.publish("abuse.internal", "", nil, nil)
			p.ends("chan 403")
			each(t, []amqp.Method{&amqp.QueueDeclare{Queue: "amq.abuse"}, &amqp.ExchangeDeclare{Exchange: "amq.abuse", Type: "fanout"}}, func(t *trial, m amqp.Method) {
				p := t.client()
				p.send(1, m)
				p.ends("chan 403")
			})
			p = t.client()
			p.call(1, &amqp.ExchangeDelete{Exchange: "abuse.internal"}, "exchange.delete-ok")
		}},
		{id: "C17", input: "mandatory without a route; immediate", want: "return before its confirm; conn 540", run: func(t *trial) {
			p := t.client()
			p.call(1, &amqp.ConfirmSelect{}, "confirm.select-ok")
			buf := amqp.AppendMethod(nil, 1, &amqp.BasicPublish{RoutingKey: "abuse.none", Mandatory: true})
			p.raw(amqp.AppendBody(amqp.AppendHeader(buf, 1, 1, []byte{0, 0}), 1, []byte("b"), frameMax))
			r := p.want("basic.return").(*amqp.BasicReturn)
			_, err := p.content(r)
			t.must(err)
			if r.ReplyCode != 312 {
				t.failf("got %d, want 312", r.ReplyCode)
			}
			p.want("basic.ack")
			p.raw(amqp.AppendHeader(amqp.AppendMethod(nil, 1, &amqp.BasicPublish{RoutingKey: "q", Immediate: true}), 1, 0, []byte{0, 0}))
			p.ends("conn 540")
		}},
		{id: "C30", input: "expirations 0, -1, abc, 2^64", want: "0 is at once; chan 406", run: func(t *trial) {
			p := t.client()
			q := p.declare(nil)
			p.publish("", q, &amqp.Properties{Expiration: "0", Flags: amqp.FlagExpiration}, nil)
			p.call(1, &amqp.BasicGet{Queue: q}, "basic.get-empty")
			each(t, []string{"-1", "abc", "18446744073709551616", "", " 1", "1.5"}, func(t *trial, x string) {
				p := t.client()
				p.publish("", "q", &amqp.Properties{Expiration: x, Flags: amqp.FlagExpiration}, nil)
				p.ends("chan 406")
			})
		}},
		{id: "C30l", input: "200,000 messages that expire at once", want: "no stall", kind: heavy, run: func(t *trial) {
			p := t.client()
			q := p.declare(nil)
			p.fill1(q, 200000, nil, &amqp.Properties{Expiration: "3000", Flags: amqp.FlagExpiration})
			time.Sleep(4 * time.Second)
			if n := p.count(q); n != 0 {
				t.failf("%d have not expired", n)
			}
			t.note("expired")
		}},
		{id: "C31", input: "priority 255 on a queue of ten, and none", want: "as 10, and as 0", run: func(t *trial) {
			p := t.client()
			q := p.declare(amqp.Table{{Name: "x-max-priority", Value: int32(10)}})
			for _, x := range []string{"none", "9", "255"} {
				n, err := strconv.Atoi(x)
				properties := amqp.Properties{Priority: uint8(n), Flags: amqp.FlagPriority}
				if err != nil {
					properties.Flags = 0
				}
				p.publish("", q, &properties, []byte(x))
			}
			for _, want := range []string{"255", "9", "none"} {
				p.send(1, &amqp.BasicGet{Queue: q, NoAck: true})
				if d := p.delivered(); string(d.body) != want {
					t.failf("got %s, want %s", d.body, want)
				}
			}
			t.note("clamped")
		}},
		{id: "C32", input: "1 GiB in a transaction; confirm.select in one", want: "conn 506; chan 406", run: func(t *trial) {
			p := t.client()
			p.call(1, &amqp.TxSelect{}, "tx.select-ok")
			buf := content(nil, 1, "", "abuse.none", nil, make([]byte, 1<<20))
			for range 64 {
				if p.write(buf) != nil {
					break
				}
			}
			p.ends("conn 506")
			p = t.client()
			p.call(1, &amqp.TxSelect{}, "tx.select-ok")
			p.send(1, &amqp.ConfirmSelect{})
			p.ends("chan 406")
		}},
		{id: "C36", input: "connection.close with 10,000 confirms outstanding, then more", want: "close-ok within a second, the rest ignored", run: func(t *trial) {
			p := t.client()
			p.call(1, &amqp.ConfirmSelect{}, "confirm.select-ok")
			p.call(1, &amqp.QueueDeclare{Queue: "abuse.c36", Durable: true}, "queue.declare-ok")
			properties := amqp.Properties{DeliveryMode: 2, Flags: amqp.FlagDeliveryMode}
			var buf []byte
			for range 10000 {
				buf = content(buf, 1, "", "abuse.c36", &properties, []byte("b"))
			}
			buf = amqp.AppendMethod(buf, 0, &amqp.ConnectionClose{ReplyCode: 200})
			buf = amqp.AppendMethod(buf, 1, &amqp.QueueDeclare{Queue: "abuse.after"})
			p.raw(buf)
			sent := time.Now()
			for {
				got := p.outcome()
				if got == "connection.close-ok" {
					break
				}
				if got != "basic.ack" {
					t.failf("got %s, want close-ok", got)
				}
			}
			if took := time.Since(sent); took > time.Second {
				t.failf("close-ok took %v", took)
			}
			q := t.client()
			q.call(1, &amqp.QueueDelete{Queue: "abuse.c36"}, "queue.delete-ok")
			q.send(1, &amqp.QueueDeclare{Queue: "abuse.after", Passive: true})
			q.want("chan 404")
			t.note("close-ok in %v", time.Since(sent).Round(time.Millisecond))
		}},
		{id: "C37", input: "connection.close is ignored", want: "cut", kind: waiting, run: func(t *trial) {
			p := t.tuned()
			p.open(frameMax, 2047, 3) // the wait is a heartbeat long (C-31)
			p.send(1, &amqp.BasicQos{})
			p.want("conn 504")
			if !p.closed(15 * time.Second) {
				t.failf("not cut")
			}
			t.note("cut")
		}},
		{id: "C38", input: "declare, bind, publish, close, all at once", want: "done in order", run: func(t *trial) {
			p := t.client()
			buf := amqp.AppendMethod(nil, 1, &amqp.QueueDeclare{Queue: "abuse.c38"})
			buf = amqp.AppendMethod(buf, 1, &amqp.QueueBind{Queue: "abuse.c38", Exchange: "amq.direct", RoutingKey: "abuse.c38"})
			buf = content(buf, 1, "amq.direct", "abuse.c38", nil, []byte("b"))
			buf = amqp.AppendMethod(buf, 0, &amqp.ConnectionClose{ReplyCode: 200})
			p.raw(buf)
			p.want("queue.declare-ok")
			p.want("queue.bind-ok")
			p.want("connection.close-ok")
			q := t.client()
			if m := q.call(1, &amqp.QueueDelete{Queue: "abuse.c38"}, "queue.delete-ok").(*amqp.QueueDeleteOk); m.MessageCount != 1 {
				t.failf("got %d messages, want 1", m.MessageCount)
			}
			t.note("in order")
		}},
		{id: "C39", input: "another's user-id; CC of a wrong type; BCC", want: "chan 406; BCC removed", run: func(t *trial) {
			p := t.client()
			p.publish("", "q", &amqp.Properties{UserID: "another", Flags: amqp.FlagUserID}, nil)
			p.ends("chan 406")
			p = t.client()
			p.publish("", "q", &amqp.Properties{Headers: amqp.Table{{Name: "CC", Value: "q"}}, Flags: amqp.FlagHeaders}, nil)
			p.ends("chan 406")
			p = t.client()
			q := p.declare(nil)
			p.publish("", "abuse.none", &amqp.Properties{Headers: amqp.Table{{Name: "BCC", Value: amqp.Array{q}}}, Flags: amqp.FlagHeaders}, nil)
			p.send(1, &amqp.BasicGet{Queue: q, NoAck: true})
			if bytes.Contains(p.delivered().header.Properties, []byte("BCC")) {
				t.failf("BCC is delivered")
			}
		}},
	}
}

// fill1 publishes n messages to a queue and waits until they are there.
func (p *peer) fill1(queue string, n int, body []byte, properties *amqp.Properties) {
	var buf []byte
	for i := range n {
		buf = content(buf, 1, "", queue, properties, body)
		if len(buf) > 256<<10 || i == n-1 {
			p.raw(buf)
			buf = buf[:0]
		}
	}
	p.count(queue)
}

// count asks how many messages a queue has, after everything that was sent before.
func (p *peer) count(queue string) int {
	return int(p.call(1, &amqp.QueueDeclare{Queue: queue, Passive: true}, "queue.declare-ok").(*amqp.QueueDeclareOk).MessageCount)
}

// number is n in eight octets.
func number(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }
