package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/connection"
)

// A client uses three channels: one to publish with confirms, one to consume and get, one
// for queues that come and go, whose errors are part of the game.
const (
	publishChannel = 1
	consumeChannel = 2
	tempChannel    = 3
)

// client is a program at the other end of a connection.
type client struct {
	w    *world
	name int
	c    *connection.Connection
	out  *connection.Outbound
	in   []byte // sent by the client, not read by the broker yet
	recv []byte // read by the client, not a whole frame yet

	batch     connection.Batch
	suspended bool
	unflushed bool // Feed was called and Flush was not
	ready     bool
	gone      bool
	open      bool // connection.open-ok has come
	chopen    [4]bool

	publishes  uint64 // on this connection
	unanswered map[uint64]*lineages
	returned   map[int]bool // ids that were returned and not confirmed yet
	consumers  map[string]*subscription
	tags       int
	outs       []*delivery // in order of their tags
	prefetch   int
	gets       []get // not answered yet
	purging    []*purge
	tempBusy   bool // the channel for temporary queues waits for close-ok or reopening
	// recovering counts the basic.recover and channel.close not answered yet: what is
	// delivered until then has gone back already.
	recovering int

	// Content on its way in, for each channel.
	incoming [4]incoming
	// processed counts the octets the broker has taken; marks are acknowledgements that
	// count as processed when it has come so far.
	sent, processed int
	marks           []mark
}

type subscription struct {
	tag, queue string
	limit      int
	noAck      bool
	active     bool // consume-ok has come, no cancel was sent
	cancelled  bool
	out        int
}

type delivery struct {
	tag  uint64
	l    *lineage
	sub  *subscription // nil for a get
	from string
}

type incoming struct {
	method amqp.Method
	size   uint64
	props  amqp.Properties
	body   []byte
}

type get struct {
	queue string
	noAck bool
}

type mark struct {
	at int
	ls []*lineage
}

type purge struct {
	queue string
	held  map[*lineage]bool
}

func (w *world) connect(name int) {
	cl := &client{w: w, name: name, unanswered: map[uint64]*lineages{}, returned: map[int]bool{}, consumers: map[string]*subscription{}}
	cl.out = connection.NewOutbound(0, func() {})
	cl.c = connection.New(w.now, w.b, cl.out, connection.Peer{Name: fmt.Sprint("client ", name), Loopback: true}, connection.Options{
		Replies: &w.replies,
		Ready:   func() { cl.ready = true },
		Stop:    func(reason error) { cl.c.Shutdown(w.now, reason) },
		Fail:    func(err error) { w.fail("the disk failed: %v", err) },
	})
	cl.in = append(cl.in, amqp.ProtocolHeader...)
	cl.sent = len(cl.in)
	cl.send(0, &amqp.ConnectionStartOk{Mechanism: "PLAIN", Response: "\x00guest\x00guest", Locale: "en_US",
		ClientProperties: amqp.Table{{Name: "capabilities", Value: amqp.Table{{Name: "consumer_cancel_notify", Value: true}}}}})
	cl.send(0, &amqp.ConnectionTuneOk{ChannelMax: 2047, FrameMax: 4096})
	cl.send(0, &amqp.ConnectionOpen{VirtualHost: "/"})
	for _, n := range []uint16{publishChannel, consumeChannel, tempChannel} {
		cl.send(n, &amqp.ChannelOpen{})
	}
	cl.declareAll()
	cl.send(publishChannel, &amqp.ConfirmSelect{})
	w.clients = append(w.clients, cl)
}

// send puts a method into the pipe to the broker.
func (cl *client) send(channel uint16, m amqp.Method) {
	n := len(cl.in)
	cl.in = amqp.AppendMethod(cl.in, channel, m)
	cl.sent += len(cl.in) - n
}

func (cl *client) declareAll() {
	for _, q := range queues {
		cl.send(publishChannel, &amqp.QueueDeclare{Queue: q.name, Durable: q.durable, Arguments: q.arguments})
	}
	cl.send(publishChannel, &amqp.ExchangeDeclare{Exchange: fanout, Type: "fanout", Durable: true})
	cl.send(publishChannel, &amqp.ExchangeDeclare{Exchange: later, Type: "x-delayed-message", Durable: true,
		Arguments: amqp.Table{{Name: "x-delayed-type", Value: "fanout"}}})
	cl.send(publishChannel, &amqp.QueueBind{Queue: later, Exchange: later})
	for _, q := range fanned {
		cl.send(publishChannel, &amqp.QueueBind{Queue: q, Exchange: fanout})
	}
}

