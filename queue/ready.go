package queue

import (
	"sort"

	"github.com/leveretmq/leveret/message"
)

// entry is a message's place in this queue. It moves by value: from the ready list to
// a slot when it is delivered, and it stays in the slot when it comes back.
type entry struct {
	msg *message.Message
	// seq is the position: given when the message came, kept when it is returned.
	seq uint64
	// expiry is the deadline, Unix milliseconds; 0 for none.
	expiry int64
	// ordinal finds the message among those waiting for the disk: 0 when it is never to
	// be stored, otherwise see pending.
	ordinal uint64
	count   uint32 // how often it came back
	flags   uint8
}

const (
	entryRedelivered = 1 << iota
	entryIndexed     // its deadline is in the queue's heap
)

// level is one priority level: messages that were never out, those that came back, and
// what is known of them on disk.
type level struct {
	number   uint8
	dirty    bool   // there is acknowledgement state to write
	mixed    bool   // something in the ready list has no deadline
	next     uint64 // the next sequence number; the first is 1
	restored uint64 // during Restore: one past the last message
	count    int    // ready messages, returned ones included

	lastExpiry int64 // the latest deadline in the ready list that is not indexed

	ready    ready
	returned returned

	acks        acks
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
// the ready list, whichever was published earlier (ACK-6). It is nil when there is none.
func (lv *level) first(s *slots) (e *entry, slot uint32) {
	e = lv.ready.front()
	if r, ok := lv.returned.first(s); ok && (e == nil || r.seq < e.seq) {
		return &s.at(r.slot).entry, r.slot
	}
	return e, noSlot
}

// remove takes away what first returned.
func (lv *level) remove(slot uint32) {
	if slot == noSlot {
		lv.ready.pop()
	} else {
		lv.returned.pop()
	}
}

const blockEntries = 64

// block is a run of the ready list.
type block struct {
	first   uint64 // sequence number of the first entry put here
	lo, hi  int    // entries[lo:hi] are in use; those removed from the middle have no message
	live    int
	counted bool // in ready.emptied
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
}

func (r *ready) push(e entry) {
	var b *block
	if len(r.blocks) > r.start {
		b = r.blocks[len(r.blocks)-1]
	}
	if b == nil || b.hi == blockEntries {
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
		if r.start == len(r.blocks)-1 && b.hi < blockEntries {
			return nil // the last block still has room
		}
		r.dropFirst()
	}
	return nil
}

// pop removes what front returned.
func (r *ready) pop() {
	b := r.blocks[r.start]
	b.entries[b.lo] = entry{}
	b.lo++
	b.live--
	if b.lo < b.hi {
		return
	}
	if b.hi == blockEntries {
		r.dropFirst()
	} else {
		// A block with room is the last one: the list is empty and starts over in it.
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
	if r.spare == nil {
		b.lo, b.hi, b.live, b.counted = 0, 0, 0, false
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
	e.msg = nil
	b.live--
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
		if !b.counted {
			kept = append(kept, b)
		}
	}
	clear(r.blocks[len(kept):])
	r.blocks, r.start, r.emptied = kept, 0, 0
}

// returned is a heap of messages that came back, smallest sequence number first. They
// live in their slots; an element whose slot has moved on is stale and skipped.
type returned []returnedEntry

type returnedEntry struct {
	seq  uint64
	slot uint32
}

func (h *returned) push(x returnedEntry) {
	*h = append(*h, x)
	s := *h
	for i := len(s) - 1; i > 0; {
		p := (i - 1) / 2
		if s[p].seq <= s[i].seq {
			break
		}
		s[p], s[i] = s[i], s[p]
		i = p
	}
}

// first returns the smallest element that is still returned.
func (h *returned) first(s *slots) (returnedEntry, bool) {
	for len(*h) > 0 {
		x := (*h)[0]
		if sl := s.get(x.slot); sl != nil && sl.state == slotReturned && sl.entry.seq == x.seq {
			return x, true
		}
		h.pop()
	}
	return returnedEntry{}, false
}

func (h *returned) pop() {
	s := *h
	n := len(s) - 1
	s[0] = s[n]
	s = s[:n]
	for i := 0; ; {
		c := 2*i + 1
		if c >= n {
			break
		}
		if c+1 < n && s[c+1].seq < s[c].seq {
			c++
		}
		if s[i].seq <= s[c].seq {
			break
		}
		s[i], s[c] = s[c], s[i]
		i = c
	}
	*h = s
	if n == 0 && cap(s) > 1024 {
		*h = nil
	}
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
