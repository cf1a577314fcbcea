package queue

import "time"

const (
	circles          = 5
	bucketsPerCircle = 50
	// circleFactor is how many buckets of a circle are as wide as one of the next. A run is
	// read half a bucket's width before it is due, so it may have to reach one and a half
	// times as far, and one bucket more for the one that has begun.
	circleFactor = 32
	// bucketMillis is the width of a bucket of the first circle.
	bucketMillis = 1000

	// loadAhead is how long before they are due messages are read to stay.
	loadAhead = 1000
	// soon is how far away a message may be due that was read and stays in memory: all
	// of a bucket whose first is due in loadAhead.
	soon = loadAhead + bucketMillis + 500

	// loadedBytes is how much may be in memory of what was read to stay, and movingAtOnce how
	// many messages may be on their way to another bucket or to their targets' disk, before
	// more is read.
	loadedBytes  = 8 << 20
	movingAtOnce = 2 * RunMessages
	// readAgain is when to look again, in milliseconds, after there was no room to read.
	readAgain = 10

	// fireAtOnce bounds how many messages one call of Expire sends off.
	fireAtOnce = 1000

	// latestDue is the last moment a message can be due, Unix ms: there are 6 bytes for it.
	latestDue = 1<<47 - 1
)

// wheel is what a delayed queue has beyond what queues have (see the package comment).
type wheel struct {
	now     int64                   // the latest time it was told, Unix ms
	runs    [circles]heap[deadline] // the paged runs of each circle
	reading bool                    // a run is being read
	loaded  int64                   // bytes of what was read to stay
}

// NewDelayed returns the empty queue of delayed messages of the exchange that spec names.
// Its letters have the reason Due.
func NewDelayed(id ID, spec Spec, store Store) *Queue {
	q := New(id, spec, Options{
		MessageTTL: None, Expires: None, MaxLength: None, MaxLengthBytes: None, DeliveryLimit: None,
		DeadLetter: true, DeadLetterExchange: spec.Name,
	}, store)
	q.durable = true // an exchange that is gone after a restart is nobody the store knows then
	q.wheel = new(wheel)
	q.open()
	return q
}

// Delays tells that the queue was made by NewDelayed.
func (q *Queue) Delays() bool { return q.wheel != nil }

// Delay takes a message that is due after so many milliseconds, or a fraction of one later.
// The confirm and the transfer of the put are held until it is stored.
func (q *Queue) Delay(now time.Time, p Put, millis int64, out *Effects) {
	q.lock()
	defer q.mu.Unlock()
	if q.deleted {
		return
	}
	q.tell(now)
	q.totals.Published++
	q.await(p, dueAfter(now, millis), out)
	q.keep(p.Message, out)
	q.askTimer(out)
}

// dueAfter rounds up: a message is never early.
func dueAfter(now time.Time, millis int64) int64 {
	from := now.Add(time.Millisecond - 1).UnixMilli()
	if millis > latestDue-from {
		return latestDue
	}
	return from + millis
}

// await puts a message into the bucket it belongs to.
func (q *Queue) await(p Put, due int64, out *Effects) {
	lv := &q.levels[bucket(due, q.wheel.now)]
	e := entry{
		msg: p.Message, seq: lv.next, expiry: due, size: uint32(p.Message.BodyBytes()), flags: entryIndexed,
	}
	lv.next++
	q.admit(lv, &e, p, out)
	lv.push(e)
	q.deadlines.push(deadline{at: due, seq: e.seq, slot: noSlot, level: lv.number})
	q.becameReady(lv, e.size)
}

// bucket is the level of what is due at a moment. All of a bucket is due within its width,
// unless time has stood still or has jumped, which costs reading more, and nothing else.
func bucket(due, now int64) int {
	width := int64(bucketMillis)
	for c := 0; ; c++ {
		if reach := (bucketsPerCircle - 2) * width; due-now < reach || c == circles-1 {
			due = min(due, now+reach)
			return c*bucketsPerCircle + int(max(due, 0)/width%bucketsPerCircle)
		}
		width *= circleFactor
	}
}

func circleOf(level uint8) int { return int(level) / bucketsPerCircle }

// ahead is how long before it is due a run of a circle is read.
func ahead(circle int) int64 {
	if circle == 0 {
		return loadAhead
	}
	width := int64(bucketMillis)
	for range circle {
		width *= circleFactor
	}
	return width / 2
}

// tell lets the wheel know the time.
func (q *Queue) tell(now time.Time) { q.wheel.now = max(q.wheel.now, now.UnixMilli()) }

// turn is Expire of a delayed queue: what is due leaves, what is due soon is read.
func (q *Queue) turn(now time.Time, out *Effects) (next time.Time) {
	q.tell(now)
	left := q.fire(now, out)
	q.readNext()
	q.timer = q.dueInWheel()
	if left == 0 {
		q.timer = q.wheel.now
	}
	if q.timer == 0 {
		return time.Time{}
	}
	return time.UnixMilli(q.timer)
}

