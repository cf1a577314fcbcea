package persistence

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"time"
	"unsafe"

	"github.com/dgraph-io/badger/v4"
)

// Badger counts how much of each file of the value log is garbage, when compaction drops
// what pointed into it. Two things are wrong with that. The counts are in a mapped file
// that is never synced, and a power cut, or what a crash left unwritten, takes them back to
// some earlier time: what was dropped is not dropped again, so it would never be counted.
// And garbage collection looks only at the file with the most garbage: while that is the
// newest, or has too little for its size, no other file is collected, however little of it
// is left. So the counts are held against the tree now and then, and the collector chooses
// the file itself.
//
// Nothing is lost by a wrong count. Whatever it says, Badger writes everything again that a
// key points to before it deletes a file, and what is alive is decided by other things than
// Badger's keys.

const (
	// discardRatio is how much of a value-log file must be garbage to have it rewritten.
	discardRatio = 0.5
	// highestRatio is how much of one must be garbage to have it rewritten when there is no
	// room at all.
	highestRatio = 0.98
	// recountInterval is how often Badger's counts are held against the tree while there is
	// work.
	recountInterval = 10 * time.Minute
	// settledAge is from when on a file is read for damage before it is rewritten. What was
	// written just now is in memory still.
	settledAge = 10 * time.Minute
)

// discards are Badger's counts, which it keeps to itself.
type discards interface {
	// Update adds to the count of a file, or begins one, and returns it; with 0 it only
	// returns it, and with less it takes it back to 0.
	Update(file uint32, bytes int64) int64
	// MaxDiscard is the file with the most garbage, which is the one that Badger would
	// rewrite; 0 when there is no garbage.
	MaxDiscard() (file uint32, bytes int64)
}

// discardsOf finds the counts; nil when they are not where they used to be. A test guards
// that they are.
func discardsOf(db *badger.DB) discards {
	v := reflect.ValueOf(db).Elem().FieldByName("vlog")
	if v.Kind() != reflect.Struct {
		return nil
	}
	if v = v.FieldByName("discardStats"); v.Kind() != reflect.Pointer || v.IsNil() {
		return nil
	}
	d, _ := unlocked(v).(discards)
	return d
}

// unlocked is the value of a field of somebody else's that is not exported.
func unlocked(field reflect.Value) any {
	return reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem().Interface()
}

// valueFile is a file of the value log that is not written to any more.
type valueFile struct {
	number uint32
	bytes  int64
	old    bool // written longer than settledAge ago
}

