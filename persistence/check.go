package persistence

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// Report is what a check or a repair found in a store.
type Report struct {
	Queues   int
	Records  int   // of messages, needed
	Messages int   // that can be served, counted in each queue
	Bytes    int64 // of their bodies
	// Problems are what is wrong, in the order it was found; none when all is well.
	Problems []Problem
}

// scratchName is a directory inside a store's in which a check works.
const scratchName = "check.tmp"

// Check reads every message in the store in dir, and everything else a start needs, and
// tells what is damaged. The store must not be in use (*InUseError). No file of it is
// changed: Badger, which cuts and merges its files when it opens them, is given links and
// copies in a scratch directory beside them. key is the store's, nil when it is not encrypted
// (*KeyError when that is wrong). The error is about the check itself, and not
// about what it found.
func Check(dir string, key []byte) (Report, error) {
	var r Report
	if _, err := os.Stat(dir); err != nil {
		return r, fmt.Errorf("look at the store: %w", err)
	}
	lk, err := takeLock(dir)
	if err != nil {
		return r, err
	}
	scratch := filepath.Join(dir, scratchName)
	err = os.RemoveAll(scratch)
	if err == nil {
		err = shadow(dir, scratch)
	}
	if err == nil {
		err = r.check(dir, scratch, key)
	}
	return r, errors.Join(err, os.RemoveAll(scratch), lk.release())
}

func (r *Report) add(p Problem) { r.Problems = append(r.Problems, p) }

func (r *Report) check(dir, scratch string, key []byte) error {
	keys, err := openKeys(scratch, key)
	if err != nil {
		return r.noKeys(dir, err)
	}
	broken, err := brokenTables(scratch, keys)
	if err != nil {
		return err
	}
	for _, p := range broken {
		r.add(p)
	}
	if len(broken) > 0 {
		return nil // Badger would not open it
	}
	s, err := Open(scratch, Options{Logger: zerolog.Nop(), EncryptionKey: key, byHand: true, onProblem: r.add, repair: true})
	if err != nil {
		r.add(Problem{Kind: "store", Reason: err.Error()})
		return nil //nolint:nilerr // it is what was looked for
	}
	d := s.backend.(*disk)
	r.verify(d, s.Catalog())
	err = s.abandon()
	return errors.Join(err, r.locate(dir, keys))
}

// noKeys is what comes of a store that cannot be decrypted: a key that does not fit says
// nothing of the store, anything else is a problem of its own.
func (r *Report) noKeys(dir string, err error) error {
	var k *KeyError
	if errors.As(err, &k) {
		return &KeyError{dir, k.Reason}
	}
	r.add(Problem{Kind: "store", Reason: err.Error()})
	return nil
}

// abandon closes a store that was only looked at.
func (s *Store) abandon() error {
	s.mu.Lock()
	s.closing, s.closed = true, true
	s.mu.Unlock()
	close(s.stopped)
	s.reads.close()
	return s.backend.close()
}

// verify reads everything that the index of d knows, and counts.
func (r *Report) verify(d *disk, c topology.Catalog) {
	r.Queues = len(c.Queues)
	f := newFetcher(d)
	records := make(map[*stored]struct{})
	for _, id := range c.Holders() {
		for level := range 256 {
			pieces, _ := d.index.resolve(id, uint8(level), queue.Range{Last: math.MaxUint64})
			for i := range pieces {
				records[pieces[i].record] = struct{}{}
				r.verifyPiece(f, &pieces[i])
			}
		}
	}
	r.Records = len(records)
}

func (r *Report) verifyPiece(f *fetcher, p *piece) {
	w := f.d.views.take()
	defer f.d.views.release(w)
	var found []queue.RestoredMessage
	if err := f.piece(w, p, &found); err != nil {
		f.d.reportRecord(p, err)
	}
	for i := range found {
		r.Messages++
		r.Bytes += int64(found[i].Message.BodyBytes())
	}
}

