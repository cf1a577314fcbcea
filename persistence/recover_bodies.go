package persistence

import (
	"bytes"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/leveretmq/leveret/queue"
)

// readBodies finds the bodies that lie by themselves, from keys alone: who refers to them,
// and how many parts they have. A body without a living reference is garbage, and so are
// references without a body: a crash came between them.
func (r *recovery) readBodies() error {
	bodies := make(map[uint64]*storedBody)
	alive := make(map[uint64]bool)
	err := r.each([]byte{keyBodyRef}, func(item *badger.Item) error {
		id, q, level, seq, ok := parseBodyRefKey(item.Key())
		known := r.queues[q]
		if !ok || known == nil {
			return r.suspect(item)
		}
		if bodies[id] == nil {
			bodies[id] = &storedBody{id: id}
		}
		bodies[id].refs = append(bodies[id].refs, bodyRef{q, level, seq})
		alive[id] = alive[id] || known.level(level).alive(seq)
		return nil
	})
	if err != nil {
		return err
	}
	err = r.each([]byte{keyBody}, func(item *badger.Item) error {
		id, part, ok := parseBodyKey(item.Key())
		if b := bodies[id]; ok && b != nil && alive[id] {
			b.parts = max(b.parts, part+1)
			if n, missing := r.d.files.isMissing(item); missing {
				return r.needFile(n, fmt.Sprintf("the body of a message of queue %d", b.refs[0].queue))
			}
			return nil
		}
		return r.suspect(item)
	})
	if err != nil {
		return err
	}
	for id, b := range bodies {
		if !alive[id] || b.parts == 0 {
			for _, f := range b.refs {
				r.suspects = append(r.suspects, appendBodyRefKey(nil, id, f.queue, f.level, f.seq))
			}
			continue
		}
		if err := r.checkBody(b); err != nil {
			return err
		}
		r.d.index.addBody(b, func(lv *levelIndex, seq uint64) bool {
			return lv.alive(seq)
		})
	}
	return nil
}

// checkBody looks at the parts of a body, if any may have been cut off: what was set aside
// of them is written again.
func (r *recovery) checkBody(b *storedBody) error {
	cut, err := r.salvage.any()
	if err != nil || !cut {
		return err
	}
	for n := range b.parts {
		key := appendBodyKey(nil, b.id, n)
		failed, err := r.checkPart(key)
		if err != nil {
			return err
		}
		if failed != nil {
			r.reportBody(b, key, fmt.Errorf("part %d of its body: %w", n, failed))
			return nil
		}
	}
	return nil
}

func (r *recovery) checkPart(key []byte) (failed, err error) {
	item, err := r.txn.Get(key)
	if err != nil {
		return damaged("%v", err), nil
	}
	err = item.Value(func(b []byte) error {
		_, err := parsePart(b)
		return err
	})
	if err == nil {
		return nil, nil
	}
	b, broken := r.salvage.find(key)
	if broken != nil {
		return nil, broken
	}
	if b != nil {
		if _, again := parsePart(b); again == nil {
			r.rewrites = append(r.rewrites, operation{key: key, value: bytes.Clone(b)})
			return nil, nil
		}
	}
	return asDamage(err), nil
}

// reportBody tells whose body is damaged, and keeps their records for a repair.
func (r *recovery) reportBody(b *storedBody, key []byte, err error) {
	x := r.d.index
	for _, f := range b.refs {
		lv := x.find(f.queue, f.level)
		if lv == nil || !lv.alive(f.seq) {
			continue
		}
		x.quarantine(lv.sections[lv.search(f.seq)].record)
		r.damaged++
		r.d.reported.first(place(f))
		r.d.report(Problem{Kind: "message", Key: fmt.Sprintf("%x", key), Queue: f.queue, Level: f.level,
			Seqs: queue.Range{First: f.seq, Last: f.seq}, Reason: err.Error()})
	}
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
