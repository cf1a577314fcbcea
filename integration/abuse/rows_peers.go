package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// slowOrDead are the rows of clients that do nothing wrong but read slowly, die, or come in
// crowds.
func slowOrDead() []row {
	return []row{
		{id: "D1", input: "a consumer that never reads, prefetch without limit, 64 MiB waiting", want: "some MiB buffered, cut after the write deadline, messages return", kind: slow, run: func(t *trial) {
			t.deafConsumer(func(p *peer, stop <-chan struct{}) { <-stop })
		}},
		{id: "D2", input: "a consumer that reads an octet a second", want: "as D1", kind: slow, run: func(t *trial) {
			t.deafConsumer(func(p *peer, stop <-chan struct{}) {
				b := make([]byte, 1)
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Second):
					}
					if _, err := io.ReadFull(p.conn, b); err != nil {
						return
					}
				}
			})
		}},
		{id: "D3", input: "publishers faster than the disk", want: "held back, memory flat", kind: slow, run: func(t *trial) {
			p := t.client()
			p.call(1, &amqp.QueueDeclare{Queue: "abuse.d3", Durable: true}, "queue.declare-ok")
			properties := amqp.Properties{DeliveryMode: 2, Flags: amqp.FlagDeliveryMode}
			before, err := t.read()
			t.must(err)
			buf := content(nil, 1, "", "abuse.d3", &properties, make([]byte, 256<<10))
			most := 0.0
			t.patience = 30 * time.Second
			for i := range 600 { // 150 MiB
				p.raw(buf)
				if i%100 == 99 {
					now, err := t.read()
					t.must(err)
					most = max(most, now.memory-before.memory)
				}
			}
			p.count("abuse.d3")
			p.call(1, &amqp.QueueDelete{Queue: "abuse.d3"}, "queue.delete-ok")
			if t.memory > 0 && most > float64(t.memory)/2 {
				t.failf("memory grew by %.0f MiB", most/(1<<20))
			}
			t.note("150 MiB, memory %+.0f MiB", most/(1<<20))
		}},
		{id: "D4", input: "a consumer that never acknowledges 100 MiB", want: "bodies leave memory", kind: slow, run: func(t *trial) {
			p := t.client()
			q := p.declare(nil)
			before, err := t.read()
			t.must(err)
			const messages = 1600
			p.call(1, &amqp.BasicConsume{Queue: q}, "basic.consume-ok")
			body := make([]byte, 64<<10)
			for range messages {
				p.publish("", q, nil, body)
				p.delivered()
			}
			after, err := t.read()
			t.must(err)
			if grown := after.memory - before.memory; t.memory > 0 && grown > float64(t.memory)/4 {
				t.failf("memory grew by %.0f MiB", grown/(1<<20))
			}
			t.note("memory %+.0f MiB", (after.memory-before.memory)/(1<<20))
		}},
		{id: "D5", input: "a peer that vanishes, with a heartbeat of 1 s", want: "found out within 3 s, messages return", kind: slow, run: func(t *trial) {
			q := t.held(func(p *peer) {}, 1)
			began := time.Now()
			t.returned(q, 5*time.Second)
			t.note("returned after %.1f s", time.Since(began).Seconds())
		}},
		{id: "D6", input: "a client that closes its half only", want: "taken as gone, messages return once", run: func(t *trial) {
			q := t.held(func(p *peer) { t.must(p.conn.CloseWrite()) }, 0)
			t.returned(q, 2*time.Second)
			t.note("returned")
		}},
		{id: "D7", input: "heartbeats and nothing else", want: "stays", kind: slow, run: func(t *trial) {
			p := t.tuned()
			p.open(frameMax, 2047, 1)
			for range 10 {
				p.raw(amqp.AppendHeartbeat(nil))
				if got := p.outcomeWithin(350 * time.Millisecond); got != "open" {
					t.failf("got %s", got)
				}
			}
			p.alive()
			t.note("stays")
		}},
		{id: "D8", input: "a client is stopped for a second and goes on", want: "stays, acknowledges", kind: slow, run: func(t *trial) { t.frozen(time.Second, 2) }},
		{id: "D8s", input: "a client with heartbeats of 1 s is stopped for 4 s", want: asD5, kind: slow, run: func(t *trial) { t.frozen(4*time.Second, 1) }},
		{id: "D8l", input: "a client with heartbeats of 1 s is stopped for 60 s", want: asD5, kind: heavy, run: func(t *trial) { t.frozen(time.Minute, 1) }},
		{id: "D8m", input: "a client with heartbeats of 60 s is stopped for 600 s", want: asD5, kind: heavy, run: func(t *trial) { t.frozen(10*time.Minute, 60) }},
		{id: "D8n", input: "a client without heartbeats is stopped for 60 s", want: "stays, acknowledges", kind: heavy, run: func(t *trial) { t.frozen(time.Minute, 0) }},
		{id: "D9s", input: "1,000 connections opened and closed", want: "no leak", run: func(t *trial) { t.churn(1000, 10*time.Second) }},
		{id: "D10s", input: "500 idle connections", want: "at most 20 KiB each", run: func(t *trial) { t.idle(500, 20) }},
		{id: "D12", input: "more connections than a user may have", want: "conn 530 that says so", run: func(t *trial) {
			t.withUser("d12", permission{".*", ".*", ".*"}, func(login *trial) {
				t.api("PUT", "/api/user-limits/d12/max-connections", map[string]int{"value": 2}, 200, 201, 204)
				login.client()
				login.client()
				p := login.tuned()
				p.send(0, &amqp.ConnectionTuneOk{FrameMax: frameMax, ChannelMax: 2047}, &amqp.ConnectionOpen{VirtualHost: t.vhost})
				p.ends("conn 530")
				if !strings.Contains(p.text, "limit (2)") {
					t.failf("%q does not name the limit", p.text)
				}
				t.note("conn 530")
			})
		}},
		{id: "D13", input: "5,000 clients at the same moment", want: "all in within 30 s", kind: heavy, run: func(t *trial) { t.stampede(5000) }},
		{id: "D13s", input: "400 clients at the same moment", want: "all in within 30 s", run: func(t *trial) { t.stampede(400) }},
		{id: "D14s", input: "reply queues, 1,000 a second", want: "nothing left behind", run: func(t *trial) {
			p := t.connected()
			const rounds = 1000
			began := time.Now()
			worst := time.Duration(0)
			for range rounds {
				start := time.Now()
				p.call(1, &amqp.ChannelOpen{}, "channel.open-ok")
				q := p.declare(nil)
				worst = max(worst, time.Since(start))
				p.call(1, &amqp.QueueDelete{Queue: q}, "queue.delete-ok")
				p.call(1, &amqp.ChannelClose{ReplyCode: 200}, "channel.close-ok")
			}
			t.note("%.0f a second, within %v", rounds/time.Since(began).Seconds(), worst.Round(10*time.Microsecond))
		}},
		{id: "D15s", input: "50,000 messages, then purge, then delete", want: "purge within a second", run: func(t *trial) { t.purge(50000) }},
	}
}

