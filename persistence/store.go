package persistence

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// Options are what a store is opened with. The zero value is usable.
type Options struct {
	Logger zerolog.Logger
	// MaxUnstored is how many bytes of messages may wait for the disk before WaitRoom
	// waits; 8 MiB when zero.
	MaxUnstored int64
	// Ballast is the size in bytes of the file that RestoreBallast makes and Open deletes when
	// there is no room; none when zero.
	Ballast int64

	// JournalMax is how many bytes of the journal are in use before what is oldest there is
	// moved to chunks of its queues; at twice that WaitRoom waits. 256 MiB when zero.
	JournalMax int64

	// EncryptionKey is what everything on disk is encrypted with, 16, 24 or 32 octets; nil
	// for none. A store has the one it was made with for as long as it lives.
	EncryptionKey []byte

	// SystemReadahead leaves it to the kernel how much of the logs it reads ahead, and with it
	// how much it writes. Otherwise it is told what suits the groups; on Linux only.
	SystemReadahead bool

	byHand       bool  // a test drives the mover and the collector
	valueLogFile int64 // a test's, for garbage to be collected soon
	onProblem    func(Problem)
	repair       bool // go on where confirmed data is missing
}

const defaultMaxUnstored = 8 << 20

// ErrClosed is what is answered to those who still wait when a store is closed.
var ErrClosed = errors.New("the store is closed")

// Store keeps declarations and messages. It is a queue.Store and a topology.Store, safe
// for use by many goroutines. After Open its owner takes Catalog and Restore, makes what
// is in them, and calls Start; nothing is committed before.
//
// A failure to write poisons it: nothing is confirmed and nothing refused any more,
// since what reached the disk is not known. Every method stays harmless. The owner
// watches Failed and exits.
type Store struct {
	backend backend
	id      [16]byte
	log     zerolog.Logger

	nextID   atomic.Uint64
	stats    counters
	unstored atomic.Int64
	crowded  atomic.Bool // the journal is far too full
	maximum  int64
	ballast  int64 // belongs to whoever calls RestoreBallast

	wake    chan struct{} // of the committer; holds one
	failed  chan struct{} // closed by the first failure
	stopped chan struct{} // closed when the committer has ended

	mu       sync.Mutex // a leaf; guards the fields below
	err      error
	started  bool
	closing  bool
	closed   bool
	room     chan struct{} // closed when there is room; nil when nobody waits
	enlisted []queue.Collector
	settled  []queue.Collector
	barriers []barrier
	units    []unit
	drops    []queue.ID
	suspects [][]byte
	moves    *moveBatch              // of the mover, which waits for it
	cuts     []chan<- cut            // backups that wait to begin
	backup   context.CancelCauseFunc // ends the one under way; nil when none is

	catalog  topology.Catalog
	restored map[queue.ID]*recovered

	// gate keeps what Together does out of the middle of a collection. It comes before every
	// other lock.
	gate  sync.RWMutex
	whole atomic.Bool // something was done together since the last collection

	reads   *reads
	spills  *spills
	reclaim atomic.Bool    // room is to be given back
	backups sync.WaitGroup // the one under way
	owed    atomic.Bool    // there are records to delete still

	c committer // belongs to the committer's goroutine
}

type barrier struct {
	collector queue.Collector
	done      func(error)
}

type unit struct {
	topology.Unit
	done func(error)
}

// Open opens the store in dir, or makes one there. It fails when another process has it
// (*InUseError), when confirmed data is missing (*LostError), when there is no room
// (*FullError), when the key is not its own (*KeyError), when a newer program wrote it, or when Badger cannot read its files. It repairs nothing.
func Open(dir string, o Options) (*Store, error) {
	s := newStore(o)
	d, r, err := openDisk(dir, o, &s.nextID, &s.stats)
	if err != nil {
		return nil, err
	}
	s.backend, s.id = d, d.schema.node
	s.spills.dir, s.spills.encrypt = filepath.Join(dir, spillDir), len(o.EncryptionKey) > 0
	s.reads.source = s.spills.source(d)
	if o.Ballast == 0 {
		if err := dropBallast(dir); err != nil {
			s.log.Warn().Err(err).Msg("a ballast that is not wanted any more takes up room")
		}
	}
	s.catalog, s.restored = r.catalog, r.queues
	s.suspects = r.suspects
	if len(r.garbage) > 0 {
		s.log.Warn().Int("bindings", len(r.garbage)).Msg("bindings without their ends are dropped")
		s.units = append(s.units, unit{Unit: topology.Unit{Deletes: r.garbage}})
	}
	d.log.tell(s.fail)
	d.collector = newCollector(d, s.suspect)
	d.log.onFilled(d.collector.compaction.filled)
	d.mover = newMover(s, d, o)
	return s, nil
}