// shadow makes a directory that Badger can open instead of dir. Full files of the value log
// and what was salvaged are links; Badger leaves them alone. The others are copies, tables
// too: before it removes a file Badger cuts it to nothing, and whoever has a link to it has
// nothing, either. It does that to tables that it has merged, and to a file of the value log
// in which nothing is.
func shadow(dir, to string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return fmt.Errorf("make a directory for the check: %w", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list the store directory: %w", err)
	}
	newest := ""
	for _, f := range files {
		if filepath.Ext(f.Name()) == ".vlog" {
			newest = f.Name() // names are numbers of one width
		}
	}
	for _, f := range files {
		name := f.Name()
		from, copied := filepath.Join(dir, name), filepath.Join(to, name)
		switch ext := filepath.Ext(name); {
		case f.IsDir() || name == lockName || name == "LOCK":
			continue
		case ext == salvageExt || ext == ".vlog" && name != newest:
			info, err := f.Info()
			if err == nil && info.Size() > logHeader && os.Link(from, copied) == nil {
				continue
			}
		}
		if err := copyFile(from, copied); err != nil {
			return fmt.Errorf("copy %s for the check: %w", name, err)
		}
	}
	return nil
}

// copyFile copies a file and leaves out what is zero: logs are mapped far beyond what is in
// them.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	b, zeros := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); at < info.Size(); {
		n, err := in.ReadAt(b, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return errors.Join(err, out.Close())
		}
		if !bytes.Equal(b[:n], zeros[:n]) {
			if _, err := out.WriteAt(b[:n], at); err != nil {
				return errors.Join(err, out.Close())
			}
		}
		if n == 0 {
			break
		}
		at += int64(n)
	}
	return errors.Join(out.Truncate(info.Size()), out.Close())
}

// locate finds the files that damaged records are in: those in which their keys are
// followed by more than in a table.
func (r *Report) locate(dir string, keys dataKeys) error {
	wanted := make(map[int][]byte) // by problem
	for i := range r.Problems {
		if p := &r.Problems[i]; p.Key != "" && p.File == "" {
			key, err := hex.DecodeString(p.Key)
			if err != nil {
				return err
			}
			wanted[i] = key
		}
	}
	for _, pattern := range []string{"*.vlog", "*.mem", "*.sst"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, name := range files {
			if len(wanted) == 0 {
				return nil
			}
			found, err := containing(name, wanted, keys)
			if err != nil {
				return err
			}
			for _, i := range found {
				r.Problems[i].File = filepath.Base(name)
				delete(wanted, i)
			}
		}
	}
	return nil
}

// containing tells which of the keys are in a file.
func containing(name string, wanted map[int][]byte, keys dataKeys) ([]int, error) {
	if filepath.Ext(name) != ".sst" {
		switch h, err := readLogHeader(name); {
		case err != nil:
			return nil, err
		case h != nil && logKeyID(h) != 0:
			return containingEncrypted(name, wanted, keys)
		}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	found := make(map[int]struct{})
	const overlap = 64 // more than a key has
	b := make([]byte, 1<<20+overlap)
	for at := int64(0); ; at += 1 << 20 {
		n, err := f.ReadAt(b, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		for i, key := range wanted {
			if _, there := found[i]; !there && bytes.Contains(b[:n], key) {
				found[i] = struct{}{}
			}
		}
		if err != nil {
			break
		}
	}
	var all []int
	for i := range found {
		all = append(all, i)
	}
	return all, nil
}

// containingEncrypted is containing for a log that is encrypted.
func containingEncrypted(name string, wanted map[int][]byte, keys dataKeys) ([]int, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	used := len(bytes.TrimRight(b[logHeader:], "\x00")) + crc32.Size
	header, entries := b[:logHeader], b[logHeader:min(logHeader+used, len(b))]
	if err := keys.decryptLog(header, entries, logHeader); err != nil {
		return nil, err
	}
	var all []int
	for i, key := range wanted {
		if bytes.Contains(entries, key) {
			all = append(all, i)
		}
	}
	return all, nil
}