// deafConsumer has a consumer that reads as f does, with 64 MiB waiting for it, and wants it
// to be cut and its messages to be there for others.
func (t *trial) deafConsumer(f func(p *peer, stop <-chan struct{})) {
	const messages, size = 1024, 64 << 10
	owner := t.client()
	owner.call(1, &amqp.QueueDeclare{Queue: "abuse.deaf", AutoDelete: false}, "queue.declare-ok")
	defer func() {
		c := t.client()
		c.send(1, &amqp.QueueDelete{Queue: "abuse.deaf"})
		c.want("queue.delete-ok")
	}()
	owner.fill1("abuse.deaf", messages, make([]byte, size), nil)
	before, err := t.read()
	t.must(err)
	deaf := t.client()
	t.must(deaf.conn.SetReadBuffer(4 << 10))
	deaf.send(1, &amqp.BasicConsume{Queue: "abuse.deaf"})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { f(deaf, stop) })
	defer wg.Wait()
	defer close(stop)
	time.Sleep(2 * time.Second)
	after, err := t.read()
	t.must(err)
	if left := owner.count("abuse.deaf"); left < messages/2 {
		t.failf("only %d of %d messages stayed in the queue", left, messages)
	}
	if grown := after.memory - before.memory; grown > 40<<20 {
		t.failf("memory grew by %.0f MiB", grown/(1<<20))
	}
	began := time.Now()
	for owner.count("abuse.deaf") != messages {
		if time.Since(began) > 45*time.Second {
			t.failf("not cut after %v", time.Since(began))
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.note("cut after %.0f s, all messages are back", time.Since(began).Seconds()+2)
}

// held has a client take a message and then do what f does, and returns its queue.
func (t *trial) held(f func(p *peer), heartbeat uint16) (queue string) {
	queue = fmt.Sprintf("abuse.held.%d", heartbeat)
	p := t.tuned()
	p.open(frameMax, 2047, heartbeat)
	p.call(1, &amqp.ChannelOpen{}, "channel.open-ok")
	p.call(1, &amqp.QueueDeclare{Queue: queue}, "queue.declare-ok")
	p.publish("", queue, nil, []byte("held"))
	p.send(1, &amqp.BasicGet{Queue: queue})
	p.delivered()
	f(p)
	return queue
}

// returned wants the message of a queue back within a time, once, and deletes the queue.
func (t *trial) returned(queue string, within time.Duration) {
	p := t.client()
	for began := time.Now(); p.count(queue) == 0; time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > within {
			t.failf("the message has not come back after %v", within)
		}
	}
	if m := p.call(1, &amqp.QueueDelete{Queue: queue}, "queue.delete-ok").(*amqp.QueueDeleteOk); m.MessageCount != 1 {
		t.failf("got %d messages, want 1", m.MessageCount)
	}
}

