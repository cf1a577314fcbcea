package persistence

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

const (
	recordMagic   = 0xB451
	recordVersion = 2
	headerBytes   = 20

	flagManySections = 1 << 0
	flagBodiesAside  = 1 << 1
	codecMask        = 0xF0

	refRedelivered = 1 << 0
	refExpires     = 1 << 1

	bodyAside     = 1 << 0
	bodyPublished = 1 << 1 // at another time than the base
	bodySameMeta  = 1 << 2 // as the body before

	// A meta is that of so many bodies at most: what is damaged costs no more.
	maxSameMeta = 64

	// So many references in a row are counted at once at most. It is what fits into one
	// byte, and what bounds the references that a directory of some length can have,
	// however many of them share bodies.
	maxRun = 63

	// What a put may take in a directory at most, with a section and a body of its own.
	maxDirectoryBytes = 27 + 36 + 40

	// A body longer than this is stored in parts of at most this size beside the record
	// (S-18): Badger refuses a value larger than a value-log file.
	maxInlineBody = 32 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// damage is what is wrong with something read from disk.
type damage string

func (d damage) Error() string { return string(d) }

func damaged(format string, args ...any) error { return damage(fmt.Sprintf(format, args...)) }

// encoder makes batch records out of puts. It is reused, and what it made is valid until
// forget.
type encoder struct {
	buf   []byte       // all of it
	free  []byte       // what is not in use of it
	index messageTable // bodies by identity, when they may be shared
	refs  []ref        // of each put
	table []byte       // what the directory has of the bodies
	dir   []byte
	aside []asideBody
	whole bool // no body is put aside, however large

	bodies   int
	last     *message.Message // of the body before; nil when its meta is not to be used again
	sameMeta int              // bodies that have that meta
	metaCRC  uint32
}

// asideBody is a body to be stored in parts of its own.
type asideBody struct {
	id    uint64
	body  int
	parts [][]byte // encoded batch records
	refs  []bodyRef
}

type bodyRef struct {
	queue queue.ID
	level uint8
	seq   uint64
}

// record encodes puts as a record of group: those of one queue and level as a chunk, any as
// a journal record. now is the publish time, Unix milliseconds. nextID numbers bodies
// stored aside, which are in e.aside afterwards.
//
// Each message is looked at once. The directory goes in front when all bodies are there,
// into room that was left for the largest it could be.
func (e *encoder) record(group uint64, now int64, puts []queue.StoredPut, nextID func() uint64) []byte {
	reserve := headerBytes + 64 + maxDirectoryBytes*len(puts)
	b := e.appendBodies(e.room(reserve), puts, nextID)
	dir, sections := e.directory(now, puts)
	if cap(b) > cap(e.buf) {
		e.buf = b[:0] // append has found more
	}
	e.free = b[len(b):]
	r := b[reserve-len(dir) : len(b) : len(b)]
	copy(r, dir)
	flags := byte(0)
	if sections > 1 {
		flags |= flagManySections
	}
	if len(e.aside) > 0 {
		flags |= flagBodiesAside
	}
	sealRecord(r, group, len(dir), flags)
	return r
}

// room is where to encode the next record, with so many bytes left at its start. If what
// follows is not enough, append finds more.
func (e *encoder) room(reserve int) []byte {
	if cap(e.free) < reserve {
		e.buf = make([]byte, 0, max(reserve, min(2*cap(e.buf), 2*groupBytes)))
		e.free = e.buf
	}
	return e.free[:reserve]
}

// sealRecord fills in the header. Everything else must be in place.
func sealRecord(b []byte, group uint64, dirEnd int, flags byte) {
	binary.BigEndian.PutUint16(b, recordMagic)
	b[2], b[3] = recordVersion, flags
	binary.BigEndian.PutUint64(b[8:], group)
	binary.BigEndian.PutUint32(b[16:], uint32(dirEnd))
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[8:dirEnd], castagnoli))
}

// appendBodies appends the bodies of puts, and notes what the directory says of them and of
// the references. A body that reached several queues is one *message.Message and is found
// again by that; puts of a single queue share none.
func (e *encoder) appendBodies(b []byte, puts []queue.StoredPut, nextID func() uint64) []byte {
	e.refs, e.table, e.aside = e.refs[:0], e.table[:0], e.aside[:0]
	e.bodies, e.last = 0, nil
	shared := len(puts) > 0 && puts[0].Queue != puts[len(puts)-1].Queue
	if shared {
		e.index.reset(len(puts))
	}
	for i := range puts {
		p := &puts[i]
		r := ref{seq: p.Seq, expiry: p.Expiry, body: e.bodies, redelivered: p.Redelivered}
		added := true
		if shared {
			var body *uint32
			body, added = e.index.add(p.Message, uint32(e.bodies))
			r.body = int(*body)
		}
		e.refs = append(e.refs, r)
		if added {
			b = e.appendBody(b, p.Message, nextID)
			e.bodies++
		}
	}
	for i := range e.aside {
		a := &e.aside[i]
		for n := range e.refs {
			if e.refs[n].body == a.body {
				a.refs = append(a.refs, bodyRef{puts[n].Queue, puts[n].Level, puts[n].Seq})
			}
		}
	}
	return b
}

