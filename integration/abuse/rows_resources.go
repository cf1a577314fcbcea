package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// shortOfThings are the rows in which the broker itself runs short.
func shortOfThings() []row {
	return []row{
		{id: "D11", input: "ulimit -n 256, 400 clients", want: "an alarm, no busy loop, files can be opened", kind: slow, run: fewDescriptors},
		{id: "E18 connections", input: "connections without end under 512 MiB", want: alarmed, kind: heavy, alarm: true, run: func(t *trial) {
			t.exhaust(func(stop func() bool) {
				properties := amqp.Table{{Name: "ballast", Value: strings.Repeat("b", 7000)}}
				_, _ = crowd(min(18000, descriptors()-2000), 16, func() error { // that they are turned away is what is wanted
					if stop() {
						return nil
					}
					p, err := t.dialFrom(fmt.Sprintf("127.0.1.%d", 1+time.Now().Nanosecond()%200))
					if err != nil {
						return err
					}
					m := t.startOk("PLAIN", "\x00"+t.user+"\x00"+t.password)
					m.ClientProperties = properties
					buf := amqp.AppendMethod([]byte(amqp.ProtocolHeader), 0, m)
					buf = amqp.AppendMethod(buf, 0, &amqp.ConnectionTuneOk{FrameMax: frameMax, ChannelMax: 2047})
					buf = amqp.AppendMethod(buf, 0, &amqp.ConnectionOpen{VirtualHost: t.vhost})
					if err := p.write(buf); err != nil {
						return err
					}
					for _, want := range []string{"connection.start", "connection.tune", "connection.open-ok"} {
						if got := p.outcome(); got != want {
							return fmt.Errorf("got %s", got)
						}
					}
					// Half a frame, as long as one may be.
					return p.write(append(amqp.AppendFrameHeader(nil, amqp.FrameBody, 1, frameMax), make([]byte, 120<<10)...))
				})
			})
		}},
		{id: "E18 contents", input: "bodies that never end, on 2,000 channels of 20 connections", want: alarmed, kind: heavy, alarm: true, run: func(t *trial) {
			t.exhaust(func(stop func() bool) {
				each20(t, func(p *peer) {
					p.channels(2, 2000)
					var buf []byte
					for ch := range uint16(2000) {
						buf = amqp.AppendMethod(buf, ch+1, &amqp.BasicPublish{RoutingKey: "q"})
						buf = amqp.AppendHeader(buf, ch+1, 16<<20, []byte{0, 0})
					}
					p.raw(buf)
					piece := make([]byte, 60<<10)
					for ch := uint16(0); !stop(); ch = (ch + 1) % 2000 {
						if p.write(amqp.AppendBody(nil, ch+1, piece, frameMax)) != nil {
							return
						}
					}
				})
			})
		}},
		{id: "E18 transactions", input: "30 MiB in a transaction on 100 channels of 20 connections", want: alarmed, kind: heavy, alarm: true, run: func(t *trial) {
			t.exhaust(func(stop func() bool) {
				each20(t, func(p *peer) {
					p.channels(2, 100)
					buf := content(nil, 1, "", "abuse.none", nil, make([]byte, 1<<20))
					for ch := uint16(1); ch <= 100; ch++ {
						p.raw(amqp.AppendMethod(nil, ch, &amqp.TxSelect{}))
						buf = content(buf[:0], ch, "", "abuse.none", nil, make([]byte, 1<<20))
						for range 30 {
							if stop() || p.write(buf) != nil {
								return
							}
						}
					}
				})
			})
		}},
		{id: "E18 unacknowledged", input: "small transient messages that are never acknowledged", want: alarmed, kind: heavy, alarm: true, run: func(t *trial) {
			t.exhaust(func(stop func() bool) {
				each20(t, func(p *peer) {
					q := p.declare(nil)
					p.send(1, &amqp.BasicConsume{Queue: q})
					go func() { // reads and forgets, until the row ends
						_ = p.conn.SetReadDeadline(time.Now().Add(5 * time.Minute))
						b := make([]byte, 64<<10)
						for {
							if _, err := p.conn.Read(b); err != nil {
								return
							}
						}
					}()
					var buf []byte
					for range 500 {
						buf = content(buf, 1, "", q, nil, []byte("12345678"))
					}
					for !stop() {
						if p.write(buf) != nil {
							return
						}
					}
				})
			})
		}},
		{id: "E18 bindings", input: "bindings without end", want: alarmed, kind: heavy, alarm: true, run: func(t *trial) {
			t.client().call(1, &amqp.ExchangeDeclare{Exchange: "abuse.e18", Type: "topic"}, "exchange.declare-ok")
			t.exhaust(func(stop func() bool) {
				var next atomic.Int64
				each20(t, func(p *peer) {
					q := p.declare(nil)
					for !stop() {
						var buf []byte
						const batch = 500
						for range batch {
							n := next.Add(1)
							buf = amqp.AppendMethod(buf, 1, &amqp.QueueBind{Queue: q, Exchange: "abuse.e18", RoutingKey: fmt.Sprintf("a.%d.%s.*", n, strings.Repeat("w", 200))})
						}
						if p.write(buf) != nil {
							return
						}
						for range batch {
							if got := p.outcome(); got != "queue.bind-ok" {
								t.note("%s", got)
								return
							}
						}
					}
				})
			})
			t.client().call(1, &amqp.ExchangeDelete{Exchange: "abuse.e18"}, "exchange.delete-ok")
		}},
		{id: "E18 consumers", input: "consumers without end, on 100 channels of 20 connections", want: alarmed, kind: heavy, alarm: true, run: func(t *trial) {
			t.exhaust(func(stop func() bool) {
				each20(t, func(p *peer) {
					q := p.declare(nil)
					p.channels(2, 100)
					tag := strings.Repeat("t", 240)
					for ch := uint16(1); ch <= 100; ch++ {
						for part := range 10 {
							var buf []byte
							for n := range 100 {
								buf = amqp.AppendMethod(buf, ch, &amqp.BasicConsume{Queue: q, ConsumerTag: fmt.Sprintf("%s%d", tag, part*100+n)})
							}
							if stop() || p.write(buf) != nil {
								return
							}
							for range 100 {
								if got := p.outcome(); got != "basic.consume-ok" {
									t.note("%s", got)
									return
								}
							}
						}
					}
				})
			})
		}},
		{id: "E18 queues", input: "queues without end", want: alarmed, kind: heavy, alarm: true, run: func(t *trial) {
			t.exhaust(func(stop func() bool) {
				each20(t, func(p *peer) {
					for !stop() {
						var buf []byte
						const batch = 500
						for range batch {
							buf = amqp.AppendMethod(buf, 1, &amqp.QueueDeclare{Exclusive: true})
						}
						if p.write(buf) != nil {
							return
						}
						for range batch {
							if got := p.outcome(); got != "queue.declare-ok" {
								t.note("%s", got)
								return
							}
						}
					}
				})
			})
		}},
	}
}

