package queue

import (
	"time"

	"github.com/leveretmq/leveret/message"
)

// wouldExceed tells whether one more message would break a length limit. Only ready
// messages and the bytes of their bodies count (LEN-1).
func (q *Queue) wouldExceed(m *message.Message) bool {
	o := &q.options
	return o.MaxLength != None && q.readyCount+1 > o.MaxLength ||
		o.MaxLengthBytes != None && q.readyBytes+int64(m.BodyBytes()) > o.MaxLengthBytes
}

// limit drops messages from the head until the limits hold (LEN-2). With priorities that
// is the oldest of the highest (PRI-3). What is past its deadline goes first: it must not
// push out a message that is still wanted.
func (q *Queue) limit(now time.Time, out *Effects) {
	if q.options.Overflow != DropHead || !q.exceeds() {
		return
	}
	ms := now.UnixMilli()
	q.expireDue(ms, now, out)
	for q.exceeds() {
		lv, e, slot := q.nextReady(ms, now, out)
		if lv == nil {
			return
		}
		q.killReady(lv, *e, slot, MaxLength, now, out)
	}
}

func (q *Queue) exceeds() bool {
	o := &q.options
	return o.MaxLength != None && q.readyCount > o.MaxLength ||
		o.MaxLengthBytes != None && q.readyBytes > o.MaxLengthBytes
}
