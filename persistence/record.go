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
	recordVersion = 1
	headerBytes   = 24

	flagManySections = 1 << 0
	flagBodiesAside  = 1 << 1
	codecMask        = 0xF0

	refRedelivered = 1 << 0
	refExpires     = 1 << 1

	bodyAside = 1 << 0

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
	buf    []byte       // all of it
	free   []byte       // what is not in use of it
	index  messageTable // bodies by identity, when they may be shared
	bodies []encodedBody
	refs   []int // body of each put
	aside  []asideBody
	whole  bool // no body is put aside, however large
}

type encodedBody struct {
	message *message.Message
	meta    int // length of the meta
	length  int // of the body in the record
	crcAt   int // where the directory has its checksum
	id      uint64
	parts   int
	aside   bool
}

// asideBody is a body to be stored in parts of its own.
type asideBody struct {
	id    uint64
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
func (e *encoder) record(group uint64, now int64, puts []queue.StoredPut, nextID func() uint64) []byte {
	e.gatherBodies(puts, nextID)
	b := append(e.room(len(puts)), make([]byte, headerBytes)...)
	b = binary.AppendUvarint(b, uint64(now))
	b, sections := e.appendSections(b, now, puts)
	b = e.appendBodyTable(b)
	dirEnd := len(b)
	b = slices.Grow(b, e.bodyBytes())
	for i := range e.bodies {
		start := len(b)
		b = e.bodies[i].append(b)
		if len(b)-start != e.bodies[i].length {
			panic(fmt.Sprintf("persistence: a body of %d bytes was announced as %d", len(b)-start, e.bodies[i].length))
		}
		binary.BigEndian.PutUint32(b[e.bodies[i].crcAt:], crc32.Checksum(b[start:], castagnoli))
	}
	flags := byte(0)
	if sections > 1 {
		flags |= flagManySections
	}
	if len(e.aside) > 0 {
		flags |= flagBodiesAside
	}
	sealRecord(b, group, dirEnd, flags)
	e.free = b[len(b):]
	return b[:len(b):len(b)]
}

// room is where to encode the bodies gathered and so many references. It is nearly always
// enough; if not, append finds more.
func (e *encoder) room(refs int) []byte {
	need := headerBytes + 64 + 40*refs + 40*len(e.bodies) + e.bodyBytes()
	if cap(e.free) < need {
		e.buf = make([]byte, 0, max(need, min(2*cap(e.buf), 2*groupBytes)))
		e.free = e.buf
	}
	return e.free[:0]
}

// sealRecord fills in the header. Everything else must be in place.
func sealRecord(b []byte, group uint64, dirEnd int, flags byte) {
	binary.BigEndian.PutUint16(b, recordMagic)
	b[2], b[3] = recordVersion, flags
	binary.BigEndian.PutUint64(b[8:], group)
	binary.BigEndian.PutUint32(b[16:], uint32(dirEnd))
	binary.BigEndian.PutUint32(b[20:], crc32.Checksum(b[dirEnd:], castagnoli))
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[8:dirEnd], castagnoli))
}

// gatherBodies finds the bodies of puts. One that reached several queues is one
// *message.Message and is found again by that; puts of a single queue share none.
func (e *encoder) gatherBodies(puts []queue.StoredPut, nextID func() uint64) {
	e.bodies, e.refs, e.aside = e.bodies[:0], e.refs[:0], e.aside[:0]
	shared := len(puts) > 0 && puts[0].Queue != puts[len(puts)-1].Queue
	if shared {
		e.index.reset(len(puts))
	}
	for i := range puts {
		m := puts[i].Message
		if shared {
			if n, added := e.index.add(m, uint32(len(e.bodies))); !added {
				e.refs = append(e.refs, int(*n))
				continue
			}
		}
		e.refs = append(e.refs, len(e.bodies))
		e.bodies = append(e.bodies, newEncodedBody(m))
		if e.whole {
			e.bodies[len(e.bodies)-1].aside = false
		}
	}
	for i := range e.bodies {
		if e.bodies[i].aside {
			e.putAside(i, puts, nextID)
		}
	}
}

