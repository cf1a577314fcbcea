package connection

import (
	"strings"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/message"
)

// publishing is a basic.publish whose content is on its way.
type publishing struct {
	stage      stage
	mandatory  bool
	immediate  bool
	exchange   string
	routingKey []byte // scratch, copied into the message
	tooLong    uint64 // the announced size of a body that is read and dropped (W-23), or 0
	missing    uint64 // octets of body still to come
	held       int    // bytes of the message that count as held by the connection
	builder    message.Builder
	found      findings
}

// findings are what the properties of a message hold for the broker. What is wrong with
// them is told when the content is complete, in this order (PUB-1).
type findings struct {
	any                   bool
	more                  *message.MoreKeys
	replyTo, keys, userID error
}

// stage is what a channel expects to read next.
type stage uint8

const (
	noContent stage = iota
	wantHeader
	wantBody
)

// basicPublish begins a publish. m borrows from the frame, which is gone when the content
// header comes.
func (ch *Channel) basicPublish(m *amqp.BasicPublish) {
	p := &ch.publish
	name, known := ch.access.find(auth.Write, binding.Exchange, m.Exchange)
	if !known {
		name = strings.Clone(m.Exchange)
	}
	// Field by field: the collector watches every pointer that is written.
	p.stage, p.mandatory, p.immediate, p.tooLong = wantHeader, m.Mandatory, m.Immediate, 0
	if p.exchange != name {
		p.exchange = name
	}
	p.routingKey = append(p.routingKey[:0], m.RoutingKey...)
	if p.found.any {
		p.found = findings{}
	}
}

// contentFrame handles everything that is not a method where a method may stand.
func (ch *Channel) contentFrame(f amqp.Frame) error {
	p := &ch.publish
	switch p.stage {
	case wantHeader:
		if f.Type != amqp.FrameHeader {
			return notThatHeader("non content header frame")
		}
		return ch.contentHeader(f.ContentHeader())
	case wantBody:
		if f.Type != amqp.FrameBody {
			return amqp.UnexpectedFrame("expected content body, got non content body frame instead").On(publishMethod())
		}
		return ch.contentBody(f.Payload)
	}
	return amqp.UnexpectedFrame("expected method frame, got non method frame instead").OnNone()
}

func publishMethod() (class, method uint16) { return amqp.ClassBasic, amqp.MethodBasicPublish }

func notThatHeader(what string) error {
	return amqp.UnexpectedFrame("expected content header for class 60, got %s instead", what).On(publishMethod())
}

// contentHeader decides whether the body is kept or dropped as it comes.
func (ch *Channel) contentHeader(h amqp.ContentHeader) error {
	p := &ch.publish
	switch {
	case h.Weight != 0:
		return notThatHeader("non content header frame")
	case h.Class != amqp.ClassBasic:
		return amqp.UnexpectedFrame("expected content header for class 60, got one for class %d instead", h.Class).On(publishMethod())
	case h.BodySize > amqp.MaxBodySize:
		return amqp.FrameError("content body size %d exceeds maximum allowed size %d", h.BodySize, amqp.MaxBodySize).On(publishMethod())
	case h.BodySize > uint64(ch.c.opts.MaxMessageBytes):
		p.tooLong = h.BodySize
	default:
		properties := ch.prepareProperties(h.Properties)
		p.builder = message.NewBuilder(p.exchange, string(p.routingKey), properties, int(h.BodySize))
	}
	p.missing = h.BodySize
	p.stage = wantBody
	if p.missing == 0 {
		return ch.contentComplete()
	}
	ch.hold()
	return nil
}

func (ch *Channel) contentBody(piece []byte) error {
	p := &ch.publish
	if uint64(len(piece)) > p.missing {
		return amqp.FrameError("content body frame exceeds remaining content size").On(publishMethod())
	}
	p.missing -= uint64(len(piece))
	if p.tooLong == 0 {
		p.builder.Append(piece)
	}
	if p.missing == 0 {
		return ch.contentComplete()
	}
	ch.hold()
	ch.c.sentPart()
	return nil
}

// hold counts what there is of a message that is not complete.
func (ch *Channel) hold() {
	p := &ch.publish
	if p.tooLong == 0 {
		n := p.builder.Size()
		ch.c.holding += n - p.held
		p.held = n
	}
}

