package server

import (
	"net"
	"time"

	"github.com/leveretmq/leveret/connection"
)

// write is the writer's loop: it takes everything that has gathered and writes it with one
// call. While there is nothing, it sends the heartbeats.
func (c *conn) write() {
	w := writer{c: c, timer: time.NewTimer(idleTime)}
	defer w.timer.Stop()
	for {
		n, drained := c.out.Take(&w.batch)
		if drained {
			c.core.Drained(time.Now())
		}
		if n > 0 {
			if err := w.write(n); err != nil {
				c.failure.CompareAndSwap(nil, &err)
				c.cut()
				return
			}
			continue
		}
		if !w.wait() {
			return
		}
	}
}

const (
	// heartbeatBytes is the length of a heartbeat frame.
	heartbeatBytes = 8
	// idleTime is after how long without anything to write buffers are given back, when
	// there are no heartbeats to do it with.
	idleTime = 10 * time.Second
)

// writer is the working memory of a connection's writer.
type writer struct {
	c       *conn
	batch   connection.Batch
	slices  [][]byte
	vector  net.Buffers
	limit   time.Time // the socket's write deadline
	every   time.Duration
	timer   *time.Timer
	written bool // something other than heartbeats since the timer was set
	first   bool // the next heartbeat is the first, which goes out in any case
	asleep  bool // the timer is not set, because there are no heartbeats and nothing to give back
	last    bool // what is taken now is the last
}

// write writes the batch. A client that does not read it in time is given up (D1).
func (w *writer) write(n int) error {
	// Heartbeats do not count, and are the only thing this short.
	w.written = w.written || n > heartbeatBytes
	w.slices = w.batch.Slices(w.slices[:0])
	defer clear(w.slices)
	if w.c.tls != nil {
		return w.writeTLS()
	}
	now, timeout := time.Now(), w.c.s.opts.WriteTimeout
	// Moving the deadline for each write would cost more than being late by a little.
	if w.limit.Sub(now) < timeout-timeout/16 {
		w.limit = now.Add(timeout)
		if err := w.c.nc.SetWriteDeadline(w.limit); err != nil {
			return err
		}
	}
	if len(w.slices) == 1 {
		_, err := w.c.nc.Write(w.slices[0])
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
// more.
func (w *writer) wait() bool {
	if w.last {
		return false
	}
	c := w.c
	select {
	case <-c.wake:
		if every := time.Duration(c.heartbeat.Load()) / 2; every != w.every {
			w.every, w.first = every, true
			w.timer.Reset(every)
		} else if w.asleep {
			w.asleep = false
			w.timer.Reset(idleTime)
		}
	case <-w.timer.C:
		w.beat()
	case <-c.finish:
		w.last = true
	case <-c.quit.Done():
		return false
	}
	return true
}

// beat sends a heartbeat when nothing else was sent for half an interval, and once at the
// beginning (W-61). Without heartbeats it only notices that nothing happens any more.
func (w *writer) beat() {
	if !w.written {
		w.c.out.Trim(&w.batch)
	}
	switch {
	case w.every > 0:
		if w.first || !w.written {
			w.c.out.Heartbeat()
		}
		w.timer.Reset(w.every)
	case w.written:
		w.timer.Reset(idleTime)
	default:
		w.asleep = true
	}
	w.first, w.written = false, false
}
