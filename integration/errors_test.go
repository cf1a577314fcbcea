package integration

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/brokertest"
)

func TestMistakesCloseTheChannelWithRabbitMQsText(t *testing.T) { // ERR-1 to ERR-34
	t.Parallel()
	s := brokertest.Start(t)
	c := connect(t, s)
	c.queue("q", amqp.Table{"x-message-ttl": int32(1000)})
	c.exchange("x", "fanout", nil)
	f := func(code int, text string, mistake func(ch *client) error) {
		t.Helper()
		ch := c.another()
		closed := ch.NotifyClose(make(chan *amqp.Error, 1))
		if err := mistake(ch); err != nil {
			refused(t, err, code, text)
		} else {
			refused(t, next(t, closed), code, text)
		}
		// Nobody else is harmed, and the number is free again (CH-6).
		c.another().counts("q", 0, 0)
	}
	declare := func(name string, durable bool, args amqp.Table) func(*client) error {
		return func(ch *client) error {
			_, err := ch.QueueDeclare(name, durable, false, false, false, args)
			return err
		}
	}
	publish := func(exchange string, p amqp.Publishing) func(*client) error {
		return func(ch *client) error { return ch.PublishWithContext(t.Context(), exchange, "k", false, false, p) }
	}

	f(404, "NOT_FOUND - no queue 'none' in vhost '/'", func(ch *client) error { _, _, err := ch.Get("none", true); return err })
	f(404, "NOT_FOUND - no queue 'none' in vhost '/'", func(ch *client) error { return ch.QueueBind("none", "", "x", false, nil) })
	f(404, "NOT_FOUND - no exchange 'none' in vhost '/'", func(ch *client) error { return ch.QueueBind("q", "", "none", false, nil) })
	f(404, "NOT_FOUND - no exchange 'none' in vhost '/'", publish("none", amqp.Publishing{}))
	f(404, "NOT_FOUND - no queue 'none' in vhost '/'", func(ch *client) error { _, err := ch.QueuePurge("none", false); return err })
	f(404, "NOT_FOUND - no previously declared queue", func(ch *client) error { _, _, err := ch.Get("", true); return err })

	f(406, "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'true' but current is 'false'",
		declare("q", true, amqp.Table{"x-message-ttl": int32(1000)}))
	f(406, "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': received '1001' but current is '1000'",
		declare("q", false, amqp.Table{"x-message-ttl": int32(1001)}))
	f(406, "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': received none but current is the value '1000' of type 'signedint'",
		declare("q", false, nil))
	f(406, "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'x' in vhost '/': received 'topic' but current is 'fanout'",
		func(ch *client) error { return ch.ExchangeDeclare("x", "topic", false, false, false, false, nil) })
	f(406, "PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'new' in vhost '/': {value_negative,-1}",
		declare("new", false, amqp.Table{"x-message-ttl": int32(-1)}))
	f(406, "PRECONDITION_FAILED - invalid arg 'x-max-length' for queue 'new' in vhost '/': \"expected integer, got longstr\"",
		declare("new", false, amqp.Table{"x-max-length": "1"}))
	f(406, "PRECONDITION_FAILED - unknown delivery tag 1", func(ch *client) error { return ch.Ack(1, false) })
	f(406, "PRECONDITION_FAILED - unknown delivery tag 7", func(ch *client) error { return ch.Nack(7, true, true) })
	f(406, "PRECONDITION_FAILED - invalid expiration 'soon': no_integer", publish("x", amqp.Publishing{Expiration: "soon"}))
	f(406, "PRECONDITION_FAILED - user_id property set to 'root' but authenticated user was 'guest'", publish("x", amqp.Publishing{UserId: "root"}))
	f(406, "PRECONDITION_FAILED - unknown exchange type 'x-none'",
		func(ch *client) error { return ch.ExchangeDeclare("new", "x-none", false, false, false, false, nil) })
	f(406, "PRECONDITION_FAILED - fast reply consumer does not exist", publish("x", amqp.Publishing{ReplyTo: "amq.rabbitmq.reply-to"}))

	f(403, "ACCESS_REFUSED - queue name 'amq.new' contains reserved prefix 'amq.*'", declare("amq.new", false, nil))
	f(403, "ACCESS_REFUSED - exchange name 'amq.new' contains reserved prefix 'amq.*'",
		func(ch *client) error { return ch.ExchangeDeclare("amq.new", "fanout", true, false, false, false, nil) })
	f(403, "ACCESS_REFUSED - operation not permitted on the default exchange",
		func(ch *client) error { return ch.QueueBind("q", "k", "", false, nil) })
	f(403, "ACCESS_REFUSED - deletion of system exchange 'amq.topic' in vhost '/' not allowed",
		func(ch *client) error { return ch.ExchangeDelete("amq.topic", false, false) })
	f(403, "ACCESS_REFUSED - cannot publish to internal exchange 'amq.rabbitmq.trace' in vhost '/'", publish("amq.rabbitmq.trace", amqp.Publishing{}))
}

