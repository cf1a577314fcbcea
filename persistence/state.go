package persistence

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/leveretmq/leveret/queue"
)

// stateVersion is the version of the value under 02.
const stateVersion = 1

const stateHadConsumer = 1 << 0

// levelState is the acknowledgement state of a level, as it is on disk: everything below
// head is settled.
type levelState struct {
	head        uint64
	purgeFloor  uint64 // 0 in this version: a purge raises the head
	next        uint64
	deliveredTo uint64
	hadConsumer bool
	run         uint32 // in which hadConsumer was set
}

func appendState(dst []byte, s levelState) []byte {
	dst = append(dst, stateVersion)
	dst = binary.BigEndian.AppendUint64(dst, s.head)
	dst = binary.BigEndian.AppendUint64(dst, s.purgeFloor)
	dst = binary.BigEndian.AppendUint64(dst, s.next)
	dst = binary.BigEndian.AppendUint64(dst, s.deliveredTo)
	flags := byte(0)
	if s.hadConsumer {
		flags |= stateHadConsumer
	}
	dst = append(dst, flags)
	return binary.BigEndian.AppendUint32(dst, s.run)
}

func decodeState(b []byte) (levelState, error) {
	c := cursor{b: b}
	if v := c.octet(); v != stateVersion && !c.failed {
		return levelState{}, &newerError{what: "an acknowledgement state", version: uint64(v)}
	}
	s := levelState{head: c.fixed64(), purgeFloor: c.fixed64(), next: c.fixed64(), deliveredTo: c.fixed64()}
	s.hadConsumer = c.octet()&stateHadConsumer != 0
	s.run = c.fixed32()
	if c.failed || len(c.b) != 0 {
		return levelState{}, damaged("an acknowledgement state of %d bytes", len(b))
	}
	if s.purgeFloor != 0 {
		return levelState{}, &newerError{what: "an acknowledgement state with a purge floor", version: stateVersion}
	}
	return s, nil
}

// The two forms of an acknowledgement page. The shorter is written.
const (
	pageRanges = 1 // uvarint gap and run length - 1, in turn
	pageBitmap = 2
)

const pageBitmapBytes = queue.PagePositions / 8

// appendPage appends the bits of a page.
func appendPage(dst []byte, p *[queue.PagePositions / 64]uint64) []byte {
	start := len(dst)
	dst = append(dst, pageRanges)
	at := 0
	for {
		first := nextBit(p, at, true)
		if first == queue.PagePositions {
			return dst
		}
		end := nextBit(p, first, false)
		dst = binary.AppendUvarint(dst, uint64(first-at))
		dst = binary.AppendUvarint(dst, uint64(end-first-1))
		if len(dst)-start > pageBitmapBytes {
			break
		}
		at = end
	}
	dst = append(dst[:start], pageBitmap)
	for _, w := range p {
		dst = binary.LittleEndian.AppendUint64(dst, w)
	}
	return dst
}

// nextBit is the position of the first bit at or after at that is set, or not set.
func nextBit(p *[queue.PagePositions / 64]uint64, at int, set bool) int {
	for at < queue.PagePositions {
		w := p[at/64]
		if !set {
			w = ^w
		}
		if w >>= at % 64; w != 0 {
			return at + bits.TrailingZeros64(w)
		}
		at = at&^63 + 64
	}
	return queue.PagePositions
}

func decodePage(b []byte, p *[queue.PagePositions / 64]uint64) error {
	c := cursor{b: b}
	switch kind := c.octet(); {
	case c.failed:
		return damaged("an empty acknowledgement page")
	case kind == pageRanges:
		at := uint64(0)
		for len(c.b) > 0 && !c.failed {
			first := at + min(c.uvarint(), queue.PagePositions)
			at = first + min(c.uvarint(), queue.PagePositions) + 1
			if c.failed || at > queue.PagePositions {
				return damaged("an acknowledgement page with position %d", at)
			}
			for i := first; i < at; i++ {
				p[i/64] |= 1 << (i % 64)
			}
		}
	case kind == pageBitmap && len(c.b) == pageBitmapBytes:
		for i := range p {
			p[i] = binary.LittleEndian.Uint64(c.b[i*8:])
		}
	default:
		return damaged("an acknowledgement page of kind %d and %d bytes", kind, len(b))
	}
	return nil
}

// countsVersion is the version of a page of delivery counts: sequence number less the one
// before, and count, in turn, as uvarints.
const countsVersion = 1

// maxCount is what is written of a higher count, so that a page stays inline (S-15).
const maxCount = 1<<14 - 1

