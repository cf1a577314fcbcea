package connection

import (
	"testing"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/queue"
)

// LIM-3: what the node as a whole may have, over all of its virtual hosts and users (C-16,
// ERR-22, ERR-31), and a channel of consumers (ERR-32).
func TestNodeHasNoMoreThanItMay(t *testing.T) {
	o := broker.DefaultOptions()
	o.NodeName = "leveret@here"
	o.Limits = broker.NodeLimits{Connections: 2, Channels: 3, Queues: 2, Exchanges: 14} // six are in each virtual host
	r := newRigWith(t, o)
	if _, err := r.b.PutVHost("other"); err != nil {
		t.Fatal(err)
	}
	var out queue.Effects
	if _, err := r.b.VHost("other").AddQueue(r.now, queue.Spec{Name: "q"}, &out); err != nil {
		t.Fatal(err)
	}
	if _, err := r.b.VHost("other").AddExchange(exchange.Spec{Name: "x", Type: "fanout"}); err != nil {
		t.Fatal(err)
	}
	a, b := r.open(1), r.open(1)

	third := r.accept(Options{})
	third.send([]byte(amqp.ProtocolHeader))
	third.send(frameOf(0, &amqp.ConnectionStartOk{Mechanism: "PLAIN", Response: "\x00guest\x00guest", Locale: "en_US"}))
	third.send(frameOf(0, &amqp.ConnectionTuneOk{ChannelMax: 10, FrameMax: 4096}))
	third.frames()
	third.send(frameOf(0, &amqp.ConnectionOpen{VirtualHost: "/"}))
	third.want(`ch=0 connection.close{reply_code=530 reply_text="NOT_ALLOWED - connection refused: node connection limit (2) is reached" class_id=10 method_id=40}`)

	a.send(frameOf(1, &amqp.QueueDeclare{Queue: "q1"}))
	b.send(frameOf(1, &amqp.ExchangeDeclare{Exchange: "x1", Type: "fanout"}))
	a.want(`ch=1 queue.declare-ok{queue="q1" message_count=0 consumer_count=0}`)
	b.want(`ch=1 exchange.declare-ok{}`)
	a.send(frameOf(1, &amqp.QueueDeclare{Queue: "q1"}))
	b.send(frameOf(1, &amqp.ExchangeDeclare{Exchange: "x1", Type: "fanout"}))
	a.want(`ch=1 queue.declare-ok{queue="q1" message_count=0 consumer_count=0}`)
	b.want(`ch=1 exchange.declare-ok{}`)
	a.send(frameOf(1, &amqp.QueueDeclare{Queue: "q2"}))
	b.send(frameOf(1, &amqp.ExchangeDeclare{Exchange: "x2", Type: "fanout"}))
	a.want(`ch=1 channel.close{reply_code=406 reply_text="PRECONDITION_FAILED - cannot declare queue 'q2': queue limit in cluster (2) is reached" class_id=50 method_id=10}`)
	b.want(`ch=1 channel.close{reply_code=406 reply_text="PRECONDITION_FAILED - cannot declare exchange 'x2' in vhost '/': exchange limit of 14 is reached" class_id=40 method_id=10}`)

	// What goes makes room, also with its virtual host.
	r.b.DeleteVHost(r.now, "other", &out)
	for _, k := range []*rigConn{a, b} {
		k.send(frameOf(1, &amqp.ChannelCloseOk{}))
		k.send(frameOf(1, &amqp.ChannelOpen{}))
		k.frames()
	}
	a.send(frameOf(1, &amqp.QueueDeclare{Queue: "q2"}))
	b.send(frameOf(1, &amqp.ExchangeDeclare{Exchange: "x2", Type: "fanout"}))
	a.want(`ch=1 queue.declare-ok{queue="q2" message_count=0 consumer_count=0}`)
	b.want(`ch=1 exchange.declare-ok{}`)
	a.send(frameOf(1, &amqp.QueueDelete{Queue: "q1"}))
	a.send(frameOf(1, &amqp.QueueDeclare{Queue: "q3"}))
	a.want(`ch=1 queue.delete-ok{message_count=0}`, `ch=1 queue.declare-ok{queue="q3" message_count=0 consumer_count=0}`)

	a.send(frameOf(2, &amqp.ChannelOpen{}))
	a.want(`ch=2 channel.open-ok{}`)
	b.send(frameOf(2, &amqp.ChannelOpen{}))
	b.want(`ch=0 connection.close{reply_code=530 reply_text="NOT_ALLOWED - number of channels opened on node 'leveret@here' has reached the maximum allowed limit of 3" class_id=0 method_id=0}`)
	b.send(frameOf(0, &amqp.ConnectionCloseOk{}))
	b.c.Close(r.now, nil)

	c := r.accept(Options{MaxConsumers: 1})
	c.login("guest", capabilities, 1)
	c.send(frameOf(1, &amqp.BasicConsume{Queue: "q2", ConsumerTag: "one"}))
	c.send(frameOf(1, &amqp.BasicConsume{Queue: "q2", ConsumerTag: "two"}))
	c.want(`ch=1 basic.consume-ok{consumer_tag="one"}`,
		`ch=0 connection.close{reply_code=530 reply_text="NOT_ALLOWED - reached maximum (1) of consumers per channel" class_id=60 method_id=20}`)
}
