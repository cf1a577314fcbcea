package persistence

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sort"

	"github.com/leveretmq/leveret/queue"
)

// index knows every journal record that is needed and how many of its references are
// alive, so that a record is deleted once, when the last of them is settled (S-10). It
// belongs to the committer. A record enters it before its transaction commits (S-20).
type index struct {
	queues  map[queue.ID]*queueIndex
	records map[uint64]*stored  // by group; those with live references or quarantined
	bodies  map[uint64]struct{} // ids of the bodies those keep aside
	order   []*stored           // by group, for the floor; some may be dead
	dead    []*stored           // waiting for their tombstones
}

// stored is a journal record on disk.
type stored struct {
	group uint64
	live  int // references not settled
	bytes int
	// quarantined records are damaged. They stay for a repair, whatever is settled.
	quarantined bool
	aside       []asideKeys
}

// asideKeys are what a record keeps under 40 and 41.
type asideKeys struct {
	id    uint64
	parts uint32
	refs  []bodyRef
}

// queueIndex is what the store has of one queue, by level.
type queueIndex struct{ levels []levelIndex }

type levelIndex struct {
	level    uint8
	state    bool     // there is a key 02
	pages    []uint64 // keys 30, rising
	last     uint64   // the highest number stored
	sections []stretch
	settled  int // sections with nothing left
}

// stretch is what one record has of one level: numbers in rising order.
type stretch struct {
	record      *stored
	first, last uint64
	offsets     []uint32 // number - first of each, when there are holes; nil when there are none
	count, left int
	gone        []uint64 // a bit for each that is settled; nil while none is
}

func newIndex() *index {
	return &index{
		queues:  make(map[queue.ID]*queueIndex),
		records: make(map[uint64]*stored),
		bodies:  make(map[uint64]struct{}),
	}
}

// find finds what is kept of a level; nil when nothing is.
func (x *index) find(id queue.ID, level uint8) *levelIndex {
	q := x.queues[id]
	if q == nil {
		return nil
	}
	for i := range q.levels {
		if q.levels[i].level == level {
			return &q.levels[i]
		}
	}
	return nil
}

// level finds what is kept of a level, or begins it. The pointer is good until another
// level of the queue begins.
func (x *index) level(id queue.ID, level uint8) *levelIndex {
	if lv := x.find(id, level); lv != nil {
		return lv
	}
	q := x.queues[id]
	if q == nil {
		q = &queueIndex{}
		x.queues[id] = q
	}
	q.levels = append(q.levels, levelIndex{level: level})
	return &q.levels[len(q.levels)-1]
}

// addRecord makes a record known. Its stretches are added next.
func (x *index) addRecord(r *stored) {
	x.records[r.group] = r
	for i := range r.aside {
		x.bodies[r.aside[i].id] = struct{}{}
	}
	if len(x.order) >= 64 && len(x.records) < len(x.order)/2 {
		x.order = slices.DeleteFunc(x.order, func(r *stored) bool { return x.records[r.group] != r })
	}
	x.order = append(x.order, r)
}

// add notes one live reference of record r. Numbers of a level only ever rise.
func (x *index) add(lv *levelIndex, r *stored, id queue.ID, seq uint64) {
	if seq <= lv.last {
		panic(fmt.Sprintf("persistence: queue %d level %d stores message %d after %d", id, lv.level, seq, lv.last))
	}
	lv.last = seq
	r.live++
	if n := len(lv.sections); n > 0 {
		if s := &lv.sections[n-1]; s.record == r && seq-s.first <= math.MaxUint32 {
			s.extend(seq)
			return
		}
	}
	if lv.settled > 32 && lv.settled > len(lv.sections)/2 {
		lv.sections = slices.DeleteFunc(lv.sections, func(s stretch) bool { return s.left == 0 })
		lv.settled = 0
	}
	lv.sections = append(lv.sections, stretch{record: r, first: seq, last: seq, count: 1, left: 1})
}

func (s *stretch) extend(seq uint64) {
	if s.offsets == nil && seq != s.last+1 {
		s.offsets = make([]uint32, s.count, s.count+16)
		for i := range s.offsets {
			s.offsets[i] = uint32(i)
		}
	}
	if s.offsets != nil {
		s.offsets = append(s.offsets, uint32(seq-s.first))
	}
	s.last = seq
	s.count++
	s.left++
}

// settle notes that the numbers from first to last are settled. Saying so twice, or of
// numbers that were never stored, changes nothing: a record deleted too early would be
// a message lost.
func (x *index) settle(lv *levelIndex, first, last uint64) {
	i := sort.Search(len(lv.sections), func(i int) bool { return lv.sections[i].last >= first })
	for ; i < len(lv.sections) && lv.sections[i].first <= last; i++ {
		s := &lv.sections[i]
		if s.left == 0 {
			continue
		}
		s.record.live -= s.settle(first, last)
		if s.left == 0 {
			s.gone, s.offsets = nil, nil
			lv.settled++
		}
		if s.record.live == 0 {
			x.bury(s.record)
		}
	}
}

// settle returns how many of the numbers from first to last were alive until now.
func (s *stretch) settle(first, last uint64) int {
	from, to := s.position(first), s.count
	if last < s.last {
		to = s.position(last + 1)
	}
	if from == 0 && to == s.count {
		n := s.left
		s.left = 0
		return n
	}
	if s.gone == nil {
		s.gone = make([]uint64, (s.count+63)/64)
	}
	n := 0
	for from < to {
		mask := ^uint64(0) << (from % 64)
		if end := from&^63 + 64; end > to {
			mask &= ^uint64(0) >> (end - to)
		}
		n += bits.OnesCount64(mask &^ s.gone[from/64])
		s.gone[from/64] |= mask
		from = from&^63 + 64
	}
	s.left -= n
	return n
}

// position is how many of the stretch's numbers are below seq.
func (s *stretch) position(seq uint64) int {
	switch {
	case seq <= s.first:
		return 0
	case seq > s.last:
		return s.count
	case s.offsets == nil:
		return int(seq - s.first)
	}
	n, _ := slices.BinarySearch(s.offsets, uint32(seq-s.first))
	return n
}

// bury moves a record to those that wait for their tombstones.
func (x *index) bury(r *stored) {
	if r.quarantined || x.records[r.group] != r {
		return
	}
	delete(x.records, r.group)
	for i := range r.aside {
		delete(x.bodies, r.aside[i].id)
	}
	x.dead = append(x.dead, r)
}

// drop forgets a queue; nothing of it is alive any more.
func (x *index) drop(id queue.ID) {
	q := x.queues[id]
	if q == nil {
		return
	}
	delete(x.queues, id)
	for i := range q.levels {
		x.settle(&q.levels[i], 0, math.MaxUint64)
	}
}

// addPage notes that there is a page on disk.
func (lv *levelIndex) addPage(page uint64) {
	if i, found := slices.BinarySearch(lv.pages, page); !found {
		lv.pages = slices.Insert(lv.pages, i, page)
	}
}

// floor is a group below which no record is needed; next is the group to come.
func (x *index) floor(next uint64) uint64 {
	for len(x.order) > 0 {
		if r := x.order[0]; x.records[r.group] == r {
			return r.group
		}
		x.order[0] = nil
		x.order = x.order[1:]
	}
	x.order = nil
	return next
}
