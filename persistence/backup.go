package persistence

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/leveretmq/leveret/queue"
)

var (
	// ErrBackupRunning is why no other backup is begun.
	ErrBackupRunning = errors.New("a backup is being made already")
	// ErrNothingStored is why a store in memory has no backup.
	ErrNothingStored = errors.New("a store in memory has no backup")
)

// Backup writes everything in the store to w, as it is at one moment after it was called,
// while the store goes on: what was confirmed or answered before is in it, and what belongs
// together is in it or not (E16). ReadBackup and RestoreBackup read it. There is one at a
// time (ErrBackupRunning).
//
// What is damaged does not end it: records of messages are saved as they are, since the
// rest of one can be read, and whatever cannot be read at all is left out; BackupInfo names
// both, and so does the backup itself. An error is about the backup as a whole: w failed,
// ctx ended, the store failed or was closed. Then what was written is not to be used, and
// says so if w still takes it.
//
// Until it ends, nothing that is written or settled in the store gives room back: Badger
// keeps what was there for the transaction that is read, and nothing that came later is
// collected before it. The disk has to hold what is published meanwhile, even when it is
// consumed at once; StopBackup ends that. In memory it takes a block of about 1 MiB, or one
// record where that is larger, and a few dozen bytes for each commit meanwhile.
func (s *Store) Backup(ctx context.Context, w io.Writer) (BackupInfo, error) {
	d, ok := s.backend.(*disk)
	if !ok {
		return BackupInfo{}, ErrNothingStored
	}
	ctx, err := s.beginBackup(ctx)
	if err != nil {
		return BackupInfo{}, err
	}
	defer s.endBackup()
	release := d.collector.hold()
	defer release()
	c, err := s.takeCut()
	if err != nil {
		return BackupInfo{}, err
	}
	defer d.views.release(c.view)
	e := exporter{s: s, d: d, ctx: ctx, view: c.view, w: newBackupWriter(w), totals: c.totals}
	info, err := e.export()
	if err != nil {
		err = fmt.Errorf("back up the store: %w", err)
		// When it is w that has failed, nobody can be told.
		_ = e.w.one(blockFailed, []byte(err.Error()))
	}
	return info, err
}

// StopBackup has the backup under way, if there is one, end with the error reason.
func (s *Store) StopBackup(reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.backup != nil {
		s.backup(reason)
	}
}

func (s *Store) beginBackup(ctx context.Context) (context.Context, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return nil, s.err
	case s.closing:
		return nil, ErrClosed
	case s.backup != nil:
		return nil, ErrBackupRunning
	}
	ctx, s.backup = context.WithCancelCause(ctx)
	s.backups.Add(1)
	return ctx, nil
}

func (s *Store) endBackup() {
	s.mu.Lock()
	s.backup(nil)
	s.backup = nil
	s.mu.Unlock()
	s.backups.Done()
}

// cut is the moment that a backup is of.
type cut struct {
	view   *view // nil when the store has failed
	totals backupTotals
}

// takeCut waits until the committer is between two groups, the first of which was begun
// after the call and has all acknowledgement state.
func (s *Store) takeCut() (cut, error) {
	taken := make(chan cut, 1)
	s.mu.Lock()
	if err := s.refusal(); err != nil {
		s.mu.Unlock()
		return cut{}, err
	}
	if !s.started {
		s.mu.Unlock()
		return s.backend.(*disk).cut(), nil
	}
	s.cuts = append(s.cuts, taken)
	s.mu.Unlock()
	s.signal()
	c := <-taken
	if c.view == nil {
		return cut{}, s.Err()
	}
	return c, nil
}

// cut answers the backups that wait to begin. The newest view has whole groups only, and
// the index agrees with it.
func (c *committer) cut() {
	c.s.mu.Lock()
	waiting := c.s.cuts
	c.s.cuts = nil
	failed := c.s.err != nil
	c.s.mu.Unlock()
	for _, w := range waiting {
		if failed {
			w <- cut{}
		} else {
			w <- c.s.backend.(*disk).cut()
		}
	}
}

func (d *disk) cut() cut {
	c := cut{view: d.views.take()}
	d.index.mu.Lock()
	defer d.index.mu.Unlock()
	for _, q := range d.index.queues {
		for i := range q.levels {
			for j := range q.levels[i].sections {
				if s := &q.levels[i].sections[j]; s.left > 0 {
					c.totals.messages += uint64(s.left)
					c.totals.bytes += uint64(s.leftBytes())
				}
			}
		}
	}
	return c
}

