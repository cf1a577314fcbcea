package queue

import (
	"cmp"
	"slices"
)

// CountPositions is how many sequence numbers a page of delivery counts covers (S-15).
const CountPositions = 1024

// countPagesPerState is how many pages of counts go into one state, so that it can share
// a transaction with the messages whose letters it settles (S-9). The rest follow.
const countPagesPerState = 64

// CountPage is how often messages came back whose sequence numbers are from
// Number*CountPositions on. Those that never did are not in it; without any it is gone.
type CountPage struct {
	Number uint64
	Counts []Count // by sequence number
}

// Count is how often one message came back.
type Count struct {
	Seq uint64
	N   uint32
}

// counts are the delivery counts of a level that are kept on disk. Messages that never
// came back cost nothing here.
type counts struct {
	pages map[uint64]*countPage
	dirty []uint64 // numbers of the pages that changed
}

type countPage struct {
	list   []Count // by sequence number
	dirty  bool
	onDisk bool // handed over, or found there
}

func (c *counts) set(seq uint64, n uint32) {
	number := seq / CountPositions
	p := c.pages[number]
	if p == nil {
		if c.pages == nil {
			c.pages = make(map[uint64]*countPage)
		}
		p = &countPage{}
		c.pages[number] = p
	}
	i, found := p.search(seq)
	if found {
		p.list[i].N = n
	} else {
		p.list = slices.Insert(p.list, i, Count{seq, n})
	}
	c.touch(number, p)
}

func (p *countPage) search(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(p.list, seq, func(x Count, seq uint64) int { return cmp.Compare(x.Seq, seq) })
}

// get is how often a message came back, as far as is kept.
func (c *counts) get(seq uint64) uint32 {
	if p := c.pages[seq/CountPositions]; p != nil {
		if i, found := p.search(seq); found {
			return p.list[i].N
		}
	}
	return 0
}

// removeRange forgets the counts of messages that are settled, and tells whether there
// were any.
func (c *counts) removeRange(first, last uint64) bool {
	removed := false
	remove := func(number uint64, p *countPage) {
		from, _ := p.search(first)
		to, found := p.search(last)
		if found {
			to++
		}
		if from == to {
			return
		}
		removed = true
		p.list = slices.Delete(p.list, from, to)
		if len(p.list) == 0 && !p.onDisk && !p.dirty {
			delete(c.pages, number)
			return
		}
		c.touch(number, p)
	}
	from, to := first/CountPositions, last/CountPositions
	if to-from < uint64(len(c.pages)) {
		for number := from; number <= to; number++ {
			if p := c.pages[number]; p != nil {
				remove(number, p)
			}
		}
		return removed
	}
	for number, p := range c.pages {
		if number >= from && number <= to {
			remove(number, p)
		}
	}
	return removed
}

func (c *counts) touch(number uint64, p *countPage) {
	if !p.dirty {
		p.dirty = true
		c.dirty = append(c.dirty, number)
	}
}

// changed hands over pages to write since the last call, as many as a state takes; more
// tells that there are others.
func (c *counts) changed() (pages []CountPage, more bool) {
	n := 0
	for ; n < len(c.dirty) && len(pages) < countPagesPerState; n++ {
		number := c.dirty[n]
		p := c.pages[number]
		p.dirty = false
		if len(p.list) == 0 {
			delete(c.pages, number)
			if !p.onDisk {
				continue
			}
		}
		p.onDisk = true
		pages = append(pages, CountPage{Number: number, Counts: slices.Clone(p.list)})
	}
	if c.dirty = c.dirty[n:]; len(c.dirty) == 0 {
		c.dirty = nil
	}
	return pages, c.dirty != nil
}

// restore takes over what was found on disk.
func (c *counts) restore(pages []CountPage) {
	if len(pages) > 0 {
		c.pages = make(map[uint64]*countPage, len(pages))
	}
	for i := range pages {
		c.pages[pages[i].Number] = &countPage{list: pages[i].Counts, onDisk: true}
	}
}

// cameBack counts that a message came back. Where somebody looks at the count it is kept
// across restarts, with the next acknowledgement state (QQ-1, QQ-6).
func (q *Queue) cameBack(lv *level, e *entry) {
	e.count++
	if q.durable && e.ordinal != 0 && (q.showsCount() || q.options.Retry.Min > 0) {
		lv.counts.set(e.seq, e.count)
		q.settledSome(lv)
	}
}

// forgetCount forgets the count of a message that is settled.
func (q *Queue) forgetCount(lv *level, e *entry) {
	if e.count > 0 && lv.counts.removeRange(e.seq, e.seq) {
		q.settledSome(lv)
	}
}
