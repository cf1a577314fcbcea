package connection

import (
	"testing"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/broker"
)

// TestAlarmThatComesBackAtOnceIsTheSamePeriod: nobody looked in between.
func TestAlarmThatComesBackAtOnceIsTheSamePeriod(t *testing.T) {
	r := newRig(t)
	k := r.open(1)
	r.b.SetAlarm(broker.DiskAlarm, true)
	k.send(content(1, &amqp.BasicPublish{RoutingKey: "nowhere"}, amqp.Properties{}, "x", 0))
	k.want(`ch=0 connection.blocked{reason="low on disk"}`)
	for range 3 {
		r.b.SetAlarm(broker.DiskAlarm, false)
		r.b.SetAlarm(broker.MemoryAlarm, true)
		r.settle()
		k.want()
		r.b.SetAlarm(broker.MemoryAlarm, false)
		r.b.SetAlarm(broker.DiskAlarm, true)
		r.settle()
		k.want()
	}
	r.b.SetAlarm(broker.DiskAlarm, false)
	r.settle()
	k.want(`ch=0 connection.unblocked{}`)
}

// TestContentThatIsUnderWayIsTakenWhole: the alarm comes between its frames, and two channels
// are sending.
func TestContentThatIsUnderWayIsTakenWhole(t *testing.T) {
	r := newRig(t)
	k := r.open(1, 2)
	k.send(frameOf(1, &amqp.QueueDeclare{Queue: "q"}))
	k.frames()
	publish := frameOf(1, &amqp.BasicPublish{RoutingKey: "q"})
	publish = amqp.AppendHeader(publish, 1, 4, []byte{0, 0})
	k.send(amqp.AppendBody(publish, 1, []byte("wh"), 0))
	r.b.SetAlarm(broker.MemoryAlarm, true)
	other := frameOf(2, &amqp.BasicPublish{RoutingKey: "q"})
	k.send(amqp.AppendHeader(other, 2, 5, []byte{0, 0}))
	k.want()
	k.send(amqp.AppendBody(nil, 1, []byte("at"), 0))
	k.want(`ch=0 connection.blocked{reason="low on memory"}`)
	k.send(amqp.AppendBody(nil, 2, []byte("other"), 0))
	if n := r.b.VHost("/").Queues()[0].Stats().Ready; n != 1 {
		t.Errorf("got %d messages, want the one that was complete", n)
	}
	r.b.SetAlarm(broker.MemoryAlarm, false)
	r.settle()
	k.want(`ch=0 connection.unblocked{}`)
	if n := r.b.VHost("/").Queues()[0].Stats().Ready; n != 2 {
		t.Errorf("got %d messages, want both", n)
	}
}

// C-17: alarms that are on when a client comes do not concern it until it publishes (RES-2).
func TestWhoComesUnderAnAlarmRunsUntilItPublishes(t *testing.T) {
	r := newRig(t)
	r.b.SetAlarm(broker.MemoryAlarm, true)
	k := r.accept(Options{})
	k.send([]byte(amqp.ProtocolHeader))
	k.send(frameOf(0, &amqp.ConnectionStartOk{ClientProperties: capabilities, Mechanism: "PLAIN", Response: "\x00guest\x00guest", Locale: "en_US"}))
	k.send(frameOf(0, &amqp.ConnectionTuneOk{ChannelMax: 10, FrameMax: 4096}))
	k.frames()
	k.send(frameOf(0, &amqp.ConnectionOpen{VirtualHost: "/"}))
	k.want(`ch=0 connection.open-ok{}`)
	k.send(frameOf(1, &amqp.ChannelOpen{}))
	k.send(frameOf(1, &amqp.QueueDeclare{Queue: "q"}))
	k.want(`ch=1 channel.open-ok{}`, `ch=1 queue.declare-ok{queue="q" message_count=0 consumer_count=0}`)
	if r.b.Sessions()[0].Describe().Blocked {
		t.Error("it is blocked before it has published")
	}
	k.send(content(1, &amqp.BasicPublish{RoutingKey: "q"}, amqp.Properties{}, "x", 0))
	k.want(`ch=0 connection.blocked{reason="low on memory"}`)
	if !r.b.Sessions()[0].Describe().Blocked {
		t.Error("it is not blocked after it has published")
	}
	// From then on not even a declare is read.
	k.send(frameOf(1, &amqp.QueueDeclare{Queue: "q", Passive: true}))
	k.want()
	r.b.SetAlarm(broker.MemoryAlarm, false)
	r.settle()
	k.want(`ch=0 connection.unblocked{}`, `ch=1 queue.declare-ok{queue="q" message_count=1 consumer_count=0}`)
}