// finished lists the files of the value log but for the newest.
func (d *disk) finished(now time.Time, wanted func(number uint32) bool) ([]valueFile, error) {
	dir, err := os.Open(d.dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	newest := uint32(0)
	for _, name := range names {
		if n, ok := valueFileNumber(name); ok {
			newest = max(newest, n)
		}
	}
	var files []valueFile
	for _, name := range names {
		n, ok := valueFileNumber(name)
		if !ok || n == newest || !wanted(n) {
			continue
		}
		info, err := os.Stat(filepath.Join(d.dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // it was rewritten before, and has gone now
		}
		if err != nil {
			return nil, err
		}
		files = append(files, valueFile{n, info.Size(), now.Sub(info.ModTime()) >= settledAge})
	}
	return files, nil
}

// referenced sums up what some key points to in each file of the value log, and what a
// later version of the key hides as well: that Badger counts when it drops it. A value that
// was moved counts once, where it is now. Nothing but batch records is in the value log (I6).
func (d *disk) referenced() map[uint32]int64 {
	txn := d.db.NewTransaction(false)
	defer txn.Discard()
	sums := make(map[uint32]int64)
	for _, prefix := range []byte{keyJournal, keyChunk, keyBody} {
		o := badger.DefaultIteratorOptions
		o.PrefetchValues, o.AllVersions, o.Prefix = false, true, []byte{prefix}
		it := txn.NewIterator(o)
		for it.Rewind(); it.Valid(); it.Next() {
			if p, ok := pointerOf(it.Item()); ok {
				sums[p.file] += int64(p.bytes)
			}
		}
		it.Close()
	}
	return sums
}

// countNowAndThen counts garbage anew when that was not done for a while.
func (c *collector) countNowAndThen(now time.Time) error {
	if c.discards == nil || !c.held.TryLock() {
		return nil
	}
	defer c.held.Unlock()
	if now.Sub(c.counted) < recountInterval {
		return nil
	}
	return c.recount(now)
}

// recount sets Badger's counts to what the tree says. A compaction at the same time may make
// one of them wrong by what it drops, until they are counted again.
func (c *collector) recount(now time.Time) error {
	c.counted = now
	files, err := c.d.finished(now, func(uint32) bool { return true })
	if err != nil {
		return fmt.Errorf("list the value log: %w", err)
	}
	before := make(map[uint32]int64, len(files))
	for _, f := range files {
		before[f.number] = c.discards.Update(f.number, 0)
	}
	used := c.d.referenced()
	found := int64(0)
	for _, f := range files {
		if missing := f.bytes - logHeader - used[f.number] - before[f.number]; missing != 0 {
			c.add(f.number, missing)
			found += missing
		}
	}
	if found != 0 {
		c.d.zero.Debug().Int("files", len(files)).Int64("bytes", found).Msg("counted the garbage anew")
	}
	return nil
}

// add adds to a count what may be less than nothing.
func (c *collector) add(file uint32, bytes int64) {
	if bytes < 0 {
		bytes += c.discards.Update(file, 0)
		c.discards.Update(file, -1)
	}
	if bytes > 0 {
		c.discards.Update(file, bytes)
	}
}

// choose is the file to rewrite next: of those that deserve it and are intact the one with
// the largest share of garbage. ok is false when there is none.
func (c *collector) choose(now time.Time) (file uint32, ok bool, err error) {
	counts := make(map[uint32]int64)
	files, err := c.d.finished(now, func(n uint32) bool {
		counts[n] = c.discards.Update(n, 0)
		return counts[n] > 0
	})
	if err != nil {
		return 0, false, fmt.Errorf("list the value log: %w", err)
	}
	free := freeOf(c.d.dir)
	share := func(f valueFile) float64 { return float64(counts[f.number]) / float64(f.bytes) }
	for {
		best := -1
		for i, f := range files {
			if deserves(f.bytes, counts[f.number], free) && (best < 0 || share(f) > share(files[best])) {
				best = i
			}
		}
		if best < 0 {
			return 0, false, nil
		}
		if c.mayGo(files[best]) {
			return files[best].number, true, nil
		}
		files = append(files[:best], files[best+1:]...)
	}
}

// deserves tells whether a file is to be rewritten. What is not garbage is written a second
// time before the file is deleted: it has to find room, and take no more than half of what
// there is.
func deserves(bytes, garbage, free int64) bool {
	least := discardRatio
	if bytes-garbage > free/2 {
		least = highestRatio
	}
	return float64(garbage) >= least*float64(bytes)
}

// mayGo tells whether a file can be rewritten. Badger reads one up to the first entry that
// does not check out and deletes it then, with everything that is alive behind it. So one
// that has become old is read first, and left alone when it is damaged: a repair takes out
// of it what can be read. Once nothing points into it any more it goes all the same.
func (c *collector) mayGo(f valueFile) bool {
	looked, damaged := c.damaged[f.number]
	switch {
	case damaged && looked.Equal(c.counted):
		return false
	case !damaged && (!f.old || c.intact(f)):
		return true
	case c.d.referenced()[f.number] == 0:
		delete(c.damaged, f.number)
		return true
	case !damaged:
		c.d.zero.Warn().Str("file", valueFileName(f.number)).
			Msg("a file of the value log is damaged; it is kept until nothing in it is needed, or until a repair")
	}
	c.damaged[f.number] = c.counted
	return false
}

// intact tells whether every entry of a file checks out, encrypted or not: a checksum is
// over what is in the file.
func (c *collector) intact(f valueFile) bool {
	file, err := os.Open(filepath.Join(c.d.dir, valueFileName(f.number)))
	if err != nil {
		return false
	}
	defer file.Close()
	end, err := logEnd(file)
	if err != nil {
		return false
	}
	used, err := usedBytes(file, end)
	return err == nil && used == end
}

// rewrite has Badger rewrite a file. It takes the one with the highest count, so that is what
// the file gets for the time being; afterwards Badger forgets it.
func (c *collector) rewrite(file uint32) error {
	_, most := c.discards.MaxDiscard()
	extra := most - c.discards.Update(file, 0) + 1
	c.discards.Update(file, extra)
	err := c.d.db.RunValueLogGC(discardRatio)
	if err != nil {
		c.add(file, -extra)
	}
	return err
}

// freeOf is the room on the disk; one that cannot be told is not known to be short of any.
func freeOf(dir string) int64 {
	space, err := SpaceOf(dir)
	if err != nil {
		return 1 << 62
	}
	return space.Free
}
