package server

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/connection"
)

// write is the writer's loop: it takes everything that has gathered and writes it with one
// call. While there is nothing, it sends the heartbeats.
func (c *conn) write() {
	w := &c.writer
	defer w.timer.Stop()
	for {
		n, err := w.next()
		if err != nil {
			c.failure.CompareAndSwap(nil, &err)
			c.cut()
			return
		}
		if n == 0 && !w.wait() {
			return
		}
	}
}

// next takes and writes once, and returns how much it was.
func (w *writer) next() (n int, err error) {
	w.turn.Lock()
	defer w.turn.Unlock()
	if n = len(w.rest); n > 0 {
		return n, w.write(n)
	}
	n, drained := w.c.out.Take(&w.batch)
	if drained {
		w.c.core.Drained(w.c.s.opts.Clock())
	}
	if n > 0 {
		err = w.write(n)
	}
	return n, err
}

const (
	// heartbeatBytes is the length of a heartbeat frame.
	heartbeatBytes = 8
	// quickBytes is how much is written quickly.
	quickBytes = 16 << 10
	// idleTime is after how long without anything to write buffers are given back, when
	// there are no heartbeats to do it with.
	idleTime = 10 * time.Second
)

// writer is what a connection is written with, by its writer or at once.
type writer struct {
	c *conn

	turn    sync.Mutex // held by who writes; guards the fields below
	batch   connection.Batch
	rest    []byte // of the batch, after a write at once that the socket did not take whole
	slices  [][]byte
	vector  net.Buffers
	limit   time.Time // the socket's write deadline
	written bool      // something other than heartbeats since the timer was set

	timer *time.Timer // sets due and wakes the writer
	due   atomic.Bool

	// Of the writer's goroutine.
	every  time.Duration
	first  bool // the next heartbeat is the first, which goes out in any case
	asleep bool // the timer is not set, because there are no heartbeats and nothing to give back
	last   bool // what is taken now is the last
}

// init makes w the writer of c.
func (w *writer) init(c *conn) {
	w.c = c
	w.timer = time.AfterFunc(idleTime, func() {
		w.due.Store(true)
		poke(c.wake)
	})
}

// extend moves the socket's write deadline: a client that does not read in time is given up
// (D1). Moving it for each write would cost more than being late by a little.
func (w *writer) extend() error {
	now, timeout := time.Now(), w.c.s.opts.WriteTimeout
	if w.limit.Sub(now) >= timeout-timeout/16 {
		return nil
	}
	w.limit = now.Add(timeout)
	return w.c.nc.SetWriteDeadline(w.limit)
}

// write writes the n bytes of the batch, or the rest of it.
func (w *writer) write(n int) error {
	// Heartbeats do not count, and are the only thing this short.
	w.written = w.written || n > heartbeatBytes
	w.slices = w.batch.Slices(w.slices[:0])
	defer clear(w.slices)
	if w.c.tls != nil {
		return w.writeTLS() // never at once, so there is no rest
	}
	if err := w.extend(); err != nil {
		return err
	}
	if len(w.rest) > 0 {
		rest := w.rest
		w.rest = nil
		_, err := w.c.nc.Write(rest)
		return err
	}
	if len(w.slices) == 1 {
		b := w.slices[0]
		if n <= quickBytes {
			if b = b[w.c.quick.write(b):]; len(b) == 0 {
				return nil
			}
		}
		_, err := w.c.nc.Write(b)
		return err
	}
	w.vector = w.slices
	_, err := w.vector.WriteTo(w.c.nc)
	return err
}

// writeTLS writes the batch as records. The deadline is taken off afterwards: the reader
// answers when the client wants new keys, and a deadline that had passed would break the
// connection then.
func (w *writer) writeTLS() error {
	nc := w.c.nc
	if err := nc.SetWriteDeadline(time.Now().Add(w.c.s.opts.WriteTimeout)); err != nil {
		return err
	}
	if err := writeRecords(nc, w.slices); err != nil {
		return err
	}
	return nc.SetWriteDeadline(time.Time{})
}

// wait returns when there may be something to take, or false when there will not be any
// more. It waits for one thing only, because to wait for one of several, a timer among them,
// takes several times as long. So whoever wants something of the writer notes what it is and
// then wakes it.
func (w *writer) wait() bool {
	if w.last {
		return false
	}
	c := w.c
	<-c.wake
	switch {
	case c.quit.Err() != nil:
		return false
	case c.finish.Load():
		w.last = true
		return true
	}
	due := w.due.Swap(false)
	if due {
		w.beat()
	} else {
		c.gather()
	}
	if every := time.Duration(c.heartbeat.Load()) / 2; every != w.every {
		w.every, w.first = every, true
		w.timer.Reset(every)
	} else if w.asleep && (!due || c.out.Waiting() > 0) {
		w.asleep = false
		w.timer.Reset(idleTime)
	}
	return true
}

// beat sends a heartbeat when nothing else was sent for half an interval, and once at the
// beginning (W-61). Without heartbeats it only notices that nothing happens any more.
func (w *writer) beat() {
	written := w.trim()
	switch {
	case w.every > 0:
		if w.first || !written {
			w.c.out.Heartbeat()
		}
		w.timer.Reset(w.every)
	case written:
		w.timer.Reset(idleTime)
	default:
		w.asleep = true
	}
	w.first = false
}

// trim gives buffers back when nothing was written since the last time, and reports whether
// something was.
func (w *writer) trim() (written bool) {
	w.turn.Lock()
	defer w.turn.Unlock()
	written, w.written = w.written, false
	if !written && len(w.rest) == 0 {
		w.c.out.Trim(&w.batch)
	}
	return written
}
