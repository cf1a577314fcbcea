package persistence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"

	"github.com/leveretmq/leveret/queue"
)

// move is messages of one level on their way from the records they are in, neighbours,
// to chunks.
type move struct {
	queue  queue.ID
	level  uint8
	from   []piece // in order
	chunks []movedChunk
	shared []*sharedBody // that their messages have
}

// movedChunk is a chunk that was made but for its group.
type movedChunk struct {
	key    chunkKey
	value  []byte
	dirEnd int
	flags  byte
	seqs   []uint64
}

// moveBatch is moves for one group.
type moveBatch struct {
	moves []*move
	done  chan struct{} // closed when they are on disk, or were given up
}

// rawMessage is a message as it is in a record.
type rawMessage struct {
	ref
	bodyEntry         // its offsets are those in the bodies gathered
	record    *stored // it comes from
}

// encodeChunk makes a chunk of messages whose bodies are in b. It lacks its group.
func encodeChunk(id queue.ID, level uint8, all []rawMessage, b []byte) movedChunk {
	k := chunkKey{queue: id, level: level, first: all[0].seq, last: all[len(all)-1].seq, count: uint32(len(all)), minTime: all[0].published}
	size := headerBytes + 64 + 60*len(all)
	for i := range all {
		m := &all[i]
		size += m.metaBytes + m.stored()
		k.bytes += uint32(m.payload)
		k.minTime = min(k.minTime, m.published)
		if m.expiry != 0 && (k.minExpiry == 0 || m.expiry < k.minExpiry) {
			k.minExpiry = max(m.expiry, 1)
		}
	}
	k.minTime = max(k.minTime, 0)
	c := movedChunk{key: k, seqs: make([]uint64, 0, len(all))}
	refs := make([]ref, len(all))
	for i := range all {
		refs[i] = all[i].ref
		refs[i].body = i
		c.seqs = append(c.seqs, refs[i].seq)
	}
	v := append(make([]byte, 0, size), make([]byte, headerBytes)...)
	v = binary.AppendUvarint(v, uint64(k.minTime))
	v = append(v, 1)
	v = binary.AppendUvarint(v, uint64(id))
	v = binary.AppendUvarint(v, uint64(level))
	v = appendRefs(v, refs, -1, k.minTime)
	v = binary.AppendUvarint(v, uint64(len(all)))
	same := make([]bool, len(all)) // as the one before
	for i, run := 0, 0; i < len(all); i++ {
		m := &all[i]
		same[i] = i > 0 && run < maxSameMeta && bytes.Equal(all[i-1].metaIn(b), m.metaIn(b))
		if !same[i] {
			run = 0
		}
		run++
		v = appendBodyEntry(v, &m.bodyEntry, same[i], m.published-k.minTime)
		if m.aside() {
			c.flags = flagBodiesAside
		}
	}
	c.dirEnd = len(v)
	for i := range all {
		m := &all[i]
		if !same[i] {
			v = append(v, m.metaIn(b)...)
		}
		v = append(v, b[m.offset:m.offset+m.stored()]...)
	}
	c.value = v
	return c
}

func (x *bodyEntry) metaIn(b []byte) []byte { return b[x.meta : x.meta+x.metaBytes] }

func appendRefFlags(b []byte, r *ref, base int64) []byte {
	flags := byte(0)
	if r.redelivered {
		flags |= refRedelivered
	}
	if r.expiry != 0 {
		flags |= refExpires
	}
	b = append(b, flags)
	if r.expiry != 0 {
		b = binary.AppendVarint(b, r.expiry-base)
	}
	return b
}

// sharedFloor is how large a body is that is not copied to the chunks of several queues: it
// gets a place of its own (A7).
const sharedFloor = 64 << 10