func newEncodedBody(m *message.Message) encodedBody {
	meta := metaBytes(m)
	return encodedBody{
		message: m,
		meta:    meta,
		length:  uvarintBytes(uint64(meta)) + meta + m.BodyBytes(),
		aside:   m.BodyBytes() > maxInlineBody,
	}
}

func (e *encoder) putAside(body int, puts []queue.StoredPut, nextID func() uint64) {
	eb := &e.bodies[body]
	payload := eb.message.Body()
	a := asideBody{id: nextID()}
	for part := range slices.Chunk(payload, maxInlineBody) {
		a.parts = append(a.parts, encodePart(part))
	}
	for i, n := range e.refs {
		if n == body {
			a.refs = append(a.refs, bodyRef{puts[i].Queue, puts[i].Level, puts[i].Seq})
		}
	}
	eb.id, eb.parts = a.id, len(a.parts)
	eb.length += uvarintBytes(eb.id) + uvarintBytes(uint64(eb.parts)) - len(payload)
	e.aside = append(e.aside, a)
}

// encodePart makes a batch record without references and with one body without meta.
func encodePart(part []byte) []byte {
	b := make([]byte, headerBytes, headerBytes+32+len(part))
	b = append(b, 0, 0, 1) // base time, sections, bodies
	b = binary.AppendUvarint(b, uint64(len(part)+1))
	b = binary.AppendUvarint(b, uint64(len(part)))
	b = append(b, 0, 0) // publish time, flags
	crcAt := len(b)
	b = append(b, 0, 0, 0, 0)
	dirEnd := len(b)
	b = append(append(b, 0), part...)
	binary.BigEndian.PutUint32(b[crcAt:], crc32.Checksum(b[dirEnd:], castagnoli))
	sealRecord(b, 0, dirEnd, 0)
	return b
}

func (e *encoder) appendSections(b []byte, now int64, puts []queue.StoredPut) ([]byte, int) {
	sections := 0
	for i := 0; i < len(puts); i = sectionEnd(puts, i) {
		sections++
	}
	b = binary.AppendUvarint(b, uint64(sections))
	body := 0
	for i := 0; i < len(puts); {
		end := sectionEnd(puts, i)
		p := &puts[i]
		b = binary.AppendUvarint(b, uint64(p.Queue))
		b = binary.AppendUvarint(b, uint64(p.Level))
		b = binary.AppendUvarint(b, p.Seq)
		b = binary.AppendUvarint(b, uint64(end-i))
		seq := p.Seq
		for ; i < end; i++ {
			p := &puts[i]
			b = binary.AppendUvarint(b, p.Seq-seq)
			b = binary.AppendVarint(b, int64(e.refs[i]-body))
			seq, body = p.Seq, e.refs[i]
			b = appendRefFlags(b, &ref{expiry: p.Expiry, redelivered: p.Redelivered}, now)
		}
	}
	return b, sections
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

func (e *encoder) appendBodyTable(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(e.bodies)))
	for i := range e.bodies {
		eb := &e.bodies[i]
		b = binary.AppendUvarint(b, uint64(eb.length))
		b = binary.AppendUvarint(b, uint64(eb.message.BodyBytes()))
		b = append(b, 0) // published at the base time
		if eb.aside {
			b = append(b, bodyAside)
		} else {
			b = append(b, 0)
		}
		eb.crcAt = len(b)
		b = append(b, 0, 0, 0, 0)
	}
	return b
}

func (e *encoder) bodyBytes() int {
	n := 0
	for i := range e.bodies {
		n += e.bodies[i].length
	}
	return n
}

func (eb *encodedBody) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(eb.meta))
	b = appendMeta(b, eb.message)
	if eb.aside {
		b = binary.AppendUvarint(b, eb.id)
		return binary.AppendUvarint(b, uint64(eb.parts))
	}
	return append(b, eb.message.Body()...)
}

// forget lets go of the messages, so that an idle encoder keeps none alive, and of a
// buffer that one large group has blown up.
func (e *encoder) forget() {
	clear(e.bodies)
	clear(e.aside)
	e.index.forget()
	if cap(e.buf) > 2*groupBytes {
		e.buf = nil
	}
	e.free = e.buf
}

func uvarintBytes(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}