// exporter writes one backup.
type exporter struct {
	s        *Store
	d        *disk
	ctx      context.Context
	view     *view
	w        *backupWriter
	totals   backupTotals
	problems []string
}

// exported are the keys that are in a backup. The marker is in its header. Padding is of no
// use, and a restored store has slots of its own.
var exported = []byte{keySchema, keyMetadata, keyState, keyPage, keyCounts, keyJournal, keyChunk, keyBody, keyBodyRef, keyWindow, keyHistory, keyRun}

func (e *exporter) export() (BackupInfo, error) {
	h, err := e.header()
	if err != nil {
		return BackupInfo{}, err
	}
	if err := e.w.magic(); err != nil {
		return BackupInfo{}, err
	}
	if err := e.w.one(blockHeader, h.append(nil)); err != nil {
		return BackupInfo{}, err
	}
	if err := e.tables(); err != nil {
		return BackupInfo{}, err
	}
	for _, prefix := range exported {
		if err := e.prefix(prefix); err != nil {
			return BackupInfo{}, err
		}
	}
	if err := e.w.end(blockEntries); err != nil {
		return BackupInfo{}, err
	}
	for _, p := range e.problems {
		if err := e.w.one(blockProblem, []byte(p)); err != nil {
			return BackupInfo{}, err
		}
	}
	if err := e.w.one(blockEnd, e.totals.append(nil)); err != nil {
		return BackupInfo{}, err
	}
	info := h.info(e.totals)
	info.Size, info.Problems = e.w.bytes, e.problems
	return info, nil
}

func (e *exporter) header() (backupHeader, error) {
	h := backupHeader{version: backupVersion, node: e.d.schema.node, created: time.Now().UnixMilli()}
	err := e.view.get([]byte{keyMarker}, func(v []byte) error {
		var err error
		h.marker, err = decodeMarker(v)
		return err
	})
	return h, err
}

// tables reports tables that are damaged. Badger leaves out what it cannot read of one when
// it is asked for one key after the other, and says nothing.
func (e *exporter) tables() error {
	keys, err := openKeys(e.d.dir, e.d.key)
	if err != nil {
		return err
	}
	broken, err := brokenTables(e.d.dir, keys)
	if err != nil || len(broken) == 0 {
		return err
	}
	// One that is not there may have been merged into others since the list was read.
	now, err := tablesOf(e.d.dir)
	if err != nil {
		return err
	}
	for _, p := range broken {
		if slices.ContainsFunc(now, func(t tableEntry) bool { return tableName(t.id) == p.File }) {
			e.report(p)
		}
	}
	return nil
}

func (e *exporter) report(p Problem) {
	e.totals.damaged++
	e.d.zero.Error().Str("kind", p.Kind).Str("key", p.Key).Str("file", filepath.Base(p.File)).Str("damage", p.Reason).
		Msg("damage found by a backup")
	if len(e.problems) < maxProblems {
		e.problems = append(e.problems, p.String())
	}
}

// keysAtOnce is how many keys are listed before their values are read: an iterator holds on
// to memtables and tables.
const keysAtOnce = 1024

