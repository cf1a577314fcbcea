package persistence

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"hash/crc32"
	"os"

	"github.com/dgraph-io/badger/v4/fb"
)

// checkBlocks verifies every checksum of a table before Badger does. Badger finds a damaged
// block, too, but then looks at it to say where it is and, in a goroutine where nobody can
// catch it, dies of there being none.
//
// A table is its blocks, the index, the length of the index, its checksum, and the length of
// that. The index says where the blocks are. A block ends in its checksum and the length of
// that; the checksum is of all that is before it. With a key the index and every block are
// encrypted, each followed by the initial counter: the checksum of the index is of the
// encrypted one, those of blocks are encrypted with them.
func checkBlocks(name string, key []byte) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	rest, sum, ok := cutChecksum(b)
	if !ok {
		return damaged("%s has no checksum", name)
	}
	index, ok := cutLength(&rest)
	if !ok || crc32.Checksum(index, castagnoli) != sum {
		return damaged("%s: the index at %d does not check out", name, len(rest))
	}
	if index, ok = decryptPiece(index, key); !ok {
		return damaged("%s: the index at %d cannot be decrypted", name, len(rest))
	}
	table := fb.GetRootAsTableIndex(index, 0) // as it was written, so it can be trusted
	for i := range table.OffsetsLength() {
		var block fb.BlockOffset
		if !table.Offsets(&block, i) {
			return damaged("%s: the index has no block %d", name, i)
		}
		start, end := uint64(block.Offset()), uint64(block.Offset())+uint64(block.Len())
		if end > uint64(len(rest)) {
			return damaged("%s: block %d is outside of the file", name, i)
		}
		content, ok := decryptPiece(rest[start:end], key)
		var sum uint32
		if ok {
			content, sum, ok = cutChecksum(content)
		}
		if !ok || crc32.Checksum(content, castagnoli) != sum {
			return damaged("%s: the block at %d to %d does not check out", name, start, end)
		}
	}
	return nil
}

// decryptPiece decrypts a block or an index. It is b itself when there is no key.
func decryptPiece(b, key []byte) (piece []byte, ok bool) {
	if key == nil {
		return b, true
	}
	n := len(b) - aes.BlockSize
	if n < 0 {
		return nil, false
	}
	piece = bytes.Clone(b[:n])
	return piece, xor(piece, key, b[n:]) == nil
}

// cutChecksum takes the checksum off the end of b.
func cutChecksum(b []byte) (rest []byte, sum uint32, ok bool) {
	encoded, ok := cutLength(&b)
	if !ok {
		return nil, 0, false
	}
	// It is a protobuf message: 1 is the kind of checksum, of which 0 is the CRC, and 2 its value.
	c := cursor{b: encoded}
	for len(c.b) > 0 && !c.failed {
		switch tag, v := c.octet(), c.uvarint(); {
		case tag == 2<<3 && v <= 1<<32-1:
			sum = uint32(v)
		case tag != 1<<3 || v != 0:
			return nil, 0, false
		}
	}
	return b, sum, !c.failed
}

// cutLength takes what is followed by its own length off the end of b.
func cutLength(b *[]byte) (piece []byte, ok bool) {
	end := len(*b) - 4
	if end < 0 {
		return nil, false
	}
	start := int64(end) - int64(binary.BigEndian.Uint32((*b)[end:]))
	if start < 0 {
		return nil, false
	}
	piece, *b = (*b)[start:end], (*b)[:start]
	return piece, true
}
