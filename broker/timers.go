package broker

import (
	"container/heap"
	"sync"
	"time"

	"github.com/leveretmq/leveret/queue"
)

// timed is what has something due: a queue, or a channel with deliveries. Expire does what
// is, bounded in how much, and returns when to call it next, the zero time for never. It is
// called with nothing locked.
type timed interface {
	Expire(now time.Time, out *queue.Effects) (next time.Time)
}

// timers knows when each queue and channel has something due. Each is in it at most once,
// with the earliest moment it asked for.
type timers struct {
	mu      sync.Mutex // guards the fields below
	heap    timerHeap
	of      map[timed]*timer
	ordinal uint64
	// next is what the last Tick was told to come back at; zero for never.
	next    time.Time
	earlier func()
}

// timer is one entry.
type timer struct {
	at      time.Time
	whose   timed
	ordinal uint64 // orders timers of one moment by when they were set
	index   int
}

// set asks for x to be looked at no later than at, and tells whoever ticks when that is
// sooner than it knows of.
func (t *timers) set(x timed, at time.Time) {
	t.mu.Lock()
	e := t.of[x]
	switch {
	case e == nil:
		if t.of == nil {
			t.of = make(map[timed]*timer)
		}
		t.ordinal++
		e = &timer{at: at, whose: x, ordinal: t.ordinal}
		t.of[x] = e
		heap.Push(&t.heap, e)
	case at.Before(e.at):
		e.at = at
		heap.Fix(&t.heap, e.index)
	}
	var tell func()
	if first := t.heap[0].at; t.next.IsZero() || first.Before(t.next) {
		t.next = first
		tell = t.earlier
	}
	t.mu.Unlock()
	if tell != nil {
		tell()
	}
}

// due takes out and returns what is due, or nil.
func (t *timers) due(now time.Time) timed {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.heap) == 0 || t.heap[0].at.After(now) {
		return nil
	}
	e := heap.Pop(&t.heap).(*timer)
	delete(t.of, e.whose)
	return e.whose
}

// forget drops a queue that was deleted, or a channel that was closed.
func (t *timers) forget(x timed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.of[x]; e != nil {
		heap.Remove(&t.heap, e.index)
		delete(t.of, x)
	}
}

// wait returns when the next of them is due, zero for never; whoever ticks comes back then.
func (t *timers) wait() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next = time.Time{}
	if len(t.heap) > 0 {
		t.next = t.heap[0].at
	}
	return t.next
}

// OnEarlierTimer has f called, with nothing locked, when something becomes due earlier
// than Tick last said. f must not block. It is set before the broker is used.
func (b *Broker) OnEarlierTimer(f func()) {
	b.timers.mu.Lock()
	defer b.timers.mu.Unlock()
	b.timers.earlier = f
}

// timersATick bounds how many queues and channels one Tick looks at, each of which ends a
// bounded number of messages, so that many at once stall nobody.
const timersATick = 64

// Tick does what is due and flushes. It returns when to be called next, which may be at
// once; zero for not before OnEarlierTimer says so.
func (b *Broker) Tick(now time.Time, out *queue.Effects) (next time.Time) {
	for range timersATick {
		x := b.timers.due(now)
		if x == nil {
			break
		}
		if at := x.Expire(now, out); !at.IsZero() {
			b.timers.set(x, at)
		}
		b.CarryOut(now, out)
	}
	b.Flush(now, out)
	return b.timers.wait()
}

type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].ordinal < h[j].ordinal
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timerHeap) Push(e any) {
	t := e.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *timerHeap) Pop() any {
	old := *h
	n := len(old) - 1
	e := old[n]
	old[n] = nil
	*h = old[:n]
	return e
}
