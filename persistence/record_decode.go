package persistence

import (
	"encoding/binary"
	"hash/crc32"
	"sort"

	"github.com/leveretmq/leveret/queue"
)

// record is the directory of a batch record. Its bodies are in the bytes it was parsed
// from.
type record struct {
	group    uint64
	base     int64 // when it was made, Unix milliseconds
	sections []section
	bodies   []bodyEntry
}

// section is a run of references of one level of a queue, in order.
type section struct {
	queue queue.ID
	level uint8
	refs  []ref
}

type ref struct {
	seq         uint64
	expiry      int64 // absolute, Unix milliseconds; 0 for none
	body        int
	redelivered bool
}

type bodyEntry struct {
	offset, length int
	payload        int   // length of the payload, wherever it is
	published      int64 // Unix milliseconds
	crc            uint32
	aside          bool
}

// parseRecord verifies and reads a record's directory and nothing else: bodies are not
// touched. Errors are damage, except for a format that is newer than this reader, which is
// a *newerError.
func parseRecord(b []byte) (*record, error) {
	dirEnd, err := openRecord(b)
	if err != nil {
		return nil, err
	}
	r := &record{group: binary.BigEndian.Uint64(b[8:])}
	c := cursor{b: b[headerBytes:dirEnd]}
	base := int64(c.uvarint())
	r.base = base
	r.readSections(&c, base)
	r.readBodies(&c, base, int(dirEnd), len(b))
	if c.failed {
		return nil, damaged("directory does not add up")
	}
	for i := range r.sections {
		for _, ref := range r.sections[i].refs {
			if ref.body < 0 || ref.body >= len(r.bodies) {
				return nil, damaged("reference to body %d of %d", ref.body, len(r.bodies))
			}
		}
	}
	return r, nil
}

// openRecord verifies the header and the checksum of a record's directory and returns where
// that ends.
func openRecord(b []byte) (dirEnd uint64, err error) {
	if len(b) < headerBytes {
		return 0, damaged("%d bytes are no record", len(b))
	}
	if binary.BigEndian.Uint16(b) != recordMagic {
		return 0, damaged("magic %02x%02x", b[0], b[1])
	}
	dirEnd = uint64(binary.BigEndian.Uint32(b[16:]))
	if dirEnd < headerBytes || dirEnd > uint64(len(b)) {
		return 0, damaged("directory ends at %d of %d bytes", dirEnd, len(b))
	}
	if got, want := crc32.Checksum(b[8:dirEnd], castagnoli), binary.BigEndian.Uint32(b[4:]); got != want {
		return 0, damaged("directory has checksum %08x instead of %08x", got, want)
	}
	if b[2] != recordVersion || b[3]&codecMask != 0 {
		return 0, &newerError{what: "a batch record", version: uint64(b[2])}
	}
	return dirEnd, nil
}

func (r *record) readSections(c *cursor, base int64) {
	body := 0
	for n := c.count(4); n > 0 && !c.failed; n-- {
		s := section{queue: queue.ID(c.uvarint())}
		level := c.uvarint()
		seq := c.uvarint()
		refs := c.count(3)
		if level > 255 || c.failed {
			c.failed = true
			return
		}
		s.level = uint8(level)
		s.refs = make([]ref, 0, refs)
		for ; refs > 0 && !c.failed; refs-- {
			seq += c.uvarint()
			body += int(c.varint())
			flags := c.uvarint()
			f := ref{seq: seq, body: body, redelivered: flags&refRedelivered != 0}
			if flags&refExpires != 0 {
				f.expiry = base + c.varint()
			}
			s.refs = append(s.refs, f)
		}
		r.sections = append(r.sections, s)
	}
}

func (r *record) readBodies(c *cursor, base int64, offset, end int) {
	n := c.count(8)
	r.bodies = make([]bodyEntry, 0, n)
	for ; n > 0 && !c.failed; n-- {
		length, payload := c.uvarint(), c.uvarint()
		e := bodyEntry{offset: offset, length: int(length), payload: int(payload)}
		e.published = base + c.varint()
		e.aside = c.uvarint()&bodyAside != 0
		e.crc = c.fixed32()
		if length > uint64(end-offset) || payload > 1<<40 {
			c.failed = true
		}
		offset += e.length
		r.bodies = append(r.bodies, e)
	}
	if offset != end || len(c.b) != 0 {
		c.failed = true
	}
}

// fits tells whether b can be the record that r was parsed from: it has its length.
func (r *record) fits(b []byte) bool {
	if len(r.bodies) == 0 {
		return false
	}
	last := &r.bodies[len(r.bodies)-1]
	return len(b) == last.offset+last.length
}

// search is the first reference to seq or what comes after it.
func (s *section) search(seq uint64) int {
	return sort.Search(len(s.refs), func(i int) bool { return s.refs[i].seq >= seq })
}

// body cuts body n out of the bytes the record was parsed from, and verifies it.
func (r *record) body(b []byte, n int) (meta, payload []byte, err error) {
	e := &r.bodies[n]
	body := b[e.offset : e.offset+e.length]
	if got := crc32.Checksum(body, castagnoli); got != e.crc {
		return nil, nil, damaged("body %d has checksum %08x instead of %08x", n, got, e.crc)
	}
	c := cursor{b: body}
	meta = c.bytes(c.uvarint())
	if c.failed || !e.aside && len(c.b) != e.payload {
		return nil, nil, damaged("body %d does not add up", n)
	}
	return meta, c.b, nil
}

// bodiesWhole tells whether the checksum of all bodies of a record that parsed is right.
func bodiesWhole(b []byte) bool {
	return crc32.Checksum(b[binary.BigEndian.Uint32(b[16:]):], castagnoli) == binary.BigEndian.Uint32(b[20:])
}

// asideAt reads where a body that is stored aside is: what body returned as its payload.
func asideAt(b []byte) (id uint64, parts uint32, err error) {
	c := cursor{b: b}
	id = c.uvarint()
	n := c.uvarint()
	if c.failed || n == 0 || n > 1<<20 {
		return 0, 0, damaged("where a body is kept cannot be read")
	}
	return id, uint32(n), nil
}

// cursor reads integers off a slice. After a failure it returns zeros.
type cursor struct {
	b      []byte
	failed bool
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.b, c.failed = nil, true
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.b, c.failed = nil, true
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) fixed32() uint32 {
	if len(c.b) < 4 {
		c.b, c.failed = nil, true
		return 0
	}
	v := binary.BigEndian.Uint32(c.b)
	c.b = c.b[4:]
	return v
}

func (c *cursor) fixed64() uint64 {
	hi := c.fixed32()
	return uint64(hi)<<32 | uint64(c.fixed32())
}

func (c *cursor) octet() byte {
	if len(c.b) == 0 {
		c.failed = true
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

// bytes cuts off n bytes. They alias what the cursor reads.
func (c *cursor) bytes(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.b, c.failed = nil, true
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// count reads a number of things of at least size bytes each. One that cannot be true is
// a failure, so that damage allocates nothing large.
func (c *cursor) count(size int) int {
	n := c.uvarint()
	if n > uint64(len(c.b)/size) {
		c.b, c.failed = nil, true
		return 0
	}
	return int(n)
}
