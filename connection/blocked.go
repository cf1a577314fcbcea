package connection

import "github.com/leveretmq/leveret/amqp"

// A connection is told of an alarm by what it does: as long as it does not publish, nothing
// happens to it. The first message it publishes while an alarm is on is accepted, and with
// that it is blocked: connection.blocked goes out and nothing more is read, acknowledgements
// and declarations included, until no alarm is on any more (RES-2). Deliveries and heartbeats
// still go to it.
//
// One thing is listened for, as far as the server has room for what comes before it:
// connection.close. A client that wants to leave would otherwise wait for the end of the
// alarm. What it said before is done first, as ever (C-30).

// sentContent blocks the connection if there is an alarm. It is called for each message that
// is complete.
func (c *Connection) sentContent() {
	if c.b.Alarms().Block() && !c.leaving {
		c.blocked = true
	}
}

// partBytes is how much a connection may have sent of messages that are not complete before
// it is blocked like one that has sent a message: not much, as there may be many that do.
const partBytes = 128 << 10

// sentPart blocks the connection if there is an alarm and much has come of messages that are
// not complete. It is called for each part.
func (c *Connection) sentPart() {
	if c.holding > partBytes {
		c.sentContent()
	}
}

// remainsBlocked tells the client when it is blocked and when it is not any more, each once
// (C-34), and reports which it is.
func (c *Connection) remainsBlocked() bool {
	if c.state != running || c.leaving {
		c.blocked = false // only the end of the conversation is left to hear
		return false
	}
	reason := c.b.Block(c.session)
	c.blocked = reason != ""
	if c.blocked == c.toldSo {
		return c.blocked
	}
	c.toldSo = c.blocked
	c.session.blocked.Store(c.blocked)
	switch {
	case !c.client.blocked:
	case c.blocked:
		c.send(0, &amqp.ConnectionBlocked{Reason: reason})
	default:
		c.send(0, &amqp.ConnectionUnblocked{})
	}
	return c.blocked
}

// takesLeave reports whether the connection is blocked and its client has asked for its end
// among b, the frames that wait.
func (c *Connection) takesLeave(b []byte) bool {
	if !c.blocked {
		return false
	}
	for {
		f, n, err := amqp.ParseFrame(b, c.frameSize)
		if n == 0 || err != nil {
			return false
		}
		if f.Type == amqp.FrameMethod && f.Channel == 0 {
			class, method := f.MethodID()
			if class == amqp.ClassConnection && method == amqp.MethodConnectionClose {
				c.leaving = true
				return true
			}
		}
		b = b[n:]
	}
}

// Blocked reports whether the connection is not read because of an alarm. What its client
// has sent meanwhile is not known; Shutdown does not wait for it.
func (c *Connection) Blocked() bool { return c.blocked }
