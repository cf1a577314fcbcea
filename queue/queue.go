package queue

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Queue holds messages in order and hands each to one of its consumers. It is made by
// New and safe for use by many goroutines; every method locks it for as long as the
// call takes and no longer.
type Queue struct {
	id    ID
	spec  Spec
	store Store
	batch func(func(now time.Time, out *Effects))
	wheel *wheel // of a delayed queue, nil for others
	// durable tells whether persistent messages are stored. Exclusive queues never are
	//
	durable bool
	// lateMillis is how late messages may expire that are on disk only: expireTogether, but
	// in tests.
	lateMillis int32
	// consumerTimeout is the one of the options, for channels that are locked.
	consumerTimeout atomic.Int64

	mu sync.Mutex // guards the fields below

	deleted   bool
	options   *Options // without the timeout; replaced, never changed, and shared with other queues
	consumers map[Consumer]*consumer
	timer     int64 // the earliest moment asked for and not yet come, Unix ms; 0 for none
	lastUse   int64 // Unix ms; for x-expires (TTL-9)

	// Most queues of a broker that has very many are declared and stand empty. So what only
	// messages and consumers need is apart, and nil until there is the first of them, or a get.
	// Whoever needs it calls lock; whoever locks mu itself has to do without.
	*contents
}

// contents is what a queue has once it has been used.
type contents struct {
	// levels are the priority levels, lowest first; one for queues without priorities.
	// A level has sequence numbers of its own.
	levels []level
	slots  slots

	groups    []*group // consumers with room, by falling priority
	exclusive *consumer
	active    *consumer // the one that receives, with x-single-active-consumer
	joined    uint64    // consumers ever; orders those of one priority

	ram     int64 // bytes of the messages in memory
	scanned int   // slots that PageOut has looked at
	coming  int64 // bytes that will leave memory when their copies are on disk
	waiters []func(error)

	unique *unique // nil unless the queue keeps duplicates out

	deadlines deadlines

	leaving              int            // messages on disk that have died, and whose letters are not safe yet (S-9)
	whenLeft             func()         // of a deleted queue, to be called when there are none any more
	held                 heap[deadline] // what came back and waits (QQ-6)
	heldCount, heldBytes int64
	retained             retained

	outbox []Letter

	fading          bool // the active one makes way for another
	large           bool // was in Effects.Large, and PageOut has not found it small since
	spills          bool // something has been spilled
	draining        bool // someone is carrying letters
	listed          bool // the outbox is in somebody's Effects
	enlisted        bool // the store knows of unstored messages
	enlistedSettled bool // the store knows of acknowledgement state to write
	used            use
	usedGroup       uint64

	readyCount, readyBytes     int64
	unackedCount, unackedBytes int64
	totals                     Totals
}

// New returns an empty queue. The spec and options are taken as valid; ParseArguments
// makes the one from the other.
func New(id ID, spec Spec, o Options, store Store) *Queue {
	q := &Queue{
		id:         id,
		spec:       spec,
		store:      store,
		durable:    spec.Durable && !spec.Exclusive,
		options:    o.kept(),
		lateMillis: int32(expireTogether.Milliseconds()),
	}
	q.consumerTimeout.Store(int64(o.ConsumerTimeout))
	return q
}

// lock locks a queue whose contents are needed.
func (q *Queue) lock() {
	q.mu.Lock()
	if q.contents == nil {
		q.open()
	}
}

// open makes the contents.
func (q *Queue) open() {
	n := q.options.levels()
	if q.wheel != nil {
		n = circles * bucketsPerCircle
	}
	q.contents = &contents{levels: make([]level, n)}
	for i := range q.levels {
		q.levels[i].init(uint8(i))
	}
	q.deduplicate(q.options.Deduplicate)
}

// ID is the queue's incarnation.
func (q *Queue) ID() ID { return q.id }

// Name is the name it was declared with.
func (q *Queue) Name() string { return q.spec.Name }

// Spec is what it was declared as.
func (q *Queue) Spec() Spec { return q.spec }

// String names the queue the way error texts do: queue 'q' in vhost '/'.
func (q *Queue) String() string { return q.spec.resource() }

func (s Spec) resource() string { return fmt.Sprintf("queue '%s' in vhost '%s'", s.Name, s.VHost) }

