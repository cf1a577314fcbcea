package persistence

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"time"
)

// BackupInfo is what a backup says about itself.
type BackupInfo struct {
	// Store is the ID of the store it was made of, and Group the last commit that is in it.
	Store string
	Group uint64
	// Created is when it was begun.
	Created time.Time
	// Queues are the durable ones; Messages are alive in them, counted in each queue, and
	// Bytes are about those of their bodies.
	Queues   int
	Messages uint64
	Bytes    int64
	// Size is that of the backup itself, in bytes.
	Size int64
	// Damaged is how much could not be read, or did not check out, when it was made; Problems
	// tells of the first hundred.
	Damaged  int
	Problems []string
}

const (
	backupMagic   = "LVRTBACK"
	backupVersion = 1
	// backupBlock is what a block is filled to. One with a large record is as large as that.
	backupBlock = 1 << 20
	// maxBackupBlock is more than a block can have: a journal record is less than a file of
	// the value log.
	maxBackupBlock = backupBlock + valueLogFileSize
	maxProblems    = 100
)

// The kinds of blocks.
const (
	blockHeader  = 'H'
	blockEntries = 'D'
	blockProblem = 'P'
	blockFailed  = 'F' // the backup was given up, and why
	blockEnd     = 'E'
)

const blockPrefix = 5 // kind and length

// BackupError is why a backup cannot be used: it is damaged, was cut, or is none.
type BackupError struct {
	Block  int   // counted from 1; 0 before the first
	Offset int64 // of the block in the backup, in bytes
	Reason string
}

func (e *BackupError) Error() string {
	if e.Block == 0 {
		return "not a usable backup: " + e.Reason
	}
	return fmt.Sprintf("the backup is damaged in block %d, which begins at byte %d: %s", e.Block, e.Offset, e.Reason)
}

// backupHeader is the first block.
type backupHeader struct {
	version uint32
	node    [16]byte
	created int64 // Unix milliseconds
	marker  marker
}

func (h *backupHeader) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, h.version)
	b = append(b, h.node[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(h.created))
	return appendMarker(b, h.marker)
}

func decodeBackupHeader(b []byte) (h backupHeader, err error) {
	c := cursor{b: b}
	if h.version = c.fixed32(); h.version > backupVersion {
		return h, &newerError{what: "the backup", version: uint64(h.version)}
	}
	copy(h.node[:], c.bytes(16))
	h.created = int64(c.fixed64())
	if c.failed {
		return h, damaged("a header of %d bytes", len(b))
	}
	h.marker, err = decodeMarker(c.b)
	return h, err
}

// backupTotals is the last block.
type backupTotals struct {
	entries, queues, messages, bytes, damaged uint64
}

