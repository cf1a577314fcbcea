package connection

import "time"

// pressedUnacked is how many deliveries a channel may have out while memory is under
// pressure, whatever prefetch it has asked for.
const pressedUnacked = 2000

// crowded reports whether so much is out on the channel that it gets no more while memory is
// under pressure. The channel is locked.
func (ch *Channel) crowded() bool {
	return ch.unacked.count() >= pressedUnacked && ch.c.b.UnderPressure()
}

// Relieved implements what broker.SetPressure asks of sessions.
func (s *session) Relieved() {
	s.c.relieved.Store(true)
	s.c.opts.Attend()
}

// resumeCrowded offers messages again to consumers that got none because of the pressure.
func (c *Connection) resumeCrowded(now time.Time) {
	for _, ch := range c.channels {
		ch.resumeStarved()
	}
	c.Flush(now)
}
