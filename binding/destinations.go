package binding

// destinations is a set of destinations that counts how often each was added: two
// bindings that differ only in what a matcher does not look at lead to the same place,
// and it stays until both are gone. They are in one slice, ready to be appended.
type destinations struct {
	each []*Destination
	// more has, for a destination added n times, n-1. It is nil for most.
	more map[*Destination]int
	// index says where in each a destination is, once there are too many to search.
	index map[*Destination]int32
}

// indexFrom is how many destinations are searched one by one.
const indexFrom = 16

func (s *destinations) add(d *Destination) {
	if s.find(d) >= 0 {
		if s.more == nil {
			s.more = make(map[*Destination]int)
		}
		s.more[d]++
		return
	}
	s.each = append(s.each, d)
	switch {
	case s.index != nil:
		s.index[d] = int32(len(s.each) - 1)
	case len(s.each) > indexFrom:
		s.index = make(map[*Destination]int32, 2*indexFrom)
		for i, d := range s.each {
			s.index[d] = int32(i)
		}
	}
}

// remove takes back one add of d, if there was one.
func (s *destinations) remove(d *Destination) {
	i := s.find(d)
	if i < 0 {
		return
	}
	if n := s.more[d]; n > 0 {
		if n == 1 {
			delete(s.more, d)
		} else {
			s.more[d] = n - 1
		}
		return
	}
	last := len(s.each) - 1
	moved := s.each[last]
	s.each[i], s.each[last] = moved, nil
	if s.index != nil {
		s.index[moved] = int32(i)
		delete(s.index, d)
	}
	s.each = s.each[:last]
	if last == 0 { // a map keeps its size; let go of it with the last destination
		*s = destinations{}
	}
}

func (s *destinations) find(d *Destination) int {
	if s.index != nil {
		if i, ok := s.index[d]; ok {
			return int(i)
		}
		return -1
	}
	for i := range s.each {
		if s.each[i] == d {
			return i
		}
	}
	return -1
}

// once appends destinations that may come up several times in one match, each only the
// first time. It is part of a matcher's scratch memory.
type once struct {
	start int // where in dst this match began
	// seen has what was appended, once that is too much to search.
	seen map[*Destination]struct{}
}

// searchUpTo is how many destinations are searched one by one.
const searchUpTo = 32

// keepUpTo is how large a map is kept for the next match. Clearing one takes as long as
// it is large, so one that was made for a great fan-out must not slow down the others.
const keepUpTo = 4096

func (o *once) begin(dst []*Destination) {
	o.start = len(dst)
	if len(o.seen) > keepUpTo {
		o.seen = nil
	}
	clear(o.seen)
}

func (o *once) append(dst []*Destination, ds ...*Destination) []*Destination {
	if len(dst) == o.start {
		return append(dst, ds...) // what comes from one place has no repeats
	}
	for _, d := range ds {
		if o.first(dst, d) {
			dst = append(dst, d)
		}
	}
	return dst
}

func (o *once) first(dst []*Destination, d *Destination) bool {
	have := dst[o.start:]
	if len(have) <= searchUpTo {
		for _, h := range have {
			if h == d {
				return false
			}
		}
		return true
	}
	if o.seen == nil {
		o.seen = make(map[*Destination]struct{}, 4*searchUpTo)
	}
	if len(o.seen) == 0 {
		for _, h := range have {
			o.seen[h] = struct{}{}
		}
	}
	if _, there := o.seen[d]; there {
		return false
	}
	o.seen[d] = struct{}{}
	return true
}

// Compact removes from dst[start:] every destination that is already there before it,
// keeping the order of the rest. It is for results of several matches: the further
// routing keys of one message (EX-37), the exchanges it passes through (EX-26).
func Compact(dst []*Destination, start int) []*Destination {
	o := once{start: start}
	out := dst[:start]
	for _, d := range dst[start:] {
		if o.first(out, d) {
			out = append(out, d)
		}
	}
	clear(dst[len(out):])
	return out
}