// NewMemory returns a store that keeps messages in memory and nothing longer than it
// lives: whatever is collected counts as stored, and can be read until it is settled. It
// commits like any other, so that a broker on it behaves the same.
func NewMemory(o Options) *Store {
	s := newStore(o)
	m := newMemory()
	s.backend = m
	s.reads.source = s.spills.source(m)
	// It never fails: a system without entropy ends the process.
	_, _ = rand.Read(s.id[:])
	s.nextID.Store(1)
	return s
}

func newStore(o Options) *Store {
	s := &Store{
		log:     o.Logger,
		maximum: o.MaxUnstored,
		ballast: o.Ballast,
		wake:    make(chan struct{}, 1),
		failed:  make(chan struct{}),
		stopped: make(chan struct{}),
	}
	if s.maximum <= 0 {
		s.maximum = defaultMaxUnstored
	}
	s.reads = newReads(s.Err)
	s.spills = newSpills("", o.Logger, &s.stats.damaged)
	s.c.init(s)
	return s
}

// ID is a name for the store that no other has, for as long as it lives: 32 hexadecimal
// digits.
func (s *Store) ID() string { return hex.EncodeToString(s.id[:]) }

// Catalog is everything declared, as it was found. It is empty after Start.
func (s *Store) Catalog() topology.Catalog {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.catalog
}

// Restore returns what was found of a queue, once, before Start. Of a queue that the
// catalog does not have, nothing is ever found.
func (s *Store) Restore(id queue.ID) (queue.Restored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return queue.Restored{}, s.err
	}
	q := s.restored[id]
	if q == nil {
		return queue.Restored{}, nil
	}
	delete(s.restored, id)
	return q.restored(), nil
}

// Start begins to commit.
func (s *Store) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.closing {
		return
	}
	s.started = true
	s.restored, s.catalog = nil, topology.Catalog{}
	go s.c.run()
	if d, ok := s.backend.(*disk); ok && !d.mover.byHand {
		d.collector.start()
		d.mover.start()
	}
}

// Close collects and commits everything that is left, acknowledgement state and delivery
// marks of every queue included, marks the end as clean, and closes the files. Nobody
// may publish meanwhile. A backup is given up, once what it is writing to has taken, or
// refused, its last block. It returns the failure that poisoned the store, if one did.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		<-s.stopped
		return s.Err()
	}
	s.closing = true
	started := s.started
	s.mu.Unlock()
	s.StopBackup(ErrClosed)
	if d, ok := s.backend.(*disk); ok {
		d.mover.stop()
	}
	if started {
		s.signal()
		<-s.stopped
	} else {
		s.c.finish()
		close(s.stopped)
	}
	s.backups.Wait()
	s.reads.close()
	s.spills.close()
	err := s.backend.close()
	if failure := s.Err(); failure != nil {
		return errors.Join(failure, err)
	}
	return err
}

// Failed is closed when the store is poisoned.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Err is what poisoned the store, or nil.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Enlist implements queue.Store.
func (s *Store) Enlist(c queue.Collector) {
	s.mu.Lock()
	if s.refusal() != nil {
		s.mu.Unlock()
		return
	}
	s.enlisted = append(s.enlisted, c)
	first := len(s.enlisted) == 1
	s.mu.Unlock()
	if first {
		s.signal()
	}
}

// EnlistSettled implements queue.Store.
func (s *Store) EnlistSettled(c queue.Collector) {
	s.mu.Lock()
	if s.refusal() != nil {
		s.mu.Unlock()
		return
	}
	s.settled = append(s.settled, c)
	first := len(s.settled) == 1
	s.mu.Unlock()
	if first {
		s.signal()
	}
}

// Barrier implements queue.Store. When the store is poisoned or closed, done is told so,
// from a goroutine of its own.
func (s *Store) Barrier(c queue.Collector, done func(error)) {
	s.mu.Lock()
	if err := s.refusal(); err != nil {
		s.mu.Unlock()
		go done(err)
		return
	}
	s.barriers = append(s.barriers, barrier{c, done})
	s.mu.Unlock()
	s.signal()
}

// Together calls f so that what it publishes and settles in several queues reaches the
// disk together or not at all, as long as one transaction can hold it (S-7). Nothing may
// be locked, and f must not wait for the store.
func (s *Store) Together(f func()) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	f()
	s.whole.Store(true)
}

// Drop implements queue.Store. It is called after the unit that deletes the queue was
// handed to Write.
func (s *Store) Drop(id queue.ID) {
	s.mu.Lock()
	if s.refusal() != nil {
		s.mu.Unlock()
		return
	}
	s.drops = append(s.drops, id)
	s.mu.Unlock()
	s.signal()
}

