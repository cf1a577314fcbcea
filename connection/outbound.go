package connection

import (
	"cmp"
	"sync"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/message"
)

const (
	// HighWater is how many bytes may wait for a client to read them before deliveries
	// to it stop, unless NewOutbound is told otherwise.
	HighWater = 1 << 20
	// referenceBytes is how long a piece of a body has to be to be referenced by the
	// buffer instead of copied into it.
	referenceBytes = 8 << 10
	// idleBytes is how large a buffer may be to be kept while there is nothing to send.
	idleBytes = 1 << 10
	// littleBytes is how much may be written by whoever appended it. What is more is left to the
	// writer, so that a core reads on while another writes.
	littleBytes = 16 << 10
)

// Outbound is what a connection has to send and nobody has taken yet. Everyone who has
// something for the client appends to it under its lock; one writer takes what has
// gathered, all at once, and writes it.
type Outbound struct {
	signal    func() // tells the writer; called with nothing locked
	atOnce    func() // instead of it where little waits; nil if that is the writer's, too
	highWater int    // bytes

	mu      sync.Mutex // guards the fields below
	pending Batch
	writing int    // bytes the writer has taken and not written yet
	taken   uint64 // bytes the writer has taken, ever
	takes   uint64 // how often there were any
	// told is true from the first append until the Wake that follows it, so that whoever
	// comes next need not ask for one.
	told    bool
	closed  bool
	starved []*consumer // found no room
	reader  bool        // the connection is not read until there is room again
}

// Batch is a run of frames to be written: a buffer, and long pieces of message bodies
// that belong between its parts.
type Batch struct {
	buf        []byte
	references []reference
	referenced int // bytes in references
}

// reference is a piece that comes after the first at bytes of the buffer.
type reference struct {
	at    int
	piece []byte
}

// NewOutbound returns an empty buffer. Above highWater bytes, or HighWater when it is 0,
// deliveries stop until a quarter of that is left. signal tells the writer that there is
// something to take; it must not block.
func NewOutbound(highWater int, signal func()) *Outbound {
	return &Outbound{signal: signal, highWater: cmp.Or(highWater, HighWater)}
}

// replyLimit is how many bytes may wait before the connection is not read any more: what
// is beyond the high-water mark are answers, returns and gets that a client asks for and
// does not read (S-27).
func (o *Outbound) replyLimit() int { return 4 * o.highWater }

// WriteAtOnce has write called at the end of a batch, instead of signal, where little waits to be
// written. It may call TakeLittle and write what that takes; it must not block, and calls
// Wake(false) to leave everything to the writer. WriteAtOnce is called before anything else.
func (o *Outbound) WriteAtOnce(write func()) { o.atOnce = write }

// Wake has what was appended in a batch written: at once, where few are woken and little waits,
// and by the writer otherwise.
func (o *Outbound) Wake(few bool) {
	o.mu.Lock()
	if few && o.atOnce != nil && o.little() {
		// Those who append meanwhile need not ask again.
		o.told = true
		o.mu.Unlock()
		o.atOnce()
		return
	}
	o.told = false
	o.mu.Unlock()
	o.signal()
}

// little reports whether what waits may be written by whoever appended it. What others wait for
// is the writer's to tell them. The lock is held.
func (o *Outbound) little() bool {
	return len(o.pending.buf) <= littleBytes && len(o.pending.references) == 0 && len(o.starved) == 0 && !o.reader
}

// TakeLittle is Take for WriteAtOnce. It takes nothing and reports false when there is more than
// may be written so. Whoever appends from now on has to ask again. What was taken waits until
// Written or the next Take.
func (o *Outbound) TakeLittle(b *Batch) (n int, ok bool) {
	b.reset()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.little() {
		return 0, false
	}
	o.told = false
	return o.take(b), true
}

// Written tells that all that was taken last has been written.
func (o *Outbound) Written() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writing = 0
}

// Waiting is how many bytes nobody has taken yet.
func (o *Outbound) Waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.pending.size()
}

// Take moves what is to be written into b, whose former content has been written by
// now, and returns how many bytes it is. Drained is true when someone waits for room
// and there is some now; Connection.Drained has to be called then.
func (o *Outbound) Take(b *Batch) (n int, drained bool) {
	b.reset()
	o.mu.Lock()
	defer o.mu.Unlock()
	n = o.take(b)
	return n, n <= o.highWater/4 && (len(o.starved) > 0 || o.reader)
}

// take is the part of Take that has the lock.
func (o *Outbound) take(b *Batch) int {
	o.pending, *b = *b, o.pending
	o.writing = b.size()
	if o.writing > 0 {
		o.taken += uint64(o.writing)
		o.takes++
	}
	return o.writing
}

