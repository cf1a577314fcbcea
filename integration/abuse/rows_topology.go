package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// topologies are the rows about queues, exchanges and bindings.
func topologies() []row {
	return []row{
		{id: "C20", input: "declare again with other arguments, type, durability", want: "chan 406, the first unchanged", run: func(t *trial) {
			p := t.client()
			p.call(1, &amqp.QueueDeclare{Queue: "abuse.c20", AutoDelete: true, Arguments: amqp.Table{{Name: "x-max-length", Value: int32(5)}}}, "queue.declare-ok")
			p.call(1, &amqp.ExchangeDeclare{Exchange: "abuse.c20", Type: "fanout", AutoDelete: true}, "exchange.declare-ok")
			each(t, []amqp.Method{
				&amqp.QueueDeclare{Queue: "abuse.c20", AutoDelete: true, Arguments: amqp.Table{{Name: "x-max-length", Value: int32(6)}}},
				&amqp.QueueDeclare{Queue: "abuse.c20", AutoDelete: true, Durable: true, Arguments: amqp.Table{{Name: "x-max-length", Value: int32(5)}}},
				&amqp.QueueDeclare{Queue: "abuse.c20"},
				&amqp.ExchangeDeclare{Exchange: "abuse.c20", Type: "topic", AutoDelete: true},
				&amqp.ExchangeDeclare{Exchange: "abuse.c20", Type: "fanout", AutoDelete: true, Durable: true},
			}, func(t *trial, m amqp.Method) {
				p := t.client()
				p.send(1, m)
				p.ends("chan 406")
			})
			p.call(1, &amqp.QueueDeclare{Queue: "abuse.c20", AutoDelete: true, Arguments: amqp.Table{{Name: "x-max-length", Value: int32(5)}}}, "queue.declare-ok")
			p.call(1, &amqp.QueueDelete{Queue: "abuse.c20"}, "queue.delete-ok")
			p.call(1, &amqp.ExchangeDelete{Exchange: "abuse.c20"}, "exchange.delete-ok")
		}},
		{id: "C21", input: "arguments that are negative, of a wrong type, too large, unknown", want: "chan 406 that names the argument", run: func(t *trial) {
			each(t, []amqp.Field{
				{Name: "x-message-ttl", Value: int32(-1)}, {Name: "x-message-ttl", Value: "5"}, {Name: "x-max-length", Value: int32(-1)},
				{Name: "x-max-priority", Value: int32(256)}, {Name: "x-queue-type", Value: "heap"}, {Name: "x-expires", Value: int32(0)},
				{Name: "x-message-ttl", Value: int64(1) << 62}, {Name: "x-overflow", Value: "x"}, {Name: "x-max-length-bytes", Value: true},
				{Name: "x-dead-letter-routing-key", Value: "k"}, {Name: "x-single-active-consumer", Value: "yes"},
			}, func(t *trial, f amqp.Field) {
				p := t.client()
				p.send(1, &amqp.QueueDeclare{Exclusive: true, Arguments: amqp.Table{f}})
				p.ends("chan 406")
				if !strings.Contains(p.text, f.Name) {
					t.failf("%q does not name %s", p.text, f.Name)
				}
			})
		}},
		{id: "C22", input: "another connection's exclusive queue", want: "chan 405", run: func(t *trial) {
			owner := t.client()
			q := owner.declare(nil)
			each(t, []amqp.Method{
				&amqp.QueueDeclare{Queue: q, Passive: true}, &amqp.BasicConsume{Queue: q}, &amqp.BasicGet{Queue: q}, &amqp.QueuePurge{Queue: q},
				&amqp.QueueDelete{Queue: q}, &amqp.QueueBind{Queue: q, Exchange: "amq.direct"},
			}, func(t *trial, m amqp.Method) {
				p := t.client()
				p.send(1, m)
				p.ends("chan 405")
			})
		}},
		{id: "C23", input: "a consumer tag twice; an exclusive consumer on a queue in use", want: "conn 530; chan 403", run: func(t *trial) {
			p := t.client()
			q := p.declare(nil)
			p.call(1, &amqp.BasicConsume{Queue: q, ConsumerTag: "t"}, "basic.consume-ok")
			p.call(2, &amqp.ChannelOpen{}, "channel.open-ok")
			p.send(2, &amqp.BasicConsume{Queue: q, Exclusive: true})
			p.ends("chan 403")
			p.send(1, &amqp.BasicConsume{Queue: q, ConsumerTag: "t"})
			p.ends("conn 530")
		}},
		{id: "C24", input: "100,000 consumers on a queue; consume and cancel 100,000 times", want: "conn 530 at the limit; no growth", kind: heavy, run: func(t *trial) {
			t.consumers(100)
			t.churnConsumers(100000)
		}},
		{id: "C24s", input: "2,501 consumers on a channel; consume and cancel 2,000 times", want: "conn 530; no growth", run: func(t *trial) {
			p := t.client()
			q := p.declare(nil)
			p.consume(1, q, 2500)
			p.send(1, &amqp.BasicConsume{Queue: q})
			p.ends("conn 530")
			t.churnConsumers(2000)
		}},
		{id: "C25", input: "100,000 queues and 1,000,000 bindings to a topic exchange", want: "limits of virtual hosts, routing stays quick", kind: heavy, alarm: true, run: func(t *trial) {
			t.manyBindings(100000, 1000000)
		}},
		{id: "C25s", input: "500 queues and 5,000 bindings to a topic exchange", want: "routing stays quick", run: func(t *trial) { t.manyBindings(500, 5000) }},
		{id: "C26", input: "keys of 127 words against 100 patterns #.*.#.*…", want: "routes within 5 ms", run: func(t *trial) {
			p := t.client()
			p.call(1, &amqp.ExchangeDeclare{Exchange: "abuse.c26", Type: "topic", AutoDelete: true}, "exchange.declare-ok")
			q := p.declare(nil)
			for i := range 100 {
				pattern := strings.Repeat("#.*.", 40)[:100+i/2] + fmt.Sprintf("w%d.#", i%10)
				p.call(1, &amqp.QueueBind{Queue: q, Exchange: "abuse.c26", RoutingKey: pattern}, "queue.bind-ok")
			}
			p.call(1, &amqp.ConfirmSelect{}, "confirm.select-ok")
			const messages = 200
			began := time.Now()
			for range messages {
				p.publish("abuse.c26", strings.Repeat("a.", 126)+"a", nil, nil)
				p.publish("abuse.c26", strings.Repeat(".", 255), nil, nil)
			}
			for acked := uint64(0); acked < 2*messages; {
				acked = p.want("basic.ack").(*amqp.BasicAck).DeliveryTag
			}
			took := time.Since(began) / (2 * messages)
			if took > 5*time.Millisecond {
				t.failf("a message takes %v", took)
			}
			t.note("%v for a message", took.Round(time.Microsecond))
		}},
		{id: "C27", input: "exchanges bound in a circle, to themselves, alternates in a circle", want: "each queue once", run: func(t *trial) {
			p := t.client()
			for i, alternate := range []string{"abuse.c27.1", "abuse.c27.0"} {
				p.call(1, &amqp.ExchangeDeclare{Exchange: fmt.Sprintf("abuse.c27.%d", i), Type: "fanout", Arguments: amqp.Table{{Name: "alternate-exchange", Value: alternate}}}, "exchange.declare-ok")
			}
			p.publish("abuse.c27.0", "", nil, nil) // nowhere to go but around
			bind := func(from, to string) {
				p.call(1, &amqp.ExchangeBind{Source: "abuse.c27." + from, Destination: "abuse.c27." + to}, "exchange.bind-ok")
			}
			bind("0", "1")
			bind("1", "0")
			bind("0", "0")
			q := p.declare(nil)
			p.call(1, &amqp.QueueBind{Queue: q, Exchange: "abuse.c27.0"}, "queue.bind-ok")
			p.call(1, &amqp.QueueBind{Queue: q, Exchange: "abuse.c27.1"}, "queue.bind-ok")
			p.publish("abuse.c27.0", "", nil, nil)
			if n := p.count(q); n != 1 {
				t.failf("got %d copies, want 1", n)
			}
			for i := range 2 {
				p.call(1, &amqp.ExchangeDelete{Exchange: fmt.Sprintf("abuse.c27.%d", i)}, "exchange.delete-ok")
			}
			t.note("once")
		}},
		{id: "C28", input: "a circle of dead letters that expire", want: "dropped", run: func(t *trial) {
			p := t.client()
			circle := func(name, next string) {
				p.call(1, &amqp.QueueDeclare{Queue: name, Exclusive: true, Arguments: amqp.Table{
					{Name: "x-message-ttl", Value: int32(10)}, {Name: "x-dead-letter-exchange", Value: ""}, {Name: "x-dead-letter-routing-key", Value: next}}}, "queue.declare-ok")
			}
			circle("abuse.c28.a", "abuse.c28.b")
			circle("abuse.c28.b", "abuse.c28.a")
			p.publish("", "abuse.c28.a", nil, nil)
			time.Sleep(300 * time.Millisecond)
			if n := p.count("abuse.c28.a") + p.count("abuse.c28.b"); n != 0 {
				t.failf("%d still go around", n)
			}
			t.note("dropped")
		}},
		{id: "C29", input: "a message that is returned for ever", want: "dead-lettered at its delivery limit", run: func(t *trial) {
			p := t.client()
			dead := p.declare(nil)
			q := p.declare(amqp.Table{{Name: "x-delivery-limit", Value: int32(5)}, {Name: "x-dead-letter-exchange", Value: ""}, {Name: "x-dead-letter-routing-key", Value: dead}})
			p.publish("", q, nil, []byte("poison"))
			for range 20 {
				p.send(1, &amqp.BasicGet{Queue: q})
				m := p.want("basic.get-ok", "basic.get-empty")
				g, ok := m.(*amqp.BasicGetOk)
				if !ok {
					break
				}
				_, err := p.content(m)
				t.must(err)
				p.send(1, &amqp.BasicReject{DeliveryTag: g.DeliveryTag, Requeue: true})
			}
			if n := p.count(dead); n != 1 {
				t.failf("got %d dead letters, want 1", n)
			}
			t.note("dead-lettered")
		}},
		{id: "C40", input: "names with ../, NUL, newline, <script>, right-to-left, four octets", want: "kept as they are", run: func(t *trial) {
			for _, name := range []string{"../../etc/passwd", "nul\x00nul", "<script>alert(1)</script>", "\u202Eabc", "\U0001F407", "%2F..%2f", `"quoted"\`} {
				p := t.client()
				m := p.call(1, &amqp.QueueDeclare{Queue: name, AutoDelete: true}, "queue.declare-ok").(*amqp.QueueDeclareOk)
				if m.Queue != name {
					t.failf("%q became %q", name, m.Queue)
				}
				p.call(1, &amqp.QueueDelete{Queue: name}, "queue.delete-ok")
			}
			p := t.client()
			p.send(1, &amqp.QueueDeclare{Queue: "bad\xff\xfeutf8"})
			p.ends("conn 501") // W-28
			t.note("kept")
		}},
	}
}

// consume starts n consumers of a queue on a channel.
func (p *peer) consume(channel uint16, queue string, n int) {
	var buf []byte
	for range n {
		buf = amqp.AppendMethod(buf, channel, &amqp.BasicConsume{Queue: queue})
	}
	p.raw(buf)
	for range n {
		p.want("basic.consume-ok")
	}
}

// consumers starts a thousand consumers of one queue on each of some channels.
func (t *trial) consumers(channels int) {
	p := t.client()
	q := p.declare(nil)
	for ch := range channels {
		if ch > 0 {
			p.call(uint16(ch+1), &amqp.ChannelOpen{}, "channel.open-ok")
		}
		p.consume(uint16(ch+1), q, 1000)
	}
	p.send(1, &amqp.BasicConsume{Queue: q})
	p.ends("conn 530")
}

func (t *trial) churnConsumers(n int) {
	p := t.client()
	q := p.declare(nil)
	const batch = 100
	for range n / batch {
		var buf []byte
		for range batch {
			buf = amqp.AppendMethod(buf, 1, &amqp.BasicConsume{Queue: q, ConsumerTag: "t"})
			buf = amqp.AppendMethod(buf, 1, &amqp.BasicCancel{ConsumerTag: "t"})
		}
		p.raw(buf)
		for range batch {
			p.want("basic.consume-ok")
			p.want("basic.cancel-ok")
		}
	}
}

// manyBindings makes queues and bindings and routes through them. What is refused because a
// limit is reached is counted.
func (t *trial) manyBindings(queues, bindings int) {
	p, c := t.client(), t.client() // newcomers may be turned away later
	c.call(1, &amqp.ConfirmSelect{}, "confirm.select-ok")
	p.call(1, &amqp.ExchangeDeclare{Exchange: "abuse.c25", Type: "topic"}, "exchange.declare-ok")
	name := func(i int) string { return fmt.Sprintf("abuse.c25.%d", i) }
	made, bound := 0, 0
	defer func() {
		p.reset()
		c.send(1, &amqp.ExchangeDelete{Exchange: "abuse.c25"})
		for c.want("exchange.delete-ok", "connection.unblocked", "basic.ack").Name() != "exchange.delete-ok" {
			continue
		}
	}()
	const batch = 500
	t.patience = time.Minute
	refused := ""
	run := func(n int, m func(i int) amqp.Method, want string, done *int) {
		for i := 0; i < n && refused == ""; i += batch {
			var buf []byte
			for j := i; j < min(n, i+batch); j++ {
				buf = amqp.AppendMethod(buf, 1, m(j))
			}
			p.raw(buf)
			for j := i; j < min(n, i+batch) && refused == ""; j++ {
				switch got := p.outcome(); got {
				case want:
					*done++
				case "chan 406", "conn 506", "conn 406":
					refused = got + " " + p.text
				default:
					t.failf("got %s %s, want %s", got, p.text, want)
				}
			}
		}
	}
	run(queues, func(i int) amqp.Method { return &amqp.QueueDeclare{Queue: name(i), Exclusive: true} }, "queue.declare-ok", &made)
	run(bindings, func(i int) amqp.Method {
		return &amqp.QueueBind{Queue: name(i % max(1, made)), Exchange: "abuse.c25", RoutingKey: fmt.Sprintf("a.%d.*.c%d", i%1000, i/1000)}
	}, "queue.bind-ok", &bound)
	worst := time.Duration(0)
	for i := range 50 {
		began := time.Now()
		c.publish("abuse.c25", fmt.Sprintf("a.%d.x.c0", i), nil, nil)
		got := c.outcome()
		if got == "connection.blocked" {
			t.note("publishers are blocked")
			break
		}
		if got != "basic.ack" {
			t.failf("got %s, want a confirm", got)
		}
		worst = max(worst, time.Since(began))
	}
	t.note("%d queues, %d bindings, routes within %v", made, bound, worst.Round(10*time.Microsecond))
	if refused != "" {
		t.note("then %s", refused)
	}
}
