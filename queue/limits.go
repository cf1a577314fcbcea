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
// is the oldest of the highest (PRI-3).
func (q *Queue) limit(now time.Time, out *Effects) {
	o := &q.options
	if o.Overflow != DropHead || o.MaxLength == None && o.MaxLengthBytes == None {
		return
	}
	for q.readyCount > 0 &&
		(o.MaxLength != None && q.readyCount > o.MaxLength ||
			o.MaxLengthBytes != None && q.readyBytes > o.MaxLengthBytes) {
		lv, e, slot := q.nextReady(now.UnixMilli(), now, out)
		if lv == nil {
			return
		}
		q.killReady(lv, *e, slot, MaxLength, now, out)
	}
}
