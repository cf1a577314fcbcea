package persistence

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/rs/zerolog"
)

// InUseError is why a directory whose store another process has open is not opened.
type InUseError struct {
	Dir string
	PID string // of the owner; empty when it could not be told
}

func (e *InUseError) Error() string {
	if e.PID == "" {
		return fmt.Sprintf("store %s is in use by another process", e.Dir)
	}
	return fmt.Sprintf("store %s is in use by pid %s", e.Dir, e.PID)
}

// LostError is why a store is not opened when what was confirmed is not all there.
type LostError struct {
	Dir    string
	Reason string
}

func (e *LostError) Error() string {
	return fmt.Sprintf("store %s has lost confirmed data: %s; %s", e.Dir, e.Reason, choices)
}

// openDisk opens Badger and reads everything that is alive.
func openDisk(dir string, o Options, nextID *atomic.Uint64, stats *counters) (*disk, *recovery, error) {
	if err := unfinished(dir); err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make the store directory: %w", err)
	}
	lk, err := takeLock(dir)
	if err != nil {
		return nil, nil, err
	}
	d := &disk{
		dir:           dir,
		log:           &badgerLog{log: o.Logger},
		zero:          o.Logger,
		valueLogFile:  valueLogFileSize,
		tombstones:    tombstonesPerGroup,
		padEvery:      paddingInterval,
		onProblem:     o.onProblem,
		repair:        o.repair,
		key:           o.EncryptionKey,
		lock:          lk,
		stats:         stats,
		nextID:        nextID,
		idsAhead:      idsAhead,
		index:         newIndex(),
		metadataParts: make(map[string]int),
	}
	d.tx.d = d
	if !o.SystemReadahead {
		d.adviser = newAdviser(dir)
	}
	if o.valueLogFile > 0 {
		d.valueLogFile, d.padEvery = o.valueLogFile, 2*o.valueLogFile
	}
	if len(o.EncryptionKey) > 0 {
		d.index.chunkBytes = encryptedChunkBytes
	}
	d.splitter.chunkBytes = d.index.chunkBytes
	r, err := d.open()
	if err != nil {
		failures := []error{err}
		if d.db != nil && d.log.syncFailure() == nil {
			failures = append(failures, d.db.Close(), d.removeNewFiles())
		}
		if d.sequence != nil {
			failures = append(failures, d.sequence.close())
		}
		return nil, nil, errors.Join(append(failures, lk.release())...)
	}
	return d, r, nil
}

func (d *disk) open() (r *recovery, err error) {
	if d.keys, err = openKeys(d.dir, d.key); err != nil {
		return nil, err
	}
	if err := removeSpills(d.dir); err != nil {
		return nil, err
	}
	if err := makeRoom(d.dir, d.zero); err != nil {
		return nil, err
	}
	if err := prepare(d.dir, d.zero); err != nil {
		return nil, err
	}
	broken, err := brokenTables(d.dir, d.keys)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", d.dir, err)
	}
	if len(broken) > 0 {
		return nil, fmt.Errorf("open store %s: %v; %s", d.dir, broken[0], choices)
	}
	if err := saveTails(d.dir, d.zero); err != nil {
		return nil, err
	}
	var last uint64
	if d.sequence, last, err = openSequence(d.dir, d.zero); err != nil {
		return nil, err
	}
	if d.files, err = listValueFiles(d.dir); err != nil {
		return nil, err
	}
	if d.db, err = openBadger(encrypted(badgerOptions(d.dir, d.log, d.valueLogFile), d.key)); err != nil {
		return nil, fmt.Errorf("open store %s: %w; %s", d.dir, err, choices)
	}
	d.maxCount, d.maxBytes = d.db.MaxBatchCount(), d.db.MaxBatchSize()
	d.views.db = d.db
	d.index.lookUp = d.lookUp
	r = &recovery{d: d, last: last, salvage: salvage{dir: d.dir, keys: d.keys}}
	if err := r.read(); err != nil {
		return nil, fmt.Errorf("read store %s: %w", d.dir, err)
	}
	if err := d.begin(r); err != nil {
		return nil, fmt.Errorf("begin a run of store %s: %w", d.dir, err)
	}
	return r, nil
}

// choices are what is left to do when a file is damaged.
const choices = "restore a backup, or accept what is lost and have it taken out with: leveret store repair"

