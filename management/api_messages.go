package management

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"unicode/utf8"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/definitions"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

// maxGet is how many messages one request may get.
const maxGet = 10000

// publish puts a message into an exchange, and answers when a publisher would be told that
// it is safe.
func (c *call) publish() error {
	v, err := c.vhost()
	if err != nil {
		return err
	}
	f, err := c.fields()
	if err != nil {
		return err
	}
	if err := f.need("routing_key", "properties", "payload", "payload_encoding"); err != nil {
		return err
	}
	content := message.Content{Exchange: exchangeName(c.args[1])}
	payload, encoding := "", ""
	if err := firstOf(f.text("routing_key", &content.RoutingKey), f.text("payload", &payload), f.text("payload_encoding", &encoding)); err != nil {
		return err
	}
	if len(content.RoutingKey) > 255 {
		return badRequest("the routing key is longer than 255 octets")
	}
	switch encoding {
	case "string":
		content.Body = []byte(payload)
	case "base64":
		if content.Body, err = base64.StdEncoding.DecodeString(payload); err != nil {
			return badRequest("not_base64: %.40s", payload)
		}
	default:
		return badRequest("unsupported_encoding: %.40s", encoding)
	}
	if len(content.Body) > c.MaxMessageBytes {
		return badRequest("message size %d is larger than configured max size %d", len(content.Body), c.MaxMessageBytes)
	}
	if err := c.properties(f["properties"], &content); err != nil {
		return err
	}
	routed, err := c.send(v, content)
	if err != nil {
		return err
	}
	return c.ok(object{"routed": routed})
}

// send publishes as an AMQP client of the caller would, and waits for the confirm.
func (c *call) send(v *broker.VHost, content message.Content) (routed bool, err error) {
	if reason := c.Broker.Alarms().Reason(); reason != "" {
		return false, &Refusal{http.StatusServiceUnavailable, "blocked", reason}
	}
	permit := c.permit(v.Name())
	if permit != nil {
		if err := permit(broker.Access{Op: auth.Write, Kind: binding.Exchange, Name: content.Exchange}); err != nil {
			return false, err
		}
	}
	x, err := v.ExchangeForPublish(content.Exchange)
	if err != nil {
		return false, badRequest("404 %v", err) // as RabbitMQ has it
	}
	m, err := message.New(content)
	if err != nil {
		return false, err
	}
	if permit != nil && x.ByTopic() {
		keys := []string{m.RoutingKey}
		if m.More != nil {
			keys = append(append(keys, m.More.CC...), m.More.BCC...)
		}
		for _, key := range keys {
			if err := permit(broker.Access{Op: auth.Write, Kind: binding.Exchange, Name: x.Name(), Topic: true, Key: key}); err != nil {
				return false, err
			}
		}
	}
	w := &confirmed{done: make(chan bool, 1)}
	confirm := message.NewConfirm(w, 1)
	var out queue.Effects
	var router broker.Router
	routed = v.Publish(c.now, &router, x, m, confirm, &out)
	confirm.Release(&out.Wakes)
	c.Broker.Flush(c.now, &out)
	select {
	case ok := <-w.done:
		if !ok {
			return false, badRequest("a queue has refused the message")
		}
	case <-c.r.Context().Done():
		return false, c.r.Context().Err()
	}
	return routed, nil
}

// confirmed is who waits for a confirm.
type confirmed struct{ done chan bool }

// Confirmed implements message.Confirmer.
func (w *confirmed) Confirmed(_ uint64, ok bool, _ *message.Wakes) { w.done <- ok }

