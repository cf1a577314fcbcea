package persistence

import (
	"slices"
	"sort"

	"github.com/leveretmq/leveret/queue"
)

// spilledQueue is what is spilled of a queue, by level.
type spilledQueue map[uint8]*spilledLevel

// spilledLevel knows the copies of a level. They come and go at both ends mostly, so those
// that are forgotten at the front leave room there.
type spilledLevel struct {
	copies []spilledCopy // in order; they do not overlap
	start  int           // copies[start:] are in use
	gone   int           // of those, forgotten
	strays map[uint64]spilledCopy
}

// isGone tells whether a copy was forgotten. It keeps its range, to search by.
func (c *spilledCopy) isGone() bool { return c.segment == nil && c.puts == nil }

func (lv *spilledLevel) add(c spilledCopy, stray bool) {
	if stray {
		lv.strays[c.First] = c
		return
	}
	in := lv.copies[lv.start:]
	at := lv.search(c.First)
	switch {
	case at < len(in) && in[at].isGone() && in[at].First <= c.Last:
		// What was here before overlaps it, and so may what follows.
		lv.compact()
		lv.add(c, false)
	case at == 0 && lv.start > 0:
		lv.start--
		lv.copies[lv.start] = c
	case at == len(in):
		if lv.start > 0 && len(lv.copies) == cap(lv.copies) && lv.start >= len(lv.copies)/2 {
			lv.compact()
		}
		lv.copies = append(lv.copies, c)
	default:
		lv.copies = slices.Insert(lv.copies, lv.start+at, c)
	}
}

// search is the place of the first copy that ends at seq or behind it.
func (lv *spilledLevel) search(seq uint64) int {
	in := lv.copies[lv.start:]
	return sort.Search(len(in), func(i int) bool { return in[i].Last >= seq })
}

// overlapping are the copies with something of a range, strays included.
func (lv *spilledLevel) overlapping(r queue.Range) (found []spilledCopy) {
	in := lv.copies[lv.start:]
	for i := lv.search(r.First); i < len(in) && in[i].First <= r.Last; i++ {
		if !in[i].isGone() {
			found = append(found, in[i])
		}
	}
	if uint64(len(lv.strays)) < r.Last-r.First {
		for seq, c := range lv.strays {
			if seq >= r.First && seq <= r.Last {
				found = append(found, c)
			}
		}
		return found
	}
	for seq := r.First; ; seq++ {
		if c, ok := lv.strays[seq]; ok {
			found = append(found, c)
		}
		if seq == r.Last {
			return found
		}
	}
}

// remove forgets the copies that overlap a range and tells f of each.
func (lv *spilledLevel) remove(r queue.Range, f func(spilledCopy)) {
	in := lv.copies[lv.start:]
	for i := lv.search(r.First); i < len(in) && in[i].First <= r.Last; i++ {
		if !in[i].isGone() {
			f(in[i])
			in[i] = spilledCopy{Range: in[i].Range}
			lv.gone++
		}
	}
	for lv.start < len(lv.copies) && lv.copies[lv.start].isGone() {
		lv.start++
		lv.gone--
	}
	if left := len(lv.copies) - lv.start; left == 0 || lv.gone > 64 && lv.gone > left/2 {
		lv.compact()
	}
}

// compact drops what was forgotten.
func (lv *spilledLevel) compact() {
	kept := slices.DeleteFunc(lv.copies[lv.start:], func(c spilledCopy) bool { return c.isGone() })
	if len(kept) == 0 {
		lv.copies = nil
	} else {
		lv.copies = slices.Clone(kept)
	}
	lv.start, lv.gone = 0, 0
}

// each calls f with every copy.
func (lv *spilledLevel) each(f func(spilledCopy)) {
	for _, c := range lv.copies[lv.start:] {
		if !c.isGone() {
			f(c)
		}
	}
	for _, c := range lv.strays {
		f(c)
	}
}