// feed lets the broker read n octets of what was sent.
func (cl *client) feed(n int) {
	if cl.suspended {
		if !cl.ready {
			return
		}
		cl.suspended = false
	}
	cl.ready = false
	taken, err := cl.c.Feed(cl.w.now, cl.in[:n])
	cl.in = cl.in[taken:]
	cl.processed += taken
	cl.unflushed = true
	if errors.Is(err, connection.ErrSuspended) {
		cl.suspended = true
	} else if err != nil {
		cl.w.fail("client %d: feed: %v, %v", cl.name, err, cl.c.Reason())
	}
	if len(cl.in) == 0 {
		cl.in = nil
	}
}

func (cl *client) flush() {
	cl.c.Flush(cl.w.now)
	cl.unflushed = false
	if cl.suspended {
		return
	}
	for len(cl.marks) > 0 && cl.marks[0].at <= cl.processed {
		for _, l := range cl.marks[0].ls {
			l.settledIn = cl.w.run
		}
		cl.marks = cl.marks[1:]
	}
}

// read takes what the broker has for the client.
func (cl *client) read() {
	for {
		n, drained := cl.out.Take(&cl.batch)
		if drained {
			cl.c.Drained(cl.w.now)
		}
		if n == 0 {
			return
		}
		for _, piece := range cl.batch.Slices(nil) {
			cl.recv = append(cl.recv, piece...)
		}
		for {
			f, n, err := amqp.ParseFrame(cl.recv, 4096)
			if err != nil {
				cl.w.fail("client %d: %v", cl.name, err)
			}
			if n == 0 {
				break
			}
			cl.frame(f)
			cl.recv = cl.recv[n:]
		}
	}
}

func (cl *client) frame(f amqp.Frame) {
	switch f.Type {
	case amqp.FrameHeader:
		in := &cl.incoming[f.Channel]
		h := f.ContentHeader()
		in.size, in.body = h.BodySize, nil
		if err := in.props.Decode(slices.Clone(h.Properties)); err != nil {
			cl.w.fail("client %d: %v", cl.name, err)
		}
		if in.size == 0 {
			cl.content(f.Channel, in)
		}
		return
	case amqp.FrameBody:
		in := &cl.incoming[f.Channel]
		in.body = append(in.body, f.Payload...)
		if uint64(len(in.body)) == in.size {
			cl.content(f.Channel, in)
		}
		return
	case amqp.FrameHeartbeat:
		return
	}
	class, id := f.MethodID()
	m := amqp.NewMethod(class, id)
	if err := m.Decode(slices.Clone(f.Payload[4:])); err != nil {
		cl.w.fail("client %d: %v", cl.name, err)
	}
	cl.method(f, m)
}

func (cl *client) method(f amqp.Frame, m amqp.Method) {
	w := cl.w
	switch m := m.(type) {
	case *amqp.ConnectionOpenOk:
		cl.open = true
	case *amqp.ChannelOpenOk:
		cl.chopen[f.Channel] = true
		if f.Channel == tempChannel {
			cl.tempBusy = false
		}
	case *amqp.BasicDeliver, *amqp.BasicGetOk, *amqp.BasicReturn:
		cl.incoming[f.Channel].method = m
	case *amqp.BasicGetEmpty:
		w.got(cl, nil)
	case *amqp.BasicConsumeOk:
		if s := cl.consumers[m.ConsumerTag]; s != nil && !s.cancelled {
			s.active = true
		}
	case *amqp.BasicCancelOk:
		delete(cl.consumers, m.ConsumerTag)
	case *amqp.BasicCancel:
		delete(cl.consumers, m.ConsumerTag)
	case *amqp.BasicRecoverOk:
		cl.recovering--
	case *amqp.ChannelCloseOk:
		cl.recovering--
		cl.chopen[consumeChannel] = false
		cl.consumers, cl.prefetch = map[string]*subscription{}, 0
		cl.send(consumeChannel, &amqp.ChannelOpen{})
	case *amqp.BasicAck:
		cl.answered(m.DeliveryTag, m.Multiple, true)
	case *amqp.BasicNack:
		cl.answered(m.DeliveryTag, m.Multiple, false)
	case *amqp.QueuePurgeOk:
		p := cl.purging[0]
		cl.purging = cl.purging[1:]
		w.purged(p)
	case *amqp.ChannelClose:
		if f.Channel != tempChannel {
			w.fail("client %d: channel %d closed: %s", cl.name, f.Channel, m.ReplyText)
		}
		cl.send(tempChannel, &amqp.ChannelCloseOk{})
		cl.send(tempChannel, &amqp.ChannelOpen{})
	case *amqp.ConnectionClose:
		w.fail("client %d: connection closed: %s", cl.name, m.ReplyText)
	}
}

