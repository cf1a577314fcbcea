package persistence

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rs/zerolog"
)

// Badger cuts its logs at the first entry that does not check out: the log of each
// memtable and the newest value log, at every start. For a torn tail that is right, but
// one flipped bit costs everything behind it. So before Badger opens, what it would cut
// is copied aside; afterwards records that are missing are looked for there.

// salvageExt ends the names of those copies: log, offset, extension. In each is the log's
// header, which is needed to decrypt, and what the log has from that offset on, as
// encrypted as it was.
const salvageExt = ".salvage"

// logHeader is what a log of Badger's has before its first entry.
const logHeader = 20

// saveTails copies aside whatever Badger is about to cut off its logs.
func saveTails(dir string, log zerolog.Logger) error {
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil {
		return err
	}
	values, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil {
		return err
	}
	if len(values) > 0 {
		logs = append(logs, values[len(values)-1]) // names are numbers of one width
	}
	for _, name := range logs {
		if err := saveTail(name, log); err != nil {
			return fmt.Errorf("look through %s: %w", name, err)
		}
	}
	return nil
}

func saveTail(name string, log zerolog.Logger) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	end, err := logEnd(f)
	if err != nil {
		return err
	}
	size, err := usedBytes(f, end)
	if err != nil || size == end {
		return err
	}
	log.Warn().Str("file", name).Int64("offset", end).Int64("bytes", size-end).
		Msg("a log has an entry that does not check out; what follows is set aside")
	to, err := os.OpenFile(name+"."+strconv.FormatInt(end, 10)+salvageExt, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, io.MultiReader(io.NewSectionReader(f, 0, logHeader), io.NewSectionReader(f, end, size-end)))
	return errors.Join(err, to.Sync(), to.Close())
}

// logEnd is where the entries of a log that check out end: each is two octets, key and
// value length and expiry as uvarints, key, value, and a CRC-32C of all that.
func logEnd(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	at := int64(logHeader)
	if info.Size() <= at {
		return info.Size(), nil
	}
	r := bufio.NewReaderSize(io.NewSectionReader(f, at, info.Size()-at), 256<<10)
	var entry []byte
	for {
		head, err := r.Peek(2 + 3*binary.MaxVarintLen64)
		if err != nil && err != io.EOF {
			return 0, err
		}
		n := entryBytes(head)
		if n == 0 || n > info.Size()-at {
			return at, nil
		}
		if int64(cap(entry)) < n {
			entry = make([]byte, n)
		}
		entry = entry[:n]
		if _, err := io.ReadFull(r, entry); err != nil {
			return 0, err
		}
		if crc32.Checksum(entry[:n-4], castagnoli) != binary.BigEndian.Uint32(entry[n-4:]) {
			return at, nil
		}
		at += n
	}
}

// entryBytes is how long the entry that begins with head says it is; 0 when it cannot be
// one.
func entryBytes(head []byte) int64 {
	if len(head) < 2 {
		return 0
	}
	c := cursor{b: head[2:]}
	key, value := c.uvarint(), c.uvarint()
	c.uvarint()
	if c.failed || key == 0 || key > 1<<16 || value > 1<<32 {
		return 0
	}
	return int64(len(head)-len(c.b)) + int64(key) + int64(value) + 4
}

// usedBytes is where the zeros at the end of a file begin, no less than from. It moves f's
// offset. What no block was ever written to is not read: the last value log is twice as long
// as it may become, and reading all of that would take longer than the rest of a start.
func usedBytes(f *os.File, from int64) (int64, error) {
	used, at := from, from
	b, zeros := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		next, err := nextData(f, at)
		if errors.Is(err, io.EOF) {
			return used, nil
		}
		if err != nil {
			return 0, err
		}
		at = next
		n, err := f.ReadAt(b, at)
		if !bytes.Equal(b[:n], zeros[:n]) {
			used = at + int64(len(bytes.TrimRight(b[:n], "\x00")))
		}
		at += int64(n)
		if errors.Is(err, io.EOF) {
			return used, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// salvage is what was set aside, now or by a start before that did not get far.
type salvage struct {
	dir    string
	keys   dataKeys
	loaded bool
	tails  [][]byte
	least  uint64 // what lowest found; 0 before
}

func (s *salvage) files() ([]string, error) {
	return filepath.Glob(filepath.Join(s.dir, "*"+salvageExt))
}

func (s *salvage) load() error {
	if s.loaded {
		return nil
	}
	s.loaded = true
	files, err := s.files()
	if err != nil {
		return err
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if len(b) <= logHeader {
			continue
		}
		// Zeros at the end were left out, and the last checksum may end with some.
		b = append(b, make([]byte, crc32.Size)...)
		header, tail := b[:logHeader], b[logHeader:]
		if err := s.keys.decryptLog(header, tail, tailOffset(name)); err != nil {
			return fmt.Errorf("decrypt %s: %w", name, err)
		}
		s.tails = append(s.tails, tail)
	}
	return nil
}

// tailOffset is the offset in the name of a copy.
func tailOffset(name string) int64 {
	name = strings.TrimSuffix(name, salvageExt)
	n, err := strconv.ParseInt(name[strings.LastIndexByte(name, '.')+1:], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// any tells whether anything was set aside.
func (s *salvage) any() (bool, error) {
	err := s.load()
	return len(s.tails) > 0, err
}

// lowest is the lowest group of any record that can be read in what was set aside; the
// highest number there is when none can.
func (s *salvage) lowest() uint64 {
	if s.least == 0 {
		s.least = math.MaxUint64
		for _, tail := range s.tails {
			magic := binary.BigEndian.AppendUint16(nil, recordMagic)
			for at := 0; ; {
				i := bytes.Index(tail[at:], magic)
				if i < 0 {
					break
				}
				at += i
				if n := recordLength(tail[at:]); n > 0 {
					s.least = min(s.least, binary.BigEndian.Uint64(tail[at+8:]))
					at += n
				} else {
					at += len(magic)
				}
			}
		}
	}
	return s.least
}

// find returns the batch record that was stored under key, if its directory is intact.
// In a log the key, with eight octets for the version, is right before the value.
func (s *salvage) find(key []byte) ([]byte, error) {
	if err := s.load(); err != nil {
		return nil, err
	}
	for _, tail := range s.tails {
		for at := 0; ; {
			i := bytes.Index(tail[at:], key)
			if i < 0 {
				break
			}
			at += i + len(key)
			if len(tail) < at+8 {
				break
			}
			if n := recordLength(tail[at+8:]); n > 0 {
				return tail[at+8 : at+8+n], nil
			}
		}
	}
	return nil, nil
}

// recordLength is how long the batch record at the start of b is; 0 when there is none.
func recordLength(b []byte) int {
	if len(b) < headerBytes || binary.BigEndian.Uint16(b) != recordMagic {
		return 0
	}
	dirEnd := uint64(binary.BigEndian.Uint32(b[16:]))
	if dirEnd < headerBytes || dirEnd > uint64(len(b)) ||
		crc32.Checksum(b[8:dirEnd], castagnoli) != binary.BigEndian.Uint32(b[4:]) {
		return 0
	}
	r := record{}
	c := cursor{b: b[headerBytes:dirEnd]}
	base := int64(c.uvarint())
	r.readSections(&c, base)
	r.readBodies(&c, base, int(dirEnd), len(b))
	if len(r.bodies) > 0 && len(c.b) == 0 {
		return r.end
	}
	return 0
}

// remove forgets the copies.
func (s *salvage) remove() error {
	files, err := s.files()
	for _, name := range files {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}
