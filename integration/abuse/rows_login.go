package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// beforeLogin are the rows of clients that have not logged in.
func beforeLogin() []row {
	return []row{
		{id: "A1", input: "connect, send nothing", want: "cut after the handshake timeout", kind: waiting, run: func(t *trial) {
			t.timesOut(func(*peer) {})
		}},
		{id: "A2", input: "the header, an octet at a time", want: "cut at the same time", kind: waiting, run: func(t *trial) {
			t.timesOut(func(p *peer) {
				pause := t.handshake / 6
				for _, b := range []byte(amqp.ProtocolHeader)[:5] {
					p.raw([]byte{b})
					time.Sleep(pause)
				}
			})
		}},
		{id: "A3", input: "HTTP, AMQP 1.0, random", want: "header, cut", run: func(t *trial) {
			random := make([]byte, 64)
			for i := range random {
				random[i] = byte(rand.Uint32() | 1)
			}
			each(t, []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "AMQP\x00\x01\x00\x00", "AMQP\x03\x01\x00\x00", "AMQP\x00\x00\x09\x00", string(random)}, wrongHeader)
		}},
		{id: "A4", input: "TLS ClientHello to the plain port", want: "header, cut", run: func(t *trial) {
			wrongHeader(t, "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03"+strings.Repeat("r", 150))
		}},
		{id: "A5", input: "a frame of 4 GiB - 1", want: "conn 501", run: func(t *trial) {
			p := t.greeted()
			p.raw(amqp.AppendFrameHeader(nil, amqp.FrameMethod, 0, 1<<32-1))
			p.ends("conn 501")
		}},
		{id: "A6", input: "method frames of 0 and 3 octets", want: "conn 501", run: func(t *trial) {
			each(t, []int{0, 3}, func(t *trial, n int) {
				p := t.greeted()
				p.raw(frameOf(amqp.FrameMethod, uint32(n), make([]byte, n), amqp.FrameEnd))
				p.ends("conn 501")
			})
		}},
		{id: "A7", input: "a frame that ends otherwise", want: "conn 501", run: func(t *trial) {
			p := t.greeted()
			p.raw(frameOf(amqp.FrameMethod, 4, []byte{0, 10, 0, 11}, 0xCD))
			p.ends("conn 501")
		}},
		{id: "A8", input: "frames of type 0, 4, 7, 255", want: "conn 501", run: func(t *trial) {
			each(t, []uint8{0, 4, 7, 255}, func(t *trial, typ uint8) {
				p := t.greeted()
				p.raw(frameOf(typ, 4, []byte{0, 10, 0, 11}, amqp.FrameEnd))
				p.ends("conn 501")
			})
		}},
		{id: "A9", input: "a method on channel 1 before start-ok", want: "cut in silence (W-27)", kind: waiting, run: func(t *trial) {
			p := t.greeted()
			p.send(1, &amqp.ChannelOpen{})
			p.ends("cut", "conn 504", "conn 505")
		}},
		{id: "A10", input: "body and header frames before login", want: "conn 505, or cut on a channel", kind: waiting, run: func(t *trial) {
			each(t, []amqp.Frame{
				{Type: amqp.FrameBody, Payload: []byte("x")}, {Type: amqp.FrameHeader, Payload: make([]byte, 14)},
				{Type: amqp.FrameBody, Channel: 1, Payload: []byte("x")}, {Type: amqp.FrameHeader, Channel: 1, Payload: make([]byte, 14)},
			}, func(t *trial, f amqp.Frame) {
				p := t.greeted()
				p.raw(amqp.AppendFrame(nil, f))
				got := p.outcome()
				if got != "cut" && got != "conn 505" {
					t.failf("got %s, want conn 505 or cut", got)
				}
				t.note("%s", got)
			})
		}},
		{id: "A11", input: "tune-ok or open before start-ok", want: "cut in silence (W-27)", kind: waiting, run: func(t *trial) {
			each(t, []amqp.Method{&amqp.ConnectionTuneOk{FrameMax: frameMax}, &amqp.ConnectionOpen{VirtualHost: "/"}}, func(t *trial, m amqp.Method) {
				p := t.greeted()
				p.send(0, m)
				p.ends("cut", "conn 503", "conn 504")
			})
		}},
		{id: "A12", input: "channel.open, publish before open", want: "conn 504 or 505, nothing done", run: func(t *trial) {
			p := t.tuned()
			p.send(0, &amqp.ConnectionTuneOk{FrameMax: frameMax, ChannelMax: 2047})
			p.send(1, &amqp.ChannelOpen{}, &amqp.QueueDeclare{Queue: "abuse.early"})
			p.ends("conn 505", "conn 504", "conn 503", "cut")
			q := t.client()
			q.send(1, &amqp.QueueDeclare{Queue: "abuse.early", Passive: true})
			q.ends("chan 404")
		}},
		{id: "A13", input: "an unknown mechanism", want: "cut in silence (C-10)", kind: waiting, run: func(t *trial) {
			p := t.greeted()
			p.send(0, t.startOk("GSSAPI", "x"))
			p.ends("cut")
		}},
		{id: "A14", input: "PLAIN without NULs, with one, with empty or huge parts", want: "refused", kind: waiting, run: func(t *trial) {
			each(t, []string{"guest", "\x00guest", "\x00\x00", "\x00guest\x00", "\x00\x00guest", "x\x00guest\x00guest", "\x00guest\x00wrong",
				"\x00guest\x00" + strings.Repeat("p", 7000), "\x00guest\x00" + strings.Repeat("p", 1<<20)}, refused("PLAIN"))
		}},
		{id: "A15", input: "AMQPLAIN with wrong types, without LOGIN", want: "refused", kind: waiting, run: func(t *trial) {
			bare := func(x amqp.Table) string { return string(amqp.AppendTable(nil, x)[4:]) }
			each(t, []string{"", "x", bare(amqp.Table{{Name: "LOGIN", Value: int32(1)}, {Name: "PASSWORD", Value: true}}),
				bare(amqp.Table{{Name: "PASSWORD", Value: "guest"}}), bare(amqp.Table{{Name: "LOGIN", Value: "guest"}}), "\xffLOGIN"}, refused("AMQPLAIN"))
		}},
		{id: "A16", input: "200 wrong logins a second", want: "delayed; less than a processor; others log in", kind: slow, run: wrongLogins},
		{id: "A17", input: "client-properties nested as deep as the frame allows", want: "conn 502", run: func(t *trial) {
			p := t.greeted()
			p.raw(startOkWith(nested(1300)))
			p.ends("conn 502", "conn 501")
		}},
		{id: "A18", input: "client-properties with duplicates, empty and long names, no UTF-8", want: "let in or 502", run: func(t *trial) {
			deep := amqp.Table{{Name: "a", Value: amqp.Array{amqp.Table{{Name: "b", Value: amqp.Array{nil, true}}}}}}
			each(t, []amqp.Table{deep, {{Name: "k", Value: "1"}, {Name: "k", Value: "2"}}, {{Name: "", Value: "x"}},
				{{Name: strings.Repeat("n", 255), Value: "x"}}, {{Name: "product", Value: "\xff\xfe<script>"}},
				{{Name: "connection_name", Value: "../\x00\n\x1b[31m"}}, {{Name: "capabilities", Value: int32(7)}}}, func(t *trial, properties amqp.Table) {
				p := t.greeted()
				m := t.startOk("PLAIN", "\x00"+t.user+"\x00"+t.password)
				m.ClientProperties = properties
				p.send(0, m)
				p.want("connection.tune", "conn 502", "conn 501")
			})
			t.note("let in or refused")
		}},
		{id: "A19", input: "table longer than its frame, entry longer than its table", want: "conn 502 or 501", run: func(t *trial) {
			each(t, []string{"\x7f\xff\xff\xff", "\x00\x00\x00\x06\x01kS\x00\x00\x00", "\x00\x00\x00\x09\x01kS\xff\xff\xff\xffxx", "\x00\x00\x00\x01\xff", "\x00\x00\x00\x03\x01k?"}, func(t *trial, table string) {
				p := t.greeted()
				p.raw(startOkWith([]byte(table)))
				p.ends("conn 502", "conn 501")
			})
		}},
		{id: "A20", input: "tune-ok beyond what is offered, or below the least", want: "conn 530; the heartbeat is free", run: func(t *trial) {
			each(t, []amqp.ConnectionTuneOk{{FrameMax: 0, ChannelMax: 1}, {FrameMax: 1, ChannelMax: 1}, {FrameMax: 4095, ChannelMax: 1}, {FrameMax: 1<<32 - 1, ChannelMax: 1},
				{FrameMax: 4096, ChannelMax: 0}, {FrameMax: 4096, ChannelMax: 65535}}, func(t *trial, m amqp.ConnectionTuneOk) {
				p := t.tuned()
				p.send(0, &m)
				p.ends("conn 530", "cut")
			})
			t.tuned().open(4096, 1, 65535)
		}},
		{id: "A21", input: "unknown, 255 octet and forbidden virtual hosts", want: "conn 530", run: func(t *trial) {
			each(t, []string{"nowhere", strings.Repeat("v", 255), "", "../", "\n"}, func(t *trial, vhost string) {
				p := t.tuned()
				p.send(0, &amqp.ConnectionTuneOk{FrameMax: frameMax, ChannelMax: 2047}, &amqp.ConnectionOpen{VirtualHost: vhost})
				p.ends("conn 530")
			})
		}},
		{id: "A22", input: "20,000 half-open handshakes of one host", want: "others log in", kind: heavy, run: func(t *trial) { t.halfOpen(20000, 1) }},
		{id: "A22s", input: "1,000 half-open handshakes of one host", want: "others log in", run: func(t *trial) { t.halfOpen(1000, 1) }},
		{id: "A23", input: "the header, then a reset, 100,000 times", want: "no growth", kind: heavy, run: func(t *trial) { t.resets(100000) }},
		{id: "A23s", input: "the header, then a reset, 2,000 times", want: "no growth", run: func(t *trial) { t.resets(2000) }},
		{id: "A24", input: "a PROXY header that nobody asked for", want: "header, cut", run: func(t *trial) {
			each(t, []string{"PROXY TCP4 10.0.0.1 10.0.0.2 1234 5672\r\nAMQP\x00\x00\x09\x01", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + "AMQP\x00\x00\x09\x01"}, wrongHeader)
		}},
	}
}

