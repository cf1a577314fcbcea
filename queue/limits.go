package queue

import (
	"time"

	"github.com/leveretmq/leveret/message"
)

// wouldExceed tells whether one more message would break a length limit. Only ready
// messages and the bytes of their bodies count (LEN-1), and what is dead and retained
// (DLX-14).
func (q *Queue) wouldExceed(m *message.Message) bool {
	o := q.options
	return o.MaxLength != None && q.readyCount+q.retained.count+1 > o.MaxLength ||
		o.MaxLengthBytes != None && q.readyBytes+q.retained.bytes+int64(m.BodyBytes()) > o.MaxLengthBytes
}

// dropAtOnce bounds how many messages one call drops for a limit, so that a limit that has
// become lower than a long queue stalls nobody.
const dropAtOnce = 1000

// limit drops messages from the head until the limits hold (LEN-2), or asks for
// Expire to go on with it.
func (q *Queue) limit(now time.Time, out *Effects) {
	if !q.dropAbove(now, out) {
		q.askNow(now, out)
	}
}

// askNow asks for Expire to be called at once.
func (q *Queue) askNow(now time.Time, out *Effects) {
	q.timer = now.UnixMilli()
	out.Timers = append(out.Timers, Timer{Queue: q, At: now})
}

// dropAbove drops a bounded number of messages from the head, and reports whether the limits
// hold, or will when what is next has been read. With priorities the head is the oldest of
// the highest (PRI-3). What is past its deadline goes first: it must not push out a message
// that is still wanted.
func (q *Queue) dropAbove(now time.Time, out *Effects) (done bool) {
	if q.options.Overflow != DropHead || !q.exceeds() {
		return true
	}
	ms := now.UnixMilli()
	q.expireDue(ms, now, out)
	for n := 0; q.exceeds(); n++ {
		if n == dropAtOnce {
			return false
		}
		lv, e, slot := q.nextReady(ms, now, out)
		if lv == nil {
			return true
		}
		q.killReady(lv, *e, slot, MaxLength, now, out)
	}
	return true
}

func (q *Queue) exceeds() bool {
	o := q.options
	return o.MaxLength != None && q.readyCount > o.MaxLength ||
		o.MaxLengthBytes != None && q.readyBytes > o.MaxLengthBytes
}