// build reads what a move takes along and makes its chunks. None are made of messages of
// which none is alive or can be read.
func (f *fetcher) build(m *move) error {
	w := f.d.views.take()
	if w == nil {
		return ErrClosed
	}
	defer f.d.views.release(w)
	all, bodies := f.all[:0], f.bodies[:0]
	var shared []*sharedBody
	for i := range m.from {
		p := &m.from[i]
		n, bytes, others := len(all), len(bodies), len(shared)
		var broken []brokenBody
		err := w.get(p.record.appendKey(nil), func(b []byte) error {
			all, bodies, broken, shared = all[:n], bodies[:bytes], broken[:0], shared[:others]
			rec, err := f.directory(p.record, b)
			if err != nil {
				return err
			}
			f.wanted(rec, p)
			for j := range f.refs {
				r := &f.refs[j]
				e := rec.bodies[r.body]
				meta, payload, err := rec.body(b, r.body)
				if err != nil {
					broken = append(broken, brokenBody{r.seq, err})
					continue
				}
				e.meta = len(bodies)
				bodies = append(bodies, meta...)
				e.offset = len(bodies)
				id, s := f.apart(rec, p, r, payload)
				if s != nil {
					shared = append(shared, s)
				}
				if id != 0 {
					e.id, e.parts, e.crc = id, 1, crc32.Checksum(meta, castagnoli)
				} else {
					bodies = append(bodies, payload...)
				}
				all = append(all, rawMessage{*r, e, p.record})
			}
			if len(broken) > 0 {
				return broken[0].err
			}
			return nil
		})
		if err = f.blame(w, p, err, broken); err != nil {
			return err
		}
	}
	m.shared = shared
	m.cut(all, bodies, f.d.index.chunkBytes)
	f.all, f.bodies = all, bodies
	return nil
}

// blame tells of damage that was met, and returns why the move cannot go on.
func (f *fetcher) blame(w *view, p *piece, err error, broken []brokenBody) error {
	x := f.d.index
	var d damage
	var newer *newerError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &newer):
		x.mu.Lock()
		x.fix(p.record)
		x.mu.Unlock()
		return err
	case errors.Is(err, errGone):
		if p.record.group <= w.group && x.needs(p.record) {
			f.d.reportRecord(p, err)
		}
		return err
	case len(broken) > 0 && errors.As(err, &d):
		// The rest goes along. The damaged record is kept for a repair.
		for _, b := range broken {
			f.d.reportBody(p, b.seq, b.err)
		}
		return nil
	case errors.As(err, &d):
		f.d.reportRecord(p, err)
	}
	return err
}

// needs tells whether a record should be on disk.
func (x *index) needs(r *stored) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return !r.buried
}

// apart tells under which number the body of a message lies by itself, 0 when it goes into
// the chunk: one that is large and that other living messages of its record have, too, is
// not copied for each. It is returned when it has yet to be written.
func (f *fetcher) apart(rec *record, p *piece, r *ref, payload []byte) (id uint64, s *sharedBody) {
	e := &rec.bodies[r.body]
	if e.aside() || f.anything || e.payload < sharedFloor {
		return 0, nil
	}
	x := f.d.index
	x.mu.Lock()
	defer x.mu.Unlock()
	if b := x.bodyOf(p.queue, p.level, r.seq); b != nil {
		return b.id, nil
	}
	at := bodyPlace{p.record, r.body}
	if s := f.shared[at]; s != nil {
		return s.id, s
	}
	var refs []bodyRef
	for i := range rec.sections {
		sec := &rec.sections[i]
		lv := x.find(sec.queue, sec.level)
		for j := range sec.refs {
			if seq := sec.refs[j].seq; sec.refs[j].body == r.body && lv != nil && lv.alive(seq) && x.bodyOf(sec.queue, sec.level, seq) == nil {
				refs = append(refs, bodyRef{sec.queue, sec.level, seq})
			}
		}
	}
	if len(refs) < 2 {
		return 0, nil
	}
	s = &sharedBody{storedBody: storedBody{id: f.d.newID(), refs: refs}, payload: slices.Clone(payload)}
	if f.shared == nil {
		f.shared = make(map[bodyPlace]*sharedBody)
	}
	f.shared[at] = s
	return s.id, s
}

// cut makes the chunks, of about the same size and no larger than that if they can.
func (m *move) cut(all []rawMessage, bodies []byte, chunkBytes int) {
	total := 0
	for i := range all {
		total += all[i].payload
	}
	parts := max(1, (total+chunkBytes-1)/chunkBytes, (len(all)+chunkMessages-1)/chunkMessages)
	size, messages := total/parts, (len(all)+parts-1)/parts
	start, sum := 0, 0
	for i := range all {
		n := all[i].payload
		if i > start && (sum+n > chunkBytes || sum >= size || i-start >= messages) {
			m.chunks = append(m.chunks, encodeChunk(m.queue, m.level, all[start:i], bodies))
			start, sum = i, 0
		}
		sum += n
	}
	if start < len(all) {
		m.chunks = append(m.chunks, encodeChunk(m.queue, m.level, all[start:], bodies))
	}
}

