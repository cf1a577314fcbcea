package connection

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

// ErrSuspended is what Feed returns when the connection is not to be read until
// Options.Ready was called. What Feed did not take is fed again then. A connection that is
// Blocked may also be fed again when there is more.
var ErrSuspended = errors.New("connection waits for a commit, for its client to read or for an alarm to end")

// ErrEnded is what Feed and Tick return when the conversation is over: what is in the
// Outbound is to be written and the socket closed.
var ErrEnded = errors.New("connection has ended")

// Peer is the other end, as the socket knows it.
type Peer struct {
	// Name is "peer-ip:port -> ip:port" (C-18).
	Name string
	// Loopback tells that the client is on this machine (C-11).
	Loopback bool
	// Remote is the client's address and Local ours; not valid when they are not known.
	Remote, Local netip.AddrPort
	// TLS is what was agreed on; nil without it.
	TLS *broker.TLSInfo
}

// Connection is the conversation with one client.
type Connection struct {
	b    *broker.Broker
	out  *Outbound
	peer Peer
	opts Options

	state    state
	reason   error     // why it ends, once it does
	deadline time.Time // when the present state is given up; zero for never
	life     liveness

	client    client
	frameMax  uint32        // 0 for no limit
	frameSize uint32        // largest payload accepted: frameMax once agreed on
	vhost     *broker.VHost // nil before connection.open, and so are the next two
	permit    broker.Permit
	session   *session

	channelsMu sync.Mutex // held to change channels, and by others to read them
	channels   map[uint16]*Channel
	last       *Channel // the channel of the last frame

	// now and effects belong to the batch under way.
	now        time.Time
	effects    queue.Effects
	confirmed  []*Channel // channels in confirm mode that published in this batch
	publishing []*Channel // channels that published in this batch
	tally      tally
	published  bool // something was published in this batch
	overfull   bool // our own answers have filled the buffer
	blocked    bool // it has published while an alarm is on, and is not read
	toldSo     bool // connection.blocked was sent, or would have been
	leaving    bool // its client has said goodbye while it was blocked
	// Scratch space of settlements.
	taken []delivered
	// holding is how many bytes the channels hold of messages that are not complete or not
	// committed.
	holding   int
	positions []queue.Position
	resumed   []*consumer

	resume   func(now time.Time) // continues when no answer waits any more
	spoke    bool                // the client got as far as a protocol header
	released bool                // what the client held was given back
	parted   bool                // the client said goodbye, and was answered
	decoding bool                // a client's octets are being read, nothing is changed

	// Read, or with locks of their own, touched by others.
	replies      replies
	channelCount atomic.Int64
	octets       atomic.Uint64 // that were read
	reads        atomic.Uint64 // in how many pieces
	unconfirmed  atomic.Int64  // publishes whose confirm was not appended yet
	awaiting     atomic.Bool   // somebody wants to know when there are none
	relieved     atomic.Bool   // consumers that were held back are to be resumed
	overdue      atomic.Bool   // a channel is to be closed for what is out on it
	unpublished  atomic.Int64  // holding, as it was at the end of a batch
}

// tally is what a batch adds to the broker's counters.
type tally struct {
	received, receivedConfirm, returned, dropped uint64

	sizes [broker.SizeBuckets]uint64
	bytes uint64
}

// receive counts a message that came in.
func (t *tally) receive(m *message.Message) {
	n := len(m.Body())
	t.received++
	t.sizes[broker.SizeBucket(n)]++
	t.bytes += uint64(n)
}

func (t *tally) flush(c *broker.Counters, v *broker.VHost) {
	if t.received > 0 {
		v.Counters.MessagesReceived.Add(t.received)
		v.Counters.MessagesUnroutableReturned.Add(t.returned)
		v.Counters.MessagesUnroutableDropped.Add(t.dropped)
		c.MessagesReceived.Add(t.received)
		c.MessagesReceivedConfirm.Add(t.receivedConfirm)
		c.MessagesUnroutableReturned.Add(t.returned)
		c.MessagesUnroutableDropped.Add(t.dropped)
		for i, n := range t.sizes {
			if n > 0 {
				c.MessageSizes.Buckets[i].Add(n)
			}
		}
		c.MessageSizes.Bytes.Add(t.bytes)
		*t = tally{}
	}
}

// state is how far the conversation has come.
type state uint8

const (
	greeting state = iota // waiting for the protocol header
	starting              // start sent
	tuning                // tune sent
	opening               // tune-ok received
	running
	closing // connection.close sent
	deaf    // nothing is read any more; the deadline ends it
	ended
)