// properties reads the properties of a message.
func (c *call) properties(raw json.RawMessage, content *message.Content) error {
	var f fields
	if err := json.Unmarshal(raw, &f); err != nil {
		var none []struct{}
		if json.Unmarshal(raw, &none) != nil || len(none) > 0 {
			return badRequest("properties: an object is wanted")
		}
	}
	var p amqp.Properties
	text := func(name string, flag uint16, v *string) error {
		if !f.has(name) {
			return nil
		}
		p.Flags |= flag
		if err := f.text(name, v); err != nil {
			return err
		}
		if len(*v) > 255 {
			return badRequest("%s is longer than 255 octets", name)
		}
		return nil
	}
	octet := func(name string, flag uint16, v *uint8) error {
		if !f.has(name) {
			return nil
		}
		p.Flags |= flag
		var n int64
		if err := f.integer(name, &n); err != nil {
			return err
		}
		if *v = uint8(n); int64(*v) != n {
			return badRequest("%s has to be from 0 to 255", name)
		}
		return nil
	}
	var timestamp int64
	if f.has("timestamp") {
		p.Flags |= amqp.FlagTimestamp
	}
	if f.has("headers") {
		p.Flags |= amqp.FlagHeaders
	}
	if err := firstOf(
		text("content_type", amqp.FlagContentType, &p.ContentType),
		text("content_encoding", amqp.FlagContentEncoding, &p.ContentEncoding),
		octet("delivery_mode", amqp.FlagDeliveryMode, &p.DeliveryMode),
		octet("priority", amqp.FlagPriority, &p.Priority),
		text("correlation_id", amqp.FlagCorrelationID, &p.CorrelationID),
		text("reply_to", amqp.FlagReplyTo, &p.ReplyTo),
		text("expiration", amqp.FlagExpiration, &p.Expiration),
		text("message_id", amqp.FlagMessageID, &p.MessageID),
		f.integer("timestamp", &timestamp),
		text("type", amqp.FlagType, &p.Type),
		text("user_id", amqp.FlagUserID, &p.UserID),
		text("app_id", amqp.FlagAppID, &p.AppID),
		text("cluster_id", amqp.FlagClusterID, &p.ClusterID),
		f.arguments("headers", &p.Headers),
	); err != nil {
		return err
	}
	p.Timestamp = amqp.Timestamp(max(timestamp, 0))
	if c.user != nil && p.Flags&amqp.FlagUserID != 0 && p.UserID != c.user.Name && !c.user.HasTag(auth.Impersonator) {
		return badRequest("user_id property set to '%s' but authenticated user was '%s'", p.UserID, c.user.Name)
	}
	content.More, p.Headers = moreKeys(p.Headers)
	content.Properties = p.Append(nil)
	return nil
}

// moreKeys takes the routing keys out of the headers CC and BCC, of which the second is for
// nobody else to see (PUB-10).
func moreKeys(headers amqp.Table) (*message.MoreKeys, amqp.Table) {
	keys := func(name string) (all []string) {
		v, _ := headers.Get(name)
		list, _ := v.(amqp.Array)
		for _, v := range list {
			if s, ok := v.(string); ok {
				all = append(all, s)
			}
		}
		return all
	}
	more := message.MoreKeys{CC: keys("CC"), BCC: keys("BCC")}
	if len(more.CC)+len(more.BCC) == 0 {
		return nil, headers
	}
	return &more, headers.Without("BCC")
}

// getMessages gets messages from a queue, and may put them back.
func (c *call) getMessages() error {
	q, err := c.readable()
	if err != nil {
		return err
	}
	f, err := c.fields()
	if err != nil {
		return err
	}
	if err := f.need("count", "ackmode", "encoding"); err != nil {
		return err
	}
	var count, truncate int64 = 0, -1
	mode, encoding := "", ""
	if err := firstOf(f.integer("count", &count), f.integer("truncate", &truncate), f.text("ackmode", &mode), f.text("encoding", &encoding)); err != nil {
		return err
	}
	var taken, requeue bool
	switch mode {
	case "ack_requeue_false":
		taken = true
	case "ack_requeue_true", "reject_requeue_true":
		requeue = true
	case "reject_requeue_false":
	default:
		return badRequest("ackmode has to be ack_requeue_true, ack_requeue_false, reject_requeue_true or reject_requeue_false")
	}
	if encoding != "auto" && encoding != "base64" {
		return badRequest("unsupported_encoding: %.40s", encoding)
	}
	if count < 0 || count > maxGet {
		return badRequest("count has to be from 0 to %d", maxGet)
	}
	if o := q.Options(); o.SingleActiveConsumer && o.Type == queue.Quorum {
		return badRequest("cannot obtain access to locked %v. basic.get operations are not supported by quorum queues with single active consumer", q)
	}
	if q.FirstUse() {
		if err := wait(c.r.Context(), c.Broker.Barrier(q)); err != nil {
			return err
		}
	}
	got, err := c.take(q, int(count), taken, requeue)
	if err != nil {
		return err
	}
	all := []object{}
	for i, d := range got {
		all = append(all, describeMessage(d.Delivery, d.left, encoding == "auto", truncate))
		got[i].Message = nil
	}
	return c.ok(all)
}

