package connection

import (
	"errors"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

const (
	// silence is how long a client that broke the rules of framing or failed to log in is
	// left waiting before its socket is closed (W-10, C-9).
	silence = 3 * time.Second
	// closeWait is the longest a client has to answer connection.close (C-31), or to close
	// the socket after its own was answered (C-30).
	closeWait = 30 * time.Second
)

// ErrHandshakeTimeout is why a connection ended whose client did not get as far as
// connection.open in time (W-31).
var ErrHandshakeTimeout = errors.New("handshake timeout")

// ErrHeartbeat is why a connection ended whose client was silent for two heartbeat
// intervals (W-62).
var ErrHeartbeat = errors.New("missed heartbeats from client")

// raise tells the client what it did wrong: the only place where an error becomes
// channel.close or connection.close. ch is nil when no channel is to blame. An error that
// is not the client's is told as 541.
func (c *Connection) raise(ch *Channel, err error) {
	c.decoding = false
	e := asError(err)
	if e == nil {
		e = amqp.InternalError("%v", err)
	}
	if ch == nil || e.Hard {
		c.closeConnection(e)
		return
	}
	ch.stop()
	ch.closing = true
	c.b.CarryOut(c.now, &c.effects)
	c.answer(ch.id, nil, &amqp.ChannelClose{
		ReplyCode: e.Code,
		ReplyText: amqp.ReplyText(e.Text),
		ClassID:   e.ClassID,
		MethodID:  e.MethodID,
	})
}

// closeConnection stops everything and sends connection.close; from now on only the
// client's close and close-ok are heard (C-31).
func (c *Connection) closeConnection(e *amqp.Error) {
	if c.reason == nil {
		c.reason = e
	}
	c.release()
	c.resume = nil
	c.awaitEnd()
	c.answer(0, nil, &amqp.ConnectionClose{
		ReplyCode: e.Code,
		ReplyText: amqp.ReplyText(e.Text),
		ClassID:   e.ClassID,
		MethodID:  e.MethodID,
	})
}

// awaitEnd leaves it to the client to end the conversation, for a while.
func (c *Connection) awaitEnd() {
	c.state = closing
	wait := closeWait
	if c.life.interval > 0 {
		wait = min(wait, c.life.interval)
	}
	c.deadline = c.now.Add(wait)
}

// brokenFrame ends a connection whose bytes cannot be made sense of any more. Nothing
// is read from it after that, not even close-ok (W-10).
func (c *Connection) brokenFrame(err error) {
	if c.state < closing {
		c.raise(nil, err)
	}
	c.fallSilent(err)
}

// fallSilent reads nothing more, and ends the connection after a while.
func (c *Connection) fallSilent(reason error) {
	if c.reason == nil {
		c.reason = reason
	}
	c.state = deaf
	c.deadline = c.now.Add(silence)
}

// Shutdown asks the client to go, for reason, which is told as it is when it is an
// *amqp.Error and as 320 otherwise (C-33). It is for the goroutine that calls Feed; Flush
// has to follow. A client that has not opened its connection yet, or has closed it, is
// just left.
func (c *Connection) Shutdown(now time.Time, reason error) {
	c.now = now
	e := asError(reason)
	if e == nil {
		e = amqp.ConnectionForced("%v", reason)
	}
	switch {
	case c.state == running:
		told := *e // it may be shared with other connections
		c.raise(nil, told.OnNone())
	case c.state < running:
		c.reason = e
		c.state = ended
	case c.parted:
		c.state = ended
	}
}

// connectionClose answers a client that says goodbye. What it sent before has been done,
// and its exclusive queues are gone before it is told so. It is the client that closes the
// socket then (C-30): one that says goodbye in several threads hears an answer in each.
func (c *Connection) connectionClose(m *amqp.ConnectionClose) {
	if m.ReplyCode != amqp.ReplySuccess && c.reason == nil {
		c.reason = &amqp.Error{Code: m.ReplyCode, Text: m.ReplyText, ClassID: m.ClassID, MethodID: m.MethodID, Hard: true}
	}
	c.release()
	c.parted = true
	c.awaitEnd()
	c.answer(0, nil, &amqp.ConnectionCloseOk{})
}

// liveness is what is known of the client's heartbeats (W-62).
type liveness struct {
	interval time.Duration // 0 when heartbeats are off
	heard    bool          // something came since the last check
	missed   int           // checks in a row without anything
	next     time.Time     // the next check
}

func (l *liveness) start(now time.Time, seconds uint16) {
	l.interval = time.Duration(seconds) * time.Second
	l.next = now.Add(l.interval)
}

// check reports false when the client is taken for dead: two intervals in a row without
// an octet.
func (l *liveness) check(now time.Time) bool {
	if l.interval == 0 || now.Before(l.next) {
		return true
	}
	l.next = now.Add(l.interval)
	if l.heard {
		l.heard, l.missed = false, 0
		return true
	}
	l.missed++
	return l.missed < 2
}

// Heartbeat is how often the client wants a sign of life, 0 for never. Half of it is how
// long may pass without one being sent (W-61).
func (c *Connection) Heartbeat() time.Duration { return c.life.interval }

// Tick does what is due by the clock and returns when it wants to be called next, or a
// zero time for not at all. ErrEnded tells that the socket is to be closed.
func (c *Connection) Tick(now time.Time) (next time.Time, err error) {
	c.now = now
	if !c.deadline.IsZero() && !now.Before(c.deadline) {
		switch {
		case c.reason != nil:
		case c.state < running:
			c.reason = ErrHandshakeTimeout
		}
		c.state = ended
	}
	c.life.heard = c.life.heard || c.blocked // W-63
	if c.state == running && !c.life.check(now) {
		c.reason = ErrHeartbeat
		c.state = ended
	}
	if c.state == ended {
		return time.Time{}, ErrEnded
	}
	if c.overdue.Swap(false) {
		c.closeOverdue()
		c.Flush(now)
	}
	if c.relieved.Swap(false) {
		c.resumeCrowded(now)
	}
	next = c.deadline
	if c.state == running && c.life.interval > 0 && (next.IsZero() || c.life.next.Before(next)) {
		next = c.life.next
	}
	return next, nil
}

// Waited tells that the connection was not read for a while for reasons of ours, so that
// its silence is not held against the client (W-63).
func (c *Connection) Waited() { c.life.heard = true }

// asError is the client's mistake in err, or nil when err is none of its doing.
func asError(err error) *amqp.Error {
	var e *amqp.Error
	errors.As(err, &e)
	return e
}
