package persistence

import (
	"encoding/binary"

	"github.com/leveretmq/leveret/queue"
)

// The first byte of every key.
const (
	keySchema   = 0x00
	keyMetadata = 0x01
	keyState    = 0x02
	keyJournal  = 0x10
	keyChunk    = 0x20
	keyPage     = 0x30
	keyCounts   = 0x31
	keyBody     = 0x40
	keyBodyRef  = 0x41
	keyWindow   = 0x51
	keyHistory  = 0x52
	keyPadding  = 0xF0
	keyRun      = 0xFC
	keySlot     = 0xFD
	keyMarker   = 0xFE
)

// slots is how many group numbers are remembered for the continuity check (S-19).
const slots = 1 << 16

func appendStateKey(dst []byte, id queue.ID, level uint8) []byte {
	dst = append(dst, keyState)
	dst = binary.BigEndian.AppendUint64(dst, uint64(id))
	return append(dst, level)
}

func parseStateKey(k []byte) (id queue.ID, level uint8, ok bool) {
	if len(k) != 10 {
		return 0, 0, false
	}
	return queue.ID(binary.BigEndian.Uint64(k[1:])), k[9], true
}

func appendPageKey(dst []byte, id queue.ID, level uint8, page uint64) []byte {
	dst = append(dst, keyPage)
	dst = binary.BigEndian.AppendUint64(dst, uint64(id))
	dst = append(dst, level)
	return binary.BigEndian.AppendUint64(dst, page)
}

// parsePageKey reads the key of an acknowledgement page, or of a page of delivery counts.
func parsePageKey(k []byte) (id queue.ID, level uint8, page uint64, ok bool) {
	if len(k) != 18 {
		return 0, 0, 0, false
	}
	return queue.ID(binary.BigEndian.Uint64(k[1:])), k[9], binary.BigEndian.Uint64(k[10:]), true
}

func appendCountsKey(dst []byte, id queue.ID, level uint8, page uint64) []byte {
	at := len(dst)
	dst = appendPageKey(dst, id, level, page)
	dst[at] = keyCounts
	return dst
}

func appendJournalKey(dst []byte, group uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, keyJournal), group)
}

func parseJournalKey(k []byte) (group uint64, ok bool) {
	if len(k) != 9 {
		return 0, false
	}
	return binary.BigEndian.Uint64(k[1:]), true
}

// chunkKey is what the key of a chunk says, so that recovery needs no more than keys.
type chunkKey struct {
	queue       queue.ID
	level       uint8
	first, last uint64
	count       uint32
	bytes       uint32 // of the payloads
	minTime     int64  // the earliest publish time, Unix milliseconds
	minExpiry   int64  // the earliest deadline, Unix milliseconds; 0 when none expires
	group       uint64 // that wrote it: of two chunks that overlap, the later one counts
}

const chunkKeyBytes = 54

func appendChunkKey(dst []byte, k *chunkKey) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, keyChunk), uint64(k.queue))
	dst = append(dst, k.level)
	dst = binary.BigEndian.AppendUint64(dst, k.first)
	dst = binary.BigEndian.AppendUint64(dst, k.last)
	dst = binary.BigEndian.AppendUint32(dst, k.count)
	dst = binary.BigEndian.AppendUint32(dst, k.bytes)
	dst = appendUint48(dst, k.minTime)
	dst = appendUint48(dst, k.minExpiry)
	return binary.BigEndian.AppendUint64(dst, k.group)
}

func appendUint48(dst []byte, v int64) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(v>>32))
	return binary.BigEndian.AppendUint32(dst, uint32(v))
}

func parseChunkKey(k []byte) (c chunkKey, ok bool) {
	if len(k) != chunkKeyBytes {
		return chunkKey{}, false
	}
	u48 := func(b []byte) int64 {
		return int64(binary.BigEndian.Uint16(b))<<32 | int64(binary.BigEndian.Uint32(b[2:]))
	}
	c = chunkKey{
		queue:     queue.ID(binary.BigEndian.Uint64(k[1:])),
		level:     k[9],
		first:     binary.BigEndian.Uint64(k[10:]),
		last:      binary.BigEndian.Uint64(k[18:]),
		count:     binary.BigEndian.Uint32(k[26:]),
		bytes:     binary.BigEndian.Uint32(k[30:]),
		minTime:   u48(k[34:]),
		minExpiry: u48(k[40:]),
		group:     binary.BigEndian.Uint64(k[46:]),
	}
	return c, c.first <= c.last && c.count > 0 && uint64(c.count-1) <= c.last-c.first
}

// appendKey appends the key of a record.
func (r *stored) appendKey(dst []byte) []byte {
	if r.chunk != nil {
		return appendChunkKey(dst, r.chunk)
	}
	return appendJournalKey(dst, r.group)
}

// The lengths of the keys of bodies kept aside, and of their references.
const (
	bodyKeyBytes    = 13
	bodyRefKeyBytes = 26
)

func appendBodyKey(dst []byte, body uint64, part uint32) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, keyBody), body)
	return binary.BigEndian.AppendUint32(dst, part)
}

func parseBodyKey(k []byte) (body uint64, part uint32, ok bool) {
	if len(k) != bodyKeyBytes {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(k[1:]), binary.BigEndian.Uint32(k[9:]), true
}

func appendBodyRefKey(dst []byte, body uint64, id queue.ID, level uint8, seq uint64) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, keyBodyRef), body)
	dst = binary.BigEndian.AppendUint64(dst, uint64(id))
	dst = append(dst, level)
	return binary.BigEndian.AppendUint64(dst, seq)
}

func parseBodyRefKey(k []byte) (body uint64, id queue.ID, level uint8, seq uint64, ok bool) {
	if len(k) != bodyRefKeyBytes {
		return 0, 0, 0, 0, false
	}
	return binary.BigEndian.Uint64(k[1:]), queue.ID(binary.BigEndian.Uint64(k[9:])),
		k[17], binary.BigEndian.Uint64(k[18:]), true
}

func appendSlotKey(dst []byte, group uint64) []byte {
	return binary.BigEndian.AppendUint16(append(dst, keySlot), uint16(group%slots))
}
