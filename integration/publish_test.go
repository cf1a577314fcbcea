package integration

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/brokertest"
)

func TestEveryPublishIsConfirmedOnce(t *testing.T) { // CONF-1
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	c.durable("q", nil)
	const n = 300
	confirms := c.NotifyPublish(make(chan amqp.Confirmation, n))
	var want []string
	for i := range n {
		body := fmt.Sprint(i)
		mode := uint8(i%2) + 1 // some wait for the disk and some do not
		c.must(c.PublishWithContext(t.Context(), "", "q", false, false, amqp.Publishing{DeliveryMode: mode, Body: []byte(body)}))
		want = append(want, body)
	}
	for i := range uint64(n) {
		if got := next(t, confirms); got.DeliveryTag != i+1 || !got.Ack {
			t.Fatalf("got confirm %+v, want an ack of %d", got, i+1)
		}
	}
	c.has("q", want...)
}

func TestUnroutableMandatoryMessageComesBackBeforeItsConfirm(t *testing.T) { // PUB-4
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	// Unbuffered, they are filled in the order in which the broker sent.
	returns, confirms := c.NotifyReturn(make(chan amqp.Return)), c.NotifyPublish(make(chan amqp.Confirmation))
	c.exchange("nowhere", "topic", nil)
	for _, mandatory := range []bool{true, false} {
		c.must(c.PublishWithContext(t.Context(), "nowhere", "a.b", mandatory, false,
			amqp.Publishing{MessageId: "m", Headers: amqp.Table{"h": int32(1)}, Body: []byte("x")}))
		if mandatory {
			r := next(t, returns)
			if r.ReplyCode != 312 || r.ReplyText != "NO_ROUTE" || r.Exchange != "nowhere" || r.RoutingKey != "a.b" ||
				r.MessageId != "m" || r.Headers["h"] != int32(1) || string(r.Body) != "x" {
				t.Errorf("got %+v, want the message with 312 NO_ROUTE", r)
			}
		}
		if got := next(t, confirms); !got.Ack {
			t.Errorf("got %+v, want an ack: nobody keeps the message, and that is done", got)
		}
	}
}

func TestPropertiesArriveAsTheyWereSent(t *testing.T) { // P2, PUB-11
	t.Parallel()
	s := brokertest.Start(t)
	c := connect(t, s)
	c.durable("q", nil)
	sent := amqp.Publishing{
		Headers: amqp.Table{
			"bool": true, "int8": int8(-1), "int16": int16(-2), "int32": int32(-3), "int64": int64(-4),
			"float32": float32(1.5), "float64": 2.5, "string": "s", "bytes": []byte{0, 255}, "void": nil,
			"time":  time.Unix(1700000000, 0),
			"table": amqp.Table{"in": int32(1)},
			"array": []any{int32(1), "two", amqp.Table{"three": int64(3)}},
		},
		ContentType: "application/json", ContentEncoding: "gzip", DeliveryMode: amqp.Persistent, Priority: 7,
		CorrelationId: "c", ReplyTo: "r", Expiration: "600000", MessageId: "m", Timestamp: time.Unix(1700000001, 0),
		Type: "t", UserId: "guest", AppId: "a", Body: []byte{},
	}
	f := func() {
		t.Helper()
		d := next(t, c.consume("q", ""))
		got := amqp.Publishing{
			Headers: d.Headers, ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, DeliveryMode: d.DeliveryMode,
			Priority: d.Priority, CorrelationId: d.CorrelationId, ReplyTo: d.ReplyTo, Expiration: d.Expiration,
			MessageId: d.MessageId, Timestamp: d.Timestamp, Type: d.Type, UserId: d.UserId, AppId: d.AppId, Body: d.Body,
		}
		if !reflect.DeepEqual(got, sent) {
			t.Errorf("got  %#v\nwant %#v", got, sent)
		}
	}
	if !c.send("", "q", sent) {
		t.Fatal("got a nack")
	}
	f()
	s.Restart() // nor does the disk change them
	c = connect(t, s)
	f()
}

func TestLargeBodiesAreCutIntoFramesAndPutTogether(t *testing.T) { // W-21, C-13
	t.Parallel()
	s := brokertest.Start(t)
	body := make([]byte, 5<<20)
	for i, r := 0, rand.New(rand.NewPCG(1, 2)); i < len(body); i++ {
		body[i] = byte(r.Uint32())
	}
	for _, frameMax := range []int{0, 4096, 131072} {
		conn, err := amqp.DialConfig(s.URL(), amqp.Config{FrameSize: frameMax})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		c := onConnection(t, conn)
		q := c.queue(fmt.Sprintf("q%d", frameMax), nil)
		deliveries := c.consume(q, "")
		if !c.send("", q, amqp.Publishing{Body: body}) {
			t.Fatal("got a nack")
		}
		if d := next(t, deliveries); !bytes.Equal(d.Body, body) {
			t.Errorf("got another body of %d bytes with frames of %d, want the %d bytes that were sent", len(d.Body), frameMax, len(body))
		}
	}
}

func TestRepliesReachWhoAsked(t *testing.T) { // DRT-1 to DRT-4
	t.Parallel()
	s := brokertest.Start(t)
	asking, answering := connect(t, s), connect(t, s)
	answering.queue("questions", nil)
	questions := answering.consume("questions", "")
	answers, err := asking.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
	asking.must(err)
	asking.send("", "questions", amqp.Publishing{ReplyTo: "amq.rabbitmq.reply-to", CorrelationId: "7", Body: []byte("six by nine?")})
	q := next(t, questions)
	answering.send("", q.ReplyTo, amqp.Publishing{CorrelationId: q.CorrelationId, Body: []byte("42")})
	if a := next(t, answers); string(a.Body) != "42" || a.CorrelationId != "7" || a.Exchange != "" || a.RoutingKey != q.ReplyTo {
		t.Errorf("got %q to %q, want 42 for question 7", a.Body, a.RoutingKey)
	}
	asking.must(asking.Close())
	returns := answering.NotifyReturn(make(chan amqp.Return, 1))
	answering.must(answering.PublishWithContext(t.Context(), "", q.ReplyTo, true, false, amqp.Publishing{}))
	if r := next(t, returns); r.ReplyText != "NO_ROUTE" {
		t.Errorf("got %q for a reply to nobody, want NO_ROUTE", r.ReplyText)
	}
}

func TestExtraKeysRouteToo(t *testing.T) { // PUB-10, EX-37
	t.Parallel()
	c := connect(t, brokertest.Start(t))
	for _, q := range []string{"to", "cc", "bcc"} {
		c.queue(q, nil)
	}
	c.send("", "to", amqp.Publishing{
		Headers: amqp.Table{"CC": []any{"cc", "to"}, "BCC": []any{"bcc"}, "kept": "k"}, Body: []byte("m"),
	})
	for _, q := range []string{"to", "cc", "bcc"} {
		all := c.take(q)
		if len(all) != 1 || all[0].RoutingKey != "to" || all[0].Headers["BCC"] != nil || all[0].Headers["CC"] == nil || all[0].Headers["kept"] != "k" {
			t.Errorf("got %+v in %s, want one copy for to, with CC and without BCC", all, q)
		}
	}
}
