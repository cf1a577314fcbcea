package bench

import (
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/leveretmq/leveret/amqp"
)

// fakeBroker answers what the generator asks of a broker, and can be made to answer
// wrongly. It keeps what nobody consumes, and knows neither prefetch nor disk.
type fakeBroker struct {
	listener net.Listener
	serving  sync.WaitGroup

	// set before it is used
	deliver  func(n int, body []byte, send func([]byte)) // what becomes of the n-th message of a queue
	confirm  func(tag uint64, send func(amqp.Method))    // what becomes of a confirm
	onMethod func(m amqp.Method) amqp.Method             // an answer instead of the usual one

	mu        sync.Mutex
	queues    map[string]*fakeQueue
	exchanges map[string]*fakeExchange
	seen      []string // names of methods other than publish, ack and those of connections
	acked     uint64   // the sum of all tags acknowledged last
	clients   map[*fakeClient]bool
}

type fakeQueue struct {
	durable   bool
	published int
	ready     [][]byte
	consumers []*fakeClient
	turn      int
}

type fakeExchange struct {
	kind     string
	bindings []amqp.QueueBind
}

// fakeClient is one connection. What is sent to it is written by a goroutine of its own,
// as a broker that reads what it is sent cannot wait for a client that writes.
type fakeClient struct {
	socket net.Conn
	mu     sync.Mutex
	filled sync.Cond
	out    []byte
	closed bool

	publish amqp.BasicPublish
	mode    uint8
	body    []byte
	want    uint64
	tag     uint64 // of the last delivery
	confirm uint64 // of the last publish, when confirming is on
	confirs bool
}

func newFakeBroker(t *testing.T) *fakeBroker { return newFakeBrokerAt(t, "127.0.0.1:0") }

