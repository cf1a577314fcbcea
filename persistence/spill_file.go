package persistence

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"github.com/leveretmq/leveret/queue"
)

// spillDir is the directory of the files of copies, in that of the store.
const spillDir = "spill"

// spillSegment is one file of copies.
type spillSegment struct {
	file  *os.File
	key   []byte // it is encrypted with; nil for none
	size  int64  // belongs to the goroutine that writes
	holds int    // copies in it, readers, and one while it is written to; guarded by spills.mu
}

// spilledCopy is where a copy is: in a file, or in memory.
type spilledCopy struct {
	queue.Range
	segment       *spillSegment
	offset, bytes int64
	puts          []queue.StoredPut
}

// removeSpills removes what an earlier run has spilled.
func removeSpills(dir string) error {
	if err := os.RemoveAll(filepath.Join(dir, spillDir)); err != nil {
		return fmt.Errorf("remove the transient messages of an earlier run: %w", err)
	}
	return nil
}

// nextFile begins the next file.
func (s *spills) nextFile() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("make the directory for copies of messages: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(s.dir, fmt.Sprintf("%06d.spill", s.files+1)), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("make a file for copies of messages: %w", err)
	}
	s.files++
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		s.let(s.current)
	}
	s.current = &spillSegment{file: f, holds: 1}
	if s.encrypt {
		// Nobody reads it but this run, so nobody else needs the key.
		s.current.key = make([]byte, 32)
		_, err = rand.Read(s.current.key)
	}
	return err
}

// xor encrypts or decrypts in place what is at an offset: each copy begins with a counter
// of its own, and no offset is written twice.
func (g *spillSegment) xor(b []byte, offset int64) error {
	if g.key == nil {
		return nil
	}
	iv := make([]byte, 8, 16)
	return xor(b, g.key, binary.BigEndian.AppendUint64(iv, uint64(offset)))
}

// let gives back one hold of a file, nil for a copy in memory. With the last one the file is
// removed soon. s.mu is held.
func (s *spills) let(g *spillSegment) {
	if g == nil {
		return
	}
	if g.holds--; g.holds == 0 {
		s.trash = append(s.trash, g)
		s.more.Signal()
	}
}

// empty removes files in which nothing is wanted any more.
func (s *spills) empty() {
	s.mu.Lock()
	trash := s.trash
	s.trash = nil
	s.mu.Unlock()
	for _, g := range trash {
		s.written.Add(-g.size)
		if err := g.remove(); err != nil {
			s.zero.Warn().Err(err).Msg("a file of copies of messages stays until the next start")
		}
	}
}

func (g *spillSegment) remove() error {
	if err := g.file.Close(); err != nil {
		return err
	}
	return os.Remove(g.file.Name())
}

// closeFiles removes every file. Only the goroutine that writes calls it, at its end.
func (s *spills) closeFiles() {
	s.mu.Lock()
	for _, q := range s.queues {
		for _, lv := range q {
			lv.each(s.forgotten)
		}
	}
	s.queues = nil
	if s.current != nil {
		s.let(s.current)
		s.current = nil
	}
	s.mu.Unlock()
	s.empty()
}

// read reads a copy into buf, which may grow.
func (c *spilledCopy) read(buf []byte) ([]byte, error) {
	if int64(cap(buf)) < c.bytes {
		buf = make([]byte, c.bytes)
	}
	buf = buf[:c.bytes]
	if _, err := c.segment.file.ReadAt(buf, c.offset); err != nil {
		return buf, fmt.Errorf("read copies of messages: %w", err)
	}
	return buf, c.segment.xor(buf, c.offset)
}

// decode adds the messages of a range that are in a copy. Nothing in a file is believed
// without its checksum.
func (c *spilledCopy) decode(b []byte, found []queue.RestoredMessage, r queue.Range, intern func([]byte) string) ([]queue.RestoredMessage, error) {
	rec, err := parseRecord(b)
	if err != nil {
		return found, err
	}
	for i := range rec.sections {
		for _, ref := range rec.sections[i].refs {
			if ref.seq < r.First || ref.seq > r.Last {
				continue
			}
			meta, payload, err := rec.body(b, ref.body)
			if err != nil {
				return found, err
			}
			m, err := decodeMessage(meta, payload, intern)
			if err != nil {
				return found, err
			}
			found = append(found, queue.RestoredMessage{Seq: ref.seq, Expiry: ref.expiry, Redelivered: ref.redelivered, Spilled: true, Message: m})
		}
	}
	return found, nil
}

func (c *spilledCopy) fromMemory(found []queue.RestoredMessage, r queue.Range) []queue.RestoredMessage {
	for i := range c.puts {
		if p := &c.puts[i]; p.Seq >= r.First && p.Seq <= r.Last {
			found = append(found, queue.RestoredMessage{Seq: p.Seq, Expiry: p.Expiry, Redelivered: p.Redelivered, Spilled: true, Message: p.Message})
		}
	}
	return found
}
