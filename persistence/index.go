package persistence

import (
	"math"
	"slices"
	"sync"

	"github.com/leveretmq/leveret/queue"
)

// index knows every record that is needed, which numbers of which levels are in it, and
// how many of those are alive: so that a record is deleted once, when the last of them is
// settled (S-10), and that a read finds its record. It does not grow with messages but
// with records.
//
// Only the committer changes what is where. A record enters before its transaction
// commits (S-20); what the mover rewrote changes places after its own did (S-21).
type index struct {
	// mu guards everything here. It is held for look-ups and changes in memory, never for a
	// commit, and no publisher wants it.
	mu sync.Mutex

	queues     map[queue.ID]*queueIndex
	records    map[uint64]*stored     // journal records by group; those with live references or quarantined
	bodies     map[uint64]*storedBody // those that lie by themselves, by id
	damaged    map[chunkKey]*stored   // quarantined chunks
	coming     map[chunkKey]struct{}  // chunks of the mover whose transaction is under way
	order      []*stored              // journal records by group, for the floor; some may be dead
	dead       []*stored              // waiting for their tombstones
	deadBodies []*storedBody          // likewise

	journal    journalUse
	chunkBytes int   // how large a chunk is to be
	bytes      int64 // of the values of all records that are not buried
	// lookUp finds the numbers of a stretch that has holes and does not know where. The
	// error is damage.
	lookUp func(s *stretch) ([]uint64, error)
}

// journalUse is how much the journal holds that could be moved.
type journalUse struct {
	bytes              int64
	records, stretches int
}

// stored is a record on disk: a journal record, or a chunk.
type stored struct {
	group   uint64
	written int64 // Unix milliseconds
	bytes   int64 // of its value
	refs    int   // references it was found or written with
	live    int   // references not settled
	chunk   *chunkKey
	buried  bool
	// quarantined records are damaged. They stay for a repair, whatever is settled.
	quarantined bool
	// fixed records are not moved: a newer program wrote them.
	fixed bool
}

// queueIndex is what the store has of one queue, by level.
type queueIndex struct{ levels []levelIndex }

type levelIndex struct {
	level    uint8
	state    bool       // there is a key 02
	changed  bool       // since the mover last looked for small chunks
	pages    []uint64   // keys 30, rising
	counts   []uint64   // keys 31, rising
	large    []largeRef // messages whose bodies lie by themselves, in order
	last     uint64     // the highest number stored
	sections []stretch  // in order; they do not overlap
	settled  int        // sections with nothing left
	journal  int        // sections in the journal with something left
}

func newIndex() *index {
	return &index{
		queues:  make(map[queue.ID]*queueIndex),
		records: make(map[uint64]*stored),
		bodies:  make(map[uint64]*storedBody),
		damaged: make(map[chunkKey]*stored),
		coming:  make(map[chunkKey]struct{}),

		chunkBytes: chunkBytes,
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
	x.bytes += r.bytes
	if r.chunk != nil {
		return // it is known by its stretch
	}
	x.records[r.group] = r
	x.count(r, 1)
	if len(x.order) >= 64 && len(x.records) < len(x.order)/2 {
		x.order = slices.DeleteFunc(x.order, func(r *stored) bool { return x.records[r.group] != r })
	}
	x.order = append(x.order, r)
}

// held is how many bytes the records have of which something is alive.
func (x *index) held() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.bytes
}

// count adds a journal record to what could be moved, or takes it off.
func (x *index) count(r *stored, sign int) {
	if r.chunk == nil && !r.fixed && !r.quarantined {
		x.journal.bytes += int64(sign) * r.bytes
		x.journal.records += sign
	}
}

// quarantine keeps a damaged record for a repair.
func (x *index) quarantine(r *stored) {
	if r.quarantined || r.buried {
		return
	}
	x.count(r, -1)
	r.quarantined = true
	if r.chunk != nil {
		x.damaged[*r.chunk] = r
	}
}

// fix has the mover leave a record alone.
func (x *index) fix(r *stored) {
	if !r.fixed && !r.buried {
		x.count(r, -1)
		r.fixed = true
	}
}

// bury moves a record to those that wait for their tombstones.
func (x *index) bury(r *stored) {
	if r.quarantined || r.buried {
		return
	}
	if r.chunk == nil {
		if x.records[r.group] == r {
			delete(x.records, r.group)
			x.count(r, -1)
		}
	}
	r.buried = true
	x.bytes -= r.bytes
	x.dead = append(x.dead, r)
}

// settle notes that the numbers from first to last are settled. Saying so twice, or of
// numbers that were never stored, changes nothing: a record deleted too early would be
// a message lost.
func (x *index) settle(lv *levelIndex, first, last uint64) {
	for i := lv.search(first); i < len(lv.sections) && lv.sections[i].first <= last; i++ {
		s := &lv.sections[i]
		if s.left == 0 {
			continue
		}
		n, err := s.settle(first, last, x.lookUp)
		if err != nil {
			x.quarantine(s.record)
			continue
		}
		s.record.live -= n
		lv.changed = lv.changed || n > 0
		if s.left == 0 {
			x.finished(lv, s)
		}
		if s.record.live == 0 {
			x.bury(s.record)
		}
	}
	lv.compact()
	x.settleBodies(lv, first, last)
}

// finished notes that nothing is left of a stretch.
func (x *index) finished(lv *levelIndex, s *stretch) {
	s.members = nil
	lv.settled++
	if s.record.chunk == nil {
		lv.journal--
		x.journal.stretches--
	}
}

// drop forgets a queue; nothing of it is alive any more.
func (x *index) drop(id queue.ID) {
	q := x.queues[id]
	if q == nil {
		return
	}
	delete(x.queues, id)
	for i := range q.levels {
		lv := &q.levels[i]
		x.settleBodies(lv, 0, math.MaxUint64)
		for j := range lv.sections {
			s := &lv.sections[j]
			if s.left == 0 {
				continue
			}
			s.record.live -= int(s.left)
			s.left = 0
			x.finished(lv, s)
			if s.record.live == 0 {
				x.bury(s.record)
			}
		}
	}
}

// addPage notes that there is a page on disk.
func (lv *levelIndex) addPage(page uint64) { addNumber(&lv.pages, page) }

func addNumber(all *[]uint64, n uint64) {
	if i, found := slices.BinarySearch(*all, n); !found {
		*all = slices.Insert(*all, i, n)
	}
}

func removeNumber(all *[]uint64, n uint64) (found bool) {
	i, found := slices.BinarySearch(*all, n)
	if found {
		*all = slices.Delete(*all, i, i+1)
	}
	return found
}

// floor is a group below which no journal record is needed; next is the group to come.
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

// hasChunk tells whether a chunk is needed.
func (x *index) hasChunk(k chunkKey) bool {
	if _, soon := x.coming[k]; soon || x.damaged[k] != nil {
		return true
	}
	lv := x.find(k.queue, k.level)
	if lv == nil {
		return false
	}
	for i := lv.search(k.first); i < len(lv.sections) && lv.sections[i].first <= k.last; i++ {
		if c := lv.sections[i].record.chunk; c != nil && *c == k && lv.sections[i].left > 0 {
			return true
		}
	}
	return false
}