func newFakeBrokerAt(t *testing.T, address string) *fakeBroker {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	b := &fakeBroker{
		listener: listener, queues: map[string]*fakeQueue{}, exchanges: map[string]*fakeExchange{},
		clients:  map[*fakeClient]bool{},
		deliver:  func(_ int, body []byte, send func([]byte)) { send(body) },
		confirm:  func(tag uint64, send func(amqp.Method)) { send(&amqp.BasicAck{DeliveryTag: tag}) },
		onMethod: func(amqp.Method) amqp.Method { return nil },
	}
	b.serving.Go(func() {
		for {
			socket, err := listener.Accept()
			if err != nil {
				return
			}
			c := &fakeClient{socket: socket}
			c.filled.L = &c.mu
			b.mu.Lock()
			b.clients[c] = true
			b.mu.Unlock()
			b.serving.Go(c.write)
			b.serving.Go(func() { b.serve(t, c) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		b.mu.Lock()
		for c := range b.clients {
			c.socket.Close()
		}
		b.mu.Unlock()
		b.serving.Wait()
	})
	return b
}

func (b *fakeBroker) uri() string { return "amqp://guest:guest@" + b.listener.Addr().String() + "/" }

// declared returns the names of all queues and exchanges there are.
func (b *fakeBroker) declared() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var names []string
	for name := range b.queues {
		names = append(names, name)
	}
	for name := range b.exchanges {
		names = append(names, name)
	}
	return names
}

func (c *fakeClient) send(number uint16, m amqp.Method) { c.append(amqp.AppendMethod(nil, number, m)) }

func (c *fakeClient) append(b []byte) {
	c.mu.Lock()
	c.out = append(c.out, b...)
	c.mu.Unlock()
	c.filled.Signal()
}

// write writes what was appended until the client has gone and all is written.
func (c *fakeClient) write() {
	defer c.socket.Close()
	for {
		c.mu.Lock()
		for len(c.out) == 0 && !c.closed {
			c.filled.Wait()
		}
		out := c.out
		c.out = nil
		c.mu.Unlock()
		if len(out) == 0 {
			return
		}
		if _, err := c.socket.Write(out); err != nil {
			return
		}
	}
}

func (b *fakeBroker) serve(t *testing.T, c *fakeClient) {
	defer func() {
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		c.filled.Signal()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, q := range b.queues {
			q.consumers = slices.DeleteFunc(q.consumers, func(f *fakeClient) bool { return f == c })
		}
	}()
	var in []byte
	chunk := make([]byte, 64<<10)
	greeted := false
	for {
		n, err := c.socket.Read(chunk)
		if err != nil {
			return // tests look at what the generator makes of it
		}
		in = append(in, chunk[:n]...)
		if !greeted {
			accepted, n := amqp.ParseProtocolHeader(in)
			if n == 0 {
				continue
			}
			if !accepted {
				t.Errorf("got protocol header %q", in[:n])
				return
			}
			in, greeted = in[n:], true
			c.send(0, &amqp.ConnectionStart{VersionMajor: 0, VersionMinor: 9, Mechanisms: "PLAIN AMQPLAIN", Locales: "en_US"})
		}
		for {
			f, n, err := amqp.ParseFrame(in, 0)
			if err != nil {
				t.Errorf("got a frame that is none: %v", err)
				return
			}
			if n == 0 {
				break
			}
			if !b.frame(t, c, f) {
				return
			}
			in = in[n:]
		}
	}
}

// frame handles f and reports whether the connection goes on.
func (b *fakeBroker) frame(t *testing.T, c *fakeClient, f amqp.Frame) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch f.Type {
	case amqp.FrameHeader:
		h := f.ContentHeader()
		var p amqp.Properties
		if err := p.Decode(h.Properties); err != nil {
			t.Errorf("got properties that cannot be read: %v", err)
		}
		c.body, c.want, c.mode = nil, h.BodySize, p.DeliveryMode
		if h.BodySize == 0 {
			b.route(t, c)
		}
		return true
	case amqp.FrameBody:
		c.body = append(c.body, f.Payload...)
		if uint64(len(c.body)) == c.want {
			b.route(t, c)
		}
		return true
	case amqp.FrameHeartbeat:
		return true
	}
	class, method := f.MethodID()
	m := amqp.NewMethod(class, method)
	if err := m.Decode(f.Payload[4:]); err != nil {
		t.Errorf("got a method that cannot be read: %v", err)
		return false
	}
	if answer := b.onMethod(m); answer != nil {
		c.send(f.Channel, answer)
		return true
	}
	return b.method(t, c, f.Channel, m)
}

func (b *fakeBroker) method(t *testing.T, c *fakeClient, number uint16, m amqp.Method) bool {
	var reply amqp.Method
	switch m := m.(type) {
	case *amqp.ConnectionStartOk:
		if want := "\x00guest\x00guest"; m.Mechanism != "PLAIN" || m.Response != want {
			t.Errorf("got %s %q, want PLAIN %q", m.Mechanism, m.Response, want)
		}
		reply = &amqp.ConnectionTune{ChannelMax: 2047, FrameMax: 4096, Heartbeat: 60}
	case *amqp.ConnectionTuneOk:
		if m.FrameMax != 4096 || m.Heartbeat != 0 {
			t.Errorf("got frame_max %d and heartbeat %d, want 4096 and none", m.FrameMax, m.Heartbeat)
		}
		return true
	case *amqp.ConnectionOpen:
		if m.VirtualHost != "/" {
			t.Errorf("got virtual host %q, want /", m.VirtualHost)
		}
		reply = &amqp.ConnectionOpenOk{}
	case *amqp.ConnectionClose:
		c.send(0, &amqp.ConnectionCloseOk{})
		return false
	case *amqp.BasicPublish:
		c.publish = *m
		c.publish.Exchange, c.publish.RoutingKey = strings.Clone(m.Exchange), strings.Clone(m.RoutingKey)
		return true
	case *amqp.BasicAck:
		b.acked += m.DeliveryTag
		return true
	default:
		b.seen = append(b.seen, m.Name())
		reply = b.declare(t, c, m)
		if reply == nil {
			return true
		}
	}
	c.send(number, reply)
	return true
}

// declare does what m asks for and returns its reply, nil for none.
func (b *fakeBroker) declare(t *testing.T, c *fakeClient, m amqp.Method) amqp.Method {
	switch m := m.(type) {
	case *amqp.ChannelOpen:
		return &amqp.ChannelOpenOk{}
	case *amqp.ConfirmSelect:
		c.confirs = true
		return &amqp.ConfirmSelectOk{}
	case *amqp.ExchangeDeclare:
		b.exchanges[m.Exchange] = &fakeExchange{kind: m.Type}
		return &amqp.ExchangeDeclareOk{}
	case *amqp.ExchangeDelete:
		delete(b.exchanges, m.Exchange)
		return &amqp.ExchangeDeleteOk{}
	case *amqp.QueueDeclare:
		if q := b.queues[m.Queue]; m.Passive && q != nil {
			return &amqp.QueueDeclareOk{Queue: m.Queue, MessageCount: uint32(len(q.ready))}
		}
		b.queues[m.Queue] = &fakeQueue{durable: m.Durable}
		return &amqp.QueueDeclareOk{Queue: m.Queue}
	case *amqp.QueueBind:
		x := b.exchanges[m.Exchange]
		x.bindings = append(x.bindings, *m)
		if m.NoWait {
			return nil
		}
		return &amqp.QueueBindOk{}
	case *amqp.QueueDelete:
		ok := &amqp.QueueDeleteOk{}
		if q := b.queues[m.Queue]; q != nil {
			ok.MessageCount = uint32(len(q.ready))
		}
		delete(b.queues, m.Queue)
		return ok
	case *amqp.BasicQos:
		return &amqp.BasicQosOk{}
	case *amqp.BasicConsume:
		q := b.queues[m.Queue]
		q.consumers = append(q.consumers, c)
		c.send(channel, &amqp.BasicConsumeOk{ConsumerTag: "amq.ctag-0123456789"})
		for _, body := range q.ready {
			q.send(body, &amqp.BasicPublish{RoutingKey: m.Queue})
		}
		q.ready = nil
		return nil
	}
	t.Errorf("got %s, which no scenario needs", m.Name())
	return nil
}

// route takes the message c has sent to all queues it is for.
func (b *fakeBroker) route(t *testing.T, c *fakeClient) {
	var to []string
	if x := b.exchanges[c.publish.Exchange]; x != nil {
		for _, bind := range x.bindings {
			if x.kind == "fanout" || topicMatches(strings.Split(bind.RoutingKey, "."), strings.Split(c.publish.RoutingKey, ".")) {
				to = append(to, bind.Queue)
			}
		}
	} else {
		to = []string{c.publish.RoutingKey}
	}
	if len(to) == 0 {
		t.Errorf("no queue for %q", c.publish.RoutingKey)
	}
	for _, name := range to {
		q := b.queues[name]
		if q == nil {
			continue // deleted, as a run that was cut short does
		}
		if persistent := c.mode == 2; persistent != q.durable {
			t.Errorf("got delivery mode %d to a queue of durable %v", c.mode, q.durable)
		}
		q.published++
		b.deliver(q.published, c.body, func(body []byte) { q.send(body, &c.publish) })
	}
	if c.confirs {
		c.confirm++
		b.confirm(c.confirm, func(m amqp.Method) { c.send(channel, m) })
	}
}

func (q *fakeQueue) send(body []byte, p *amqp.BasicPublish) {
	if len(q.consumers) == 0 {
		q.ready = append(q.ready, body)
		return
	}
	q.turn++
	to := q.consumers[q.turn%len(q.consumers)]
	to.tag++
	to.append(appendDelivery(nil, to.tag, p.Exchange, p.RoutingKey, body, 4096))
}

// appendDelivery appends a message as a broker delivers it.
func appendDelivery(dst []byte, tag uint64, exchange, key string, body []byte, frameMax uint32) []byte {
	dst = amqp.AppendMethod(dst, channel, &amqp.BasicDeliver{ConsumerTag: "amq.ctag-0123456789", DeliveryTag: tag, Exchange: exchange, RoutingKey: key})
	dst = amqp.AppendHeader(dst, channel, uint64(len(body)), (&amqp.Properties{}).Append(nil))
	return amqp.AppendBody(dst, channel, body, frameMax)
}

// topicMatches is the rule of topic exchanges (EX-32), word by word:
// * is one word, # is any number of them.
func topicMatches(pattern, key []string) bool {
	switch {
	case len(pattern) == 0:
		return len(key) == 0
	case pattern[0] == "#":
		return topicMatches(pattern[1:], key) || len(key) > 0 && topicMatches(pattern, key[1:])
	case len(key) == 0:
		return false
	case pattern[0] == "*" || pattern[0] == key[0]:
		return topicMatches(pattern[1:], key[1:])
	}
	return false
}
