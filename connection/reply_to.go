package connection

import (
	"strings"
	"sync"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

// replyToQueue is the name that stands for a channel's own replies (DRT-1).
const replyToQueue = "amq.rabbitmq.reply-to"

const replyPrefix = replyToQueue + "."

// ReplyConsumers are the consumers of direct reply-to of all connections, by the name
// that messages for them are published to. The zero value is empty.
type ReplyConsumers struct {
	mu     sync.RWMutex // guards the fields below
	byName map[string]*consumer
}

func (r *ReplyConsumers) find(name string) *consumer {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byName[name]
}

func (r *ReplyConsumers) add(k *consumer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byName == nil {
		r.byName = make(map[string]*consumer)
	}
	r.byName[k.replyName] = k
}

func (r *ReplyConsumers) remove(k *consumer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byName, k.replyName)
}

// isReplyName reports whether m is addressed to a consumer of replies.
func isReplyName(m *message.Message) bool { return strings.HasPrefix(m.RoutingKey, replyPrefix) }

// consumeReplies subscribes to the replies to what this channel publishes (DRT-1). The
// name they come to cannot be guessed, and is another one at each subscription (DRT-9).
func (ch *Channel) consumeReplies(m *amqp.BasicConsume) error {
	switch {
	case !m.NoAck:
		return amqp.PreconditionFailed("reply consumer cannot acknowledge")
	case ch.replyTo != nil:
		return amqp.PreconditionFailed("reply consumer already set")
	}
	c := ch.c
	k := &consumer{ch: ch, tag: m.ConsumerTag, noAck: true, replyName: ch.replyName()}
	if k.tag == "" {
		k.tag = c.b.GeneratedName("amq.ctag-")
	}
	ch.addConsumer(k)
	ch.replyTo = k
	if !m.NoWait {
		c.send(ch.id, &amqp.BasicConsumeOk{ConsumerTag: k.tag})
	}
	c.opts.Replies.add(k)
	return nil
}

// replyName makes the name of a consumer of replies. It has the form of RabbitMQ's, a
// place and a key in base64 with a full stop between them, because there are clients
// whose tests look for that; here both are random.
func (ch *Channel) replyName() string {
	b := ch.c.b
	return b.GeneratedName(b.GeneratedName(replyPrefix)+".") + "=="
}

// forgetReplyTo makes the channel's reply name invalid.
func (ch *Channel) forgetReplyTo() {
	if ch.replyTo != nil {
		ch.c.opts.Replies.remove(ch.replyTo)
		ch.replyTo = nil
	}
}

// reply delivers m at most once: a client that does not read loses it (DRT-9).
func (k *consumer) reply(m *message.Message, wakes *message.Wakes) {
	ch := k.ch
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.stopped || k.gone {
		return
	}
	if buf, ok := ch.c.out.beginDelivery(nil); ok {
		k.deliver(buf, queue.Delivery{Message: m}, wakes)
	}
}

// declareReplies answers a declare of reply names, by which responders find out whether
// the one who asked is still there (DRT-6). ok is false for any other name.
func (ch *Channel) declareReplies(m *amqp.QueueDeclare) (ok bool, err error) {
	switch {
	case m.Queue == replyToQueue:
	case !strings.HasPrefix(m.Queue, replyPrefix):
		return false, nil
	case ch.c.opts.Replies.find(m.Queue) == nil:
		return true, amqp.NotFound("no queue '%s' in vhost '%s'", m.Queue, ch.c.vhost.Name())
	}
	ch.lastQueue = m.Queue
	ch.c.answer(ch.id, nil, unless(m.NoWait, &amqp.QueueDeclareOk{Queue: m.Queue, ConsumerCount: 1}))
	return true, nil
}
