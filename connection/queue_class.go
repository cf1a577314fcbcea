package connection

import (
	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/queue"
)

// queueName is name, or the queue last declared on the channel for "".
func (ch *Channel) queueName(name string) (string, error) {
	if name != "" {
		return name, nil
	}
	if ch.lastQueue == "" {
		return "", amqp.NotFound("no previously declared queue")
	}
	return ch.lastQueue, nil
}

// unless is m, or nothing to say when the client does not want to hear it (CH-11).
func unless(noWait bool, m amqp.Method) amqp.Method {
	if noWait {
		return nil
	}
	return m
}

// queueDeclare makes a queue, or finds it. The counts are those of this moment.
func (ch *Channel) queueDeclare(m *amqp.QueueDeclare) error {
	if ok, err := ch.declareReplies(m); ok {
		return err
	}
	c := ch.c
	q, commit, err := ch.findOrMakeQueue(m)
	if err != nil {
		return err
	}
	ch.lastQueue = q.Name()
	ready, consumers := q.Counts()
	c.answer(ch.id, until(commit), unless(m.NoWait, &amqp.QueueDeclareOk{
		Queue:         q.Name(),
		MessageCount:  uint32(ready),
		ConsumerCount: uint32(consumers),
	}))
	return nil
}

func (ch *Channel) findOrMakeQueue(m *amqp.QueueDeclare) (*queue.Queue, *broker.Commit, error) {
	c := ch.c
	if m.Passive {
		return c.vhost.DeclareQueuePassive(c.now, c, m.Queue, &c.effects)
	}
	spec := queue.Spec{
		Name:       m.Queue,
		Durable:    m.Durable,
		Exclusive:  m.Exclusive,
		AutoDelete: m.AutoDelete,
		Arguments:  m.Arguments,
		By:         c.client.user,
	}
	return c.vhost.DeclareQueue(c.now, c, spec, ch.permit, &c.effects)
}

// queueBind binds a queue. With neither queue nor key, the key is the queue's name too
// (EX-25).
func (ch *Channel) queueBind(m *amqp.QueueBind) error {
	b, err := ch.queueBinding(m.Queue, m.Exchange, m.RoutingKey, m.Arguments)
	if err != nil {
		return err
	}
	b.By = ch.c.client.user
	commit, err := ch.c.vhost.Bind(ch.c, b, ch.permit)
	if err != nil {
		return err
	}
	ch.c.answer(ch.id, until(commit), unless(m.NoWait, &amqp.QueueBindOk{}))
	return nil
}

func (ch *Channel) queueUnbind(m *amqp.QueueUnbind) error {
	b, err := ch.queueBinding(m.Queue, m.Exchange, m.RoutingKey, m.Arguments)
	if err != nil {
		return err
	}
	commit, err := ch.c.vhost.Unbind(ch.c, b, ch.permit)
	if err != nil {
		return err
	}
	ch.c.answer(ch.id, until(commit), &amqp.QueueUnbindOk{})
	return nil
}

func (ch *Channel) queueBinding(q, exchange, key string, arguments amqp.Table) (binding.Binding, error) {
	name, err := ch.queueName(q)
	if q == "" && key == "" {
		key = name
	}
	return binding.Binding{
		Source:      exchange,
		Destination: name,
		Kind:        binding.Queue,
		RoutingKey:  key,
		Arguments:   arguments,
	}, err
}

// queuePurge drops the ready messages of a queue; what is out stays out. A durable
// queue's are gone for good when the client is told so (S-13).
func (ch *Channel) queuePurge(m *amqp.QueuePurge) error {
	q, change, err := ch.readQueue(m.Queue)
	if err != nil {
		return err
	}
	c := ch.c
	n := q.Purge(c.now, &c.effects)
	if n > 0 {
		change = until(c.b.Barrier(q))
	}
	c.answer(ch.id, change, unless(m.NoWait, &amqp.QueuePurgeOk{MessageCount: uint32(n)}))
	return nil
}

// queueDelete deletes a queue; one that is missing is fine. Its consumers hear of
// it after this batch.
func (ch *Channel) queueDelete(m *amqp.QueueDelete) error {
	name, err := ch.queueName(m.Queue)
	if err != nil {
		return err
	}
	c := ch.c
	o := queue.DeleteOptions{IfUnused: m.IfUnused, IfEmpty: m.IfEmpty}
	ready, commit, err := c.vhost.DeleteQueue(c.now, c, name, o, ch.permit, &c.effects)
	if err != nil {
		return err
	}
	c.answer(ch.id, until(commit), unless(m.NoWait, &amqp.QueueDeleteOk{MessageCount: uint32(ready)}))
	return nil
}