const alarmed = "publishers blocked or whoever asks for more refused; consumers served; released; never killed"

func (t *trial) needProcess() {
	if t.process == nil {
		t.failf("this row is for a broker that was started by it")
	}
}

// each20 has twenty clients do f at the same time. That they are cut off is no failure.
func each20(t *trial, f func(p *peer)) {
	var wg sync.WaitGroup
	for range 20 {
		p, err := t.try()
		if err != nil {
			t.note("turned away: %v", err)
			continue
		}
		wg.Go(func() {
			defer func() {
				if x := recover(); x != nil {
					if _, ok := x.(failure); !ok {
						panic(x)
					}
				}
			}()
			f(p)
		})
	}
	wg.Wait()
}

// exhaust has drive use up the broker's memory for up to half a minute, and wants everybody
// who consumes to be served meanwhile, and everything to be as before afterwards.
func (t *trial) exhaust(drive func(stop func() bool)) {
	t.needProcess()
	t.patience = 20 * time.Second
	consumer := t.client()
	q := consumer.declare(nil)
	consumer.fill1(q, 2000, []byte("kept"), nil)
	both := t.client() // publishes and consumes
	both.call(1, &amqp.QueueDeclare{Queue: "abuse.both", AutoDelete: true}, "queue.declare-ok")
	both.call(1, &amqp.BasicConsume{Queue: "abuse.both"}, "basic.consume-ok")

	var over atomic.Bool
	time.AfterFunc(30*time.Second, func() { over.Store(true) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		drive(over.Load)
	}()
	memory := t.watchMemory()
	// Whoever consumes is served all the time, and whoever publishes is blocked when there is an
	// alarm.
	worst := time.Duration(0)
	raised, blocked, published := 0, false, 0
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(100 * time.Millisecond):
		}
		t.must(t.process.up())
		began := time.Now()
		consumer.send(1, &amqp.BasicGet{Queue: q, NoAck: true})
		if got, m := consumer.hear(t.patience); got == "basic.get-ok" {
			_, err := consumer.content(m)
			t.must(err)
		} else if got != "basic.get-empty" {
			t.failf("whoever consumes got %s %s", got, consumer.text)
		}
		worst = max(worst, time.Since(began))
		if !t.alarm() {
			continue
		}
		raised++
		if !blocked {
			both.publish("", "abuse.both", nil, []byte("during"))
			published++
			for !blocked {
				m := both.want("basic.deliver", "connection.blocked", "connection.unblocked")
				if m.Name() == "basic.deliver" {
					_, err := both.content(m)
					t.must(err)
					break
				}
				blocked = m.Name() == "connection.blocked"
			}
		}
	}
	t.must(t.process.up())
	t.note("consumers served within %v", worst.Round(time.Millisecond))
	most := memory()
	t.note("at most %d MiB", most>>20)
	if limit := t.memory / 10 * 9; most > limit {
		t.failf("%d MiB were in use, want at most nine tenths of %d MiB", most>>20, t.memory>>20)
	}
	if raised > 20 && !blocked {
		t.failf("a publisher was not told in %d looks at an alarm, %d messages", raised, published)
	}
	// The end: the memory is given back.
	t.mu.Lock()
	for _, p := range t.peers {
		if p != consumer && p != both {
			p.reset()
		}
	}
	t.mu.Unlock()
	began := time.Now()
	for t.alarm() {
		if time.Since(began) > 30*time.Second {
			t.failf("the alarm is still on")
		}
		time.Sleep(100 * time.Millisecond)
	}
	if raised > 0 {
		t.note("alarm, publishers blocked, released after %.1f s", time.Since(began).Seconds())
	}
	// And whoever was blocked goes on.
	both.publish("", "abuse.both", nil, []byte("after"))
	for {
		m := both.want("basic.deliver", "connection.blocked", "connection.unblocked")
		if m.Name() != "basic.deliver" {
			continue
		}
		d, err := both.content(m)
		t.must(err)
		if string(d.body) == "after" {
			break
		}
	}
}

