package persistence

import (
	"errors"
	"fmt"
	"math"

	"github.com/dgraph-io/badger/v4"

	"github.com/leveretmq/leveret/queue"
)

// readJournal reads the directories of the records from the floor on. What is below is
// dead, whether or not garbage collection brought it back.
func (r *recovery) readJournal() error {
	return r.each([]byte{keyJournal}, func(item *badger.Item) error {
		group, ok := parseJournalKey(item.Key())
		if !ok || group < r.floor {
			return r.suspect(item)
		}
		if err := r.later("record", group); err != nil {
			return err
		}
		if n, missing := r.d.files.isMissing(item); missing {
			if err := r.needFile(n, fmt.Sprintf("the messages of group %d", group)); err != nil {
				return err
			}
		}
		return r.readRecord(item, group)
	})
}

// readRecord takes what is alive out of one journal record. One that is damaged is looked
// for among what Badger cut off; failing that it is reported and kept for a repair.
func (r *recovery) readRecord(item *badger.Item, group uint64) error {
	s := &stored{group: group}
	err := r.parsed(s, item.Value, func(rec *record, b []byte) error {
		if err := r.checkOrder(rec); err != nil {
			return err
		}
		s.bytes, s.written = int64(len(b)), rec.base
		r.d.index.addRecord(s)
		r.takeAlive(s, rec)
		return nil
	})
	var d damage
	if errors.As(err, &d) {
		r.damaged++
		r.d.report(s.problem("", err))
		s.quarantined = true
		r.d.index.addRecord(s)
		return nil
	}
	if err != nil {
		return fmt.Errorf("record of group %d: %w", group, err)
	}
	if s.live == 0 {
		r.d.index.bury(s)
	}
	return nil
}

// parsed has do look at the record s, whose value is to be had from value, or, when that
// is damaged, at what was set aside of it: then it is written again.
func (r *recovery) parsed(s *stored, value func(func([]byte) error) error, do func(*record, []byte) error) error {
	look := func(b []byte) error {
		rec, err := s.parse(b)
		if err != nil {
			return err
		}
		return do(rec, b)
	}
	failed := asDamage(value(look))
	var d damage
	if !errors.As(failed, &d) {
		return failed
	}
	key := s.appendKey(nil)
	b, err := r.salvage.find(key)
	if err != nil {
		return err
	}
	if b == nil {
		return failed
	}
	if err := look(b); err != nil {
		return err
	}
	r.rewrites = append(r.rewrites, operation{key: key, value: b})
	return nil
}

// checkOrder refuses numbers that do not rise: they would be somebody else's.
func (r *recovery) checkOrder(rec *record) error {
	type level struct {
		queue queue.ID
		level uint8
	}
	last := make(map[level]uint64)
	for i := range rec.sections {
		sec := &rec.sections[i]
		q := r.queues[sec.queue]
		if q == nil {
			continue
		}
		p := level{sec.queue, sec.level}
		lv := q.level(sec.level)
		last[p] = max(last[p], lv.logged)
		for _, f := range sec.refs {
			if f.seq <= last[p] {
				return damaged("message %d of queue %d level %d is stored after %d", f.seq, sec.queue, sec.level, last[p])
			}
			last[p] = f.seq
			if c := lv.cover(f.seq); c != nil && c.group <= rec.group {
				return damaged("message %d of queue %d level %d is in an older chunk, too", f.seq, sec.queue, sec.level)
			}
		}
	}
	return nil
}

// takeAlive tells the queues of the living messages of a record, and the index where they
// are.
func (r *recovery) takeAlive(s *stored, rec *record) {
	for i := range rec.sections {
		sec := &rec.sections[i]
		q := r.queues[sec.queue]
		if q == nil {
			continue
		}
		lv := q.level(sec.level)
		index := r.d.index.level(sec.queue, sec.level)
		for _, f := range sec.refs {
			lv.logged = f.seq
			lv.next = max(lv.next, f.seq+1)
			// What a chunk has taken over is there (S-22).
			if !lv.alive(f.seq) || lv.cover(f.seq) != nil {
				continue
			}
			r.take(lv, index, s, &f, rec.bodies[f.body].payload)
		}
	}
}

// take notes one living message. The sections of the index are put in order later.
func (r *recovery) take(lv *recoveredLevel, index *levelIndex, s *stored, f *ref, payload int) {
	s.live++
	s.refs++
	lv.found(queue.Run{Range: queue.Range{First: f.seq, Last: f.seq}, Count: 1, Bytes: int64(payload), MinExpiry: f.expiry})
	if n := len(index.sections); n > 0 {
		last := &index.sections[n-1]
		if last.record == s && f.seq > last.last && f.seq-last.first <= math.MaxUint32 && lv.adjoin(last.last, f.seq) {
			last.extend(f.seq, payload)
			return
		}
	}
	r.d.index.push(index, stretch{record: s, first: f.seq, last: f.seq, bytes: int64(payload), count: 1, left: 1})
}