// Trim gives back the room that b and the buffer take while there is nothing in them. It
// is for a writer that has had nothing to write for a while: buffers that come and go with
// every burst would cost more than they save.
func (o *Outbound) Trim(b *Batch) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending.giveBack()
	b.giveBack()
}

// Close drops what is to be written, now and later.
func (o *Outbound) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.pending = Batch{}
	o.starved = nil
}

// Heartbeat appends a heartbeat frame, for the writer to take next.
func (o *Outbound) Heartbeat() { o.endQuietly(amqp.AppendHeartbeat(o.begin())) }

// begin locks the buffer for frames to be appended. What it returns, with the frames,
// is given to end.
func (o *Outbound) begin() []byte {
	o.mu.Lock()
	return o.pending.buf
}

// beginDelivery is begin for a consumer, who gets nothing when the buffer has grown
// too long; it is then noted as one to be resumed.
func (o *Outbound) beginDelivery(c *consumer) ([]byte, bool) {
	o.mu.Lock()
	if o.size() < o.highWater && !o.closed {
		return o.pending.buf, true
	}
	if c != nil && !c.starved {
		c.starved = true
		o.starved = append(o.starved, c)
	}
	o.mu.Unlock()
	return nil, false
}

// end unlocks the buffer. wakes gets the Outbound unless someone is going to wake it
// already. It returns how many bytes wait to be written.
func (o *Outbound) end(buf []byte, wakes *message.Wakes) int {
	if o.closed {
		o.pending = Batch{}
		o.mu.Unlock()
		return 0
	}
	o.pending.buf = buf
	n := o.size()
	if !o.told {
		o.told = true
		wakes.Add(o)
	}
	o.mu.Unlock()
	return n
}

// endQuietly is end for someone outside a batch, who has to call signal when it reports
// true.
func (o *Outbound) endQuietly(buf []byte) (tell bool) {
	defer o.mu.Unlock()
	if o.closed {
		o.pending = Batch{}
		return false
	}
	o.pending.buf = buf
	return !o.told
}

// appendContent appends the header and body frames of a message between begin and end.
// properties are m's own, or what has become of them on the way. Long pieces of the
// body are referenced, so the message must not change, which it never does.
func (o *Outbound) appendContent(buf []byte, channel uint16, properties, body []byte, frameMax uint32) []byte {
	buf = amqp.AppendHeader(buf, channel, uint64(len(body)), properties)
	if len(body) < referenceBytes {
		return amqp.AppendBody(buf, channel, body, frameMax)
	}
	piece := len(body)
	if frameMax > 8 {
		piece = min(piece, int(frameMax)-8)
	}
	for len(body) > 0 {
		n := min(piece, len(body))
		if n < referenceBytes {
			buf = amqp.AppendBody(buf, channel, body[:n], frameMax)
		} else {
			buf = amqp.AppendFrameHeader(buf, amqp.FrameBody, channel, uint32(n))
			o.pending.references = append(o.pending.references, reference{at: len(buf), piece: body[:n]})
			o.pending.referenced += n
			buf = append(buf, amqp.FrameEnd)
		}
		body = body[n:]
	}
	return buf
}

// holdReader reports whether so much waits to be written that the connection is not to
// be read, and remembers that it is then to be resumed.
func (o *Outbound) holdReader() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reader = o.size() > o.replyLimit() && !o.closed
	return o.reader
}

// relieve returns the consumers that found no room, and whether the reader waits.
func (o *Outbound) relieve() (starved []*consumer, reader bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	starved, reader = o.starved, o.reader
	for _, c := range starved {
		c.starved = false
	}
	o.starved, o.reader = nil, false
	return starved, reader
}

// traffic tells what was taken to be written, in how many pieces, and what waits.
func (o *Outbound) traffic() (octets, writes uint64, pending int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.taken, o.takes, o.size()
}

// size is how many bytes wait to be written. The lock is held.
func (o *Outbound) size() int { return o.pending.size() + o.writing }

func (b *Batch) size() int { return len(b.buf) + b.referenced }

// Slices appends to dst what the batch holds, in the order it is to be written.
func (b *Batch) Slices(dst [][]byte) [][]byte {
	from := 0
	for _, r := range b.references {
		dst = append(dst, b.buf[from:r.at], r.piece)
		from = r.at
	}
	if from < len(b.buf) {
		dst = append(dst, b.buf[from:])
	}
	return dst
}

// giveBack lets go of a buffer that is empty, unless it is small.
func (b *Batch) giveBack() {
	if b.size() == 0 && cap(b.buf) > idleBytes {
		*b = Batch{}
	}
}

// reset forgets what was written and keeps the room it took, unless that is much.
func (b *Batch) reset() {
	clear(b.references)
	b.references, b.referenced = b.references[:0], 0
	if b.buf = b.buf[:0]; cap(b.buf) > 2*HighWater {
		b.buf = nil
	}
}
