package connection

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

// consumer is a subscription of a channel.
type consumer struct {
	ch    *Channel
	queue *queue.Queue // nil for the consumer of direct reply-to
	tag   string
	order int // of subscription within the channel
	noAck bool
	// arguments are those of basic.consume.
	arguments amqp.Table
	// priority is x-priority (CON-9).
	priority int32
	// timeout is x-consumer-timeout, or queue.None when the queue's holds (CTO-2).
	timeout time.Duration
	// replyName is what messages for a consumer of direct reply-to are published to.
	replyName string

	// starved is guarded by the Outbound: the consumer is among those it resumes.
	starved bool

	prefetch int // its window, as it was when it came

	// Guarded by Channel.mu.
	window window
	waits  bool // found no window open, and its queue leaves it alone
	listed bool // is in Channel.starved
	gone   bool // cancelled
	late   bool // something is out with it for too long
}

// basicConsume subscribes. The answer precedes the first delivery (CON-1).
func (ch *Channel) basicConsume(m *amqp.BasicConsume) error {
	ch.forgetCancelled()
	if _, taken := ch.consumers[m.ConsumerTag]; taken {
		return amqp.NotAllowed("attempt to reuse consumer tag '%s'", m.ConsumerTag)
	}
	if len(ch.consumers) >= ch.c.opts.MaxConsumers {
		return amqp.NotAllowed("reached maximum (%d) of consumers per channel", ch.c.opts.MaxConsumers)
	}
	if ch.c.b.Alarms().Refuse() {
		return amqp.PreconditionFailed("cannot consume from '%s': memory is exhausted", m.Queue)
	}
	if m.Queue == replyToQueue {
		return ch.consumeReplies(m)
	}
	q, change, err := ch.readQueue(m.Queue)
	if err != nil {
		return err
	}
	o, err := consumeOptions(m, q)
	if err != nil {
		return err
	}
	if err := q.CanConsume(o); err != nil {
		return err
	}
	timeout, err := consumerTimeout(m, q)
	if err != nil {
		return err
	}
	k := &consumer{
		ch:        ch,
		queue:     q,
		tag:       m.ConsumerTag,
		noAck:     m.NoAck,
		arguments: m.Arguments,
		priority:  o.Priority,
		timeout:   timeout,
		prefetch:  ch.prefetch,
		window:    window{limit: ch.prefetch},
	}
	if k.tag == "" {
		k.tag = ch.c.b.GeneratedName("amq.ctag-")
	}
	ch.whenUsable(q, change, func() error {
		ch.addConsumer(k)
		if !m.NoWait {
			ch.c.send(ch.id, &amqp.BasicConsumeOk{ConsumerTag: k.tag})
		}
		if !k.noAck {
			ch.watch(timeoutOf(k, q), ch.c.now)
		}
		return q.Consume(ch.c.now, k, o, &ch.c.effects)
	}, m)
	return nil
}

// whenUsable goes on with a consume or a get as soon as the queue's record is on disk,
// and so is, the first time in a run, that someone may have seen its messages (S-4, S-11).
func (ch *Channel) whenUsable(q *queue.Queue, under change, then func() error, m amqp.Method) {
	finish := func(time.Time) {
		if err := then(); err != nil {
			class, id := m.ID()
			ch.fail(err, class, id)
		}
	}
	if q.FirstUse() {
		under = until(ch.c.b.Barrier(q))
	}
	ch.c.wait(under, finish)
}

// readQueue finds the queue a consume or a get is about, which the user has to be allowed
// to read. "" stands for the last one declared.
func (ch *Channel) readQueue(name string) (*queue.Queue, change, error) {
	name, err := ch.queueName(name)
	if err != nil {
		return nil, nil, err
	}
	if err := ch.permit(broker.Access{Op: auth.Read, Kind: binding.Queue, Name: name}); err != nil {
		return nil, nil, err
	}
	q, commit, err := ch.c.vhost.Queue(ch.c, name)
	return q, until(commit), err
}

// consumeOptions reads the flags and arguments of basic.consume; unknown arguments mean
// nothing (CON-4).
func consumeOptions(m *amqp.BasicConsume, q *queue.Queue) (queue.ConsumeOptions, error) {
	o := queue.ConsumeOptions{NoAck: m.NoAck, Exclusive: m.Exclusive}
	for _, f := range m.Arguments {
		switch f.Name {
		case "x-priority":
			n, ok := amqp.AsInt64(f.Value)
			if !ok {
				return o, amqp.PreconditionFailed("invalid arg 'x-priority' for %v: \"expected integer, got %s\"",
					q, amqp.TypeName(f.Value))
			}
			o.Priority = int32(min(max(n, math.MinInt32), math.MaxInt32))
		case "x-stream-offset", "x-stream-filter", "x-stream-match-unfiltered":
			return o, amqp.PreconditionFailed("invalid arg '%s' for %v of queue type rabbit_%v_queue",
				f.Name, q, q.Options().Type)
		}
	}
	return o, nil
}

func (ch *Channel) addConsumer(k *consumer) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.consumers == nil {
		ch.consumers = make(map[string]*consumer)
	}
	ch.joined++
	k.order = ch.joined
	ch.consumers[k.tag] = k
	ch.c.b.Counters.ConsumersAdded.Add(1)
}

// sortedConsumers are the channel's consumers in the order they came.
func (ch *Channel) sortedConsumers() []*consumer {
	all := make([]*consumer, 0, len(ch.consumers))
	for _, k := range ch.consumers {
		if k.queue != nil {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b *consumer) int { return cmp.Compare(a.order, b.order) })
	return all
}