// fire sends off what is due, in the order of due times, and returns how many more it
// would have.
func (q *Queue) fire(now time.Time, out *Effects) (left int) {
	h := &q.deadlines
	for left = fireAtOnce; left > 0 && len(h.heap) > 0 && h.heap[0].at <= q.wheel.now; {
		d := h.heap[0]
		h.heap.pop()
		p := q.at(d)
		if p == nil {
			continue
		}
		left--
		e := *p
		lv := &q.levels[d.level]
		if d.slot == noSlot {
			r, b, at := lv.find(d.seq)
			r.removeAt(b, at)
			r.front() // steps over it, if it was the first
		} else {
			q.unstay(d.slot, &e)
		}
		q.leftReady(lv, e.size)
		q.unindex(&e)
		q.kill(lv, &e, Due, now, out)
	}
	return left
}

// stay keeps a message that was read in memory until it is due.
func (q *Queue) stay(lv *level, e entry) {
	e.flags |= entryIndexed
	i, sl := q.slots.take(e, lv.number)
	sl.state = slotReturned
	q.deadlines.push(deadline{at: e.expiry, seq: e.seq, slot: i, level: lv.number})
	q.wheel.loaded += int64(e.msg.Size())
	q.becameReady(lv, e.size)
}

func (q *Queue) unstay(slot uint32, e *entry) {
	q.wheel.loaded -= int64(e.msg.Size())
	q.slots.put(slot)
}

// moveOn has a message that was read go to another bucket. Its old place is settled with
// the transaction that stores the new one.
func (q *Queue) moveOn(lv *level, e entry, out *Effects) {
	i, sl := q.slots.take(e, lv.number)
	sl.state = slotLeaving
	sl.entry.msg = nil
	q.leaving++
	t := NewTransfer(q, Position{Seq: e.seq, Slot: i, Level: lv.number}, nil)
	q.await(Put{Message: e.msg, Transfer: t}, e.expiry, out)
	t.Release(out)
}

// roomToRead tells whether more may be read.
func (q *Queue) roomToRead() bool {
	return q.wheel.loaded < loadedBytes && q.leaving < movingAtOnce
}

// nextRun finds, of each circle, the run that is due first, and returns the one of those to
// be read by now that is due first. due is when there is one to be read, 0 for never.
func (q *Queue) nextRun() (next deadline, circle int, due int64) {
	w := q.wheel
	circle = -1
	for c := range w.runs {
		h := &w.runs[c]
		for len(*h) > 0 && !q.runDue(&q.levels[(*h)[0].level], (*h)[0]) {
			h.pop()
		}
		if len(*h) == 0 {
			continue
		}
		d := (*h)[0]
		at := max(d.at-ahead(c), 1)
		due = earlier(due, at)
		if at <= w.now && (circle < 0 || d.before(next)) {
			next, circle = d, c
		}
	}
	return next, circle, due
}

// readNext has the run read that it is time for. One is read at a time: the disk is asked
// for a quarter of a megabyte, and what is due first comes first.
func (q *Queue) readNext() {
	w := q.wheel
	if w.reading || !q.roomToRead() {
		return
	}
	d, c, _ := q.nextRun()
	if c < 0 {
		return
	}
	w.runs[c].pop()
	lv := &q.levels[d.level]
	r := lv.runs.at(lv.runs.find(d.seq)).Range
	w.reading = true
	lv.reading = reading{Range: r, active: true}
	q.read(lv, r, func(now time.Time, found []RestoredMessage, out *Effects) {
		q.tell(now)
		w.reading = false
		lv.reading = reading{}
		q.arrive(lv, r, found, out)
		q.readNext()
	})
}

// arrive sorts what was read of a run into what stays and what moves.
func (q *Queue) arrive(lv *level, r Range, found []RestoredMessage, out *Effects) {
	i := lv.runs.find(r.First)
	if i < 0 || lv.runs.at(i).Range != r {
		return // it was purged
	}
	run := *lv.runs.at(i)
	lv.runs.remove(i)
	lv.count -= run.Count
	q.readyCount -= int64(run.Count)
	q.readyBytes -= run.Bytes
	q.eachFound(lv, r, found, true, func(e entry) {
		q.keep(e.msg, out)
		if e.expiry <= q.wheel.now+soon {
			q.stay(lv, e)
		} else {
			q.moveOn(lv, e, out)
		}
	})
}

// dueInWheel is due for a delayed queue.
func (q *Queue) dueInWheel() (due int64) {
	if h := q.deadlines.heap; len(h) > 0 {
		due = h[0].at
	}
	if q.wheel.reading {
		return due // it asks again when it has read
	}
	_, circle, at := q.nextRun()
	if circle >= 0 && !q.roomToRead() {
		at = q.wheel.now + readAgain
	}
	return earlier(due, at)
}

// pageWheel is page for a delayed queue: what is due last goes first, as far as circles tell.
func (q *Queue) pageWheel(target int64, out *Effects) {
	for i := len(q.levels) - 1; i >= 0 && q.ram > target; i-- {
		lv := &q.levels[i]
		if lv.runs.len() == 0 && lv.back.live == 0 {
			lv.ready, lv.back = lv.back, lv.ready
		}
		q.pageBack(lv, target, out)
	}
	q.askTimer(out)
}

// dropLoaded drops what was read to stay.
func (q *Queue) dropLoaded(out *Effects) {
	for i := range uint32(len(q.slots.pages) * slotsPerPage) {
		sl := q.slots.get(i)
		if sl == nil || sl.state != slotReturned {
			continue
		}
		e := sl.entry
		lv := &q.levels[sl.level]
		q.unstay(i, &e)
		q.dropped(lv, &e, out)
	}
}
