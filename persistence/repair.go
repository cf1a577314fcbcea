package persistence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// damagedDirs begin the names of the directories that repairs move things to.
const damagedDirs = "damaged-"

// Repair makes the store in dir one that starts and serves everything that can still be
// read, and tells what went: it is for when there is no backup to restore. Tables that
// Badger cannot read, and damaged records, are moved to a directory inside dir named after
// now; what is intact of a damaged record stays in the store. Groups that are missing are
// reported and given up. key is the store's, nil when it is not encrypted (*KeyError when
// that is wrong); what is moved out of an encrypted store is encrypted with it, too: in
// counter mode, behind the initial counter. The store must not be in use (*InUseError). What Repair cannot
// mend is an error, and the store is as it was then but for tables moved aside.
func Repair(dir string, key []byte, now time.Time, log zerolog.Logger) (Report, error) {
	var r Report
	if _, err := os.Stat(dir); err != nil {
		return r, fmt.Errorf("look at the store: %w", err)
	}
	aside := filepath.Join(dir, damagedDirs+now.UTC().Format("20060102T150405"))
	if err := r.moveTables(dir, aside, key); err != nil {
		return r, err
	}
	s, err := Open(dir, Options{Logger: log, EncryptionKey: key, byHand: true, onProblem: r.add, repair: true})
	if err != nil {
		return r, err
	}
	d := s.backend.(*disk)
	c := s.Catalog()
	r.verify(d, c)
	// Badger may have made itself a data key meanwhile.
	keys, err := openKeys(dir, key)
	if err == nil {
		err = r.locate(dir, keys)
	}
	if err != nil {
		return r, errors.Join(err, s.abandon())
	}
	return r, errors.Join(r.mend(d, c, aside), s.Close())
}

// moveTables moves tables that cannot be read aside and takes them out of the manifest.
func (r *Report) moveTables(dir, aside string, key []byte) error {
	lk, err := takeLock(dir)
	if err != nil {
		return err
	}
	var broken []Problem
	keys, err := openKeys(dir, key)
	if err == nil {
		broken, err = brokenTables(dir, keys)
	}
	for i := range broken {
		if err == nil {
			err = dropTable(dir, aside, &broken[i])
			r.add(broken[i])
		}
	}
	return errors.Join(err, lk.release())
}

func dropTable(dir, aside string, p *Problem) error {
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return fmt.Errorf("make a directory for what is damaged: %w", err)
	}
	from, to := filepath.Join(dir, p.File), filepath.Join(aside, p.File)
	switch err := os.Rename(from, to); {
	case err == nil:
		p.Kept = to
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("move a table aside: %w", err)
	}
	id, err := strconv.ParseUint(strings.TrimSuffix(p.File, ".sst"), 10, 64)
	if err != nil {
		return fmt.Errorf("number of table %s: %w", p.File, err)
	}
	return forgetTable(dir, id)
}

// forgetTable appends the removal of a table to Badger's manifest: length and CRC-32C of a
// set of changes, which is a message of protocol buffers.
func forgetTable(dir string, id uint64) error {
	change := binary.AppendUvarint([]byte{1 << 3}, id) // field 1: the table
	change = append(change, 2<<3, 1)                   // field 2: delete
	set := append([]byte{1<<3 | 2, byte(len(change))}, change...)
	b := binary.BigEndian.AppendUint32(nil, uint32(len(set)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(set, castagnoli))
	f, err := os.OpenFile(filepath.Join(dir, badger.ManifestFilename), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("open the manifest: %w", err)
	}
	_, err = f.Write(append(b, set...))
	return errors.Join(err, f.Sync(), f.Close())
}

// mend keeps a copy of every damaged record, writes what is intact of it again, and deletes
// it.
func (r *Report) mend(d *disk, c topology.Catalog, aside string) error {
	for _, s := range d.index.quarantined() {
		name, err := d.keep(s, aside)
		if err != nil {
			return err
		}
		key := fmt.Sprintf("%x", s.appendKey(nil))
		for i := range r.Problems {
			if r.Problems[i].Key == key {
				r.Problems[i].Kept = name
			}
		}
		if err := d.rescue(s, c); err != nil {
			return fmt.Errorf("write again what is intact of record %s: %w", key, err)
		}
		d.index.condemn(s)
		g := group{bury: true}
		g.batch.Group = d.next()
		if err := d.write(&g); err != nil {
			return err
		}
	}
	return nil
}

// quarantined lists the damaged records.
func (x *index) quarantined() []*stored {
	x.mu.Lock()
	defer x.mu.Unlock()
	var all []*stored
	for _, r := range x.records {
		if r.quarantined {
			all = append(all, r)
		}
	}
	for _, r := range x.damaged {
		all = append(all, r)
	}
	return all
}

// keep writes the value of a damaged record to a file named after its key. Nothing may be
// left of it.
func (d *disk) keep(s *stored, aside string) (name string, err error) {
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return "", fmt.Errorf("make a directory for what is damaged: %w", err)
	}
	w := d.views.take()
	defer d.views.release(w)
	var value []byte
	err = w.get(s.appendKey(nil), func(b []byte) error {
		value = slices.Clone(b)
		return nil
	})
	var gone damage
	if err != nil && !errors.As(err, &gone) && !errors.Is(err, errGone) {
		return "", err
	}
	name = filepath.Join(aside, fmt.Sprintf("%x.record", s.appendKey(nil)))
	if d.key != nil {
		name += ".ctr"
		if value, err = seal(value, d.key); err != nil {
			return "", fmt.Errorf("encrypt a damaged record: %w", err)
		}
	}
	if err := os.WriteFile(name, value, 0o600); err != nil {
		return "", fmt.Errorf("keep a damaged record: %w", err)
	}
	return name, nil
}

// rescue moves what is intact of a damaged record to chunks.
func (d *disk) rescue(s *stored, c topology.Catalog) error {
	f := newFetcher(d)
	f.anything = true
	for _, id := range c.Holders() {
		for level := range 256 {
			pieces, _ := d.index.resolve(id, uint8(level), queue.Range{Last: 1<<64 - 1})
			for _, p := range pieces {
				if p.record != s {
					continue
				}
				m := &move{queue: id, level: uint8(level), from: []piece{p}}
				var broken damage
				if err := f.build(m); err != nil && !errors.As(err, &broken) && !errors.Is(err, errGone) {
					return err
				}
				g := group{moves: []*move{m}}
				g.batch.Group = d.next()
				if err := d.write(&g); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// condemn gives up what is left of a damaged record.
func (x *index) condemn(r *stored) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, q := range x.queues {
		for i := range q.levels {
			lv := &q.levels[i]
			for j := range lv.sections {
				if s := &lv.sections[j]; s.record == r && s.left > 0 {
					s.left = 0
					x.finished(lv, s)
				}
			}
		}
	}
	r.live, r.quarantined, r.fixed = 0, false, true
	if r.chunk != nil {
		delete(x.damaged, *r.chunk)
	}
	x.bury(r)
}
