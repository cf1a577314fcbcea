package persistence

import (
	"errors"
	"time"

	"github.com/leveretmq/leveret/queue"
)

const (
	defaultJournalMax = 256 << 20
	// What else bounds the journal: memory and the time of a start follow these.
	maxJournalRecords   = 1 << 16
	maxJournalStretches = 1 << 17

	// moveInterval is how often a store that commits is looked through for old journal
	// records of which little is alive, and for small chunks.
	moveInterval = 5 * time.Second
	// moveAge is how old a record is before it is moved for another reason than room: most
	// messages do not get that old.
	moveAge = 5 * time.Second
	// moveBytes and moveMessages are how much one move takes along, more or less, and how
	// much is moved in one group.
	moveBytes    = 1 << 20
	moveMessages = 4 * chunkMessages
	batchBytes   = 4 << 20
	// passRefs is how many references the records have that one pass empties: their
	// directories are in memory meanwhile.
	passRefs = 64 << 10
	// mergeRatio is how many small chunks become one before it is worth it.
	mergeRatio = 4
)

// limits are what the journal may grow to before the mover makes room. At twice that
// publishers wait.
type limits struct {
	bytes              int64
	records, stretches int
}

// pressure is how full the journal is; above 1 it is too full.
func (l *limits) pressure(u journalUse) float64 {
	return max(float64(u.bytes)/float64(l.bytes), float64(u.records)/float64(l.records), float64(u.stretches)/float64(l.stretches))
}

// mover rewrites what stays in the journal into chunks of its queues, so that short-lived
// messages are written once, long backlogs become large records, and the journal stays
// small. It reads and builds for itself; the committer writes (I5), the chunk first and
// the delete of what it was made of once nothing is left there (S-22).
type mover struct {
	s       *Store
	d       *disk
	fetcher *fetcher
	limits  limits
	now     func() time.Time
	byHand  bool

	wake   chan struct{} // holds one; the journal is too full
	active chan struct{} // holds one; something was committed
	quit   chan struct{}
	ended  chan struct{}
}

func newMover(s *Store, d *disk, o Options) *mover {
	m := &mover{
		s: s, d: d, fetcher: newFetcher(d),
		limits: limits{bytes: o.JournalMax, records: maxJournalRecords, stretches: maxJournalStretches},
		now:    time.Now,
		byHand: o.byHand,
		wake:   make(chan struct{}, 1),
		active: make(chan struct{}, 1),
		quit:   make(chan struct{}),
	}
	if m.limits.bytes <= 0 {
		m.limits.bytes = defaultJournalMax
	}
	m.fetcher.limit = 2 * passRefs
	return m
}

func (m *mover) start() {
	m.ended = make(chan struct{})
	m.wake <- struct{}{}
	m.active <- struct{}{}
	go m.run()
}

func (m *mover) stop() {
	close(m.quit)
	if m.ended != nil {
		<-m.ended
	}
}

// committed tells what the journal holds after a commit.
func (m *mover) committed(u journalUse) {
	signal := m.active
	p := m.limits.pressure(u)
	if p > 1 {
		signal = m.wake
	}
	select {
	case signal <- struct{}{}:
	default:
	}
	m.s.setJournalFull(p > 2)
}

func (m *mover) run() {
	defer close(m.ended)
	tick := time.NewTimer(moveInterval)
	tick.Stop()
	armed := false
	for {
		select {
		case <-m.quit:
			return
		case <-m.wake:
			m.relieve()
		case <-m.active:
			if !armed {
				armed = true
				tick.Reset(moveInterval)
			}
		case <-tick.C:
			armed = false
			m.tidy()
		}
		m.fetcher.forget()
	}
}

// relieve makes room until there is enough, or nothing more can be done: when the next
// commit finds the journal too full it is tried again.
func (m *mover) relieve() {
	use := m.d.journalUse()
	if m.limits.pressure(use) > 1 {
		defer m.bury()
	}
	for m.limits.pressure(use) > 1 {
		moved := m.makeRoom()
		before := use
		use = m.d.journalUse()
		m.s.setJournalFull(m.limits.pressure(use) > 2)
		if !moved && use == before {
			return
		}
	}
}

// makeRoom empties the oldest records of the journal, up to half of it, and tells whether
// anything was moved.
func (m *mover) makeRoom() bool {
	upTo, along := m.oldest()
	return m.pass(func(x *index, lv *levelIndex, from uint64) []piece {
		return x.pickJournal(lv, from,
			func(r *stored) bool { return r.group <= upTo },
			func(r *stored) bool { return r.group <= along })
	}, onlyJournal)
}