func appendCounts(dst []byte, p *queue.CountPage) []byte {
	dst = append(dst, countsVersion)
	at := p.Number * queue.CountPositions
	for _, c := range p.Counts {
		dst = binary.AppendUvarint(dst, c.Seq-at)
		dst = binary.AppendUvarint(dst, uint64(min(c.N, maxCount)))
		at = c.Seq
	}
	return dst
}

func decodeCounts(b []byte, number uint64) (queue.CountPage, error) {
	p := queue.CountPage{Number: number}
	c := cursor{b: b}
	if v := c.octet(); v != countsVersion && !c.failed {
		return p, &newerError{what: "a page of delivery counts", version: uint64(v)}
	}
	for seq := number * queue.CountPositions; len(c.b) > 0 && !c.failed; {
		step, n := c.uvarint(), c.uvarint()
		if seq += step; step >= queue.CountPositions || seq/queue.CountPositions != number || len(p.Counts) > 0 && step == 0 || n > maxCount {
			c.failed = true
		}
		p.Counts = append(p.Counts, queue.Count{Seq: seq, N: uint32(n)})
	}
	if c.failed {
		return p, damaged("a page of delivery counts of %d bytes", len(b))
	}
	return p, nil
}

// marker is the value under FE, written by every transaction.
type marker struct {
	group        uint64
	journalFloor uint64 // no live journal record below it
	nextID       uint64 // no id at or above it was ever used
}

func appendMarker(dst []byte, m marker) []byte {
	dst = binary.BigEndian.AppendUint64(dst, m.group)
	dst = binary.BigEndian.AppendUint64(dst, m.journalFloor)
	return binary.BigEndian.AppendUint64(dst, m.nextID)
}

func decodeMarker(b []byte) (marker, error) {
	c := cursor{b: b}
	m := marker{c.fixed64(), c.fixed64(), c.fixed64()}
	if c.failed {
		return marker{}, damaged("a commit marker of %d bytes", len(b))
	}
	return m, nil
}

// run is the value under FC: how often the store was opened, and whether the last time
// ended with everything written.
type run struct {
	number uint32
	clean  bool
}

func appendRun(dst []byte, r run) []byte {
	dst = binary.BigEndian.AppendUint32(dst, r.number)
	if r.clean {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func decodeRun(b []byte) (run, error) {
	c := cursor{b: b}
	r := run{number: c.fixed32()}
	r.clean = c.octet() == 1
	if c.failed {
		return run{}, damaged("a run of %d bytes", len(b))
	}
	return r, nil
}

// schemaVersion is the version of the layout as a whole, and minReader the oldest that can
// read it: since 2 there are chunks, and a program that knew none would find messages
// missing; since 3 records have version 2. Badger keeps externalMagic, which changes only when Badger's own files do.
const (
	schemaVersion = 3
	minReader     = 3
	externalMagic = 1
	// oldestSchema is the oldest that this program reads: none before was released.
	oldestSchema = 3
)

// schema is the value under 00.
type schema struct {
	version, minReader uint32
	node               [16]byte // a random UUID, for as long as the store lives
	created            int64    // Unix milliseconds
}

func appendSchema(s schema) []byte {
	dst := binary.BigEndian.AppendUint32(nil, s.version)
	dst = binary.BigEndian.AppendUint32(dst, s.minReader)
	dst = append(dst, s.node[:]...)
	return binary.BigEndian.AppendUint64(dst, uint64(s.created))
}

func decodeSchema(b []byte) (schema, error) {
	c := cursor{b: b}
	s := schema{version: c.fixed32(), minReader: c.fixed32()}
	if !c.failed && s.minReader > schemaVersion {
		return schema{}, &newerError{what: "the store", version: uint64(s.version)}
	}
	if !c.failed && s.version < oldestSchema {
		return schema{}, &newerError{what: "the store", version: uint64(s.version), older: true}
	}
	copy(s.node[:], c.bytes(16))
	s.created = int64(c.fixed64())
	if c.failed {
		return schema{}, damaged("a schema of %d bytes", len(b))
	}
	return s, nil
}

// newerError is what a format is that this program does not know yet, or not any more. It
// is not damage: nothing may be dropped because of it.
type newerError struct {
	what    string
	version uint64
	older   bool
}

func (e *newerError) Error() string {
	if e.older {
		return fmt.Sprintf("%s has format version %d, which this program does not read any more; it was written before the first release", e.what, e.version)
	}
	return fmt.Sprintf("%s has format version %d, which this program does not know; it was written by a newer one", e.what, e.version)
}