// timesOut wants a client that does not get on to be cut at the handshake timeout, counted
// from when it came.
func (t *trial) timesOut(f func(p *peer)) {
	began := time.Now()
	p := t.dial()
	f(p)
	if !p.closed(t.handshake + 3*time.Second) {
		t.failf("not cut after %v", time.Since(began))
	}
	took := time.Since(began)
	if took < t.handshake-time.Second || took > t.handshake+2*time.Second {
		t.failf("cut after %v, want %v", took, t.handshake)
	}
	t.note("cut after %.1f s", took.Seconds())
}

func wrongHeader(t *trial, greeting string) {
	p := t.dial()
	p.raw([]byte(greeting))
	got := p.outcome()
	if got != "header" && got != "cut" { // a reset may overtake the header
		t.failf("got %s, want a header", got)
	}
	t.note("%s", got)
	if !p.closed(t.patience) {
		t.failf("not cut")
	}
}

func refused(mechanism string) func(t *trial, response string) {
	return func(t *trial, response string) {
		p := t.greeted()
		p.send(0, t.startOk(mechanism, response))
		p.ends("cut", "conn 403", "conn 501")
	}
}

// startOkWith is a start-ok whose client-properties are these octets.
func startOkWith(table []byte) []byte {
	payload := append([]byte{0, 10, 0, 11}, table...)
	payload = append(payload, "\x05PLAIN"...)
	payload = binary.BigEndian.AppendUint32(payload, 12)
	payload = append(payload, "\x00guest\x00guest"...)
	payload = append(payload, "\x05en_US"...)
	return frameOf(amqp.FrameMethod, uint32(len(payload)), payload, amqp.FrameEnd)
}

