package queue

import (
	"sort"

	"github.com/leveretmq/leveret/message"
)

// entry is a message's place in this queue. It moves by value: from the ready list to
// a slot when it is delivered, and it stays in the slot when it comes back.
type entry struct {
	// msg is nil while the body is on disk only; a message in the ready list always has it.
	msg *message.Message
	// seq is the position: given when the message came, kept when it is returned.
	seq uint64
	// expiry is the deadline, Unix milliseconds; 0 for none.
	expiry int64
	// ordinal finds the message among those waiting for the disk: 0 when it is never to
	// be stored, otherwise see pending.
	ordinal uint64
	count   uint32 // how often it came back
	size    uint32 // bytes of body
	flags   uint8
}

const (
	entryRedelivered = 1 << iota
	entryIndexed     // its deadline is in the queue's heap
	entrySpilling    // it is being copied to disk by itself
	entrySpilled     // such a copy is on disk
	entryRetained    // it is dead, and kept until its targets have it

	entryReason = 5 // from this bit on, the Reason of what is retained
)

// level is one priority level: messages that were never out, those that came back, and
// what is known of them on disk.
type level struct {
	number uint8
	dirty  bool   // there is acknowledgement state to write
	mixed  bool   // something in the ready list has no deadline
	next   uint64 // the next sequence number; the first is 1
	marked uint64 // what was restored up to here counts as delivered before
	count  int    // ready messages, returned ones included

	lastExpiry int64 // the latest deadline in the ready list that is not indexed

	// Messages that were never out are in ready, then in runs, then in back: the two ends
	// are in memory and the middle is on disk. While there are no runs, back is empty.
	ready    ready
	runs     runs
	back     ready
	returned returned
	reading  reading             // the read under way for this level
	skips    map[uint64]struct{} // within runs: leaving, not to be read again

	acks        acks
	counts      counts
	pending     pending
	deliveredTo uint64
	settled     []Range // stored messages settled since the last state
}

func (lv *level) init(number uint8) {
	lv.number = number
	lv.next = 1
	lv.acks.head = 1
	lv.pending.base = ordinalStored + 1
}

// first returns the entry that goes next: the returned one or the one at the front of
// the ready list, whichever was published earlier (ACK-6). It is nil when that one, or
// its body, is not in memory.
func (lv *level) first(s *slots) (e *entry, slot uint32) {
	e = lv.front()
	r, ok := lv.returned.first(s)
	if !ok || e != nil && e.seq < r.seq {
		return e, noSlot
	}
	if e == nil && lv.runs.len() > 0 && lv.runs.at(0).First < r.seq {
		return nil, noSlot
	}
	if e = &s.at(r.slot).entry; e.msg == nil {
		return nil, noSlot
	}
	return e, r.slot
}

// front is the first entry of the ready list, nil when that is on disk or there is none.
func (lv *level) front() *entry {
	e := lv.ready.front()
	if e == nil && lv.runs.len() == 0 && lv.back.live > 0 {
		lv.ready, lv.back = lv.back, lv.ready
		e = lv.ready.front()
	}
	return e
}

// push adds an entry to the end of the ready list.
func (lv *level) push(e entry) {
	if lv.runs.len() == 0 && lv.back.live == 0 {
		lv.ready.push(e)
	} else {
		lv.back.push(e)
	}
}

// find returns an entry of the ready list that is in memory, with the list it is in.
func (lv *level) find(seq uint64) (*ready, *block, *entry) {
	for _, r := range [...]*ready{&lv.ready, &lv.back} {
		if b, e := r.find(seq); e != nil {
			return r, b, e
		}
	}
	return nil, nil, nil
}

// remove takes away what first returned.
func (lv *level) remove(slot uint32) {
	if slot == noSlot {
		lv.ready.pop()
	} else {
		lv.returned.heap.pop()
	}
}

const blockEntries = 64

// block is a run of the ready list.
type block struct {
	first   uint64 // sequence number of the first entry put here
	lo, hi  int    // entries[lo:hi] are in use; those removed from the middle have no message
	live    int
	counted bool // in ready.emptied
	spill   spillState
	last    uint64 // the highest number in the copy, if there is one
	entries [blockEntries]entry
}

// ready is the list of messages that were never delivered, in order of their sequence
// numbers: blocks of entries, so that both ends and removal from the middle are cheap
// and memory follows the length. A queue that never held a message has no block.
type ready struct {
	blocks  []*block
	start   int // blocks[start:] are in use
	emptied int // blocks other than the last in which nothing is alive any more
	spare   *block

	live  int   // entries
	bytes int64 // of the bodies
	ram   int64 // that the messages take in memory

	left []Range // copies of what has been in blocks that are gone
}

func (r *ready) push(e entry) {
	var b *block
	if len(r.blocks) > r.start {
		b = r.blocks[len(r.blocks)-1]
	}
	if b == nil || b.full() {
		if b != nil {
			r.count(b)
		}
		b = r.newBlock()
	}
	if b.hi == 0 {
		b.first = e.seq
	}
	b.entries[b.hi] = e
	b.hi++
	b.live++
	r.live++
	r.bytes += int64(e.size)
	r.ram += int64(e.msg.Size())
}

// full tells that nothing can be added to a block: there is no room, or a copy of what is
// in it is on disk.
func (b *block) full() bool { return b.hi == blockEntries || b.spill != spillNone }

// weight is what is alive in a block: bytes of the bodies, and of the messages in memory.
func (b *block) weight() (bytes, ram int64) {
	for i := b.lo; i < b.hi; i++ {
		if e := &b.entries[i]; e.msg != nil {
			bytes += int64(e.size)
			ram += int64(e.msg.Size())
		}
	}
	return bytes, ram
}