func (t *backupTotals) append(b []byte) []byte {
	for _, v := range []uint64{t.entries, t.queues, t.messages, t.bytes, t.damaged} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

func decodeBackupTotals(b []byte) (backupTotals, error) {
	c := cursor{b: b}
	t := backupTotals{c.fixed64(), c.fixed64(), c.fixed64(), c.fixed64(), c.fixed64()}
	if c.failed || len(c.b) > 0 {
		return backupTotals{}, damaged("an end of %d bytes", len(b))
	}
	return t, nil
}

func (h *backupHeader) info(t backupTotals) BackupInfo {
	return BackupInfo{
		Store:    hex.EncodeToString(h.node[:]),
		Group:    h.marker.group,
		Created:  time.UnixMilli(h.created),
		Queues:   int(t.queues),
		Messages: t.messages,
		Bytes:    int64(t.bytes),
		Damaged:  int(t.damaged),
	}
}

// backupWriter writes blocks. It has one in memory, which is filled first.
type backupWriter struct {
	w     io.Writer
	sum   uint32 // of everything so far but checksums
	bytes int64
	block []byte // blockPrefix bytes, and what was added
}

func newBackupWriter(w io.Writer) *backupWriter {
	return &backupWriter{w: w, block: make([]byte, blockPrefix, backupBlock+backupBlock/4)}
}

// magic begins the backup.
func (w *backupWriter) magic() error {
	w.sum = crc32.Checksum([]byte(backupMagic), castagnoli)
	n, err := io.WriteString(w.w, backupMagic)
	w.bytes += int64(n)
	return err
}

// length is how much the block has, for cut.
func (w *backupWriter) length() int { return len(w.block) }

// cut takes what was added to the block since length off again.
func (w *backupWriter) cut(length int) { w.block = w.block[:length] }

// entry adds a key and its value to the block.
func (w *backupWriter) entry(key, value []byte) {
	b := slices.Grow(w.block, len(key)+len(value)+2*binary.MaxVarintLen32)
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = append(b, key...)
	b = binary.AppendUvarint(b, uint64(len(value)))
	w.block = append(b, value...)
}

// full tells that the block is large enough to be written.
func (w *backupWriter) full() bool { return len(w.block) >= backupBlock }

// end writes the block, if anything is in it.
func (w *backupWriter) end(kind byte) error {
	if len(w.block) == blockPrefix {
		return nil
	}
	w.block[0] = kind
	binary.BigEndian.PutUint32(w.block[1:], uint32(len(w.block)-blockPrefix))
	w.sum = crc32.Update(w.sum, castagnoli, w.block)
	w.block = binary.BigEndian.AppendUint32(w.block, w.sum)
	n, err := w.w.Write(w.block)
	w.bytes += int64(n)
	w.block = w.block[:blockPrefix]
	if cap(w.block) > 4*backupBlock { // one large record blew it up
		w.block = make([]byte, blockPrefix, backupBlock+backupBlock/4)
	}
	return err
}

// one writes a block of its own.
func (w *backupWriter) one(kind byte, payload []byte) error {
	w.cut(blockPrefix)
	w.block = append(w.block, payload...)
	return w.end(kind)
}

// backupSink is given what is in a backup.
type backupSink interface {
	begin(h backupHeader) error
	// entry may keep what it is given until settle is called, which is at the end of a block.
	entry(key, value []byte) error
	settle() error
}

// ReadBackup reads a backup to its end and returns what it says. The error is a
// *BackupError when it is damaged, was cut or is none.
func ReadBackup(r io.Reader) (BackupInfo, error) { return readBackup(r, nowhere{}) }

type nowhere struct{}

func (nowhere) begin(backupHeader) error { return nil }
func (nowhere) entry(_, _ []byte) error  { return nil }
func (nowhere) settle() error            { return nil }

// backupReader reads blocks, and knows where it is.
type backupReader struct {
	r      io.Reader
	sum    uint32
	block  int   // the present one, from 1
	offset int64 // where it begins
	bytes  int64 // read so far
	buf    bytes.Buffer
}

func (r *backupReader) damaged(format string, args ...any) error {
	return &BackupError{r.block, r.offset, fmt.Sprintf(format, args...)}
}

// fill reads n bytes behind those in buf.
func (r *backupReader) fill(n int64) error {
	read, err := io.CopyN(&r.buf, r.r, n)
	r.bytes += read
	if errors.Is(err, io.EOF) {
		return r.damaged("it ends at byte %d, before its end was written", r.bytes)
	}
	if err != nil {
		return fmt.Errorf("read the backup at byte %d: %w", r.bytes, err)
	}
	return nil
}

func (r *backupReader) magic() error {
	if err := r.fill(int64(len(backupMagic))); err != nil {
		return err
	}
	if r.buf.String() != backupMagic {
		return r.damaged("it begins with %q", r.buf.String())
	}
	r.sum = crc32.Checksum(r.buf.Bytes(), castagnoli)
	return nil
}

// next reads a block. The payload is good until the next one.
func (r *backupReader) next() (kind byte, payload []byte, err error) {
	r.block++
	r.offset = r.bytes
	if r.buf.Cap() > 4*backupBlock {
		r.buf = bytes.Buffer{}
	}
	r.buf.Reset()
	if err := r.fill(blockPrefix); err != nil {
		return 0, nil, err
	}
	n := int64(binary.BigEndian.Uint32(r.buf.Bytes()[1:]))
	if n > maxBackupBlock {
		return 0, nil, r.damaged("it has a length of %d bytes", n)
	}
	if err := r.fill(n + 4); err != nil {
		return 0, nil, err
	}
	b := r.buf.Bytes()
	b, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	r.sum = crc32.Update(r.sum, castagnoli, b)
	if sum != r.sum {
		return 0, nil, r.damaged("its checksum is %08x instead of %08x", sum, r.sum)
	}
	return b[0], b[blockPrefix:], nil
}

// readBackup hands what is in a backup to sink, block by block. What it was handed is known
// to be all, and as it was written, only when it returns no error.
func readBackup(from io.Reader, sink backupSink) (BackupInfo, error) {
	r := &backupReader{r: from}
	if err := r.magic(); err != nil {
		return BackupInfo{}, err
	}
	h, err := r.header()
	if err != nil {
		return BackupInfo{}, err
	}
	if err := sink.begin(h); err != nil {
		return BackupInfo{}, err
	}
	entries := uint64(0)
	var problems []string
	for {
		kind, payload, err := r.next()
		if err != nil {
			return BackupInfo{}, err
		}
		switch kind {
		case blockEntries:
			n, err := r.entries(payload, sink)
			if err != nil {
				return BackupInfo{}, err
			}
			entries += n
		case blockProblem:
			if len(problems) < maxProblems {
				problems = append(problems, string(payload))
			}
		case blockFailed:
			return BackupInfo{}, r.damaged("it was given up: %s", payload)
		case blockEnd:
			t, err := r.end(payload, entries)
			if err != nil {
				return BackupInfo{}, err
			}
			info := h.info(t)
			info.Size, info.Problems = r.bytes, problems
			return info, nil
		default:
			return BackupInfo{}, r.damaged("it is of the unknown kind %q", kind)
		}
	}
}

func (r *backupReader) header() (backupHeader, error) {
	kind, payload, err := r.next()
	if err != nil {
		return backupHeader{}, err
	}
	if kind != blockHeader {
		return backupHeader{}, r.damaged("it is of kind %q and no header", kind)
	}
	h, err := decodeBackupHeader(payload)
	var d damage
	if errors.As(err, &d) {
		err = r.damaged("%v", err)
	}
	return h, err
}

func (r *backupReader) entries(payload []byte, sink backupSink) (n uint64, err error) {
	c := cursor{b: payload}
	for ; len(c.b) > 0; n++ {
		key := c.bytes(c.uvarint())
		value := c.bytes(c.uvarint())
		if c.failed || len(key) == 0 {
			return n, r.damaged("entry %d does not add up", n+1)
		}
		if err := sink.entry(key, value); err != nil {
			var d damage
			if errors.As(err, &d) {
				err = r.damaged("entry %d: %v", n+1, err)
			}
			return n, err
		}
	}
	return n, sink.settle()
}

// end reads the last block, after which there is nothing.
func (r *backupReader) end(payload []byte, entries uint64) (backupTotals, error) {
	t, err := decodeBackupTotals(payload)
	if err != nil {
		return t, r.damaged("%v", err)
	}
	if t.entries != entries {
		return t, r.damaged("there were %d entries instead of %d", entries, t.entries)
	}
	if n, err := r.r.Read(make([]byte, 1)); n > 0 {
		return t, r.damaged("there is more behind it, the end")
	} else if err != nil && !errors.Is(err, io.EOF) {
		return t, fmt.Errorf("read the backup at byte %d: %w", r.bytes, err)
	}
	return t, nil
}
