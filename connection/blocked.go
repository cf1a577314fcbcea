package connection

import "github.com/leveretmq/leveret/amqp"

// A connection is told of an alarm by what it does: as long as it does not publish, nothing
// happens to it. The first message it publishes while an alarm is on is accepted, and with
// that it is blocked: connection.blocked goes out and nothing more is read, acknowledgements
// and declarations included, until no alarm is on any more (RES-2). Deliveries and heartbeats
// still go to it.

// sentContent blocks the connection if there is an alarm. It is called for each message that
// is complete.
func (c *Connection) sentContent() {
	if c.b.Alarms().Block() {
		c.blocked = true
	}
}

// remainsBlocked tells the client when it is blocked and when it is not any more, each once
// (C-34), and reports which it is.
func (c *Connection) remainsBlocked() bool {
	if c.state != running {
		c.blocked = false // only the end of the conversation is left to hear
		return false
	}
	reason := c.b.Block(c.session)
	c.blocked = reason != ""
	if c.blocked == c.toldSo {
		return c.blocked
	}
	c.toldSo = c.blocked
	switch {
	case !c.client.blocked:
	case c.blocked:
		c.send(0, &amqp.ConnectionBlocked{Reason: reason})
	default:
		c.send(0, &amqp.ConnectionUnblocked{})
	}
	return c.blocked
}

// Blocked reports whether the connection is not read because of an alarm. What its client
// has sent meanwhile is not known; Shutdown does not wait for it.
func (c *Connection) Blocked() bool { return c.blocked }