// letGo is for when the message is complete, or will not be.
func (ch *Channel) letGo() {
	ch.c.holding -= ch.publish.held
	ch.publish.held = 0
}

// contentComplete checks a publish and sends it on its way. The order of the checks is
// RabbitMQ's (PUB-1).
func (ch *Channel) contentComplete() error {
	p := &ch.publish
	p.stage = noContent
	ch.letGo()
	ch.c.sentContent()
	m, x, err := ch.checkPublish()
	p.builder = message.Builder{}
	ch.c.decoding = false
	if err != nil {
		if e := asError(err); e != nil {
			err = e.On(publishMethod())
		}
		return err
	}
	if ch.tx != nil {
		ch.mu.Lock()
		defer ch.mu.Unlock()
		return ch.tx.publish(ch.c, m, x, p.mandatory)
	}
	ch.publishNow(m, x)
	return nil
}

func (ch *Channel) checkPublish() (*message.Message, *exchange.Exchange, error) {
	p := &ch.publish
	switch {
	case p.immediate:
		return nil, nil, amqp.NotImplemented("immediate=true")
	case p.tooLong != 0:
		return nil, nil, tooLong(p.tooLong, ch.c.opts.MaxMessageBytes)
	}
	if err := ch.permit(broker.Access{Op: auth.Write, Kind: binding.Exchange, Name: p.exchange}); err != nil {
		return nil, nil, err
	}
	x, err := ch.c.vhost.ExchangeForPublish(p.exchange)
	if err != nil {
		return nil, nil, err
	}
	if p.found.replyTo != nil {
		return nil, nil, p.found.replyTo
	}
	m, err := p.builder.Message()
	switch {
	case err != nil:
		return nil, nil, err
	case p.found.keys != nil:
		return nil, nil, p.found.keys
	}
	m.More = p.found.more
	if err := ch.permitKeys(x, m); err != nil {
		return nil, nil, err
	}
	if p.found.userID != nil {
		return nil, nil, p.found.userID
	}
	return m, x, nil
}

func tooLong(size uint64, limit int) error {
	configured := "configured "
	if limit >= amqp.MaxBodySize {
		configured = ""
	}
	return amqp.PreconditionFailed("message size %d is larger than %smax size %d", size, configured, limit)
}

// publishNow routes a message, returns it when nothing wanted it, and only then lets go
// of its confirm, so that a return precedes the confirm (PUB-4).
func (ch *Channel) publishNow(m *message.Message, x *exchange.Exchange) {
	c := ch.c
	ch.countPublisher()
	c.published = true
	ch.receive(m)
	var confirm *message.Confirm
	if ch.confirming {
		c.tally.receivedConfirm++
		confirm = message.NewConfirm(ch, ch.nextConfirm())
	}
	ch.route(m, x, ch.publish.mandatory, confirm)
	confirm.Release(&c.effects.Wakes)
}

// receive counts a message that was let in.
func (ch *Channel) receive(m *message.Message) {
	ch.c.tally.receive(m)
	ch.batch.all++
	if !ch.counting {
		ch.counting = true
		ch.c.publishing = append(ch.c.publishing, ch)
	}
}

// countPublished adds what was published in a batch to the totals, at its end.
func (ch *Channel) countPublished() {
	ch.counting = false
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.totals.Published += ch.batch.all
	ch.totals.Returned += ch.batch.returned
	ch.totals.Dropped += ch.batch.dropped
	ch.batch = published{}
}

// countPublisher counts the channel among those that publish, once.
func (ch *Channel) countPublisher() {
	if !ch.publisher {
		ch.publisher = true
		ch.c.b.Counters.Publishers.Add(1)
	}
}

// route hands a message to whom it is for.
func (ch *Channel) route(m *message.Message, x *exchange.Exchange, mandatory bool, confirm *message.Confirm) {
	c := ch.c
	ch.router.Mandatory = mandatory
	switch {
	case isReplyName(m) && x.Name() == exchange.Default:
		if k := c.opts.Replies.find(m.RoutingKey); k != nil {
			k.reply(m, &c.effects.Wakes)
			return
		}
	case c.vhost.Publish(c.now, &ch.router, x, m, confirm, &c.effects):
		return
	}
	if mandatory {
		c.tally.returned++
		ch.batch.returned++
		ch.basicReturn(m)
	} else {
		c.tally.dropped++
		ch.batch.dropped++
	}
}

