package queue

import "math/bits"

// acks remembers which sequence numbers are settled: all below head, and those whose
// bit is set in a page. Settling in order costs no page at all.
type acks struct {
	head  uint64 // the lowest number that is not settled
	first uint64 // number of pages[0]
	pages []ackPage
}

type ackPage struct {
	bits  *[PagePositions / 64]uint64 // nil when nothing on the page is settled
	dirty bool
}

// set settles seq. Settling twice changes nothing.
func (a *acks) set(seq uint64) {
	switch {
	case seq < a.head:
	case seq == a.head:
		a.head++
		if len(a.pages) > 0 {
			a.advance()
		}
	default:
		a.mark(seq)
	}
}

// setRange settles every number from first to last.
func (a *acks) setRange(first, last uint64) {
	if first <= a.head && last >= a.head {
		a.head = last + 1
		if len(a.pages) > 0 {
			a.advance()
		}
		return
	}
	for seq := max(first, a.head); seq <= last; {
		n := (seq/PagePositions+1)*PagePositions - 1
		a.markRange(seq, min(n, last))
		seq = n + 1
	}
}

// markRange sets the bits of numbers above head that are on one page.
func (a *acks) markRange(first, last uint64) {
	for seq := first; seq <= last; {
		a.mark(seq)
		w := &a.pages[seq/PagePositions-a.first].bits[seq%PagePositions/64]
		end := seq | 63
		if end > last {
			end = last
		}
		*w |= (^uint64(0) << (seq % 64)) & (^uint64(0) >> (63 - end%64))
		seq = end + 1
	}
}

// mark sets the bit of a number above head.
func (a *acks) mark(seq uint64) {
	n := seq / PagePositions
	if len(a.pages) == 0 {
		a.first = a.head / PagePositions
	}
	for n >= a.first+uint64(len(a.pages)) {
		a.pages = append(a.pages, ackPage{})
	}
	p := &a.pages[n-a.first]
	if p.bits == nil {
		p.bits = new([PagePositions / 64]uint64)
	}
	i := seq % PagePositions
	p.bits[i/64] |= 1 << (i % 64)
	p.dirty = true
}

// advance moves head over what is settled already and forgets the pages it has passed.
func (a *acks) advance() {
	for {
		n := a.head / PagePositions
		if n > a.first {
			k := min(n-a.first, uint64(len(a.pages)))
			a.pages = a.pages[k:]
			a.first += k
			if len(a.pages) == 0 {
				a.pages = nil
				return
			}
		}
		p := a.pages[0]
		if p.bits == nil {
			return
		}
		i := a.head % PagePositions
		run := uint64(bits.TrailingZeros64(^(p.bits[i/64] >> (i % 64))))
		run = min(run, 64-i%64)
		a.head += run
		if i%64+run < 64 {
			return
		}
	}
}

// has tells whether seq is settled.
func (a *acks) has(seq uint64) bool {
	if seq < a.head {
		return true
	}
	n := seq / PagePositions
	if len(a.pages) == 0 || n < a.first || n >= a.first+uint64(len(a.pages)) {
		return false
	}
	p := a.pages[n-a.first]
	i := seq % PagePositions
	return p.bits != nil && p.bits[i/64]&(1<<(i%64)) != 0
}

// changed hands over the pages to write since the last call.
func (a *acks) changed(dst []Page) []Page {
	for i := range a.pages {
		if p := &a.pages[i]; p.dirty {
			dst = append(dst, Page{Number: a.first + uint64(i), Bits: *p.bits})
			p.dirty = false
		}
	}
	return dst
}

// restore takes over what was found on disk.
func (a *acks) restore(head uint64, pages []Page) {
	a.head, a.pages = head, nil
	for i := range pages {
		p := &pages[i]
		for w, word := range p.Bits {
			for word != 0 {
				seq := p.Number*PagePositions + uint64(w*64+bits.TrailingZeros64(word))
				a.set(seq)
				word &= word - 1
			}
		}
	}
}
