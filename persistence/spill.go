package persistence

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/queue"
)

const (
	// spillFile is how large a file of copies grows before the next one is begun.
	spillFile = 64 << 20
	// spillRetry is how long nothing is written after it could not be.
	spillRetry = time.Second
)

// spills are copies of messages that are never stored, which are on disk so that they need
// not be in memory (S-27). They are in files of their own, which nobody syncs and the next
// start removes: nothing here slows a commit down. One goroutine writes; what is forgotten
// goes through it as well, so that it never overtakes what is being written.
//
// A copy is a batch record of one queue and level. Files are append-only, and removed when
// nothing in them is wanted any more.
type spills struct {
	dir     string // empty: copies stay in memory
	encrypt bool   // the files, with keys of their own
	zero    zerolog.Logger
	damaged *atomic.Uint64
	written atomic.Int64 // bytes of all files

	mu     sync.Mutex // a leaf; guards the fields below
	more   *sync.Cond
	orders []spillOrder
	begun  bool
	ended  bool
	idle   sync.WaitGroup
	queues map[queue.ID]spilledQueue
	trash  []*spillSegment // to be removed

	// These belong to the goroutine.
	enc     encoder
	current *spillSegment
	files   int
	failed  time.Time // when nothing could be written
	retry   time.Duration
}

// spillOrder is something to write, or to forget when it has no copies.
type spillOrder struct {
	queue  queue.ID
	level  uint8
	copies []queue.Copy
	done   func(error)
	forget queue.Forgotten
}

func newSpills(dir string, zero zerolog.Logger, damaged *atomic.Uint64) *spills {
	s := &spills{dir: dir, zero: zero, damaged: damaged, queues: make(map[queue.ID]spilledQueue), retry: spillRetry}
	s.enc.whole = true
	s.more = sync.NewCond(&s.mu)
	return s
}

// Spill implements queue.Store.
func (s *Store) Spill(id queue.ID, level uint8, copies []queue.Copy, done func(error)) {
	s.spills.add(spillOrder{queue: id, level: level, copies: copies, done: done})
}

// Forget implements queue.Store.
func (s *Store) Forget(f queue.Forgotten) {
	s.spills.add(spillOrder{queue: f.Queue, level: f.Level, forget: f})
}

func (s *spills) add(o spillOrder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		if o.done != nil {
			go o.done(ErrClosed)
		}
		return
	case !s.begun && o.copies == nil:
		return
	case !s.begun:
		s.begun = true
		s.idle.Go(s.run)
	}
	s.orders = append(s.orders, o)
	s.more.Signal()
}

func (s *spills) run() {
	for {
		orders, more := s.take()
		for i := range orders {
			if o := &orders[i]; o.copies != nil {
				err := s.write(o)
				s.empty()
				o.done(err)
			} else {
				s.forget(o)
			}
		}
		s.empty()
		if !more {
			s.closeFiles()
			return
		}
	}
}

// take waits for something to do. There will be no more at the end.
func (s *spills) take() (orders []spillOrder, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.orders)+len(s.trash) == 0 && !s.ended {
		s.more.Wait()
	}
	orders = s.orders
	s.orders = nil
	return orders, !s.ended
}

// write writes the copies of an order, all or none.
func (s *spills) write(o *spillOrder) error {
	if !s.failed.IsZero() && time.Since(s.failed) < s.retry {
		return errSpillFailed
	}
	made := make([]spilledCopy, 0, len(o.copies))
	var err error
	for i := range o.copies {
		var c spilledCopy
		if c, err = s.writeOne(&o.copies[i]); err != nil {
			break
		}
		made = append(made, c)
	}
	s.enc.forget()
	s.mu.Lock()
	if err == nil {
		lv := s.level(o.queue, o.level)
		for i := range made {
			lv.add(made[i], o.copies[i].Stray)
		}
	} else {
		for i := range made {
			s.let(made[i].segment)
		}
	}
	s.mu.Unlock()
	if err != nil {
		s.zero.Warn().Err(err).Msg("messages cannot leave memory for the disk; trying again")
		s.failed = time.Now()
		return err
	}
	s.failed = time.Time{}
	return nil
}

var errSpillFailed = errors.New("the disk took no copies a moment ago")