// basicCancel ends a subscription. Nothing is delivered for it after the answer; what is
// out stays out (CON-6).
func (ch *Channel) basicCancel(m *amqp.BasicCancel) error {
	c := ch.c
	ch.forgetCancelled()
	if k := ch.consumers[m.ConsumerTag]; k != nil {
		c.b.Counters.ConsumersRemoved.Add(1)
		ch.mu.Lock()
		delete(ch.consumers, k.tag)
		k.gone = true
		ch.mu.Unlock()
		if k == ch.replyTo {
			ch.forgetReplyTo()
		} else {
			k.queue.Cancel(c.now, k, &c.effects)
			c.b.CarryOut(c.now, &c.effects) // an auto-delete queue may be gone now
		}
	}
	if !m.NoWait {
		c.send(ch.id, &amqp.BasicCancelOk{ConsumerTag: m.ConsumerTag})
	}
	return nil
}

// forgetCancelled drops consumers whose queue is gone, so that their tags are free again.
func (ch *Channel) forgetCancelled() {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	cancelled := ch.cancelled
	ch.cancelled = nil
	for _, k := range cancelled {
		if ch.consumers[k.tag] == k {
			delete(ch.consumers, k.tag)
			ch.c.b.Counters.ConsumersRemoved.Add(1)
		}
	}
}

// QueueGone tells the client that the queue of k is gone (Q-63, CON-7), after what it is
// still to be answered: a client that deletes a queue hears of that first. It is called
// by whoever deleted the queue, with nothing locked.
func (k *consumer) QueueGone(effects *queue.Effects) {
	ch := k.ch
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.stopped || k.gone {
		return
	}
	k.gone = true
	ch.cancelled = append(ch.cancelled, k)
	ch.tellCancelled(k, effects)
}

// tellCancelled sends the client basic.cancel, if it can take one. The channel is locked.
func (ch *Channel) tellCancelled(k *consumer, effects *queue.Effects) {
	if !ch.c.client.cancelNotify {
		return
	}
	m := amqp.BasicCancel{ConsumerTag: k.tag, NoWait: true}
	frame := amqp.AppendMethod(nil, ch.id, &m)
	if out := ch.c.out; !ch.c.replies.follow(frame) {
		out.end(append(out.begin(), frame...), &effects.Wakes)
	}
}

// ConsumerTimeoutChanged implements broker.Retimed.
func (k *consumer) ConsumerTimeoutChanged(now time.Time) {
	if k.ch.quicken(timeoutOf(k, k.queue)) {
		k.ch.c.b.Watch(k.ch, now) // something may be late already
	}
}

// Deliver implements queue.Consumer: d gets the next tag and is appended to what is to
// be sent. It is called with the queue locked, by any goroutine.
func (k *consumer) Deliver(d queue.Delivery, out *queue.Effects) bool {
	ch := k.ch
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.stopped || k.gone {
		return false
	}
	if k.mustWait() {
		k.waits = true
		if !k.listed {
			k.listed = true
			ch.starved = append(ch.starved, k)
		}
		return false
	}
	buf, ok := ch.c.out.beginDelivery(k)
	if !ok {
		return false
	}
	k.deliver(buf, d, &out.Wakes)
	if d.Redelivered {
		ch.totals.Redelivered++
	}
	if k.noAck {
		ch.totals.Delivered++
	} else {
		ch.totals.DeliveredAck++
		ch.unacked.add(delivered{
			tag:      ch.nextTag,
			queue:    k.queue,
			consumer: k,
			position: d.Position,
			at:       eighths(d.At),
			counted:  true,
		})
		k.window.out++
		ch.window.out++
	}
	return true
}

// mustWait reports whether a window keeps k from getting anything now. What needs no
// acknowledgement takes no place in the shared window and yet has to wait while that is
// full, as in RabbitMQ; windows of a consumer's own mean nothing to it (CON-5). Under pressure the channel is one. Room that
// is about to be shared out is for whoever's turn it is. The channel is locked.
func (k *consumer) mustWait() bool {
	ch := k.ch
	if ch.window.full() || ch.sharing && ch.invited != k {
		return true
	}
	return !k.noAck && (k.window.full() || ch.crowded())
}

// deliver appends basic.deliver with its content to buf, which came from beginDelivery.
// The channel is locked.
func (k *consumer) deliver(buf []byte, d queue.Delivery, wakes *message.Wakes) {
	ch := k.ch
	out := ch.c.out
	ch.nextTag++
	m := amqp.BasicDeliver{
		ConsumerTag: k.tag,
		DeliveryTag: ch.nextTag,
		Redelivered: d.Redelivered,
		Exchange:    d.Message.Exchange,
		RoutingKey:  d.Message.RoutingKey,
	}
	start := len(buf)
	buf = amqp.BeginFrame(buf, amqp.FrameMethod, ch.id)
	buf = m.Append(buf)
	buf = amqp.EndFrame(buf, start)
	buf = out.appendContent(buf, ch.id, propertiesOf(d), d.Message.Body(), ch.c.frameMax)
	out.end(buf, wakes)
}

// propertiesOf are the properties a delivery is sent with: the message's own, and the
// count of its returns where the queue keeps one (QQ-1).
func propertiesOf(d queue.Delivery) []byte {
	if !d.ShowCount || d.Count == 0 {
		return d.Message.Properties()
	}
	p := decode(d.Message.Properties())
	p.Flags |= amqp.FlagHeaders
	if d.ShowAcquired {
		p.Headers = p.Headers.With("x-acquired-count", int64(d.Count))
	}
	p.Headers = p.Headers.With("x-delivery-count", int64(d.Count))
	return p.Append(nil)
}
