package persistence

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/dgraph-io/badger/v4"

	"github.com/leveretmq/leveret/queue"
)

// cover is a range of numbers that a chunk decides about: one that is in it and not in the
// chunk was settled when the chunk was written.
type cover struct {
	queue.Range
	group uint64 // of the chunk
}

// readChunks reads the keys of the chunks, and directories only where acknowledgements or
// a later chunk reach into one (S-22). Of chunks that overlap the later ones took over
// what the earlier had, and a crash came before those were deleted, or garbage collection
// brought them back.
func (r *recovery) readChunks() error {
	var cluster []chunkKey // of one level, each overlapping one before it
	var last uint64        // of the cluster
	err := r.each([]byte{keyChunk}, func(item *badger.Item) error {
		k, ok := parseChunkKey(item.Key())
		q := r.queues[k.queue]
		if !ok || q == nil {
			return r.suspect(item)
		}
		if err := r.later("chunk", k.group); err != nil {
			return err
		}
		lv := q.level(k.level)
		lv.next = max(lv.next, k.last+1)
		if k.last < lv.state.head {
			return r.suspect(item)
		}
		if n, missing := r.d.files.isMissing(item); missing {
			r.without[k] = n
		}
		if n := len(cluster); n > 0 && (cluster[0].queue != k.queue || cluster[0].level != k.level || k.first > last) {
			if err := r.takeCluster(cluster); err != nil {
				return err
			}
			cluster, last = cluster[:0], 0
		}
		cluster = append(cluster, k)
		last = max(last, k.last)
		return nil
	})
	if err != nil {
		return err
	}
	return r.takeCluster(cluster)
}

// takeCluster takes chunks that overlap: each number is decided by the latest chunk that
// has it in its range.
func (r *recovery) takeCluster(cluster []chunkKey) error {
	if len(cluster) == 0 {
		return nil
	}
	lv := r.queues[cluster[0].queue].level(cluster[0].level)
	slices.SortFunc(cluster, func(a, b chunkKey) int { return -cmp.Compare(a.group, b.group) })
	from := len(lv.covers)
	for i := range cluster {
		k := cluster[i]
		free := subtract(queue.Range{First: k.first, Last: k.last}, lv.covers[from:])
		if len(free) == 0 {
			r.suspects = append(r.suspects, appendChunkKey(nil, &k))
			continue
		}
		if n, missing := r.without[k]; missing {
			if err := r.needFile(n, fmt.Sprintf("messages %d to %d of queue %d", k.first, k.last, k.queue)); err != nil {
				return err
			}
		}
		for _, f := range free {
			lv.covers = append(lv.covers, cover{f, k.group})
		}
		slices.SortFunc(lv.covers[from:], func(a, b cover) int { return cmp.Compare(a.First, b.First) })
		if err := r.takeChunk(lv, &k, free); err != nil {
			return err
		}
	}
	return nil
}

// subtract is what of r is not covered. The covers are in order.
func subtract(r queue.Range, covers []cover) []queue.Range {
	var free []queue.Range
	for _, c := range covers {
		if c.Last < r.First || c.First > r.Last {
			continue
		}
		if c.First > r.First {
			free = append(free, queue.Range{First: r.First, Last: c.First - 1})
		}
		if c.Last >= r.Last {
			return free
		}
		r.First = c.Last + 1
	}
	return append(free, r)
}

// takeChunk takes what is alive in some ranges of a chunk.
func (r *recovery) takeChunk(lv *recoveredLevel, k *chunkKey, ranges []queue.Range) error {
	s := &stored{group: k.group, chunk: k, bytes: int64(k.bytes), written: k.minTime}
	index := r.d.index.level(k.queue, k.level)
	suspicious, err := r.mayBeCut(k)
	if err != nil {
		return err
	}
	if len(ranges) == 1 && ranges[0].First == k.first && ranges[0].Last == k.last && !suspicious && lv.untouched(ranges[0]) {
		s.live, s.refs = int(k.count), int(k.count)
		r.d.index.addRecord(s)
		r.d.index.push(index, stretch{record: s, first: k.first, last: k.last, bytes: int64(k.bytes), count: k.count, left: k.count})
		lv.found(queue.Run{Range: ranges[0], Count: int(k.count), Bytes: int64(k.bytes), MinExpiry: k.minExpiry})
		return nil
	}
	err = r.parsed(s, r.valueOf(s), func(rec *record, b []byte) error {
		s.bytes = int64(len(b))
		sec := &rec.sections[0]
		for _, part := range ranges {
			for i := sec.search(part.First); i < len(sec.refs) && sec.refs[i].seq <= part.Last; i++ {
				if f := &sec.refs[i]; lv.alive(f.seq) {
					r.take(lv, index, s, f, rec.bodies[f.body].payload)
				}
			}
		}
		return nil
	})
	r.d.index.addRecord(s)
	var d damage
	if errors.As(err, &d) {
		r.damaged++
		r.d.report(s.problem("", err))
		r.d.index.quarantine(s)
		return nil
	}
	if err != nil {
		return fmt.Errorf("chunk of group %d of queue %d: %w", k.group, k.queue, err)
	}
	if s.live == 0 {
		r.d.index.bury(s)
	}
	return nil
}