// writeOne appends one copy to the present file. The copy holds its file.
func (s *spills) writeOne(c *queue.Copy) (spilledCopy, error) {
	made := spilledCopy{Range: c.Range}
	if s.dir == "" {
		made.puts = c.Puts
		return made, nil
	}
	if s.current == nil || s.current.size >= spillFile {
		if err := s.nextFile(); err != nil {
			return made, err
		}
	}
	b := s.enc.record(0, time.Now().UnixMilli(), c.Puts, nil)
	if err := s.current.xor(b, s.current.size); err != nil {
		return made, fmt.Errorf("encrypt copies of messages: %w", err)
	}
	if _, err := s.current.file.WriteAt(b, s.current.size); err != nil {
		return made, fmt.Errorf("write copies of messages: %w", err)
	}
	made.segment, made.offset, made.bytes = s.current, s.current.size, int64(len(b))
	s.current.size += made.bytes
	s.written.Add(made.bytes)
	s.mu.Lock()
	s.current.holds++
	s.mu.Unlock()
	return made, nil
}

func (s *spills) forget(o *spillOrder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[o.queue]
	if o.forget.All {
		for _, lv := range q {
			lv.each(s.forgotten)
		}
		delete(s.queues, o.queue)
		return
	}
	lv := q[o.level]
	switch {
	case lv == nil:
	case o.forget.Stray:
		if c, ok := lv.strays[o.forget.First]; ok {
			delete(lv.strays, o.forget.First)
			s.forgotten(c)
		}
	default:
		lv.remove(o.forget.Range, s.forgotten)
	}
}

// forgotten lets go of the file of a copy. s.mu is held.
func (s *spills) forgotten(c spilledCopy) { s.let(c.segment) }

// level finds what is spilled of a level, or begins it. s.mu is held.
func (s *spills) level(id queue.ID, level uint8) *spilledLevel {
	q := s.queues[id]
	if q == nil {
		q = make(spilledQueue)
		s.queues[id] = q
	}
	lv := q[level]
	if lv == nil {
		lv = &spilledLevel{strays: make(map[uint64]spilledCopy)}
		q[level] = lv
	}
	return lv
}

// close waits for the goroutine and removes all files. Nobody reads any more.
func (s *spills) close() {
	s.mu.Lock()
	s.ended = true
	s.more.Broadcast()
	s.mu.Unlock()
	s.idle.Wait()
}

// source reads from copies what another source does not have.
func (s *spills) source(other source) source { return spillSource{s, other} }

type spillSource struct {
	spills *spills
	stored source
}

func (x spillSource) reader() func(queue.ID, uint8, queue.Range) ([]queue.RestoredMessage, error) {
	stored, spilled := x.stored.reader(), x.spills.reader()
	return func(id queue.ID, level uint8, r queue.Range) ([]queue.RestoredMessage, error) {
		found, err := stored(id, level, r)
		copies, known := spilled(id, level, r)
		if known && errors.Is(err, ErrDropped) {
			err = nil // nothing of it was ever stored
		}
		if err != nil || len(copies) == 0 {
			return found, err
		}
		found = append(found, copies...)
		slices.SortFunc(found, func(a, b queue.RestoredMessage) int { return cmp.Compare(a.Seq, b.Seq) })
		return found, nil
	}
}

// reader makes what one goroutine reads copies with. known tells that some of the queue
// were spilled, and none of that deleted.
func (s *spills) reader() func(queue.ID, uint8, queue.Range) (found []queue.RestoredMessage, known bool) {
	names := make(map[string]string)
	intern := func(b []byte) string { return interned(names, b) }
	var buf []byte
	return func(id queue.ID, level uint8, r queue.Range) (found []queue.RestoredMessage, known bool) {
		copies, known := s.hold(id, level, r)
		for i := range copies {
			c := &copies[i]
			var err error
			if c.segment == nil {
				found = c.fromMemory(found, r)
				continue
			}
			if buf, err = c.read(buf); err == nil {
				found, err = c.decode(buf, found, r, intern)
			}
			if err != nil {
				s.damaged.Add(1)
				s.zero.Error().Err(err).Uint64("queue", uint64(id)).Uint64("first", c.First).Uint64("last", c.Last).
					Msg("transient messages that had left memory are lost")
			}
			s.mu.Lock()
			s.let(c.segment)
			s.mu.Unlock()
		}
		if cap(buf) > 4*queue.RunBytes {
			buf = nil
		}
		return found, known
	}
}

// hold returns the copies that overlap a range, and keeps their files.
func (s *spills) hold(id queue.ID, level uint8, r queue.Range) (copies []spilledCopy, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[id]
	if lv := q[level]; lv != nil {
		copies = lv.overlapping(r)
	}
	for i := range copies {
		if g := copies[i].segment; g != nil {
			g.holds++
		}
	}
	return copies, q != nil
}
