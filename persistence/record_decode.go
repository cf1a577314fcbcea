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
	end      int // of the last body
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

// bodyEntry is where a body is. Several may have one meta.
type bodyEntry struct {
	meta, metaBytes int
	offset          int    // of the payload
	payload         int    // its length, wherever it is
	published       int64  // Unix milliseconds
	crc             uint32 // of meta and payload, or of meta alone
	parts           uint32 // of a payload that is kept aside; 0 of others
	id              uint64 // of one that is kept aside
}

func (x *bodyEntry) aside() bool { return x.parts > 0 }

// stored is how many bytes of payload are in the record.
func (x *bodyEntry) stored() int {
	if x.aside() {
		return 0
	}
	return x.payload
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
		return 0, &newerError{what: "a batch record", version: uint64(b[2]), older: b[2] < recordVersion}
	}
	return dirEnd, nil
}

func (r *record) readSections(c *cursor, base int64) {
	body := -1
	most := uint64(maxRun * len(c.b))
	for n := c.count(4); n > 0 && !c.failed; n-- {
		s := section{queue: queue.ID(c.uvarint())}
		level := c.uvarint()
		seq := c.uvarint() - 1
		refs := c.uvarint()
		if level > 255 || c.failed || refs > most {
			c.failed = true
			return
		}
		most -= refs
		s.level = uint8(level)
		s.refs = make([]ref, 0, min(refs, uint64(len(c.b))))
		for refs > 0 && !c.failed {
			h := c.uvarint()
			run := h >> 1
			if run == 0 || run > refs || h&1 == 0 && run > maxRun {
				c.failed = true
				return
			}
			refs -= run
			for ; run > 0 && !c.failed; run-- {
				f := ref{}
				if h&1 == 0 {
					seq++
					body++
				} else {
					seq += c.uvarint()
					body += int(c.varint())
					flags := c.uvarint()
					f.redelivered = flags&refRedelivered != 0
					if flags&refExpires != 0 {
						f.expiry = base + c.varint()
					}
				}
				f.seq, f.body = seq, body
				s.refs = append(s.refs, f)
			}
		}
		r.sections = append(r.sections, s)
	}
}

func (r *record) readBodies(c *cursor, base int64, offset, end int) {
	n := c.count(6)
	r.bodies = make([]bodyEntry, 0, n)
	r.end = offset
	for ; n > 0 && !c.failed; n-- {
		payload, flags := c.uvarint(), c.uvarint()
		e := bodyEntry{payload: int(payload), published: base}
		if flags&bodyPublished != 0 {
			e.published += c.varint()
		}
		metaBytes := uint64(0)
		switch last := len(r.bodies) - 1; {
		case flags&bodySameMeta == 0:
			metaBytes = c.uvarint()
			e.meta, e.metaBytes = r.end, int(metaBytes)
		case last < 0:
			c.failed = true
		default:
			e.meta, e.metaBytes = r.bodies[last].meta, r.bodies[last].metaBytes
		}
		if flags&bodyAside != 0 {
			e.id = c.uvarint()
			parts := c.uvarint()
			c.failed = c.failed || parts == 0 || parts > 1<<20
			e.parts = uint32(parts)
		}
		e.crc = c.fixed32()
		left := uint64(end - r.end)
		if metaBytes > left || payload > 1<<40 || uint64(e.stored()) > left-metaBytes {
			c.failed = true
			return
		}
		e.offset = r.end + int(metaBytes)
		r.end = e.offset + e.stored()
		r.bodies = append(r.bodies, e)
	}
	if r.end != end || len(c.b) != 0 {
		c.failed = true
	}
}

// fits tells whether b can be the record that r was parsed from: it has its length.
func (r *record) fits(b []byte) bool { return len(r.bodies) > 0 && len(b) == r.end }

// search is the first reference to seq or what comes after it.
func (s *section) search(seq uint64) int {
	return sort.Search(len(s.refs), func(i int) bool { return s.refs[i].seq >= seq })
}

// body cuts body n out of the bytes the record was parsed from, and verifies it. The
// payload of one that is kept aside is not there.
func (r *record) body(b []byte, n int) (meta, payload []byte, err error) {
	e := &r.bodies[n]
	meta, payload = b[e.meta:e.meta+e.metaBytes], b[e.offset:e.offset+e.stored()]
	if got := crc32.Update(crc32.Checksum(meta, castagnoli), castagnoli, payload); got != e.crc {
		return nil, nil, damaged("body %d has checksum %08x instead of %08x", n, got, e.crc)
	}
	return meta, payload, nil
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
