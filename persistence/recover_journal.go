package persistence

import (
	"bytes"
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
		r.takeAlive(s, rec, b)
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
func (r *recovery) takeAlive(s *stored, rec *record, b []byte) {
	keeps := make(map[int]*asideKeys)
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
			body := &rec.bodies[f.body]
			r.take(lv, index, s, &f, body.payload)
			if body.aside {
				r.noteAside(keeps, s, sec, rec, b, &f)
			}
		}
	}
	for _, a := range keeps {
		s.aside = append(s.aside, *a)
		r.d.index.bodies[a.id] = struct{}{}
		r.d.index.fix(s)
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

// noteAside reads where a body is that is kept in parts: all that is in the record of it.
func (r *recovery) noteAside(keeps map[int]*asideKeys, s *stored, sec *section, rec *record, b []byte, f *ref) {
	a := keeps[f.body]
	if a == nil {
		_, where, err := rec.body(b, f.body)
		a = &asideKeys{}
		if err == nil {
			a.id, a.parts, err = asideAt(where)
		}
		if err == nil {
			err = r.checkParts(a.id, a.parts)
		}
		if err != nil {
			r.reportBody(s, sec, f.seq, err)
			return
		}
		keeps[f.body] = a
	}
	a.refs = append(a.refs, bodyRef{sec.queue, sec.level, f.seq})
}

func (r *recovery) reportBody(s *stored, sec *section, seq uint64, err error) {
	r.damaged++
	r.d.index.quarantine(s)
	r.d.reported.first(place{sec.queue, sec.level, seq})
	r.d.report(messageProblem(s, sec.queue, sec.level, seq, err))
}

// checkParts looks at the parts of a body, if any may have been cut off: what was set aside
// of them is written again.
func (r *recovery) checkParts(id uint64, parts uint32) error {
	cut, err := r.salvage.any()
	if err != nil || !cut {
		return err
	}
	for n := range parts {
		key := appendBodyKey(nil, id, n)
		if err := r.checkPart(key); err != nil {
			return fmt.Errorf("part %d of body %d: %w", n, id, err)
		}
	}
	return nil
}

func (r *recovery) checkPart(key []byte) error {
	item, err := r.txn.Get(key)
	if err != nil {
		return damaged("%v", err)
	}
	err = item.Value(func(b []byte) error {
		_, err := parsePart(b)
		return err
	})
	if err == nil {
		return nil
	}
	b, broken := r.salvage.find(key)
	if broken != nil {
		return broken
	}
	if b != nil {
		if _, again := parsePart(b); again == nil {
			r.rewrites = append(r.rewrites, operation{key: key, value: bytes.Clone(b)})
			return nil
		}
	}
	return asDamage(err)
}

// parsePart cuts the piece out of a part of a body, and verifies it.
func parsePart(b []byte) ([]byte, error) {
	rec, err := parseRecord(b)
	if err != nil {
		return nil, err
	}
	if len(rec.bodies) != 1 {
		return nil, damaged("%d bodies in a part", len(rec.bodies))
	}
	_, piece, err := rec.body(b, 0)
	return piece, err
}

// readAside finds bodies kept aside that no living record keeps.
func (r *recovery) readAside() error {
	for _, prefix := range []byte{keyBody, keyBodyRef} {
		err := r.each([]byte{prefix}, func(item *badger.Item) error {
			if r.d.needed(item.Key()) {
				return nil
			}
			return r.suspect(item)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
