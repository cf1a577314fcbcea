package queue

import (
	"sort"
	"time"
)

// runSlot is the slot of a deadline that stands for the earliest in a run.
const runSlot = noSlot - 1

// runs are the stretches of a level that are on disk and not in memory, in order of
// their sequence numbers. Both ends grow and shrink.
type runs struct {
	list  []Run
	start int // list[start:] are in use
}

func (r *runs) len() int { return len(r.list) - r.start }

func (r *runs) at(i int) *Run { return &r.list[r.start+i] }

// push adds a run behind the others.
func (r *runs) push(x Run) {
	if r.start > 0 && len(r.list) == cap(r.list) && r.start >= len(r.list)/2 {
		n := copy(r.list, r.list[r.start:])
		r.list, r.start = r.list[:n], 0
	}
	r.list = append(r.list, x)
}

// pushFront adds a run before the others.
func (r *runs) pushFront(x Run) {
	if r.start == 0 {
		room := r.len() + 8
		grown := make([]Run, room+r.len(), 2*(room+r.len()))
		copy(grown[room:], r.list)
		r.list, r.start = grown, room
	}
	r.start--
	r.list[r.start] = x
}

// popFront removes the first run.
func (r *runs) popFront() {
	r.start++
	if r.start == len(r.list) {
		*r = runs{}
	}
}

// find returns the place of the run that seq is in, or -1.
func (r *runs) find(seq uint64) int {
	in := r.list[r.start:]
	i := sort.Search(len(in), func(i int) bool { return in[i].Last >= seq })
	if i < len(in) && in[i].First <= seq {
		return i
	}
	return -1
}

// remove takes out the run at place i.
func (r *runs) remove(i int) {
	if i == 0 {
		r.popFront()
		return
	}
	i += r.start
	r.list = append(r.list[:i], r.list[i+1:]...)
}

// runDue tells whether d is still when a run of lv is read to end what has expired.
func (q *Queue) runDue(lv *level, d deadline) bool {
	i := lv.runs.find(d.seq)
	return i >= 0 && q.readToExpire(lv.runs.at(i)) == d.at
}

// expireTogether is how much later than its deadline a message may expire that has to be
// read first. Every deadline of a run would have it read whole otherwise.
const expireTogether = 500 * time.Millisecond

// readToExpire is when a run is read for those of its messages that have expired: a whole
// multiple of what they may be late, Unix milliseconds. A delayed queue reads them well
// before.
func (q *Queue) readToExpire(r *Run) int64 {
	if q.wheel != nil {
		return r.MinExpiry
	}
	late := int64(q.lateMillis)
	return (r.MinExpiry + late - 1) / late * late
}

// join returns the run that a and the later b make together, if that is not too much to
// be read at once.
func join(a, b Run) (Run, bool) {
	if a.Count+b.Count > RunMessages || a.Bytes+b.Bytes > RunBytes {
		return a, false
	}
	return Run{
		Range:     Range{First: a.First, Last: b.Last},
		Count:     a.Count + b.Count,
		Bytes:     a.Bytes + b.Bytes,
		MinExpiry: earlier(a.MinExpiry, b.MinExpiry),
	}, true
}
