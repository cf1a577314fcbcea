package persistence

import (
	"cmp"
	"slices"
	"sync"

	"github.com/leveretmq/leveret/queue"
)

// memory is the backend that writes nowhere and is always ready. It has the messages that
// are not settled, so that they can be read as from disk.
type memory struct {
	group uint64

	mu     sync.Mutex // a leaf; guards the fields below
	levels map[queue.ID]map[uint8]*memoryLevel
}

// memoryLevel has the messages of a level in order. Settled ones have no message.
type memoryLevel struct {
	puts    []queue.StoredPut
	settled int
}

func newMemory() *memory {
	return &memory{levels: make(map[queue.ID]map[uint8]*memoryLevel)}
}

func (m *memory) next() uint64 { return m.group + 1 }

func (m *memory) write(g *group) error {
	m.group++
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range g.batch.Puts {
		p := &g.batch.Puts[i]
		lv := m.level(p.Queue, p.Level)
		lv.puts = append(lv.puts, *p)
	}
	for i := range g.batch.States {
		s := &g.batch.States[i]
		lv := m.level(s.Queue, s.Level)
		for _, r := range s.Settled {
			lv.settle(r)
		}
		if s.Head > 0 {
			lv.settle(queue.Range{Last: s.Head - 1})
		}
	}
	for _, id := range g.drops {
		delete(m.levels, id)
	}
	return nil
}

func (m *memory) level(id queue.ID, level uint8) *memoryLevel {
	q := m.levels[id]
	if q == nil {
		q = make(map[uint8]*memoryLevel)
		m.levels[id] = q
	}
	lv := q[level]
	if lv == nil {
		lv = &memoryLevel{}
		q[level] = lv
	}
	return lv
}

// search is the first message numbered seq or above.
func (lv *memoryLevel) search(seq uint64) int {
	i, _ := slices.BinarySearchFunc(lv.puts, seq, func(p queue.StoredPut, seq uint64) int { return cmp.Compare(p.Seq, seq) })
	return i
}

func (lv *memoryLevel) settle(r queue.Range) {
	for i := lv.search(r.First); i < len(lv.puts) && lv.puts[i].Seq <= r.Last; i++ {
		if lv.puts[i].Message != nil {
			lv.puts[i].Message = nil
			lv.settled++
		}
	}
	if lv.settled > 64 && lv.settled > len(lv.puts)/2 {
		left := make([]queue.StoredPut, 0, 2*(len(lv.puts)-lv.settled))
		for i := range lv.puts {
			if lv.puts[i].Message != nil {
				left = append(left, lv.puts[i])
			}
		}
		lv.puts, lv.settled = left, 0
	}
}

// reader implements source.
func (m *memory) reader() func(queue.ID, uint8, queue.Range) ([]queue.RestoredMessage, error) {
	return m.read
}

func (m *memory) read(id queue.ID, level uint8, r queue.Range) ([]queue.RestoredMessage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	lv := m.levels[id][level]
	if lv == nil {
		return nil, ErrDropped
	}
	var out []queue.RestoredMessage
	for i := lv.search(r.First); i < len(lv.puts) && lv.puts[i].Seq <= r.Last; i++ {
		if p := &lv.puts[i]; p.Message != nil {
			out = append(out, queue.RestoredMessage{Seq: p.Seq, Expiry: p.Expiry, Redelivered: p.Redelivered, Message: p.Message})
		}
	}
	return out, nil
}

func (m *memory) close() error { return nil }