// NextID implements topology.Store.
func (s *Store) NextID() uint64 { return s.nextID.Add(1) - 1 }

// Write implements topology.Store. done may be nil. When the store is poisoned or
// closed, it is told so, from a goroutine of its own.
func (s *Store) Write(u topology.Unit, done func(error)) {
	s.mu.Lock()
	if err := s.refusal(); err != nil {
		s.mu.Unlock()
		if done != nil {
			go done(err)
		}
		return
	}
	s.units = append(s.units, unit{u, done})
	s.mu.Unlock()
	s.signal()
}

// AddUnstored tells that the messages waiting for the disk grew or shrank by delta bytes:
// publishes and what was settled before it was collected (queue.Effects.Unstored). What
// was committed the store takes off itself.
func (s *Store) AddUnstored(delta int64) {
	if s.unstored.Add(delta); delta < 0 && s.roomy() {
		s.mu.Lock()
		s.openRoom()
		s.mu.Unlock()
	}
}

// WaitRoom waits while more than MaxUnstored bytes wait for the disk, or the journal is
// twice as full as it should be. It returns early when ctx ends or the store is poisoned or closed. Nothing may be locked; only
// connections that published wait (S-25).
func (s *Store) WaitRoom(ctx context.Context) error {
	for !s.roomy() {
		s.mu.Lock()
		if err := s.refusal(); err != nil {
			s.mu.Unlock()
			return err
		}
		if s.room == nil {
			s.room = make(chan struct{})
		}
		room := s.room
		s.mu.Unlock()
		if s.roomy() {
			return nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// roomy tells whether publishers may go on.
func (s *Store) roomy() bool { return s.unstored.Load() <= s.maximum && !s.crowded.Load() }

// setJournalFull tells whether publishers must wait for the mover.
func (s *Store) setJournalFull(full bool) {
	if s.crowded.Swap(full) && !full {
		s.mu.Lock()
		s.openRoom()
		s.mu.Unlock()
	}
}

// move has the committer write moves and waits for it; false when the store is at its end.
func (s *Store) move(b *moveBatch) bool {
	s.mu.Lock()
	if s.refusal() != nil {
		s.mu.Unlock()
		return false
	}
	s.moves = b
	s.mu.Unlock()
	s.signal()
	<-b.done
	return true
}

// openRoom lets the waiters look again. s.mu is held.
func (s *Store) openRoom() {
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
}

// refusal is why nothing more is taken. s.mu is held.
func (s *Store) refusal() error {
	if s.err == nil && s.closed {
		return ErrClosed
	}
	return s.err
}

// signal wakes the committer.
func (s *Store) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// suspect hands the committer keys that the sweep does not believe in.
func (s *Store) suspect(keys [][]byte) {
	s.mu.Lock()
	if s.refusal() == nil {
		s.suspects = append(s.suspects, keys...)
	}
	s.mu.Unlock()
	s.signal()
}

// fail poisons the store. The first failure counts.
func (s *Store) fail(err error) {
	s.mu.Lock()
	first := s.err == nil
	if first {
		s.err = err
		close(s.failed)
		s.openRoom()
	}
	s.mu.Unlock()
	if first {
		s.log.Error().Err(err).Msg("store failed; nothing is confirmed any more")
		s.signal()
	}
}

// Stats are the store's counters at one moment.
type Stats struct {
	Groups       uint64 // commits
	Transactions uint64 // that they took; 0 in memory
	Messages     uint64 // references to messages stored
	Bytes        uint64 // of the messages, counted once per reference
	// CommitTime is how long commits took together, Committing since when the present one
	// is under way, zero when none is.
	CommitTime time.Duration
	Committing time.Time
	Unstored   int64  // bytes of messages that wait for the disk
	Spilled    int64  // bytes of files that hold what is never stored
	Damaged    uint64 // messages, or records of them, that could not be read
}

// counters are the live form of Stats.
type counters struct {
	groups, transactions, messages, bytes, damaged atomic.Uint64
	commitNanos, commitStart                       atomic.Int64
}

// Stats returns the counters now.
func (s *Store) Stats() Stats {
	c := &s.stats
	st := Stats{
		Groups:       c.groups.Load(),
		Transactions: c.transactions.Load(),
		Messages:     c.messages.Load(),
		Bytes:        c.bytes.Load(),
		CommitTime:   time.Duration(c.commitNanos.Load()),
		Unstored:     s.unstored.Load(),
		Spilled:      s.spills.written.Load(),
		Damaged:      c.damaged.Load(),
	}
	if ns := c.commitStart.Load(); ns != 0 {
		st.Committing = time.Unix(0, ns)
	}
	return st
}