func (s state) String() string {
	return [...]string{"greeting", "starting", "tuning", "opening", "running", "closing", "closing", "closed"}[s]
}

// New returns a connection whose client has said nothing yet, and was accepted at now.
func New(now time.Time, b *broker.Broker, out *Outbound, peer Peer, opts Options) *Connection {
	opts.complete()
	c := &Connection{
		b:         b,
		out:       out,
		peer:      peer,
		opts:      opts,
		frameSize: frameSizeBeforeTune,
		deadline:  now.Add(opts.HandshakeTimeout),
		now:       now,
	}
	c.replies = replies{out: out, ready: opts.Ready, fail: opts.Fail}
	return c
}

// Feed takes what it can of b, which is what the client sent after what Feed took last,
// and returns how much. An error ends the reading: ErrSuspended for a while, any other
// for good. Flush has to follow, before anything waits for the client.
func (c *Connection) Feed(now time.Time, b []byte) (n int, err error) {
	if n, err = c.feed(now, b); n > 0 {
		c.octets.Add(uint64(n))
		c.reads.Add(1)
	}
	return n, err
}

func (c *Connection) feed(now time.Time, b []byte) (n int, err error) {
	c.now = now
	c.life.heard = true
	if c.state == greeting {
		if n = c.greet(b); n == 0 || c.state == ended {
			return n, c.ending()
		}
	}
	c.spoke = c.spoke || n < len(b)
	for {
		if err := c.suspended(); err != nil {
			if !c.takesLeave(b[n:]) {
				return n, err
			}
			continue
		}
		if c.state >= deaf {
			return len(b), c.ending()
		}
		c.decoding = true
		f, size, err := amqp.ParseFrame(b[n:], c.frameSize)
		if err != nil {
			c.brokenFrame(err)
			continue
		}
		if size == 0 {
			c.decoding = false
			return n, nil
		}
		if c.mustWait(f) {
			c.decoding = false
			return n, ErrSuspended
		}
		n += size
		c.frame(f)
		c.decoding = false
	}
}

// Decoding tells whether Feed was reading a client's octets, and changing nothing, when
// it last was left: after a panic it says whether the connection alone is to blame.
func (c *Connection) Decoding() bool { return c.decoding }

// suspended continues what waited when it may, and reports whether the connection has to
// go on waiting.
func (c *Connection) suspended() error {
	if c.resume != nil {
		if !c.replies.idle() {
			return ErrSuspended
		}
		then := c.resume
		c.resume = nil
		then(c.now)
		if c.resume != nil {
			return c.suspended()
		}
	}
	if c.blocked && c.remainsBlocked() {
		return ErrSuspended
	}
	if c.overfull {
		if c.out.holdReader() {
			return ErrSuspended
		}
		c.overfull = false
	}
	return nil
}

// mustWait reports whether f has to stay behind answers that wait for the disk. Methods
// that declare and delete need not: they share the commit.
func (c *Connection) mustWait(f amqp.Frame) bool {
	if f.Type == amqp.FrameHeartbeat || c.replies.idle() {
		return false
	}
	if f.Type == amqp.FrameMethod {
		class, _ := f.MethodID()
		return class != amqp.ClassExchange && class != amqp.ClassQueue
	}
	return true
}

func (c *Connection) ending() error {
	if c.state == ended {
		return ErrEnded
	}
	return nil
}

// frame handles one frame.
func (c *Connection) frame(f amqp.Frame) {
	switch {
	case f.Type == amqp.FrameHeartbeat:
	case f.Channel == 0:
		c.connectionFrame(f)
	case c.state == closing:
	case c.state < opening: // a client that has not logged in is not told (W-27)
		c.fallSilent(fmt.Errorf("frame of channel %d in connection state %v", f.Channel, c.state))
	case c.state != running:
		c.raise(nil, f.Unexpected())
	default:
		c.channelFrame(f)
	}
}

// channelFrame finds the channel of a frame, and opens or frees it.
func (c *Connection) channelFrame(f amqp.Frame) {
	ch := c.last
	if ch == nil || ch.id != f.Channel {
		if ch = c.channels[f.Channel]; ch == nil {
			c.openChannel(f)
			return
		}
		c.last = ch
	}
	if ch.closing {
		c.closingChannelFrame(ch, f)
		return
	}
	ch.frame(f)
}

// send appends a method to what is to be sent, in this batch.
func (c *Connection) send(channel uint16, m amqp.Method) {
	c.sent(c.out.end(amqp.AppendMethod(c.out.begin(), channel, m), &c.effects.Wakes))
}