func TestPermissionsAreAskedFor(t *testing.T) { // PERM-1 to PERM-3, ERR-27
	t.Parallel()
	s := brokertest.Start(t, brokertest.WithTopology(`
vhosts:
  - name: other
users:
  - name: shop
    password: secret
    permissions:
      - {vhost: /, configure: "^mine", write: "^(mine|orders)", read: "^mine"}
queues:
  - name: orders
`))
	conn, err := amqp.Dial("amqp://shop:secret@" + s.Addr() + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := onConnection(t, conn)
	c.queue("mine", nil)
	c.exchange("mine-too", "direct", nil)
	c.bind("mine-too", "mine", "k", nil)
	c.bind("mine-too", "mine", "l", nil)
	c.publish("mine-too", "k", "m")
	c.has("mine", "m")
	_, err = c.another().QueueDeclare("yours", false, false, false, false, nil)
	refused(t, err, 403, "ACCESS_REFUSED - configure access to queue 'yours' in vhost '/' refused for user 'shop'")
	_, _, err = c.another().Get("orders", true)
	refused(t, err, 403, "ACCESS_REFUSED - read access to queue 'orders' in vhost '/' refused for user 'shop'")
	ch := c.another()
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	ch.must(ch.PublishWithContext(t.Context(), "", "orders", false, false, amqp.Publishing{}))
	refused(t, next(t, closed), 403, "ACCESS_REFUSED - write access to exchange 'amq.default' in vhost '/' refused for user 'shop'")
	_, err = amqp.Dial("amqp://shop:secret@" + s.Addr() + "/other")
	if err == nil {
		t.Error("got a connection to a virtual host without permissions")
	}
}

func TestHardErrorsCloseTheConnection(t *testing.T) { // ERR-32, ERR-33, ERR-40
	t.Parallel()
	s := brokertest.Start(t)
	f := func(code int, text string, mistake func(c *client) error) {
		t.Helper()
		c := connect(t, s)
		closed := c.conn.NotifyClose(make(chan *amqp.Error, 1))
		_ = mistake(c) // the connection says what was wrong
		refused(t, next(t, closed), code, text)
	}
	f(540, "NOT_IMPLEMENTED - prefetch_size!=0 (1)", func(c *client) error { return c.Qos(1, 1, false) })
	f(540, "NOT_IMPLEMENTED - immediate=true", func(c *client) error {
		return c.PublishWithContext(t.Context(), "", "q", false, true, amqp.Publishing{})
	})
	f(530, "NOT_ALLOWED - attempt to reuse consumer tag 'tag'", func(c *client) error {
		c.queue("q", nil)
		c.consume("q", "tag")
		_, err := c.Consume("q", "tag", false, false, false, false, nil)
		return err
	})
	f(540, "NOT_IMPLEMENTED - requeue=false", func(c *client) error {
		return c.Recover(false) //nolint:staticcheck // deprecated, and still in use
	})
}
