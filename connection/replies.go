package connection

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/broker"
)

// replies are the answers that wait for the disk, and those that have to come after
// them. They leave in order.
type replies struct {
	out   *Outbound
	ready func()
	fail  func(error)

	waiting atomic.Int32 // length of queue, asked before every frame

	mu     sync.Mutex // guards the fields below
	queue  []*reply
	closed bool
}

// reply is one answer; its frame is empty when there is nothing to say.
type reply struct {
	frame []byte
	ready bool
}

// change is something under way that an answer waits for: done is called once when it
// is over, unless it returns false because it is over already. A nil change is nothing
// to wait for.
type change func(done func(error)) (waiting bool)

// until is the change that a commit is.
func until(c *broker.Commit) change {
	if c == nil {
		return nil
	}
	return c.Then
}

// idle reports whether no answer waits.
func (r *replies) idle() bool { return r.waiting.Load() == 0 }

// add queues an answer that is not ready.
func (r *replies) add(frame []byte) *reply {
	a := &reply{frame: frame}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(r.queue, a)
	r.waiting.Store(int32(len(r.queue)))
	return a
}

// follow has a frame sent after the answers that wait, and reports false when none does.
func (r *replies) follow(frame []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return false
	}
	// Somebody has yet to settle what is at the front, so this cannot stay behind.
	r.queue = append(r.queue, &reply{frame: frame, ready: true})
	r.waiting.Store(int32(len(r.queue)))
	return true
}

// settle makes an answer ready and sends those at the front that are. After a failed
// commit nothing is answered any more, because nobody knows what is on disk.
func (r *replies) settle(a *reply, err error) {
	if err != nil {
		r.close()
		r.fail(err)
		return
	}
	r.mu.Lock()
	a.ready = true
	n, tell := 0, false
	for n < len(r.queue) && r.queue[n].ready {
		n++
	}
	if n > 0 && !r.closed {
		buf := r.out.begin()
		for _, a := range r.queue[:n] {
			buf = append(buf, a.frame...)
		}
		tell = r.out.endQuietly(buf)
	}
	r.queue = r.queue[n:]
	r.waiting.Store(int32(len(r.queue)))
	empty := len(r.queue) == 0
	if empty {
		r.queue = nil
	}
	r.mu.Unlock()
	if tell {
		r.out.signal()
	}
	if empty {
		r.ready()
	}
}

// close drops what waits; commits that are still under way find nobody.
func (r *replies) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// answer sends m on a channel as soon as ch is over and what was answered before
// it is on its way. A nil ch has nothing to wait for; a nil m says nothing, for
// methods with no-wait (CH-11).
func (c *Connection) answer(channel uint16, ch change, m amqp.Method) {
	if m == nil {
		return
	}
	if ch == nil && c.replies.idle() {
		c.send(channel, m)
		return
	}
	c.hold(ch, amqp.AppendMethod(nil, channel, m))
}

// wait suspends the connection until ch is over, and then continues with then.
// Without one it continues at once.
func (c *Connection) wait(ch change, then func(now time.Time)) {
	if ch == nil && c.replies.idle() {
		then(c.now)
		return
	}
	c.resume = then
	c.hold(ch, nil)
}

func (c *Connection) hold(ch change, frame []byte) {
	a := c.replies.add(frame)
	if ch == nil || !ch(func(err error) { c.replies.settle(a, err) }) {
		c.replies.settle(a, nil)
	}
}