// oldest is the group up to which records are to be emptied, and the one up to which they
// may go along: as many as their directories find room for. Were there more, each move
// would read all of them again.
func (m *mover) oldest() (upTo, along uint64) {
	x := m.d.index
	x.mu.Lock()
	defer x.mu.Unlock()
	var bytes int64
	records, refs, enough := 0, 0, false
	for _, r := range x.order {
		if x.records[r.group] != r || r.fixed || r.quarantined {
			continue
		}
		bytes += r.bytes
		records++
		refs += r.refs
		if along > 0 && refs > passRefs {
			break
		}
		along = r.group
		if !enough {
			upTo = r.group
		}
		enough = enough || bytes >= m.limits.bytes/2 || records >= m.limits.records/2
	}
	return upTo, along
}

// tidy moves old messages out of records that are mostly dead, and makes one of several
// small chunks.
func (m *mover) tidy() {
	before := m.now().Add(-moveAge).UnixMilli()
	journal := m.pass(func(x *index, lv *levelIndex, from uint64) []piece {
		return x.pickJournal(lv, from,
			func(r *stored) bool { return r.written <= before && 2*r.live < r.refs },
			func(r *stored) bool { return r.written <= before })
	}, onlyJournal)
	small := m.pass(func(x *index, lv *levelIndex, from uint64) []piece {
		return x.pickSmall(lv, from, before)
	}, onlyChanged)
	if journal || small {
		m.bury()
	}
}

// bury has the records deleted from which everything was moved, commit or no commit.
func (m *mover) bury() {
	m.s.move(&moveBatch{done: make(chan struct{})})
}

func onlyJournal(lv *levelIndex) bool { return lv.journal > 0 }

func onlyChanged(lv *levelIndex) bool {
	changed := lv.changed
	lv.changed = false
	return changed
}

// place of a level.
type levelPlace struct {
	queue queue.ID
	level uint8
}

// pass goes through the levels that want it and moves what pick finds in each. It returns
// whether anything was moved.
func (m *mover) pass(pick func(x *index, lv *levelIndex, from uint64) []piece, want func(*levelIndex) bool) (moved bool) {
	b := &moveBatch{done: make(chan struct{})}
	bytes := 0
	clear(m.fetcher.shared)
	submit := func() bool {
		if len(b.moves) == 0 {
			return true
		}
		moved = m.s.move(b)
		clear(m.fetcher.shared)
		b, bytes = &moveBatch{done: make(chan struct{})}, 0
		return moved
	}
	for _, at := range m.levels(want) {
		for from := uint64(0); ; {
			select {
			case <-m.quit:
				return moved
			default:
			}
			pieces := m.pick(at, from, pick)
			if len(pieces) == 0 {
				break
			}
			from = pieces[len(pieces)-1].Last + 1
			mv := &move{queue: at.queue, level: at.level, from: pieces}
			if err := m.fetcher.build(mv); err != nil {
				if errors.Is(err, ErrClosed) {
					return moved
				}
				continue // a later pass leaves out what is in the way
			}
			if len(mv.chunks) == 0 {
				continue
			}
			b.moves = append(b.moves, mv)
			for i := range mv.chunks {
				bytes += len(mv.chunks[i].value)
			}
			for _, s := range mv.shared {
				bytes += len(s.payload)
			}
			if bytes >= batchBytes && !submit() {
				return false
			}
		}
	}
	submit()
	return moved
}

func (m *mover) levels(want func(*levelIndex) bool) []levelPlace {
	x := m.d.index
	x.mu.Lock()
	defer x.mu.Unlock()
	var all []levelPlace
	for id, q := range x.queues {
		for i := range q.levels {
			if want(&q.levels[i]) {
				all = append(all, levelPlace{id, q.levels[i].level})
			}
		}
	}
	return all
}

func (m *mover) pick(at levelPlace, from uint64, pick func(x *index, lv *levelIndex, from uint64) []piece) []piece {
	x := m.d.index
	x.mu.Lock()
	defer x.mu.Unlock()
	lv := x.find(at.queue, at.level)
	if lv == nil {
		return nil
	}
	pieces := pick(x, lv, from)
	for i := range pieces {
		pieces[i].queue, pieces[i].level = at.queue, at.level
	}
	return pieces
}