// watchMemory looks at how much memory the broker has until most is called, which returns the
// most that was seen. What the kernel keeps of files is not in it: a control group is always as
// full of that as it may be, and the kernel drops it when something else is wanted.
func (t *trial) watchMemory() (most func() int64) {
	var seen atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			seen.Store(max(seen.Load(), int64(statusOf(t.pid, "RssAnon:"))))
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() int64 { close(stop); <-stopped; return seen.Load() }
}

// alarm tells whether the broker says that it is short of memory.
func (t *trial) alarm() bool {
	nc, err := net.DialTimeout("tcp", t.address, t.patience)
	if err != nil {
		return true
	}
	p := &peer{t: t, conn: nc.(*net.TCPConn)}
	defer p.reset()
	p.raw([]byte(amqp.ProtocolHeader))
	_, m := p.hear(t.patience)
	start, ok := m.(*amqp.ConnectionStart)
	if !ok {
		return true // it turns newcomers away
	}
	_, on := start.ServerProperties.Get("leveret_alarms")
	return on
}

// fewDescriptors starts a broker of its own that may open few files.
func fewDescriptors(t *trial) {
	t.needProcess()
	dir, err := os.MkdirTemp("", "leveret-abuse-")
	t.must(err)
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
	tg, err := launchWith(dir, t.process.cmd.Args[3], "ulimit -n 256; ", 512<<20)
	t.must(err)
	defer tg.process.stop()
	small := &trial{target: tg, patience: 5 * time.Second}
	first := small.client()
	first.call(1, &amqp.QueueDeclare{Queue: "abuse.d11", Durable: true}, "queue.declare-ok")
	in, unheard := 0, 0
	for range 400 {
		nc, err := net.DialTimeout("tcp", tg.address, time.Second)
		if err != nil {
			continue // turned away
		}
		p := &peer{t: small, conn: nc.(*net.TCPConn)}
		small.peers = append(small.peers, p)
		p.raw([]byte(amqp.ProtocolHeader))
		if unheard > 20 {
			continue // nor will anybody answer this one
		}
		if p.outcomeWithin(100*time.Millisecond) != "connection.start" {
			unheard++
			continue
		}
		in++
		p.send(0, t.startOk("PLAIN", "\x00guest\x00guest"), &amqp.ConnectionTuneOk{FrameMax: frameMax, ChannelMax: 2047}, &amqp.ConnectionOpen{VirtualHost: "/"})
	}
	// Files can be opened, now that all descriptors that clients may have are taken.
	properties := amqp.Properties{DeliveryMode: 2, Flags: amqp.FlagDeliveryMode}
	first.call(1, &amqp.ConfirmSelect{}, "confirm.select-ok")
	for range 40 {
		first.publish("", "abuse.d11", &properties, make([]byte, 1<<20))
		first.want("basic.ack")
	}
	_, err = tg.read()
	t.must(err)
	used := tg.cpu()
	time.Sleep(2 * time.Second)
	if idle := tg.cpu() - used; idle > time.Second {
		t.failf("%v of processor time in 2 s of nothing", idle)
	}
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	t.must(err)
	if !strings.Contains(strings.ToLower(string(log)), "descriptors") {
		t.failf("the log says nothing of descriptors: %s", tg.process.lastWords())
	}
	for _, p := range small.peers {
		if p != first {
			p.reset()
		}
	}
	time.Sleep(1500 * time.Millisecond)
	_, err = small.try()
	t.must(err)
	for _, p := range small.peers {
		p.reset() // so that its end waits for nobody
	}
	t.note("%d let in, goes on afterwards", in)
}