// gotten is a message with how many were ready after it.
type gotten struct {
	queue.Delivery
	left int
}

// take gets up to n messages, one after the other, and only then gives them back: otherwise
// it would be the same one every time.
func (c *call) take(q *queue.Queue, n int, noAck, requeue bool) (all []gotten, err error) {
	var out queue.Effects
	for len(all) < n && err == nil {
		d, left, got := q.Get(c.now, noAck, &out)
		if got == queue.GotNothing {
			break
		}
		if got == queue.GotMessage {
			all = append(all, gotten{d, left})
			continue
		}
		c.Broker.Flush(c.now, &out)
		err = waitRead(c.r.Context(), q)
	}
	if !noAck {
		positions := make([]queue.Position, len(all))
		for i := range all {
			positions[i] = all[i].Position
		}
		q.Reject(c.now, positions, requeue, &out)
	}
	c.Broker.Flush(c.now, &out)
	return all, err
}

// waitRead waits until what the queue reads from disk has come.
func waitRead(ctx context.Context, q *queue.Queue) error {
	done := make(chan error, 1)
	if !q.WhenRead(func(err error) { done <- err }) {
		return nil
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func describeMessage(d queue.Delivery, left int, asText bool, truncate int64) object {
	m := d.Message
	body, encoding := m.Body(), "string"
	if truncate >= 0 && int64(len(body)) > truncate {
		body = body[:truncate]
	}
	payload := string(body)
	if !asText || !utf8.Valid(body) {
		payload, encoding = base64.StdEncoding.EncodeToString(body), "base64"
	}
	return object{
		"payload_bytes": m.BodyBytes(), "redelivered": d.Redelivered, "exchange": m.Exchange, "routing_key": m.RoutingKey,
		"message_count": left, "properties": describeProperties(d), "payload": payload, "payload_encoding": encoding,
	}
}

func describeProperties(d queue.Delivery) object {
	o := object{}
	var p amqp.Properties
	if err := p.Decode(d.Message.Properties()); err != nil {
		panic(fmt.Sprintf("management: properties that were read before: %v", err))
	}
	if d.ShowCount && d.Count > 0 {
		p.Flags |= amqp.FlagHeaders
		p.Headers = p.Headers.With("x-delivery-count", int64(d.Count))
	}
	for _, f := range []struct {
		flag  uint16
		name  string
		value any
	}{
		{amqp.FlagContentType, "content_type", p.ContentType},
		{amqp.FlagContentEncoding, "content_encoding", p.ContentEncoding},
		{amqp.FlagHeaders, "headers", definitions.Value(p.Headers)},
		{amqp.FlagDeliveryMode, "delivery_mode", p.DeliveryMode},
		{amqp.FlagPriority, "priority", p.Priority},
		{amqp.FlagCorrelationID, "correlation_id", p.CorrelationID},
		{amqp.FlagReplyTo, "reply_to", p.ReplyTo},
		{amqp.FlagExpiration, "expiration", p.Expiration},
		{amqp.FlagMessageID, "message_id", p.MessageID},
		{amqp.FlagTimestamp, "timestamp", uint64(p.Timestamp)},
		{amqp.FlagType, "type", p.Type},
		{amqp.FlagUserID, "user_id", p.UserID},
		{amqp.FlagAppID, "app_id", p.AppID},
		{amqp.FlagClusterID, "cluster_id", p.ClusterID},
	} {
		if p.Flags&f.flag != 0 {
			o[f.name] = f.value
		}
	}
	return o
}

// aliveness sends a message through a queue, as old probes want it.
func (c *call) aliveness() error {
	v, err := c.vhost()
	if err != nil {
		return err
	}
	const name = "aliveness-test"
	var q *queue.Queue
	if err := c.change(func(out *queue.Effects) (commit *broker.Commit, err error) {
		q, commit, err = v.DeclareQueue(c.now, nil, queue.Spec{Name: name}, c.permit(v.Name()), out)
		return commit, err
	}); err != nil {
		return err
	}
	content := message.Content{Exchange: exchange.Default, RoutingKey: name, Properties: []byte{0, 0}, Body: []byte("test_message")}
	if _, err := c.send(v, content); err != nil {
		return err
	}
	if _, err := c.take(q, 1, true, false); err != nil {
		return err
	}
	return c.fine()
}
