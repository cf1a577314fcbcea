package broker

import (
	"sync"
	"sync/atomic"

	"github.com/leveretmq/leveret/amqp"
)

// unpublished is what has come of messages that no queue has yet: bodies that are not
// complete, and transactions without their commit. Nobody but the client who sends them can
// make them go, and a client that is held back cannot either; so there is a limit beyond
// which the connection that holds most of it is closed.
type unpublished struct {
	limit int64 // bytes; 0 for none
	bytes atomic.Int64

	mu sync.Mutex // held by the one who looks for the largest
}

// holder is a Session that tells how much it holds.
type holder interface {
	// Unpublished is how many bytes it holds, none once it was asked to close. It is safe from
	// any goroutine.
	Unpublished() int64
}

// Unpublished is how many bytes connections hold of what is not published yet, and how many
// they may.
func (b *Broker) Unpublished() (bytes, limit int64) {
	return b.unpublished.bytes.Load(), b.unpublished.limit
}

// AddUnpublished counts what a connection holds more, or less. When all together hold too
// much the largest is closed with 506. Nothing may be locked.
func (b *Broker) AddUnpublished(delta int64) {
	u := &b.unpublished
	total := u.bytes.Add(delta)
	if delta <= 0 || u.limit <= 0 || total <= u.limit || !u.mu.TryLock() {
		return
	}
	defer u.mu.Unlock()
	var largest Session
	most, left := int64(0), int64(0)
	for _, s := range b.Sessions() {
		h, ok := s.(holder)
		if !ok {
			continue
		}
		n := h.Unpublished()
		left += n
		if n > most {
			largest, most = s, n
		}
	}
	// Those that were asked to close hold theirs a little longer.
	if largest != nil && left > u.limit {
		b.Counters.RefusedForMemory.Add(1)
		largest.Close(amqp.ResourceError("%d bytes of messages that are not complete or not committed, of %d that all connections may hold", most, u.limit).OnNone())
	}
}
