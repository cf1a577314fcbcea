package persistence

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// restoringExt is what the directory of a store is called while it is restored.
const restoringExt = ".restoring"

// ExistsError is why nothing is restored where something is already.
type ExistsError struct{ Dir string }

func (e *ExistsError) Error() string {
	return fmt.Sprintf("%s is not empty: a backup is restored where there is no store", e.Dir)
}

// RestoreBackup makes a store in dir, which must be empty or not exist (*ExistsError), out
// of a backup. The store is new, with an ID of its own, and has everything declared and every
// message that was alive; it is opened once, to see that it starts, before it is where it
// belongs. Until then it is in a directory beside dir, so what an interruption leaves is no
// store; the next call begins anew. It is encrypted with key, whatever the one was that
// was saved; nil for not at all. The error is a *BackupError when the backup is not
// whole.
//
// It returns what the backup says, but Messages and Bytes are those found in the store, and
// Problems and Damaged include what was found damaged in it.
func RestoreBackup(r io.Reader, dir string, key []byte) (BackupInfo, error) {
	if err := vacant(dir); err != nil {
		return BackupInfo{}, err
	}
	l := &loader{dir: dir + restoringExt, key: key}
	info, err := readBackup(r, l)
	if err = errors.Join(err, l.close()); err != nil {
		return BackupInfo{}, fmt.Errorf("restore: %w", err)
	}
	if err := inspect(l.dir, key, &info); err != nil {
		return BackupInfo{}, fmt.Errorf("open what was restored: %w", err)
	}
	if err := install(l.dir, dir); err != nil {
		return BackupInfo{}, fmt.Errorf("put the restored store in its place: %w", err)
	}
	return info, nil
}

// vacant tells whether a store can be put into dir.
func vacant(dir string) error {
	files, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look at where to restore: %w", err)
	case len(files) > 0:
		return &ExistsError{dir}
	}
	return nil
}

// unfinished tells whether the store in dir is still being restored, or was not to the end:
// a new one made there would be taken for it.
func unfinished(dir string) error {
	attempt := dir + restoringExt
	if _, err := os.Stat(attempt); err != nil || vacant(dir) != nil {
		return nil //nolint:nilerr // there is no attempt, or a store all the same
	}
	return fmt.Errorf("the store %s was not restored to the end: restore it again, or delete %s to begin with nothing", dir, attempt)
}

// loader writes what is in a backup to a new store.
type loader struct {
	dir    string
	key    []byte // of the store to be, nil for none
	d      *disk  // nil before begin
	nextID atomic.Uint64
	stats  counters
	ops    []operation
}

// begin implements backupSink. Every transaction of the loader is a group after those of
// the backup, and the slots of those are filled in, so that the store has no gap (S-19).
func (l *loader) begin(h backupHeader) error {
	if err := clearAttempt(l.dir); err != nil {
		return err
	}
	d, _, err := openDisk(l.dir, Options{Logger: zerolog.Nop(), EncryptionKey: l.key}, &l.nextID, &l.stats)
	if err != nil {
		return err
	}
	l.d = d
	d.group = max(d.group, h.marker.group)
	d.tx.keep.journalFloor = h.marker.journalFloor
	d.idsAhead = 0
	l.nextID.Store(h.marker.nextID)
	return d.fillSlots()
}

// clearAttempt removes what an interrupted restore has left in dir, unless it is under way.
func clearAttempt(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the store directory: %w", err)
	}
	lk, err := takeLock(dir)
	if err != nil {
		return err
	}
	files, err := os.ReadDir(dir)
	for _, f := range files {
		if f.Name() != lockName {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, f.Name())))
		}
	}
	return errors.Join(err, lk.release())
}

// entry implements backupSink.
func (l *loader) entry(key, value []byte) error {
	op := operation{key: key, value: value}
	switch key[0] {
	case keySchema:
		// The layout is the backup's, and the store another.
		s, err := decodeSchema(value)
		if err != nil {
			return err
		}
		s.node, s.created = l.d.schema.node, time.Now().UnixMilli()
		op.value = appendSchema(s)
	case keyMetadata, keyState, keyPage, keyCounts, keyJournal, keyChunk, keyBody, keyBodyRef, keyWindow, keyHistory, keyRun:
		if !isRecord(key) && !op.inline() {
			return damaged("%d bytes under the key %x", len(value), key)
		}
	default:
		return damaged("the key %x is none of a store", key)
	}
	l.ops = append(l.ops, op)
	return nil
}

// settle implements backupSink: it commits the entries of a block.
func (l *loader) settle() error {
	space, err := SpaceOf(l.d.dir)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
	case err != nil:
		return err
	case space.Free < space.roomToOpen():
		// Badger would end the process where a page of a mapped file finds no room.
		return fmt.Errorf("%d MiB are free on the disk of %s, which is not enough", space.Free>>20, l.d.dir)
	}
	defer l.d.tx.reset()
	for i := range l.ops {
		if err := l.d.tx.each(l.ops[i : i+1]); err != nil {
			return err
		}
		if l.d.tx.valueBytes >= groupBytes {
			if err := l.d.tx.commit(); err != nil {
				return err
			}
		}
	}
	clear(l.ops)
	l.ops = l.ops[:0]
	return l.d.tx.commit()
}

func (l *loader) close() error {
	if l.d == nil {
		return nil
	}
	return l.d.close()
}

// inspect opens the store in dir as a broker would, and counts what is alive in it.
func inspect(dir string, key []byte, info *BackupInfo) error {
	s, err := Open(dir, Options{Logger: zerolog.Nop(), EncryptionKey: key, byHand: true, onProblem: func(p Problem) {
		if info.Damaged++; len(info.Problems) < maxProblems {
			info.Problems = append(info.Problems, p.String())
		}
	}})
	if err != nil {
		return err
	}
	d := s.backend.(*disk)
	c := d.cut()
	d.views.release(c.view)
	info.Queues = len(s.Catalog().Queues)
	info.Messages, info.Bytes = c.totals.messages, int64(c.totals.bytes)
	return s.abandon()
}

// install moves a store to where it belongs, for good.
func install(from, to string) error {
	if err := syncDir(from); err != nil {
		return err
	}
	// It is empty, or somebody was quicker and it is not removed.
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