func (e *exporter) prefix(prefix byte) error {
	keys := make([][]byte, 0, keysAtOnce)
	for from := []byte{prefix}; from != nil; {
		keys, from = e.list(keys[:0], prefix, from)
		for _, key := range keys {
			if err := e.stop(); err != nil {
				return err
			}
			if err := e.entry(key); err != nil {
				return err
			}
			if e.w.full() {
				if err := e.w.end(blockEntries); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// stop is why the backup is to end before it is done. What a failed store still reads may
// not be what is on its disk.
func (e *exporter) stop() error {
	if e.ctx.Err() != nil {
		return context.Cause(e.ctx)
	}
	select {
	case <-e.s.failed:
		return e.s.Err()
	default:
		return nil
	}
}

// list lists keys, and tells where to go on.
func (e *exporter) list(keys [][]byte, prefix byte, from []byte) (_ [][]byte, next []byte) {
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false
	o.Prefix = []byte{prefix}
	it := e.view.txn.NewIterator(o)
	defer it.Close()
	for it.Seek(from); it.Valid(); it.Next() {
		if len(keys) == keysAtOnce {
			return keys, it.Item().KeyCopy(nil)
		}
		keys = append(keys, it.Item().KeyCopy(nil))
	}
	return keys, nil
}

// entry adds a key with its value to the block, as they are. The value is copied: whoever
// is slow to take the backup must not hold on to a file that Badger wants to rotate.
func (e *exporter) entry(key []byte) error {
	length, copied := e.w.length(), false
	err := readable(func() error {
		return e.view.get(key, func(v []byte) error {
			e.w.cut(length)
			copied = false
			err := checkEntry(key, v)
			if err == nil || isRecord(key) && len(v) > 0 {
				e.w.entry(key, v)
				copied = true
			}
			return err
		})
	})
	if !copied {
		e.w.cut(length)
	}
	var d damage
	if errors.As(err, &d) || errors.Is(err, errGone) {
		e.report(entryProblem(key, err))
		err = nil
	}
	if err == nil && copied {
		e.totals.entries++
		if key[0] == keyMetadata && key[1] == kindQueue && binary.BigEndian.Uint16(key[len(key)-2:]) == 0 {
			e.totals.queues++
		}
	}
	return err
}

// readable calls f, which reads mapped files. A page that the disk cannot read is damage
// then, and not the end of the process.
func readable(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			fault, ok := p.(interface{ Addr() uintptr })
			if !ok {
				panic(p)
			}
			err = damaged("the disk cannot read it: %v", fault)
		}
	}()
	return f()
}

func isRecord(key []byte) bool {
	return key[0] == keyJournal || key[0] == keyChunk || key[0] == keyBody
}

// checkEntry tells whether a value is what should be under a key, checksums included.
func checkEntry(key, v []byte) error {
	ok := true
	var err error
	switch key[0] {
	case keySchema:
		_, err = decodeSchema(v)
	case keyMetadata:
		ok = len(key) >= 4
	case keyState:
		if _, _, ok = parseStateKey(key); ok {
			_, err = decodeState(v)
		}
	case keyPage:
		if _, _, _, ok = parsePageKey(key); ok {
			err = decodePage(v, new([queue.PagePositions / 64]uint64))
		}
	case keyCounts:
		var page uint64
		if _, _, page, ok = parsePageKey(key); ok {
			_, err = decodeCounts(v, page)
		}
	case keyJournal:
		var group uint64
		if group, ok = parseJournalKey(key); ok {
			err = checkRecord(v, group)
		}
	case keyChunk:
		var k chunkKey
		if k, ok = parseChunkKey(key); ok {
			err = checkRecord(v, k.group)
		}
	case keyBody:
		if ok = len(key) == bodyKeyBytes; ok {
			err = checkRecord(v, 0)
		}
	case keyBodyRef:
		ok = len(key) == bodyRefKeyBytes
	case keyWindow:
		if _, _, _, ok = parseWindowKey(key); ok {
			_, err = decodeSeen(v)
		}
	case keyHistory:
		_, _, ok = parseHistoryKey(key)
	case keyRun:
		_, err = decodeRun(v)
	default:
		ok = false
	}
	if !ok {
		return damaged("the key %x is none of a store", key)
	}
	return err
}

// checkRecord verifies all of a batch record.
func checkRecord(b []byte, group uint64) error {
	r, err := parseRecord(b)
	if err != nil {
		return err
	}
	if r.group != group {
		return damaged("group %d instead of %d", r.group, group)
	}
	for n := range r.bodies {
		if _, _, err := r.body(b, n); err != nil {
			return err
		}
	}
	return nil
}

// entryProblem is what is wrong with an entry.
func entryProblem(key []byte, err error) Problem {
	kind := "state"
	switch key[0] {
	case keyMetadata:
		kind = "declaration"
	case keyJournal:
		kind = "journal record"
	case keyChunk:
		if k, ok := parseChunkKey(key); ok {
			return (&stored{chunk: &k}).problem("", err)
		}
		kind = "chunk"
	case keyBody, keyBodyRef:
		kind = "message"
	case keyWindow, keyHistory:
		kind = "exchange"
	}
	return Problem{Kind: kind, Key: fmt.Sprintf("%x", key), Reason: err.Error()}
}
