package connection

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// rig is a broker with connections, all in the test's goroutine. Its disk commits after
// each batch, or when the test says so.
type rig struct {
	t      testing.TB
	now    time.Time
	b      *broker.Broker
	disk   disk
	held   bool // the disk commits only on commit
	conns  []*rigConn
	shared ReplyConsumers
}

// disk is a store that keeps nothing. Commits happen when commit is called.
type disk struct {
	ids     uint64
	group   uint64
	dirty   []queue.Collector
	settled []queue.Collector
	waiting []func(error)
	fail    error
}

func (d *disk) Enlist(c queue.Collector)        { d.dirty = append(d.dirty, c) }
func (d *disk) EnlistSettled(c queue.Collector) { d.settled = append(d.settled, c) }
func (d *disk) Drop(queue.ID)                   {}
func (d *disk) NextID() uint64                  { d.ids++; return d.ids }

// Read finds nothing: no test here has so much that messages leave memory.
func (d *disk) Read(_ queue.ID, _ uint8, _ queue.Range, done func([]queue.RestoredMessage, error)) {
	d.waiting = append(d.waiting, func(err error) { done(nil, err) })
}

// Spill is the same.
func (d *disk) Spill(_ queue.ID, _ uint8, _ []queue.Copy, done func(error)) {
	d.waiting = append(d.waiting, func(error) { done(errors.New("nothing is kept")) })
}

func (d *disk) Forget(queue.Forgotten) {}

func (d *disk) Barrier(c queue.Collector, done func(error)) {
	d.dirty = append(d.dirty, c)
	d.settled = append(d.settled, c)
	d.waiting = append(d.waiting, done)
}

func (d *disk) Write(_ topology.Unit, done func(error)) { d.waiting = append(d.waiting, done) }

// commit is one round of the committer; it reports whether there was anything to do.
func (d *disk) commit(r *rig) bool {
	waiting, dirty, settled := d.waiting, d.dirty, d.settled
	d.waiting, d.dirty, d.settled = nil, nil, nil
	if len(waiting)+len(dirty)+len(settled) == 0 {
		return false
	}
	d.group++
	batch := queue.Batch{Group: d.group}
	for _, c := range dirty {
		c.Collect(&batch)
	}
	for _, c := range settled {
		c.CollectSettled(&batch, nil)
	}
	var wakes message.Wakes
	for _, done := range waiting {
		done(d.fail)
	}
	if d.fail == nil {
		for _, c := range slices.Compact(append(dirty, settled...)) {
			c.Stored(d.group, &wakes)
		}
	}
	wakes.Wake()
	return true
}

func newRig(t testing.TB) *rig { return newRigWith(t, broker.DefaultOptions()) }

