package server

import (
	"runtime"
	"sync/atomic"
)

// writeAtOnce has a little be written by the goroutine that appended it, where the socket is one
// that can be written to without waiting. To wake the writer for a single message costs more than
// to write it: a thread has to be woken, and another falls asleep.
func (c *conn) writeAtOnce() {
	if c.quick.raw == nil {
		return
	}
	c.out.WriteAtOnce(func() {
		c.gather()
		if !c.writer.turn.TryLock() {
			c.out.Wake(false)
			return
		}
		defer c.writer.turn.Unlock()
		if !c.writer.little() {
			c.out.Wake(false)
		}
	})
}

// little writes what waits if it is little and the socket takes it without waiting. It reports
// false when there is something left for the writer, who finds out what is wrong with the socket,
// too.
func (w *writer) little() bool {
	if len(w.rest) > 0 {
		return false
	}
	n, ok := w.c.out.TakeLittle(&w.batch)
	if n == 0 {
		return ok
	}
	w.slices = w.batch.Slices(w.slices[:0])
	defer clear(w.slices)
	w.rest = w.slices[0] // there are no references
	if w.extend() != nil {
		return false
	}
	written := w.c.quick.write(w.rest)
	w.written = w.written || n > heartbeatBytes
	if w.rest = w.rest[written:]; len(w.rest) > 0 {
		return false
	}
	w.rest = nil
	w.c.out.Written()
	return true
}

// crowd tells whether a connection is written to by many.
type crowd struct {
	worth atomic.Int32 // gathering has brought something lately, this often
	asked atomic.Uint32
}

const (
	// crowded is how often gathering is tried after it has brought something.
	crowded = 16
	// probing is how often it is tried when it has not: every so many times.
	probing = 16
)

// gather lets others go first who may have something for the same client, so that it is written
// with one call. When a commit has confirmed the messages of many publishers they all publish
// again at about the same time, and without this each message would be a write of its own to the
// consumer. Going last costs something where nobody else is about, so it is done as long as it
// pays.
func (c *conn) gather() {
	worth := c.crowd.worth.Load()
	if worth == 0 && c.crowd.asked.Add(1)%probing != 0 {
		return
	}
	before := c.out.Waiting()
	runtime.Gosched()
	if c.out.Waiting() > before {
		c.crowd.worth.Store(crowded)
	} else if worth > 0 {
		c.crowd.worth.Store(worth - 1)
	}
}