// prepare looks at the files before Badger does.
func prepare(dir string, log zerolog.Logger) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list the store directory: %w", err)
	}
	manifest, data := false, ""
	for _, f := range files {
		switch ext := filepath.Ext(f.Name()); {
		case f.Name() == badger.ManifestFilename:
			manifest = true
		case ext == ".mem" || ext == ".vlog":
			removed, err := removeEmpty(dir, f, log)
			if err != nil {
				return err
			}
			if !removed {
				data = f.Name()
			}
		case ext == ".sst":
			data = f.Name()
		}
	}
	if data != "" && !manifest {
		// Badger would begin an empty store and delete the tables.
		return &LostError{Dir: dir, Reason: "there is " + data + " but no " + badger.ManifestFilename}
	}
	return nil
}

// removeEmpty removes a log of length zero. A crash between making a file and giving it
// its size leaves one; nothing synced can be in it, but Badger refuses to open with it.
func removeEmpty(dir string, f os.DirEntry, log zerolog.Logger) (bool, error) {
	info, err := f.Info()
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", f.Name(), err)
	}
	if info.Size() != 0 {
		return false, nil
	}
	log.Info().Str("file", f.Name()).Msg("removing an empty log left by a crash")
	if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
		return false, fmt.Errorf("remove an empty log: %w", err)
	}
	return true, nil
}

// openBadger opens Badger, which panics on some damage: on a table that was cut, for one.
// A mapped page that the disk has no room for, or cannot read, is made a panic too, as far
// as it is this goroutine that meets it.
func openBadger(o badger.Options) (db *badger.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("%s: %v", suspectFile(o.Dir), p)
		}
	}()
	if db, err = badger.Open(o); err != nil {
		return nil, whoWrote(err)
	}
	return db, nil
}

// whoWrote adds to Badger's complaint about the number in its manifest what that means (E17).
func whoWrote(err error) error {
	if err != nil && strings.Contains(err.Error(), "external magic number") {
		return fmt.Errorf("it was written by a newer version of this program, or by another program: %w", err)
	}
	return err
}

// suspectFile names what Badger was most likely reading when it panicked: the shortest
// table.
func suspectFile(dir string) string {
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		return dir
	}
	name, size := dir, int64(-1)
	for _, t := range tables {
		if info, err := os.Stat(t); err == nil && (size < 0 || info.Size() < size) {
			name, size = t, info.Size()
		}
	}
	return name
}

// begin writes what a run starts with: the schema of a new store, the number of the run,
// and delivery marks for what an unclean end left open (S-11). From here on a crash is
// told from a clean stop.
func (d *disk) begin(r *recovery) error {
	defer d.tx.reset()
	if d.schema.version == 0 {
		d.schema.created = time.Now().UnixMilli()
		if _, err := rand.Read(d.schema.node[:]); err != nil {
			return err
		}
	}
	if d.schema.version < schemaVersion {
		d.schema.version, d.schema.minReader = schemaVersion, minReader
		if err := d.tx.each([]operation{{key: []byte{keySchema}, value: appendSchema(d.schema)}}); err != nil {
			return err
		}
	}
	d.tx.keep.journalFloor = d.index.floor(d.group + 1)
	if err := r.markDelivered(); err != nil {
		return err
	}
	if err := d.tx.each(r.rewrites); err != nil {
		return err
	}
	if r.gaps {
		if err := d.closeGaps(r); err != nil {
			return err
		}
	}
	d.run = run{number: d.run.number + 1}
	if err := d.tx.unit(d.runOperation(d.run)); err != nil {
		return err
	}
	if err := d.tx.commit(); err != nil {
		return err
	}
	if r.damaged > 0 {
		return nil // what was set aside may be all there is of it
	}
	return r.salvage.remove()
}

// closeGaps makes the next start find no group missing: what was in those is given up.
// Their ids must not be used again all the same.
func (d *disk) closeGaps(r *recovery) error {
	if err := d.fillSlots(); err != nil {
		return err
	}
	highest := d.nextID.Load()
	for _, q := range r.catalog.Queues {
		highest = max(highest, uint64(q.ID)+1)
	}
	for _, x := range r.catalog.Exchanges {
		highest = max(highest, x.ID+1)
	}
	for id := range d.index.bodies {
		highest = max(highest, id+1)
	}
	d.nextID.Store(highest + d.idsAhead)
	return nil
}

// fillSlots writes that every group up to the present one was committed.
func (d *disk) fillSlots() error {
	first, last := uint64(1), d.group
	if last > slots {
		first = last - slots + 1
	}
	for g := first; g <= last; g++ {
		op := operation{key: appendSlotKey(nil, g), value: appendGroup(nil, g)}
		if err := d.tx.each([]operation{op}); err != nil {
			return err
		}
	}
	return nil
}