// crowd runs f n times, so many at a time, and counts failures.
func crowd(n, atATime int, f func() error) (failed int64, err error) {
	var wg sync.WaitGroup
	var next, bad atomic.Int64
	var first atomic.Pointer[error]
	for range atATime {
		wg.Go(func() {
			for next.Add(1) <= int64(n) {
				if err := f(); err != nil {
					bad.Add(1)
					first.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if p := first.Load(); p != nil {
		err = *p
	}
	return bad.Load(), err
}

// churn opens and closes connections.
func (t *trial) churn(n int, within time.Duration) {
	began := time.Now()
	failed, err := crowd(n, 16, func() error {
		p, err := t.try()
		if err != nil {
			return err
		}
		p.reset()
		return nil
	})
	took := time.Since(began)
	t.peers = nil
	if failed > 0 {
		t.failf("%d of %d failed: %v", failed, n, err)
	}
	t.note("%d in %.1f s", n, took.Seconds())
	if took > 3*within {
		t.failf("%d connections took %v", n, took)
	}
}

// idle opens connections that do nothing, and may take so many KiB each.
func (t *trial) idle(n int, most float64) {
	before, err := t.read()
	t.must(err)
	var host atomic.Int64
	failed, err := crowd(n, 16, func() error {
		_, err := t.tryFrom(fmt.Sprintf("127.0.3.%d", 1+host.Add(1)%50))
		return err
	})
	if failed > 0 {
		t.failf("%d of %d failed: %v", failed, n, err)
	}
	time.Sleep(time.Second)
	after, err := t.read()
	t.must(err)
	one := (after.memory - before.memory) / float64(n)
	t.note("%.1f KiB each", one/1024)
	if one > most*1024+16<<20/float64(n) {
		t.failf("a connection takes %.1f KiB", one/1024)
	}
}

// stampede has clients connect all at the same moment. One that is turned away comes again,
// as clients do.
func (t *trial) stampede(n int) {
	t.patience = 30 * time.Second
	began := time.Now()
	var again atomic.Int64
	failed, err := crowd(n, n, func() error {
		for {
			p, err := t.try()
			if err == nil {
				return nil
			}
			if time.Since(began) > 30*time.Second {
				return err
			}
			if p != nil {
				p.reset()
			}
			again.Add(1)
			time.Sleep(200 * time.Millisecond)
		}
	})
	if failed > 0 {
		t.failf("%d of %d are not in: %v", failed, n, err)
	}
	t.note("all in after %.1f s, %d came twice", time.Since(began).Seconds(), again.Load())
}

// purge fills a queue, empties it and deletes it.
func (t *trial) purge(n int) {
	p := t.client()
	t.patience = 2 * time.Minute
	p.call(1, &amqp.QueueDeclare{Queue: "abuse.d15", Durable: true}, "queue.declare-ok")
	properties := amqp.Properties{DeliveryMode: 2, Flags: amqp.FlagDeliveryMode}
	p.fill1("abuse.d15", n, number(n), &properties)
	began := time.Now()
	if m := p.call(1, &amqp.QueuePurge{Queue: "abuse.d15"}, "queue.purge-ok").(*amqp.QueuePurgeOk); int(m.MessageCount) != n {
		t.failf("purged %d, want %d", m.MessageCount, n)
	}
	took := time.Since(began)
	p.call(1, &amqp.QueueDelete{Queue: "abuse.d15"}, "queue.delete-ok")
	t.note("purged in %v", took.Round(time.Millisecond))
	if took > time.Second {
		t.failf("purge took %v", took)
	}
}
