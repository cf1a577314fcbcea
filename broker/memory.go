package broker

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/queue"
)

// DefaultQueueMemory is how many bytes of messages queues hold in memory together unless
// told otherwise.
const DefaultQueueMemory = 16 << 20

// keepQueueMemory is how much of its first messages a queue keeps in memory whatever the
// others need.
const keepQueueMemory = 64 << 10

// pageOutPause is how long nobody tries to free memory again after there was too little
// that could be freed.
const pageOutPause = 10 * time.Millisecond

// memory is the budget that all queues share.
type memory struct {
	limit int64
	used  atomic.Int64
	now   atomic.Int64 // of the last batch, Unix nanoseconds

	mu    sync.Mutex // guards the fields below, and that one goroutine frees at a time
	large map[*queue.Queue]struct{}
	retry time.Time
	sizes []sized
}

type sized struct {
	q     *queue.Queue
	bytes int64
}

// newQueue makes a queue that can wait for the disk.
func (b *Broker) newQueue(id queue.ID, spec queue.Spec, o queue.Options) *queue.Queue {
	q := queue.New(id, spec, b.timed(o), b.messages)
	q.Attach(b.batched)
	return q
}

// batch gives f the time and effects of its own, and carries out and flushes them. It is
// for what begins with the disk and not with a client.
func (b *Broker) batch(f func(now time.Time, out *queue.Effects)) {
	now := time.Unix(0, b.memory.now.Load())
	if b.options.Clock != nil {
		now = b.options.Clock()
	}
	var out queue.Effects
	f(now, &out)
	b.Flush(now, &out)
}

// QueueMemory is how many bytes of messages queues hold in memory, and how many they
// should at most.
func (b *Broker) QueueMemory() (used, limit int64) { return b.memory.used.Load(), b.memory.limit }

// account brings the shared budget up to date with a batch, and has the largest queues
// let go of what is on disk when it is exceeded.
func (b *Broker) account(now time.Time, out *queue.Effects) {
	m := &b.memory
	if b.options.Clock == nil {
		m.now.Store(now.UnixNano())
	}
	if len(out.Large) > 0 {
		m.note(out.Large)
		clear(out.Large)
		out.Large = out.Large[:0]
	}
	if out.Memory == 0 {
		return
	}
	used := m.used.Add(out.Memory)
	out.Memory = 0
	if used > m.limit {
		b.pageOut(now, out)
		b.CarryOut(now, out) // there may be timers
	}
}

func (m *memory) note(large []*queue.Queue) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.large == nil {
		m.large = make(map[*queue.Queue]struct{})
	}
	for _, q := range large {
		// One that was deleted in this batch has been forgotten, and stays so.
		if !q.Deleted() {
			m.large[q] = struct{}{}
		}
	}
}

// forget drops a queue that was deleted. Without that it would stay as long as there is no lack
// of memory, with all it has.
func (m *memory) forget(q *queue.Queue) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.large, q)
}

// pageOut frees memory, from the largest queue down, until an eighth of the budget is
// free. Somebody else who is at it already will do.
func (b *Broker) pageOut(now time.Time, out *queue.Effects) {
	m := &b.memory
	if !m.mu.TryLock() {
		return
	}
	defer m.mu.Unlock()
	if now.Before(m.retry) {
		return
	}
	m.sizes = m.sizes[:0]
	for q := range m.large {
		m.sizes = append(m.sizes, sized{q, q.Memory()})
	}
	slices.SortFunc(m.sizes, func(x, y sized) int {
		return cmp.Or(cmp.Compare(y.bytes, x.bytes), cmp.Compare(x.q.ID(), y.q.ID()))
	})
	want := m.used.Load() - m.limit + m.limit/8
	for _, s := range m.sizes {
		if want <= 0 {
			break
		}
		freed, small := s.q.PageOut(want, keepQueueMemory, out)
		if small {
			delete(m.large, s.q)
		}
		want -= freed
	}
	clear(m.sizes)
	if m.used.Add(out.Memory) > m.limit {
		m.retry = now.Add(pageOutPause)
	}
	out.Memory = 0
}
