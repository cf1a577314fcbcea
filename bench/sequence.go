package bench

import (
	"slices"
	"sort"
)

// sequence is what has been seen of a stream at a queue: all below next, except the gaps.
// Where no order is to be expected there would be too many of those, and each number has a
// bit instead.
type sequence struct {
	next uint64
	gaps []gap // sorted, apart from each other, none of them empty

	shuffled bool
	bits     []uint64
}

// gap is what has been passed over: from up to, but not with, to.
type gap struct{ from, to uint64 }

// see takes note of n and reports whether it had not been seen before.
func (s *sequence) see(n uint64) bool {
	if s.shuffled {
		return s.mark(n)
	}
	switch {
	case n == s.next:
		s.next++
		return true
	case n > s.next:
		s.gaps = append(s.gaps, gap{s.next, n})
		s.next = n + 1
		return true
	}
	i := sort.Search(len(s.gaps), func(i int) bool { return n < s.gaps[i].to })
	if i == len(s.gaps) || n < s.gaps[i].from {
		return false
	}
	switch g := &s.gaps[i]; {
	case n == g.from && n+1 == g.to:
		s.gaps = slices.Delete(s.gaps, i, i+1)
	case n == g.from:
		g.from++
	case n+1 == g.to:
		g.to--
	default:
		rest := gap{n + 1, g.to}
		g.to = n
		s.gaps = slices.Insert(s.gaps, i+1, rest)
	}
	return true
}

func (s *sequence) mark(n uint64) bool {
	for n/64 >= uint64(len(s.bits)) {
		s.bits = append(s.bits, 0)
	}
	bit := uint64(1) << (n % 64)
	seen := s.bits[n/64]&bit != 0
	s.bits[n/64] |= bit
	return !seen
}
