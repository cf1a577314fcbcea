package persistence

import (
	"cmp"
	"slices"

	"github.com/leveretmq/leveret/queue"
)

// storedBody is a body that lies by itself under 40, in parts: it is too large for a
// record, or several queues share it and it is too large to be copied for each. Whatever
// record the messages that have it are in, it lives by its references under 41 alone.
type storedBody struct {
	id    uint64
	group uint64 // of the commit that wrote it
	parts uint32
	refs  []bodyRef // keys 41 there are
	live  int       // references not settled
}

// largeRef is a message whose body lies by itself.
type largeRef struct {
	seq  uint64
	body *storedBody
}

func (lv *levelIndex) searchLarge(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(lv.large, seq, func(r largeRef, seq uint64) int { return cmp.Compare(r.seq, seq) })
}

// addBody makes a body known, with those of its references that alive says yes to.
func (x *index) addBody(b *storedBody, alive func(*levelIndex, uint64) bool) {
	x.bodies[b.id] = b
	for _, f := range b.refs {
		lv := x.level(f.queue, f.level)
		if !alive(lv, f.seq) {
			continue
		}
		if i, found := lv.searchLarge(f.seq); !found {
			lv.large = slices.Insert(lv.large, i, largeRef{f.seq, b})
			b.live++
		}
	}
	if b.live == 0 {
		x.buryBody(b)
	}
}

// bodyOf returns the body of a message when it lies by itself, nil otherwise.
func (x *index) bodyOf(id queue.ID, level uint8, seq uint64) *storedBody {
	if lv := x.find(id, level); lv != nil {
		if i, found := lv.searchLarge(seq); found {
			return lv.large[i].body
		}
	}
	return nil
}

// settleBodies notes that messages are settled that may have such bodies.
func (x *index) settleBodies(lv *levelIndex, first, last uint64) {
	from, _ := lv.searchLarge(first)
	to := from
	for ; to < len(lv.large) && lv.large[to].seq <= last; to++ {
		b := lv.large[to].body
		if b.live--; b.live == 0 {
			x.buryBody(b)
		}
	}
	if from < to {
		lv.large = slices.Delete(lv.large, from, to)
	}
}

// buryBody has a body deleted: in this write when it is older, in the next otherwise, so
// that no transaction sets and deletes a key.
func (x *index) buryBody(b *storedBody) {
	delete(x.bodies, b.id)
	x.deadBodies = append(x.deadBodies, b)
}

// takeDeadBodies takes those that an earlier write than that from group on has written.
func (x *index) takeDeadBodies(group uint64) (now []*storedBody) {
	var later []*storedBody
	for _, b := range x.deadBodies {
		if b.group < group {
			now = append(now, b)
		} else {
			later = append(later, b)
		}
	}
	x.deadBodies = later
	return now
}

// deleteBodies deletes what is dead by now. None of it need go together.
func (d *disk) deleteBodies(group uint64) error {
	d.index.mu.Lock()
	dead := d.index.takeDeadBodies(group)
	d.index.mu.Unlock()
	for _, b := range dead {
		var ops []operation
		for n := range b.parts {
			ops = append(ops, d.remove(d.tx.bytesOf(func(dst []byte) []byte { return appendBodyKey(dst, b.id, n) })))
		}
		for _, o := range d.refKeys(b) {
			ops = append(ops, d.remove(o.key))
		}
		if err := d.tx.each(ops); err != nil {
			return err
		}
	}
	return nil
}

// refKeys are the keys that tell who refers to a body.
func (d *disk) refKeys(b *storedBody) []operation {
	ops := make([]operation, 0, len(b.refs))
	for _, f := range b.refs {
		ops = append(ops, d.put(d.tx.bytesOf(func(dst []byte) []byte {
			return appendBodyRefKey(dst, b.id, f.queue, f.level, f.seq)
		}), nil))
	}
	return ops
}

// sharedBody is a body that the mover takes out of a journal record in which several
// messages have it, on its way to a place of its own.
type sharedBody struct {
	storedBody
	payload []byte
	written bool
}

// bodyPlace is where such a body was.
type bodyPlace struct {
	record *stored
	body   int
}

// writeShared writes the shared bodies of a move that are not written yet: the references
// first, because a body without any is garbage, and references without a body are. The
// messages that have it, in whatever queue, have it from now on for as long as they live,
// also where they are still in the journal.
func (d *disk) writeShared(all []*sharedBody) error {
	for _, s := range all {
		if s.written {
			continue
		}
		s.written = true
		s.group, s.parts = d.group+1, 1
		d.keepBody(&s.storedBody)
		if err := d.tx.each(d.refKeys(&s.storedBody)); err != nil {
			return err
		}
		key := d.tx.bytesOf(func(b []byte) []byte { return appendBodyKey(b, s.id, 0) })
		if err := d.tx.unit([]operation{{key: key, value: encodePart(s.payload)}}); err != nil {
			return err
		}
	}
	return nil
}

// keepBody makes a body of the mover known before it is on disk (S-20), with the messages
// that are alive by now.
func (d *disk) keepBody(b *storedBody) {
	d.index.mu.Lock()
	defer d.index.mu.Unlock()
	b.refs = slices.DeleteFunc(b.refs, func(f bodyRef) bool {
		lv := d.index.find(f.queue, f.level)
		return lv == nil || !lv.alive(f.seq)
	})
	d.index.addBody(b, func(*levelIndex, uint64) bool { return true })
}
