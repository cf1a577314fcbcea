package connection

import (
	"testing"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/broker"
)

func TestConnectionDescribesItselfAndItsChannels(t *testing.T) {
	r := newRig(t)
	k := r.open(1, 2)
	k.send(frameOf(1, &amqp.QueueDeclare{Queue: "q", Arguments: amqp.Table{{Name: "x-single-active-consumer", Value: true}}}))
	k.send(frameOf(1, &amqp.ConfirmSelect{}))
	k.send(frameOf(1, &amqp.BasicQos{PrefetchCount: 1}))
	arguments := amqp.Table{{Name: "x", Value: int32(7)}}
	k.send(frameOf(1, &amqp.BasicConsume{Queue: "q", ConsumerTag: "c", Arguments: arguments}))
	k.send(frameOf(1, &amqp.BasicConsume{Queue: "q", ConsumerTag: "d", NoAck: true}))
	for range 3 {
		k.send(content(1, &amqp.BasicPublish{RoutingKey: "q"}, amqp.Properties{}, "12345678", 0))
	}
	k.send(content(1, &amqp.BasicPublish{RoutingKey: "nobody"}, amqp.Properties{}, "", 0))
	k.send(content(1, &amqp.BasicPublish{RoutingKey: "nobody", Mandatory: true}, amqp.Properties{}, "", 0))
	k.send(frameOf(1, &amqp.BasicAck{DeliveryTag: 1}))
	k.send(frameOf(1, &amqp.BasicReject{DeliveryTag: 2, Requeue: true}))
	k.send(frameOf(1, &amqp.BasicQos{PrefetchCount: 9, Global: true}))
	k.send(frameOf(2, &amqp.QueueDeclare{Queue: "p"}))
	k.send(frameOf(2, &amqp.TxSelect{}))
	k.send(frameOf(2, &amqp.BasicGet{Queue: "p"}))
	k.send(content(2, &amqp.BasicPublish{RoutingKey: "p"}, amqp.Properties{}, "", 0))
	k.send(frameOf(2, &amqp.TxCommit{}))
	k.send(frameOf(2, &amqp.BasicGet{Queue: "p"}))
	k.send(frameOf(2, &amqp.BasicAck{DeliveryTag: 1}))
	k.send(content(2, &amqp.BasicPublish{RoutingKey: "p"}, amqp.Properties{}, "", 0))
	sent := 0
	for _, f := range k.frames() {
		sent += len(f.Payload) + 8
	}

	s := r.b.Sessions()[0]
	got := s.Describe()
	if got.Mechanism != "PLAIN" || got.FrameMax != 131072 || got.ChannelMax != 2047 || !got.OpenedAt.Equal(r.now) || got.Blocked ||
		got.User != "guest" || got.VHost != "/" || got.Channels != 2 || len(got.ClientProperties) == 0 {
		t.Errorf("got %+v", got)
	}
	if got.OctetsSent < uint64(sent) || got.Writes == 0 || got.OctetsReceived < 500 || got.Reads == 0 || got.Pending != 0 {
		t.Errorf("got traffic %+v, want %d octets sent at least", got, sent)
	}
	want := []broker.ChannelInfo{{
		Number: 1, Confirm: true, Prefetch: 1, GlobalPrefetch: 9, Consumers: 2, Unacknowledged: 1,
		Totals: broker.ChannelTotals{Published: 5, Confirmed: 5, Returned: 1, Dropped: 1, DeliveredAck: 3, Redelivered: 1, Acknowledged: 1},
	}, {
		Number: 2, Transactional: true, UncommittedPublishes: 1, UncommittedAcks: 1,
		Totals: broker.ChannelTotals{Published: 1, GotAck: 1, GotEmpty: 1},
	}}
	channels := s.Channels()
	if len(channels) != 2 || channels[0] != want[0] || channels[1] != want[1] {
		t.Errorf("got  %+v\nwant %+v", channels, want)
	}

	q, _, err := r.b.VHost("/").Queue(nil, "q")
	if err != nil {
		t.Fatal(err)
	}
	subscriptions := q.Subscriptions()
	if len(subscriptions) != 2 || !subscriptions[0].Active || subscriptions[1].Active || subscriptions[0].Exclusive {
		t.Fatalf("got %+v, want the first to be active", subscriptions)
	}
	info := subscriptions[0].Consumer.(broker.Subscriber).Subscription()
	if info.Session != s || info.Channel != 1 || info.Tag != "c" || !info.AckRequired || info.Prefetch != 1 || !info.Arguments.Equal(arguments) {
		t.Errorf("got %+v", info)
	}
	if v := &r.b.VHost("/").Counters; v.MessagesReceived.Load() != 6 || v.MessagesConfirmed.Load() != 5 || v.MessagesUnroutableDropped.Load() != 1 || v.MessagesUnroutableReturned.Load() != 1 {
		t.Errorf("got other totals of the virtual host")
	}
	k.send(frameOf(1, &amqp.ChannelClose{}))
	if channels := s.Channels(); len(channels) != 1 || channels[0].Number != 2 {
		t.Errorf("got %+v, want only channel 2 left", channels)
	}
}
