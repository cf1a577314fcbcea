package persistence

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sort"

	"github.com/leveretmq/leveret/queue"
)

// stretch is what one record has of one level between two numbers: all of it, or what is
// left when another record has taken some over.
type stretch struct {
	record      *stored
	first, last uint64
	bytes       int64 // of the payloads, settled ones included
	count, left uint32
	members     *members // nil while nothing but the numbers above need be known
}

// members are the numbers of a stretch that has holes, or of which some are settled.
type members struct {
	offsets []uint32 // number - first of each; nil when there are no holes
	gone    []uint64 // a bit for each that is settled; nil while none is
}

// dense tells that there are no holes.
func (s *stretch) dense() bool { return s.last-s.first+1 == uint64(s.count) }

// known tells that the numbers are known without looking into the record.
func (s *stretch) known() bool { return s.members != nil && s.members.offsets != nil || s.dense() }

// leftBytes is about how many bytes of payloads are alive.
func (s *stretch) leftBytes() int64 {
	if s.left == s.count {
		return s.bytes
	}
	return s.bytes * int64(s.left) / int64(s.count)
}

// search is the first section that may hold seq or what comes after it.
func (lv *levelIndex) search(seq uint64) int {
	return sort.Search(len(lv.sections), func(i int) bool { return lv.sections[i].last >= seq })
}

// compact forgets sections with nothing left, now and then.
func (lv *levelIndex) compact() {
	if lv.settled > 32 && lv.settled > len(lv.sections)/2 {
		lv.sections = slices.DeleteFunc(lv.sections, func(s stretch) bool { return s.left == 0 })
		lv.settled = 0
		if cap(lv.sections) > 4*len(lv.sections)+64 {
			lv.sections = slices.Clone(lv.sections)
		}
	}
}

// add notes one live reference of record r. Numbers of a level only ever rise.
func (x *index) add(lv *levelIndex, r *stored, id queue.ID, seq uint64, payload int) {
	if seq <= lv.last {
		panic(fmt.Sprintf("persistence: queue %d level %d stores message %d after %d", id, lv.level, seq, lv.last))
	}
	lv.last = seq
	r.live++
	r.refs++
	if n := len(lv.sections); n > 0 {
		if s := &lv.sections[n-1]; s.record == r && s.left == s.count && seq-s.first <= math.MaxUint32 {
			s.extend(seq, payload)
			return
		}
	}
	lv.compact()
	x.push(lv, stretch{record: r, first: seq, last: seq, bytes: int64(payload), count: 1, left: 1})
}

// push adds a stretch behind the others.
func (x *index) push(lv *levelIndex, s stretch) {
	lv.sections = append(lv.sections, s)
	lv.changed = true
	if s.record.chunk == nil {
		lv.journal++
		x.journal.stretches++
	}
}

func (s *stretch) extend(seq uint64, payload int) {
	if s.members == nil && seq != s.last+1 {
		s.members = &members{offsets: make([]uint32, s.count, s.count+16)}
		for i := range s.members.offsets {
			s.members.offsets[i] = uint32(i)
		}
	}
	if s.members != nil {
		s.members.offsets = append(s.members.offsets, uint32(seq-s.first))
	}
	s.last = seq
	s.bytes += int64(payload)
	s.count++
	s.left++
}

// settle returns how many of the numbers from first to last were alive until now. Where
// the holes are is looked up if that decides.
func (s *stretch) settle(first, last uint64, lookUp func(*stretch) ([]uint64, error)) (int, error) {
	if first <= s.first && last >= s.last {
		n := int(s.left)
		s.left = 0
		return n, nil
	}
	if !s.known() {
		seqs, err := lookUp(s)
		if err != nil {
			return 0, err
		}
		s.setMembers(seqs)
	}
	from, to := s.position(first), int(s.count)
	if last < s.last {
		to = s.position(last + 1)
	}
	if from == to {
		return 0, nil
	}
	if s.members == nil {
		s.members = &members{}
	}
	m := s.members
	if m.gone == nil {
		m.gone = make([]uint64, (s.count+63)/64)
	}
	n := 0
	for from < to {
		mask := ^uint64(0) << (from % 64)
		if end := from&^63 + 64; end > to {
			mask &= ^uint64(0) >> (end - to)
		}
		n += bits.OnesCount64(mask &^ m.gone[from/64])
		m.gone[from/64] |= mask
		from = from&^63 + 64
	}
	s.left -= uint32(n)
	return n, nil
}

// setMembers tells where the holes are.
func (s *stretch) setMembers(seqs []uint64) {
	if len(seqs) != int(s.count) {
		panic(fmt.Sprintf("persistence: a stretch of %d messages has %d", s.count, len(seqs)))
	}
	m := &members{offsets: make([]uint32, len(seqs))}
	for i, seq := range seqs {
		m.offsets[i] = uint32(seq - s.first)
	}
	s.members = m
}

// forgetMembers saves the memory of what a look into the record can tell again.
func (s *stretch) forgetMembers() {
	if s.members != nil && s.members.gone == nil {
		s.members = nil
	}
}

// position is how many of the stretch's numbers are below seq.
func (s *stretch) position(seq uint64) int {
	switch {
	case seq <= s.first:
		return 0
	case seq > s.last:
		return int(s.count)
	case s.members == nil || s.members.offsets == nil:
		return int(seq - s.first)
	}
	n, _ := slices.BinarySearch(s.members.offsets, uint32(seq-s.first))
	return n
}

// alive tells whether a number is there and not settled, as far as can be told without
// looking into the record.
func (s *stretch) alive(seq uint64) bool {
	if s.left == 0 || seq < s.first || seq > s.last {
		return false
	}
	if s.members == nil {
		return true
	}
	n := s.position(seq)
	if o := s.members.offsets; o != nil && (n == len(o) || o[n] != uint32(seq-s.first)) {
		return false
	}
	return s.members.gone == nil || s.members.gone[n/64]&(1<<(n%64)) == 0
}

// alive tells the same of a level.
func (lv *levelIndex) alive(seq uint64) bool {
	i := lv.search(seq)
	return i < len(lv.sections) && lv.sections[i].alive(seq)
}