// answered is a confirm of publish n, or of all up to n.
func (cl *client) answered(n uint64, multiple, ok bool) {
	var numbers []uint64
	if multiple {
		for k := range cl.unanswered {
			if k <= n {
				numbers = append(numbers, k)
			}
		}
	} else {
		numbers = append(numbers, n)
	}
	for _, k := range numbers {
		ls := cl.unanswered[k]
		if ls == nil {
			cl.w.fail("client %d: publish %d answered twice, or never made", cl.name, k)
		}
		delete(cl.unanswered, k)
		cl.w.answered(cl, ls, ok)
	}
}

// content is a whole message.
func (cl *client) content(channel uint16, in *incoming) {
	m := in.method
	in.method = nil
	switch m := m.(type) {
	case *amqp.BasicReturn:
		cl.w.returned(cl, idOf(in.body))
	case *amqp.BasicDeliver:
		s := cl.consumers[m.ConsumerTag]
		if s == nil || !s.active && !s.cancelled {
			cl.w.fail("client %d: delivery for %q, which is no consumer", cl.name, m.ConsumerTag)
		}
		l := cl.w.delivered(cl, in, s.queue, m.Redelivered, s.noAck)
		if !s.noAck && cl.recovering == 0 {
			l.holder = cl
			cl.hold(&delivery{tag: m.DeliveryTag, l: l, sub: s, from: s.queue})
		}
	case *amqp.BasicGetOk:
		cl.w.got(cl, &delivered{in: in, tag: m.DeliveryTag, redelivered: m.Redelivered})
	default:
		cl.w.fail("client %d: content out of nothing on channel %d", cl.name, channel)
	}
}

// hold keeps a delivery that waits for an acknowledgement, and counts it against the
// windows it has to fit into (QOS-2, QOS-3).
func (cl *client) hold(d *delivery) {
	cl.outs = append(cl.outs, d)
	cl.w.trace(d.l.id, "held by client %d with tag %d", cl.name, d.tag)
	if d.sub == nil {
		return
	}
	d.sub.out++
	if d.sub.limit > 0 && d.sub.out > d.sub.limit {
		cl.w.fail("client %d: %d out with a prefetch of %d", cl.name, d.sub.out, d.sub.limit)
	}
}

// release takes deliveries out of the windows.
func (cl *client) release(ds []*delivery) {
	for _, d := range ds {
		cl.w.trace(d.l.id, "given up by client %d", cl.name)
		if d.sub != nil {
			d.sub.out--
		}
		d.l.holder = nil
		for _, p := range cl.w.purges {
			delete(p.held, d.l)
		}
	}
}

// take removes the deliveries from index i to j and returns them.
func (cl *client) take(i, j int) []*delivery {
	ds := slices.Clone(cl.outs[i:j])
	cl.outs = slices.Delete(cl.outs, i, j)
	return ds
}

// drop cuts the connection: nothing that the broker has not read is read any more. What
// it has sent may have come or not, and is gone where that needs no acknowledgement, so
// it is looked at.
func (cl *client) drop() {
	cl.read()
	cl.c.Close(cl.w.now, fmt.Errorf("cut"))
	cl.lost()
}

// lost forgets what the client held.
func (cl *client) lost() {
	cl.gone = true
	cl.release(cl.outs)
	for _, p := range cl.purging {
		cl.w.purged(p) // whether it was done is not known
	}
	cl.w.clients = slices.DeleteFunc(cl.w.clients, func(o *client) bool { return o == cl })
}

// body is a message's content: its number, and whether it is large.
func body(id, size int) []byte {
	b := make([]byte, max(size, 8))
	binary.BigEndian.PutUint64(b, uint64(id))
	for i := 8; i < len(b); i++ {
		b[i] = byte(id + i)
	}
	return b
}

func idOf(b []byte) int {
	if len(b) < 8 {
		return -1
	}
	id := int(binary.BigEndian.Uint64(b))
	for i := 8; i < len(b); i++ {
		if b[i] != byte(id+i) {
			return -1
		}
	}
	return id
}