func (e *encoder) appendBody(b []byte, m *message.Message, nextID func() uint64) []byte {
	x := bodyEntry{payload: m.BodyBytes()}
	same := e.last != nil && e.sameMeta < maxSameMeta && metaEqual(e.last, m)
	if same {
		e.sameMeta++
	} else {
		start := len(b)
		b = appendMeta(b, m)
		x.metaBytes = len(b) - start
		e.metaCRC = crc32.Checksum(b[start:], castagnoli)
		e.last, e.sameMeta = m, 1
	}
	x.crc = e.metaCRC
	if x.payload > maxInlineBody && !e.whole {
		a := asideBody{id: nextID(), body: e.bodies}
		for part := range slices.Chunk(m.Body(), maxInlineBody) {
			a.parts = append(a.parts, encodePart(part))
		}
		x.id, x.parts = a.id, uint32(len(a.parts))
		e.aside = append(e.aside, a)
	} else {
		b = append(b, m.Body()...)
		x.crc = crc32.Update(x.crc, castagnoli, m.Body())
	}
	e.table = appendBodyEntry(e.table, &x, same, 0)
	return b
}

// appendBodyEntry appends what a directory says of a body that was published at the base
// time of the record and so much later.
func appendBodyEntry(b []byte, x *bodyEntry, sameMeta bool, later int64) []byte {
	flags := byte(0)
	if x.parts > 0 {
		flags |= bodyAside
	}
	if later != 0 {
		flags |= bodyPublished
	}
	if sameMeta {
		flags |= bodySameMeta
	}
	b = append(binary.AppendUvarint(b, uint64(x.payload)), flags)
	if later != 0 {
		b = binary.AppendVarint(b, later)
	}
	if !sameMeta {
		b = binary.AppendUvarint(b, uint64(x.metaBytes))
	}
	if x.parts > 0 {
		b = binary.AppendUvarint(b, x.id)
		b = binary.AppendUvarint(b, uint64(x.parts))
	}
	return binary.BigEndian.AppendUint32(b, x.crc)
}

// encodePart makes a batch record without references and with one body without meta.
func encodePart(part []byte) []byte {
	b := make([]byte, headerBytes, headerBytes+32+len(part))
	b = append(b, 0, 0, 1) // base time, sections, bodies
	b = appendBodyEntry(b, &bodyEntry{payload: len(part), crc: crc32.Checksum(part, castagnoli)}, false, 0)
	dirEnd := len(b)
	b = append(b, part...)
	sealRecord(b, 0, dirEnd, 0)
	return b
}

// directory makes the directory of puts whose bodies were appended, with room for the
// header.
func (e *encoder) directory(now int64, puts []queue.StoredPut) (dir []byte, sections int) {
	b := append(e.dir[:0], make([]byte, headerBytes)...)
	b = binary.AppendUvarint(b, uint64(now))
	for i := 0; i < len(puts); i = sectionEnd(puts, i) {
		sections++
	}
	b = binary.AppendUvarint(b, uint64(sections))
	for i, body := 0, -1; i < len(puts); {
		end := sectionEnd(puts, i)
		b = binary.AppendUvarint(b, uint64(puts[i].Queue))
		b = binary.AppendUvarint(b, uint64(puts[i].Level))
		b = appendRefs(b, e.refs[i:end], body, now)
		body = e.refs[end-1].body
		i = end
	}
	b = binary.AppendUvarint(b, uint64(e.bodies))
	e.dir = append(b, e.table...)
	return e.dir, sections
}

// appendRefs appends the references of a section; body is that of the reference before,
// -1 at the start of a record. Those that follow one another, as most do, and have nothing
// to tell are only counted.
func appendRefs(b []byte, refs []ref, body int, base int64) []byte {
	b = binary.AppendUvarint(b, refs[0].seq)
	b = binary.AppendUvarint(b, uint64(len(refs)))
	seq := refs[0].seq - 1
	for i := 0; i < len(refs); {
		start := i
		for ; i < len(refs) && i-start < maxRun && refs[i].plain(seq, body); i++ {
			seq, body = refs[i].seq, refs[i].body
		}
		if i > start {
			b = binary.AppendUvarint(b, uint64(i-start)<<1)
			continue
		}
		s, n := seq, body
		for ; i < len(refs) && !refs[i].plain(s, n); i++ {
			s, n = refs[i].seq, refs[i].body
		}
		b = binary.AppendUvarint(b, uint64(i-start)<<1|1)
		for ; start < i; start++ {
			r := &refs[start]
			b = binary.AppendUvarint(b, r.seq-seq)
			b = binary.AppendVarint(b, int64(r.body-body))
			b = appendRefFlags(b, r, base)
			seq, body = r.seq, r.body
		}
	}
	return b
}

// plain tells that a reference is what is to be expected after one to seq with body.
func (r *ref) plain(seq uint64, body int) bool {
	return r.seq == seq+1 && r.body == body+1 && r.expiry == 0 && !r.redelivered
}

// sectionEnd is where the run of puts that starts at i and has one queue and level ends.
// A queue that was collected twice has two sections, and so has one whose sequence
// numbers did not rise.
func sectionEnd(puts []queue.StoredPut, i int) int {
	p := &puts[i]
	for j := i + 1; j < len(puts); j++ {
		if q := &puts[j]; q.Queue != p.Queue || q.Level != p.Level || q.Seq <= puts[j-1].Seq {
			return j
		}
	}
	return len(puts)
}

// forget lets go of the messages, so that an idle encoder keeps none alive, and of a
// buffer that one large group has blown up.
func (e *encoder) forget() {
	clear(e.aside)
	e.last = nil
	e.index.forget()
	if cap(e.buf) > 2*groupBytes {
		e.buf = nil
	}
	e.free = e.buf
}