// Options are what the queue acts on now.
func (q *Queue) Options() Options {
	q.mu.Lock()
	defer q.mu.Unlock()
	o := *q.options
	o.ConsumerTimeout = q.ConsumerTimeout()
	return o
}

// ConsumerTimeout is that of the options. Unlike them it may be asked for with a channel
// locked.
func (q *Queue) ConsumerTimeout() time.Duration { return time.Duration(q.consumerTimeout.Load()) }

// Attach tells the queue how to go on when something it asked the disk for has come:
// batch calls its argument with the time, and carries out and flushes the effects. It is
// called before anything else; a queue without it keeps everything in memory.
func (q *Queue) Attach(batch func(func(now time.Time, out *Effects))) { q.batch = batch }

// Restore fills a new queue with what was found on disk: runs, whose messages are read
// when they are needed. It is called before anything else but Attach.
func (q *Queue) Restore(now time.Time, r Restored, out *Effects) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lastUse = now.UnixMilli()
	switch {
	case q.contents != nil:
	case len(r.Levels) == 0:
		q.askTimer(out)
		return
	default:
		q.open()
	}
	for i := range r.Levels {
		rl := &r.Levels[i]
		if int(rl.Level) >= len(q.levels) {
			panic(fmt.Sprintf("queue: %v restored with level %d of %d", q, rl.Level, len(q.levels)))
		}
		lv := &q.levels[rl.Level]
		lv.next = max(rl.Next, 1)
		lv.deliveredTo, lv.marked = rl.DeliveredTo, rl.DeliveredTo
		lv.acks.restore(max(rl.Head, 1), rl.Pages)
		lv.counts.restore(rl.Counts)
		at := lv.acks.head
		for _, r := range rl.Runs {
			// Numbers between the runs were settled, or never stored. Those within a run show
			// when it is read.
			if r.First > at {
				lv.acks.setRange(at, r.First-1)
			}
			at = r.Last + 1
			lv.next = max(lv.next, at)
			lv.runs.push(r)
			lv.count += r.Count
			q.readyCount += int64(r.Count)
			q.readyBytes += r.Bytes
			q.fileRun(lv, r)
		}
		if at < lv.next {
			lv.acks.setRange(at, lv.next-1)
		}
		if rl.AllRedelivered {
			lv.marked = lv.next - 1
		}
		if rl.AllRedelivered && lv.deliveredTo < lv.next-1 {
			// The marks are in memory only; a clean stop has to keep them.
			lv.deliveredTo = lv.next - 1
			q.settledSome(lv)
		}
	}
	if q.wheel != nil {
		q.tell(now)
	}
	if q.exceeds() && q.options.Overflow == DropHead {
		// What it drops may be dead-lettered, and where to is not restored yet: a timer is later.
		q.askNow(now, out)
		return
	}
	q.askTimer(out)
}

// Counts are the ready messages and the consumers, as declare-ok tells them.
func (q *Queue) Counts() (ready, consumers int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.contents == nil {
		return 0, 0
	}
	return int(q.readyCount), len(q.consumers)
}

// Stats are the counters now.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.contents == nil {
		return Stats{}
	}
	s := Stats{Totals: q.totals}
	s.Ready, s.ReadyBytes = q.readyCount, q.readyBytes
	s.Unacknowledged, s.UnacknowledgedBytes = q.unackedCount, q.unackedBytes
	s.Delayed, s.DelayedBytes = q.heldCount, q.heldBytes
	s.Consumers = int64(len(q.consumers))
	s.Retained = q.retained.count
	return s
}

// Touch counts as use for x-expires: a declare, active or passive (TTL-9).
func (q *Queue) Touch(now time.Time, out *Effects) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lastUse = now.UnixMilli()
	q.askTimer(out)
}

// FirstUse reports whether a durable queue has not been consumed or got from in this run,
// as far as the disk knows. Before such a consume or get is answered the caller has
// Barrier put it there, because after a crash every message of a queue that had a
// consumer is taken for delivered (S-11).
func (q *Queue) FirstUse() bool {
	q.lock()
	defer q.mu.Unlock()
	if !q.durable || q.used == usedStored {
		return false
	}
	if q.used == unused {
		q.used = usedUnstored
		q.levels[0].dirty = true
	}
	return true
}

// use is what is known of a durable queue having been consumed or got from in this run.
type use uint8

const (
	unused use = iota
	usedUnstored
	usedCollected // under way with the commit usedGroup
	usedStored
)
