package server

import (
	"net"
	"time"

	"github.com/leveretmq/leveret/connection"
)

// write is the writer's loop: it takes everything that has gathered and writes it with one
// call. While there is nothing, it sends the heartbeats.
func (c *conn) write() {
	w := writer{c: c, timer: time.NewTimer(time.Hour)}
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

// heartbeatBytes is the length of a heartbeat frame.
const heartbeatBytes = 8

// writer is the working memory of a connection's writer.
type writer struct {
	c       *conn
	batch   connection.Batch
	slices  [][]byte
	vector  net.Buffers
	limit   time.Time // the socket's write deadline
	every   time.Duration
	timer   *time.Timer
	written bool // since the last heartbeat was due
	last    bool // what is taken now is the last
}

// write writes the batch. A client that does not read it in time is given up (D1).
func (w *writer) write(n int) error {
	now, timeout := time.Now(), w.c.s.opts.WriteTimeout
	// Moving the deadline for each write would cost more than being late by a little.
	if w.limit.Sub(now) < timeout-timeout/16 {
		w.limit = now.Add(timeout)
		if err := w.c.nc.SetWriteDeadline(w.limit); err != nil {
			return err
		}
	}
	// Heartbeats do not count, and are the only thing this short.
	w.written = w.written || n > heartbeatBytes
	w.slices = w.batch.Slices(w.slices[:0])
	defer clear(w.slices)
	if len(w.slices) == 1 {
		_, err := w.c.nc.Write(w.slices[0])
		return err
	}
	w.vector = w.slices
	_, err := w.vector.WriteTo(w.c.nc)
	return err
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
			w.every, w.written = every, false
			w.timer.Reset(every)
		}
	case <-w.timer.C:
		w.beat()
	case <-c.finish:
		w.last = true
	case <-c.quit:
		return false
	}
	return true
}

// beat sends a heartbeat when nothing else was sent for half an interval (W-61).
func (w *writer) beat() {
	if w.every == 0 {
		w.timer.Reset(time.Hour)
		return
	}
	if !w.written {
		w.c.out.Heartbeat()
	}
	w.written = false
	w.timer.Reset(w.every)
}
