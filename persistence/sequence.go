package persistence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"
)

// sequenceName is the file that remembers the last group outside Badger. Badger cuts its
// log at the first damaged byte and says nothing; a marker older than this file is what
// turns that into an alarm. An honest torn tail was never confirmed and is not in it.
const sequenceName = "store.seq"

// sequence is that file: group and checksum, 12 bytes and 4 of zeros, written in place
// after each commit and synced only at a clean stop.
type sequence struct {
	file   *os.File
	info   os.FileInfo // of the file that was opened
	log    zerolog.Logger
	warned bool
}

// openSequence opens the file and returns the group in it; 0 when it is new, empty or
// torn, which is nothing to stop for.
func openSequence(dir string, log zerolog.Logger) (*sequence, uint64, error) {
	f, err := os.OpenFile(filepath.Join(dir, sequenceName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open the group number: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("look at the group number: %w", err), f.Close())
	}
	s := &sequence{file: f, info: info, log: log}
	var b [16]byte
	n, err := f.ReadAt(b[:], 0)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, 0, errors.Join(fmt.Errorf("read the group number: %w", err), f.Close())
	case n == 0:
		return s, 0, nil
	case n < len(b) || crc32.Checksum(b[:8], castagnoli) != binary.BigEndian.Uint32(b[8:]):
		log.Warn().Str("file", f.Name()).Msg("group number is torn and ignored")
		return s, 0, nil
	}
	return s, binary.BigEndian.Uint64(b[:]), nil
}

// write remembers group. A failure costs the next start its check and nothing else.
func (s *sequence) write(group uint64) {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], group)
	binary.BigEndian.PutUint32(b[8:], crc32.Checksum(b[:8], castagnoli))
	if _, err := s.file.WriteAt(b[:], 0); err != nil && !s.warned {
		s.warned = true
		s.log.Warn().Err(err).Msg("group number not written")
	}
}

// present returns an error when the file is not where it was opened, which means that the
// directory was removed or moved. What is written to a removed one is synced without
// complaint, and is gone with the process. One call of the system for each group finds
// that out before anything is confirmed (E10).
func (s *sequence) present() error {
	info, err := os.Stat(s.file.Name())
	if err != nil {
		return fmt.Errorf("the store was removed or moved: %w", err)
	}
	if !os.SameFile(s.info, info) {
		return fmt.Errorf("the store was replaced: %s is another file", s.file.Name())
	}
	return nil
}

func (s *sequence) sync() error  { return s.file.Sync() }
func (s *sequence) close() error { return s.file.Close() }
