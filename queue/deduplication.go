package queue

import "github.com/leveretmq/leveret/message"

// unique knows which values of x-deduplication-header are in a queue that was declared with
// x-message-deduplication (EX-56): those of messages ready or out, until they are settled or
// dead. It is in memory only: like RabbitMQ's plugin it does not know what was in the queue
// before a restart.
type unique struct {
	places map[message.DeduplicationKey]place
	keys   map[position]message.DeduplicationKey

	// What was found of the message that is being published.
	key    message.DeduplicationKey
	hasKey bool
}

// position is a message's level and number.
type position struct {
	seq   uint64
	level uint8
}

type place struct {
	position
	ordinal uint64 // as in its entry
	expiry  int64
}

func newUnique() *unique {
	return &unique{
		places: make(map[message.DeduplicationKey]place),
		keys:   make(map[position]message.DeduplicationKey),
	}
}

// deduplicate begins or ends to look for duplicates.
func (q *Queue) deduplicate(on bool) {
	switch {
	case !on:
		q.unique = nil
	case q.unique == nil:
		q.unique = newUnique()
	}
}

// duplicate tells whether a message with m's value is in the queue, so that m must not be.
// The confirm then waits for that one (S-12). Most queues do not ask.
func (q *Queue) duplicate(ms int64, m *message.Message, c *message.Confirm) bool {
	u := q.unique
	if u.key, u.hasKey, _ = m.Deduplication(); !u.hasKey {
		return false
	}
	p, there := u.places[u.key]
	if !there || p.expiry != 0 && p.expiry <= ms {
		return false
	}
	lv := &q.levels[p.level]
	if lv.acks.has(p.seq) {
		return false // settled with many others, which are not looked at one by one
	}
	if w := lv.pending.find(p.ordinal); w != nil && w.message != nil {
		w.confirm = message.Both(w.confirm, c)
	}
	return true
}

// remember notes where the message that was just asked about is.
func (q *Queue) remember(lv *level, e *entry) {
	u := q.unique
	if u == nil || !u.hasKey {
		return
	}
	p := position{e.seq, lv.number}
	u.places[u.key] = place{p, e.ordinal, e.expiry}
	u.keys[p] = u.key
}

// left notes that a message has been settled, or is dead. Its value may come again.
func (q *Queue) left(lv *level, seq uint64) {
	if q.unique != nil {
		q.unique.forget(position{seq, lv.number})
	}
}

func (u *unique) forget(p position) {
	key, ok := u.keys[p]
	if !ok {
		return
	}
	delete(u.keys, p)
	if u.places[key].position == p { // and not a later one, after this had expired
		delete(u.places, key)
	}
}

// forgetSettled is for what was settled many at a time.
func (q *Queue) forgetSettled() {
	if q.unique == nil {
		return
	}
	for p := range q.unique.keys {
		if q.levels[p.level].acks.has(p.seq) {
			q.unique.forget(p)
		}
	}
}