// current tells whether anything is alive of a move's pieces, and all of that is where it
// was when the move was made.
func (x *index) current(m *move) bool {
	lv := x.find(m.queue, m.level)
	if lv == nil {
		return false
	}
	first, last := m.from[0].First, m.from[len(m.from)-1].Last
	n, live := 0, false
	for i := lv.search(first); i < len(lv.sections) && lv.sections[i].first <= last; i++ {
		s := &lv.sections[i]
		if s.left == 0 {
			continue
		}
		for n < len(m.from) && (m.from[n].record != s.record || m.from[n].First != s.first) {
			n++ // settled meanwhile
		}
		if n == len(m.from) {
			return false
		}
		live = true
	}
	return live
}

// writeMoves adds the chunks of moves to the transaction. A move whose messages are
// somewhere else by now, or whose queue was dropped, is given up. The index learns of the
// chunks before they commit (S-20) and takes them for the places afterwards (S-21).
func (d *disk) writeMoves(moves []*move) error {
	for _, m := range moves {
		if !d.wants(m) {
			m.chunks = nil
			continue
		}
		if err := d.writeShared(m.shared); err != nil {
			return err
		}
		room := operation{key: make([]byte, chunkKeyBytes), value: padding[:]}
		if !d.tx.fits(slices.Repeat([]operation{room}, len(m.chunks))) {
			if err := d.tx.commit(); err != nil {
				return err
			}
		}
		group := d.group + 1
		var ops []operation
		for i := range m.chunks {
			c := &m.chunks[i]
			c.key.group = group
			sealRecord(c.value, group, c.dirEnd, c.flags)
			ops = append(ops, operation{key: d.tx.bytesOf(func(b []byte) []byte { return appendChunkKey(b, &c.key) }), value: c.value})
		}
		d.expect(m)
		d.tx.add(ops)
	}
	return nil
}

func (d *disk) wants(m *move) bool {
	d.index.mu.Lock()
	defer d.index.mu.Unlock()
	return len(m.chunks) > 0 && d.index.current(m)
}

// expect makes the chunks of a move known before they are written.
func (d *disk) expect(m *move) {
	d.index.mu.Lock()
	defer d.index.mu.Unlock()
	for i := range m.chunks {
		d.index.coming[m.chunks[i].key] = struct{}{}
	}
}

// moved changes the places of what was moved, which is on disk now. What was settled
// since the chunk was made is settled there.
func (x *index) moved(m *move) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range m.chunks {
		delete(x.coming, m.chunks[i].key)
	}
	lv := x.find(m.queue, m.level)
	if lv == nil || len(m.chunks) == 0 {
		return
	}
	first, last := m.from[0].First, m.from[len(m.from)-1].Last
	start := lv.search(first)
	end := start
	for end < len(lv.sections) && lv.sections[end].first <= last {
		end++
	}
	var fresh []stretch
	for i := range m.chunks {
		if s := x.newStretch(lv, &m.chunks[i]); s.left > 0 {
			fresh = append(fresh, s)
		} else {
			x.bury(s.record)
		}
	}
	for i := start; i < end; i++ {
		x.vacate(lv, &lv.sections[i])
	}
	lv.sections = slices.Replace(lv.sections, start, end, fresh...)
	lv.changed = true
}

// newStretch is what is alive of a chunk.
func (x *index) newStretch(lv *levelIndex, c *movedChunk) stretch {
	k := c.key
	r := &stored{group: k.group, written: k.minTime, bytes: int64(len(c.value)), refs: int(k.count), chunk: &k}
	x.addRecord(r)
	s := stretch{record: r, first: k.first, last: k.last, bytes: int64(k.bytes), count: k.count, left: k.count}
	for i, seq := range c.seqs {
		if lv.alive(seq) {
			continue
		}
		if s.members == nil && !s.dense() {
			s.setMembers(c.seqs)
		} else if s.members == nil {
			s.members = &members{}
		}
		if s.members.gone == nil {
			s.members.gone = make([]uint64, (s.count+63)/64)
		}
		s.members.gone[i/64] |= 1 << (i % 64)
		s.left--
	}
	r.live = int(s.left)
	return s
}

// vacate takes what is left of a stretch off its record.
func (x *index) vacate(lv *levelIndex, s *stretch) {
	if s.left == 0 {
		lv.settled--
		return
	}
	s.record.live -= int(s.left)
	if s.record.chunk == nil {
		lv.journal--
		x.journal.stretches--
	}
	if s.record.live == 0 {
		x.bury(s.record)
	}
}