// wrongLogins tries passwords from another address for two seconds.
func wrongLogins(t *trial) {
	const attempts, rate = 400, 200
	cpu := t.cpu()
	var wg sync.WaitGroup
	var mu sync.Mutex
	answered := 0
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	began := time.Now()
	for i := range attempts {
		<-tick.C
		wg.Go(func() {
			p, err := t.dialFrom("127.0.0.3")
			if err != nil {
				return // turned away, which is as good
			}
			defer p.reset()
			buf := []byte(amqp.ProtocolHeader)
			buf = amqp.AppendMethod(buf, 0, t.startOk("PLAIN", fmt.Sprintf("\x00guest\x00wrong%d", i)))
			if p.write(buf) != nil {
				return
			}
			if p.outcome() == "connection.start" && p.outcome() == "connection.tune" {
				mu.Lock()
				answered++
				mu.Unlock()
			}
		})
		if i%100 == 50 {
			start := time.Now()
			p, err := t.try()
			t.must(err)
			if took := time.Since(start); took > time.Second {
				t.failf("another client took %v to log in", took)
			}
			p.reset()
		}
	}
	wg.Wait()
	if answered > 0 {
		t.failf("%d wrong passwords were let in", answered)
	}
	if used := t.cpu() - cpu; t.pid != 0 && used > time.Since(began) {
		t.failf("they cost %v of processor time", used)
	}
	t.note("refused; %.2f processors", float64(t.cpu()-cpu)/float64(time.Since(began)))
}