// sent notes how much waits to be written after something of our own was appended.
func (c *Connection) sent(waiting int) {
	if waiting > c.out.replyLimit() {
		c.overfull = true
	}
}

// Flush ends a batch: what calls on queues asked for is carried out, confirms that wait
// for nothing are appended, and everyone who was given something to send is woken once.
// It reports whether the connection published something in this batch that waits for the
// disk, so that it may be made to wait when the disk is behind (S-25). Whoever publishes
// what is never stored has nothing to do with a disk that others keep busy (P8).
func (c *Connection) Flush(now time.Time) (published bool) {
	c.tellHolding()
	c.b.CarryOut(now, &c.effects)
	unstored := c.effects.Unstored > 0
	for i, ch := range c.confirmed {
		ch.sendConfirms(&c.effects.Wakes)
		c.confirmed[i] = nil
	}
	c.confirmed = c.confirmed[:0]
	c.b.Flush(now, &c.effects)
	for i, ch := range c.publishing {
		ch.countPublished()
		c.publishing[i] = nil
	}
	c.publishing = c.publishing[:0]
	c.tally.flush(&c.b.Counters, c.vhost)
	published, c.published = c.published && unstored, false
	return published
}

// tellHolding has the broker know what the channels hold.
func (c *Connection) tellHolding() {
	if before := c.unpublished.Load(); int64(c.holding) != before {
		c.unpublished.Store(int64(c.holding))
		c.b.AddUnpublished(int64(c.holding) - before)
	}
}

// Drained tells that the client has read most of what waited for it: consumers that
// found no room are offered messages again. It may be called from any goroutine.
func (c *Connection) Drained(now time.Time) {
	starved, reader := c.out.relieve()
	if len(starved) > 0 {
		var effects queue.Effects
		for _, k := range starved {
			k.queue.Resume(now, k, &effects)
		}
		c.b.Flush(now, &effects)
	}
	if reader {
		c.opts.Ready()
	}
}

// Close ends the conversation wherever it stands, because the socket is gone or is going
// to be: consumers are removed, what was not acknowledged goes back, exclusive queues are
// deleted (C-36). It may be called again.
func (c *Connection) Close(now time.Time, reason error) {
	if c.reason == nil && !c.parted {
		c.reason = reason
	}
	c.now = now
	c.state = ended
	c.release()
	c.replies.close()
	c.out.Close()
	c.tellHolding()
	c.b.Flush(now, &c.effects)
}

// release gives back everything the client holds.
func (c *Connection) release() {
	if c.released {
		return
	}
	c.released = true
	for _, ch := range c.channels {
		ch.silence()
	}
	for _, id := range slices.Sorted(maps.Keys(c.channels)) {
		c.channels[id].stop()
	}
	if n := len(c.channels); n > 0 {
		c.b.CloseChannels(c.client.user, n)
	}
	c.channelsMu.Lock()
	c.channels, c.last = nil, nil
	c.channelsMu.Unlock()
	if c.vhost != nil {
		c.b.Unblock(c.session)
		c.vhost.Release(c.now, c, &c.effects)
		c.b.Unregister(c.session)
		c.b.Counters.ConnectionsClosed.Add(1)
	}
	c.b.CarryOut(c.now, &c.effects)
}

// Settled reports whether every publish so far has its confirm among what is to be sent.
// When it does not, Options.Ready is called as soon as it would.
func (c *Connection) Settled() bool {
	c.awaiting.Store(true)
	return c.unconfirmed.Load() == 0
}

// Identity is who the client is, once it has opened its connection.
func (c *Connection) Identity() (user, vhost string, open bool) {
	if c.session == nil {
		return c.client.user, "", false
	}
	return c.client.user, c.vhost.Name(), true
}

// LoggedIn reports whether the client has logged in.
func (c *Connection) LoggedIn() bool { return c.client.user != "" }

// Spoke reports whether the client said anything but hello. One that did not is a probe of
// a load balancer (W-8), or a health check that wants to be greeted.
func (c *Connection) Spoke() bool { return c.spoke }

// Ticker returns what the goroutine calls that has the broker do what is due by the clock;
// see broker.Tick.
func Ticker(b *broker.Broker) func(now time.Time) (next time.Time) {
	var effects queue.Effects
	return func(now time.Time) time.Time { return b.Tick(now, &effects) }
}

// Reason is why the conversation ended, or nil while it goes on or after the client ended
// it in good order.
func (c *Connection) Reason() error { return c.reason }