// basicReturn sends a message back that nothing wanted. What is confirmed so far is said
// first, so that a client that waits for its confirms one by one sees those of the messages
// before it ahead of it, as it mostly does with RabbitMQ (CONF-2).
func (ch *Channel) basicReturn(m *message.Message) {
	c := ch.c
	ch.sendReadyConfirms(&c.effects.Wakes)
	buf := amqp.AppendMethod(c.out.begin(), ch.id, &amqp.BasicReturn{
		ReplyCode:  amqp.ReplyNoRoute,
		ReplyText:  "NO_ROUTE",
		Exchange:   m.Exchange,
		RoutingKey: m.RoutingKey,
	})
	buf = c.out.appendContent(buf, ch.id, m.Properties(), m.Body(), c.frameMax)
	c.sent(c.out.end(buf, &c.effects.Wakes))
}

// prepareProperties looks at the properties a broker acts on before it lets them pass:
// reply-to, user-id, and the headers CC and BCC. What is wrong with them is told later;
// properties that cannot be read at all are left to Builder.Message.
func (ch *Channel) prepareProperties(properties []byte) []byte {
	const of = (amqp.FlagHeaders | amqp.FlagReplyTo | amqp.FlagUserID)
	if len(properties) < 2 || (uint16(properties[0])<<8|uint16(properties[1]))&of == 0 {
		return properties
	}
	view, err := amqp.ScanProperties(properties)
	if err != nil {
		return properties
	}
	p := &ch.publish.found
	p.any = true
	if view.Has(amqp.FlagUserID) && view.UserID != ch.c.client.user && !ch.c.client.impersonator {
		p.userID = amqp.PreconditionFailed("user_id property set to '%s' but authenticated user was '%s'",
			view.UserID, ch.c.client.user)
	}
	replyTo := ""
	if view.ReplyTo == replyToQueue {
		if ch.replyTo == nil {
			p.replyTo = amqp.PreconditionFailed("fast reply consumer does not exist")
		} else {
			replyTo = ch.replyTo.replyName
		}
	}
	hasBCC := false
	if len(view.Headers) > 0 {
		hasBCC = ch.copies(properties, view.Headers)
	}
	if replyTo == "" && !hasBCC {
		return properties
	}
	return rewrite(properties, replyTo, hasBCC)
}

// copies reads the headers CC and BCC, whose strings are further routing keys (PUB-10),
// and reports whether there is a BCC.
func (ch *Channel) copies(properties, headers []byte) (hasBCC bool) {
	_, _, hasCC := amqp.FindHeader(headers, "CC")
	_, _, hasBCC = amqp.FindHeader(headers, "BCC")
	if !hasCC && !hasBCC {
		return false
	}
	decoded := decode(properties)
	p := &ch.publish.found
	p.more = &message.MoreKeys{}
	if cc, ok := decoded.Headers.Get("CC"); ok {
		p.more.CC, p.keys = routingKeys("CC", cc)
	}
	if bcc, ok := decoded.Headers.Get("BCC"); ok && p.keys == nil {
		p.more.BCC, p.keys = routingKeys("BCC", bcc)
	}
	return hasBCC
}

func routingKeys(header string, v any) ([]string, error) {
	a, ok := v.(amqp.Array)
	if !ok {
		return nil, amqp.PreconditionFailed("invalid message: {unacceptable_type_in_header,\"%s\",%s}", header, amqp.TypeName(v))
	}
	var keys []string
	for _, v := range a {
		if s, ok := v.(string); ok {
			keys = append(keys, s)
		}
	}
	return keys, nil
}

// rewrite returns properties, which can be read, with another reply-to unless that is "",
// and without BCC.
func rewrite(properties []byte, replyTo string, withoutBCC bool) []byte {
	p := decode(properties)
	if replyTo != "" {
		p.ReplyTo = replyTo
	}
	if withoutBCC {
		p.Headers = p.Headers.Without("BCC")
	}
	return p.Append(nil)
}

// decode is for properties that ScanProperties could read.
func decode(properties []byte) (p amqp.Properties) {
	if err := p.Decode(properties); err != nil {
		panic("connection: properties that were read before: " + err.Error())
	}
	return p
}