func (r *ready) newBlock() *block {
	b := r.spare
	if b == nil {
		b = new(block)
	}
	r.spare = nil
	if r.start > 0 && len(r.blocks) == cap(r.blocks) {
		n := copy(r.blocks, r.blocks[r.start:])
		clear(r.blocks[n:])
		r.blocks, r.start = r.blocks[:n], 0
	}
	r.blocks = append(r.blocks, b)
	return b
}

// front is the first entry, or nil. It steps over what was removed from the middle.
func (r *ready) front() *entry {
	for r.start < len(r.blocks) {
		b := r.blocks[r.start]
		for b.lo < b.hi {
			if e := &b.entries[b.lo]; e.msg != nil {
				return e
			}
			b.lo++
		}
		if r.start == len(r.blocks)-1 && !b.full() {
			return nil
		}
		r.dropFirst()
	}
	return nil
}

// pop removes what front returned.
func (r *ready) pop() {
	b := r.blocks[r.start]
	r.live--
	r.bytes -= int64(b.entries[b.lo].size)
	r.ram -= int64(b.entries[b.lo].msg.Size())
	b.entries[b.lo] = entry{}
	b.lo++
	b.live--
	if b.lo < b.hi {
		return
	}
	if b.full() || r.start < len(r.blocks)-1 {
		r.dropFirst()
	} else {
		// The list is empty and starts over in its last block.
		b.lo, b.hi = 0, 0
	}
}

// dropFirst lets go of the first block, in which nothing is alive.
func (r *ready) dropFirst() {
	b := r.blocks[r.start]
	r.blocks[r.start] = nil
	r.start++
	if b.counted {
		r.emptied--
	}
	r.leave(b)
	if r.spare == nil {
		b.lo, b.hi, b.live, b.counted, b.spill = 0, 0, 0, false, spillNone
		r.spare = b
	}
	if r.start == len(r.blocks) {
		r.blocks, r.start = r.blocks[:0], 0
	}
}

// find returns the entry with sequence number seq and its block, or nil.
func (r *ready) find(seq uint64) (*block, *entry) {
	in := r.blocks[r.start:]
	i := sort.Search(len(in), func(i int) bool { return in[i].first > seq }) - 1
	if i < 0 {
		return nil, nil
	}
	b := in[i]
	used := b.entries[b.lo:b.hi]
	j := sort.Search(len(used), func(j int) bool { return used[j].seq >= seq })
	if j < len(used) && used[j].seq == seq && used[j].msg != nil {
		return b, &used[j]
	}
	return nil, nil
}

// removeAt takes an entry that find returned out of the middle. Its number stays, so
// that find can go on searching.
func (r *ready) removeAt(b *block, e *entry) {
	r.ram -= int64(e.msg.Size())
	e.msg = nil
	b.live--
	r.live--
	r.bytes -= int64(e.size)
	if b != r.blocks[len(r.blocks)-1] {
		r.count(b)
	}
}

// count notes that nothing is alive in b, if that is so, and drops such blocks when
// they are many.
func (r *ready) count(b *block) {
	if b.live > 0 || b.counted {
		return
	}
	b.counted = true
	r.emptied++
	if r.emptied <= 8 || r.emptied <= (len(r.blocks)-r.start)/2 {
		return
	}
	kept := r.blocks[:0]
	for _, b := range r.blocks[r.start:] {
		if b.counted {
			r.leave(b)
		} else {
			kept = append(kept, b)
		}
	}
	clear(r.blocks[len(kept):])
	r.blocks, r.start, r.emptied = kept, 0, 0
}

// leave notes the copy of a block that is going.
func (r *ready) leave(b *block) {
	if b.spill != spillNone {
		r.left = append(r.left, Range{First: b.first, Last: b.last})
	}
}

// ranges appends the sequence numbers in the list.
func (r *ready) ranges(dst []Range) []Range {
	for _, b := range r.blocks[r.start:] {
		if b.live == 0 {
			continue
		}
		if first, last := b.entries[b.lo].seq, b.entries[b.hi-1].seq; b.live == b.hi-b.lo && last-first+1 == uint64(b.live) {
			dst = appendRange(dst, Range{First: first, Last: last})
			continue
		}
		for i := b.lo; i < b.hi; i++ {
			if e := &b.entries[i]; e.msg != nil {
				dst = appendRange(dst, Range{First: e.seq, Last: e.seq})
			}
		}
	}
	return dst
}

// appendRange adds a range behind the others.
func appendRange(dst []Range, r Range) []Range {
	if n := len(dst); n > 0 && dst[n-1].Last+1 == r.First {
		dst[n-1].Last = r.Last
		return dst
	}
	return append(dst, r)
}

// returned is a heap of messages that came back, smallest sequence number first. They
// live in their slots; an element whose slot has moved on is stale and skipped.
type returned struct{ heap heap[returnedEntry] }

type returnedEntry struct {
	seq  uint64
	slot uint32
}

func (x returnedEntry) before(other returnedEntry) bool { return x.seq < other.seq }

// first returns the smallest element that is still returned.
func (r *returned) first(s *slots) (returnedEntry, bool) {
	for len(r.heap) > 0 {
		x := r.heap[0]
		if sl := s.get(x.slot); sl != nil && sl.state == slotReturned && sl.entry.seq == x.seq {
			return x, true
		}
		r.heap.pop()
	}
	return returnedEntry{}, false
}

// top is the highest level with something ready, or nil.
func (q *Queue) top() *level {
	if len(q.levels) == 1 {
		if q.levels[0].count > 0 {
			return &q.levels[0]
		}
		return nil
	}
	for i := len(q.levels) - 1; i >= 0; i-- {
		if q.levels[i].count > 0 {
			return &q.levels[i]
		}
	}
	return nil
}