func newRigWith(t testing.TB, o broker.Options) *rig {
	r := &rig{t: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	seed := rand.NewChaCha8([32]byte{1})
	r.b = broker.New(o, &r.disk, &r.disk, seed)
	if err := r.b.Restore(r.now, topology.Catalog{}, nil); err != nil {
		t.Fatal(err)
	}
	for r.disk.commit(r) {
	}
	return r
}

// rigConn is a connection and what its client has not read yet.
type rigConn struct {
	r         *rig
	c         *Connection
	out       *Outbound
	batch     Batch
	in        []byte // not taken by Feed yet
	received  []byte // not parsed yet
	ready     bool
	suspended bool
	stopped   bool // the client does not read
	err       error
	failed    error
	gone      bool
}

func (r *rig) accept(opts Options) *rigConn {
	k := &rigConn{r: r}
	k.out = NewOutbound(0, func() {})
	opts.Replies = &r.shared
	opts.Ready = func() { k.ready = true }
	opts.Fail = func(err error) { k.failed = err }
	opts.Stop = func(reason error) {
		k.c.Shutdown(r.now, reason)
		k.c.Flush(r.now)
	}
	k.c = New(r.now, r.b, k.out, Peer{Name: "127.0.0.1:1 -> 127.0.0.1:5672", Loopback: true}, opts)
	r.conns = append(r.conns, k)
	return k
}

// send feeds octets and works off what follows from them.
func (k *rigConn) send(b []byte) {
	k.in = append(k.in, b...)
	if !k.suspended || k.c.Blocked() {
		k.feed()
	}
	k.r.settle()
}

func (k *rigConn) feed() {
	if k.err != nil {
		return
	}
	n, err := k.c.Feed(k.r.now, k.in)
	k.in = slices.Clone(k.in[n:])
	k.c.Flush(k.r.now)
	k.suspended = errors.Is(err, ErrSuspended)
	if err != nil && !k.suspended {
		k.err = err
	}
}

// settle runs the disk, the writers and whoever was suspended, until all is quiet.
func (r *rig) settle() {
	for busy := true; busy; {
		busy = false
		for _, k := range r.conns {
			k.write()
			if k.suspended && k.ready {
				k.ready = false
				k.feed()
				busy = true
			}
		}
		if !r.held && r.disk.commit(r) {
			busy = true
		}
	}
}

// write is the writer of a client that reads.
func (k *rigConn) write() {
	for !k.stopped {
		n, drained := k.out.Take(&k.batch)
		if drained {
			k.c.Drained(k.r.now)
		}
		for _, s := range k.batch.Slices(nil) {
			k.received = append(k.received, s...)
		}
		if n == 0 && !drained {
			return
		}
	}
}

// frames are what the client has received since the last time.
func (k *rigConn) frames() []amqp.Frame {
	k.r.t.Helper()
	var fs []amqp.Frame
	for {
		f, n, err := amqp.ParseFrame(k.received, 0)
		if err != nil {
			k.r.t.Fatalf("the server sent %v", err)
		}
		if n == 0 {
			break
		}
		f.Payload = bytes.Clone(f.Payload)
		fs = append(fs, f)
		k.received = k.received[n:]
	}
	return fs
}

func (k *rigConn) lines() []string {
	var out []string
	for _, f := range k.frames() {
		out = append(out, f.String())
	}
	return out
}

func frameOf(channel uint16, m amqp.Method) []byte { return amqp.AppendMethod(nil, channel, m) }

// content is a publish with its header and body frames.
func content(channel uint16, m *amqp.BasicPublish, p amqp.Properties, body string, frameMax uint32) []byte {
	b := amqp.AppendMethod(nil, channel, m)
	b = amqp.AppendHeader(b, channel, uint64(len(body)), p.Append(nil))
	return amqp.AppendBody(b, channel, []byte(body), frameMax)
}

var capabilities = amqp.Table{{Name: "capabilities", Value: amqp.Table{
	{Name: "consumer_cancel_notify", Value: true},
	{Name: "connection.blocked", Value: true},
	{Name: "authentication_failure_close", Value: true},
}}}

// open shakes hands as guest and opens channels.
func (r *rig) open(channels ...uint16) *rigConn {
	r.t.Helper()
	return r.login("guest", channels...)
}

// login shakes hands as a user whose password is its name, and opens channels.
func (r *rig) login(user string, channels ...uint16) *rigConn {
	r.t.Helper()
	k := r.accept(Options{})
	k.login(user, capabilities, channels...)
	return k
}

func (k *rigConn) login(user string, properties amqp.Table, channels ...uint16) {
	r := k.r
	r.t.Helper()
	b := []byte(amqp.ProtocolHeader)
	b = append(b, frameOf(0, &amqp.ConnectionStartOk{ClientProperties: properties, Mechanism: "PLAIN", Response: "\x00" + user + "\x00" + user, Locale: "en_US"})...)
	b = append(b, frameOf(0, &amqp.ConnectionTuneOk{ChannelMax: 2047, FrameMax: 131072, Heartbeat: 0})...)
	b = append(b, frameOf(0, &amqp.ConnectionOpen{VirtualHost: "/"})...)
	for _, id := range channels {
		b = append(b, frameOf(id, &amqp.ChannelOpen{})...)
	}
	k.send(b)
	if got, want := len(k.frames()), 3+len(channels); got != want {
		r.t.Fatalf("got %d frames of handshake, want %d", got, want)
	}
}

func (k *rigConn) want(lines ...string) {
	k.r.t.Helper()
	got := k.lines()
	if strings.Join(got, "\n") != strings.Join(lines, "\n") {
		k.r.t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(lines, "\n\t"))
	}
}

func TestMessageGoesFromPublisherToConsumer(t *testing.T) {
	r := newRig(t)
	k := r.open(1)
	k.send(frameOf(1, &amqp.QueueDeclare{Queue: "q", Durable: true}))
	k.send(frameOf(1, &amqp.BasicConsume{Queue: "q", ConsumerTag: "c"}))
	k.send(content(1, &amqp.BasicPublish{RoutingKey: "q"}, amqp.Properties{Flags: amqp.FlagDeliveryMode, DeliveryMode: 2}, "hi", 4096))
	k.want(
		`ch=1 queue.declare-ok{queue="q" message_count=0 consumer_count=0}`,
		`ch=1 basic.consume-ok{consumer_tag="c"}`,
		`ch=1 basic.deliver{consumer_tag="c" delivery_tag=1 redelivered=false exchange="" routing_key="q"}`,
		`ch=1 HEADER class=60 weight=0 size=2 flags=1000 delivery_mode=2`,
		`ch=1 BODY "hi"`,
	)
}

// S-13: what a client was told is gone from a durable queue does not come back by a crash.
func TestPurgeIsOnDiskBeforeItIsAnswered(t *testing.T) {
	r := newRig(t)
	k := r.open(1)
	k.send(frameOf(1, &amqp.QueueDeclare{Queue: "q", Durable: true}))
	k.send(content(1, &amqp.BasicPublish{RoutingKey: "q"}, amqp.Properties{Flags: amqp.FlagDeliveryMode, DeliveryMode: 2}, "m", 4096))
	k.frames()
	r.held = true
	k.send(frameOf(1, &amqp.QueuePurge{Queue: "q"}))
	k.want()
	r.held = false
	r.settle()
	k.want(`ch=1 queue.purge-ok{message_count=1}`)
}
