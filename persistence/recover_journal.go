package persistence

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

// readJournal reads the records from the floor on. What is below is dead, whether or not
// garbage collection brought it back.
func (r *recovery) readJournal() error {
	return r.each([]byte{keyJournal}, func(item *badger.Item) error {
		group, ok := parseJournalKey(item.Key())
		switch {
		case !ok || group < r.floor:
			return r.suspect(item)
		case group > r.d.group:
			return &LostError{r.d.dir, fmt.Sprintf("there is a record of group %d, and the last group is %d", group, r.d.group)}
		}
		return r.readRecord(item, group)
	})
}

// readRecord takes what is alive out of one journal record. One that is damaged is looked
// for among what Badger cut off; failing that it is reported and kept for a repair.
func (r *recovery) readRecord(item *badger.Item, group uint64) error {
	s := &stored{group: group}
	err := item.Value(func(b []byte) error { return r.parseAlive(s, b) })
	var d damage
	if errors.As(err, &d) {
		err = r.salvageRecord(s, err)
	}
	if errors.As(err, &d) {
		r.damaged++
		r.d.zero.Error().Uint64("group", group).Str("damage", err.Error()).
			Msg("a record of messages is damaged; what it holds cannot be served")
		s.quarantined = true
		r.d.index.addRecord(s)
		return nil
	}
	if err != nil {
		return fmt.Errorf("record of group %d: %w", group, err)
	}
	if s.live == 0 && !s.quarantined {
		r.d.index.bury(s)
	}
	return nil
}

func (r *recovery) parseAlive(s *stored, b []byte) error {
	rec, err := parseRecord(b)
	if err != nil {
		return err
	}
	if rec.group != s.group {
		return damaged("group %d instead of %d", rec.group, s.group)
	}
	if err := r.checkOrder(rec); err != nil {
		return err
	}
	s.bytes = len(b)
	r.d.index.addRecord(s)
	r.takeAlive(s, rec, b)
	return nil
}

// salvageRecord reads a record from what was set aside and has it written again; failed
// is what was wrong with the stored one.
func (r *recovery) salvageRecord(s *stored, failed error) error {
	key := appendJournalKey(nil, s.group)
	b, err := r.salvage.find(key)
	if err != nil {
		return err
	}
	if b == nil {
		return failed
	}
	if err := r.parseAlive(s, b); err != nil {
		return err
	}
	r.rewrites = append(r.rewrites, operation{key: key, value: b})
	return nil
}

// checkOrder refuses numbers that do not rise: they would be somebody else's.
func (r *recovery) checkOrder(rec *record) error {
	type place struct {
		queue queue.ID
		level uint8
	}
	last := make(map[place]uint64)
	for i := range rec.sections {
		sec := &rec.sections[i]
		q := r.queues[sec.queue]
		if q == nil {
			continue
		}
		p := place{sec.queue, sec.level}
		if lv := r.d.index.find(sec.queue, sec.level); lv != nil {
			last[p] = max(last[p], lv.last)
		}
		for _, f := range sec.refs {
			if f.seq <= last[p] {
				return damaged("message %d of queue %d level %d is stored after %d", f.seq, sec.queue, sec.level, last[p])
			}
			last[p] = f.seq
		}
	}
	return nil
}

// takeAlive hands the living messages of a record to their queues.
func (r *recovery) takeAlive(s *stored, rec *record, b []byte) {
	bodies := make([]*message.Message, len(rec.bodies))
	broken := make([]error, len(rec.bodies))
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
			lv.next = max(lv.next, f.seq+1)
			if !lv.alive(f.seq) {
				continue
			}
			r.d.index.add(index, s, sec.queue, f.seq)
			if bodies[f.body] == nil && broken[f.body] == nil {
				bodies[f.body], broken[f.body] = r.message(rec, b, f.body, keeps)
			}
			if err := broken[f.body]; err != nil {
				r.reportBody(s, sec, f.seq, err)
				continue
			}
			if a := keeps[f.body]; a != nil {
				a.refs = append(a.refs, bodyRef{sec.queue, sec.level, f.seq})
			}
			lv.messages = append(lv.messages, queue.RestoredMessage{
				Seq: f.seq, Expiry: f.expiry, Redelivered: f.redelivered, Message: bodies[f.body]})
		}
	}
	for _, a := range keeps {
		s.aside = append(s.aside, *a)
		r.d.index.bodies[a.id] = struct{}{}
	}
}

func (r *recovery) reportBody(s *stored, sec *section, seq uint64, err error) {
	r.damaged++
	s.quarantined = true
	r.d.zero.Error().Uint64("group", s.group).Uint64("queue", uint64(sec.queue)).
		Uint8("level", sec.level).Uint64("seq", seq).Str("damage", err.Error()).
		Msg("a message is damaged and not served")
}

// message makes the message of a body, its payload fetched from wherever it is.
func (r *recovery) message(rec *record, b []byte, n int, keeps map[int]*asideKeys) (*message.Message, error) {
	meta, payload, err := rec.body(b, n)
	if err != nil {
		return nil, err
	}
	if rec.bodies[n].aside {
		id, parts, err := asideAt(payload)
		if err != nil {
			return nil, err
		}
		keeps[n] = &asideKeys{id: id, parts: parts}
		if payload, err = r.readParts(id, parts, rec.bodies[n].payload); err != nil {
			return nil, err
		}
	}
	return decodeMessage(meta, payload, r.intern)
}

func (r *recovery) readParts(id uint64, parts uint32, size int) ([]byte, error) {
	var payload []byte
	for n := range parts {
		key := appendBodyKey(nil, id, n)
		piece, err := r.readPart(key)
		if err != nil {
			return nil, fmt.Errorf("part %d of body %d: %w", n, id, err)
		}
		payload = append(payload, piece...)
	}
	if len(payload) != size {
		return nil, damaged("body %d has %d bytes instead of %d", id, len(payload), size)
	}
	return payload, nil
}

// readPart reads one part of a body, from what was set aside if need be.
func (r *recovery) readPart(key []byte) (piece []byte, err error) {
	item, err := r.txn.Get(key)
	if err != nil {
		return nil, damaged("%v", err)
	}
	err = item.Value(func(b []byte) error {
		p, err := parsePart(b)
		piece = bytes.Clone(p)
		return err
	})
	if err == nil {
		return piece, nil
	}
	b, broken := r.salvage.find(key)
	if broken != nil {
		return nil, broken
	}
	if b != nil {
		if p, again := parsePart(b); again == nil {
			r.rewrites = append(r.rewrites, operation{key: key, value: b})
			return p, nil
		}
	}
	return nil, err
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

func (r *recovery) intern(b []byte) string {
	if s, ok := r.names[string(b)]; ok {
		return s
	}
	s := string(b)
	r.names[s] = s
	return s
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