// halfOpen opens many connections that say hello and nothing more, from other addresses, and
// wants others to be able to log in meanwhile. When this process has no more descriptors it
// lets go of the first.
func (t *trial) halfOpen(n, hosts int) {
	const dialling = 8 // at a time
	most := min(n, descriptors()-3000) / dialling
	var wg sync.WaitGroup
	var open atomic.Int64
	began := time.Now()
	for h := range dialling {
		wg.Go(func() {
			var mine []*peer
			for i := range n / dialling {
				p, err := t.dialFrom(fmt.Sprintf("127.0.2.%d", 1+(i*dialling+h)%hosts))
				if err != nil {
					continue // there are no more ports or descriptors
				}
				if p.write([]byte(amqp.ProtocolHeader)) == nil && open.Add(1)%50 == 0 && h == 0 {
					time.Sleep(time.Millisecond)
				}
				if mine = append(mine, p); len(mine) > most {
					mine[0].reset()
					mine = mine[1:]
				}
			}
		})
	}
	worst := time.Duration(0)
	for range 10 {
		start := time.Now()
		p, err := t.try()
		if err != nil {
			t.failf("another client could not log in: %v", err)
		}
		worst = max(worst, time.Since(start))
		p.reset()
		time.Sleep(50 * time.Millisecond)
	}
	wg.Wait()
	start := time.Now()
	p, err := t.try()
	if err != nil {
		t.failf("another client could not log in: %v", err)
	}
	worst = max(worst, time.Since(start))
	p.reset()
	if worst > 2*time.Second {
		t.failf("another client took %v to log in", worst)
	}
	t.note("%d opened in %.1f s, others log in within %v", open.Load(), time.Since(began).Seconds(), worst.Round(time.Millisecond))
}

// resets has clients vanish as soon as they have said hello.
func (t *trial) resets(n int) {
	for range n {
		p, err := t.dialFrom("")
		t.must(err)
		_ = p.write([]byte(amqp.ProtocolHeader)) // whether it arrives is all the same
		p.reset()
		t.mu.Lock()
		t.peers = t.peers[:0]
		t.mu.Unlock()
	}
	t.note("%d resets", n)
}