// valueOf gets the value of a record.
func (r *recovery) valueOf(s *stored) func(func([]byte) error) error {
	return func(f func([]byte) error) error {
		item, err := r.txn.Get(s.appendKey(nil))
		if err != nil {
			return damaged("%v", err)
		}
		return item.Value(f)
	}
}

// mayBeCut tells whether a chunk may have been behind damage in a log that Badger cut. The
// groups in what was cut tell, with a margin for what can no longer be read there.
func (r *recovery) mayBeCut(k *chunkKey) (bool, error) {
	cut, err := r.salvage.any()
	if err != nil || !cut {
		return false, err
	}
	const margin = 1024
	return k.group+margin >= min(r.salvage.lowest(), r.d.group), nil
}

// untouched tells that no number of a range is settled.
func (lv *recoveredLevel) untouched(r queue.Range) bool {
	if r.First < lv.state.head {
		return false
	}
	i := sort.Search(len(lv.pages), func(i int) bool { return (lv.pages[i].Number+1)*queue.PagePositions > r.First })
	for ; i < len(lv.pages) && lv.pages[i].Number*queue.PagePositions <= r.Last; i++ {
		base := lv.pages[i].Number * queue.PagePositions
		from := int(max(r.First, base) - base)
		if n := nextBit(&lv.pages[i].Bits, from, true); n < queue.PagePositions && base+uint64(n) <= r.Last {
			return false
		}
	}
	return true
}

// cover finds the chunk that decides about a number; nil when none does.
func (lv *recoveredLevel) cover(seq uint64) *cover {
	if i := lv.coverAt(seq); i < len(lv.covers) && lv.covers[i].First <= seq {
		return &lv.covers[i]
	}
	return nil
}

func (lv *recoveredLevel) coverAt(seq uint64) int {
	return sort.Search(len(lv.covers), func(i int) bool { return lv.covers[i].Last >= seq })
}

// adjoin tells that no other chunk begins between two numbers.
func (lv *recoveredLevel) adjoin(a, b uint64) bool {
	return b == a+1 || lv.coverAt(a) == lv.coverAt(b)
}

// found adds to the messages alive. A run begins where the one before is full.
func (lv *recoveredLevel) found(r queue.Run) {
	if n := len(lv.runs); n > 0 && lv.runs[n-1].Last < r.First && lv.adjoin(lv.runs[n-1].Last, r.First) && joins(&lv.runs[n-1], &r) {
		join(&lv.runs[n-1], &r)
		return
	}
	lv.runs = append(lv.runs, r)
}

// joins tells whether two runs make one that is not too large.
func joins(a, b *queue.Run) bool {
	return a.Bytes+b.Bytes <= queue.RunBytes && a.Count+b.Count <= queue.RunMessages
}

func join(a, b *queue.Run) {
	a.Last = b.Last
	a.Count += b.Count
	a.Bytes += b.Bytes
	if a.MinExpiry == 0 || b.MinExpiry != 0 && b.MinExpiry < a.MinExpiry {
		a.MinExpiry = b.MinExpiry
	}
}

// arrange puts what was found in order: chunks and journal were read one after the other,
// and their numbers alternate.
func (r *recovery) arrange() {
	for id, q := range r.queues {
		for _, lv := range q.levels {
			lv.covers = nil
			slices.SortFunc(lv.runs, func(a, b queue.Run) int { return cmp.Compare(a.First, b.First) })
			n := 0
			for i := range lv.runs {
				if n > 0 && joins(&lv.runs[n-1], &lv.runs[i]) {
					join(&lv.runs[n-1], &lv.runs[i])
					continue
				}
				lv.runs[n] = lv.runs[i]
				n++
			}
			lv.runs = slices.Clip(lv.runs[:n])
			index := r.d.index.level(id, lv.level)
			index.last = lv.next - 1
			slices.SortFunc(index.sections, func(a, b stretch) int { return cmp.Compare(a.first, b.first) })
			for i := 1; i < len(index.sections); i++ {
				if a, b := &index.sections[i-1], &index.sections[i]; a.last >= b.first {
					panic(fmt.Sprintf("persistence: queue %d level %d has message %d in two records", id, lv.level, b.first))
				}
			}
		}
	}
}
