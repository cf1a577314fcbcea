package persistence

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leveretmq/leveret/queue"
)

// uncleanEnd copies a store as a power cut leaves it: what Badger has counted is lost, since it
// is not synced.
func uncleanEnd(t testing.TB, s *Store) (dir string) {
	t.Helper()
	dir = copyDir(t, s.backend.(*disk).dir)
	if err := os.Remove(filepath.Join(dir, "DISCARD")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// However often a store ends uncleanly, garbage does not pile up: what is on disk comes back to
// what is alive and four times the bytes after which a memtable is full (A10). What Badger has
// counted does not suffice for that.
func TestGarbageOfUncleanEndsIsCollected(t *testing.T) {
	const (
		file  = 1 << 20
		lives = 8
		burst = 5 << 19 // of each life
	)
	dir, alive := t.TempDir(), []string(nil)
	reopen := func() *Store {
		t.Helper()
		s, err := Open(dir, Options{valueLogFile: file, byHand: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	next := uint64(1)
	for life := range lives {
		s := reopen()
		if err := s.backend.(*disk).db.Flatten(1); err != nil {
			t.Fatal(err)
		}
		s.Start()
		if life == 0 {
			declare(t, s, 1, "short")
			declare(t, s, 2, "long")
		}
		short, long := newFake(s, 1), newFake(s, 2)
		short.next, long.next = next, uint64(life+1)
		for range burst / (8 * 64 << 10) {
			short.put(msgs(t, 8, 64<<10)...)
			flush(t, s, short)
		}
		alive = append(alive, fmt.Sprintf("%05d %s", life, strings.Repeat("x", 40<<10)))
		long.put(msg(t, alive[life]))
		settled := queue.Range{First: next, Last: short.next - 1}
		next = short.next
		short.settle(queue.State{Head: next, Next: next, Settled: []queue.Range{settled}})
		flush(t, s, short, long)
		flush(t, s, short)
		dir = uncleanEnd(t, s)
	}
	s := reopen()
	d := s.backend.(*disk)
	if err := d.db.Flatten(1); err != nil {
		t.Fatal(err)
	}
	full := onDisk(t, dir)
	d.collector.collect()
	before := onDisk(t, dir)
	bound := int64(len(alive)*len(alive[0])) + 4*d.padEvery
	if before <= bound {
		t.Fatalf("got %d bytes on disk by Badger's own counts, want more than %d for the test to show anything", before, bound)
	}
	if err := d.collector.recount(time.Now()); err != nil {
		t.Fatal(err)
	}
	d.collector.collect()
	got := onDisk(t, dir)
	t.Logf("%d bytes on disk after %d unclean ends, %d after a collection by Badger's counts, %d by ours; the bound is %d", full, lives, before, got, bound)
	if got > bound {
		t.Errorf("got %d bytes on disk of %d, want no more than %d", got, full, bound)
	}
	equal(t, "found", bodies(t, s, 2), alive)
	if got := bodies(t, s, 1); len(got) != 0 {
		t.Errorf("got %d messages that were settled", len(got))
	}
}

// severalFiles is a store, not started, whose value log is in several files, with messages
// alive in each.
func severalFiles(t testing.TB) (s *Store, want []string) {
	t.Helper()
	dir := t.TempDir()
	o := Options{valueLogFile: 1 << 20, byHand: true}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	q := declare(t, s, 1, "q")
	for range 6 {
		for _, m := range msgs(t, 20, 30<<10) {
			want = append(want, string(m.Body()))
			q.put(m)
		}
		flush(t, s, q)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	d := s.backend.(*disk)
	if err := d.collector.recount(time.Now()); err != nil {
		t.Fatal(err)
	}
	if files := finished(t, d); len(files) < 3 {
		t.Fatalf("got the files %+v, want several", files)
	}
	return s, want
}

func finished(t testing.TB, d *disk) []valueFile {
	t.Helper()
	files, err := d.finished(time.Now(), func(uint32) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func there(d *disk, file uint32) bool {
	_, err := os.Stat(filepath.Join(d.dir, valueFileName(file)))
	return err == nil
}

// The counts after counting anew are those of the tree, wherever they were before.
func TestGarbageIsCountedAsTheTreeHasIt(t *testing.T) {
	s, _ := severalFiles(t)
	d := s.backend.(*disk)
	c := d.collector.discards
	for _, f := range finished(t, d) {
		if got := c.Update(f.number, 0); got != 0 {
			t.Errorf("got %d bytes of garbage in file %d, want none: everything is alive", got, f.number)
		}
		c.Update(f.number, 12345)
	}
	// A file in which nothing is.
	if err := os.WriteFile(filepath.Join(d.dir, valueFileName(0)), make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.collector.recount(time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, f := range finished(t, d) {
		want := int64(0)
		if f.number == 0 {
			want = 5000 - logHeader
		}
		if got := c.Update(f.number, 0); got != want {
			t.Errorf("got %d bytes of garbage in file %d, want %d", got, f.number, want)
		}
	}
}

// Badger alone would look at the file with the most garbage and leave the others for ever.
func TestEveryFileThatDeservesItIsCollected(t *testing.T) {
	f := func(what string, blocking func(d *disk, files []valueFile) uint32) {
		t.Helper()
		s, want := severalFiles(t)
		d := s.backend.(*disk)
		files := finished(t, d)
		c := d.collector.discards
		blocked := blocking(d, files)
		for _, file := range files[1:] {
			c.Update(file.number, file.bytes*6/10)
		}
		if err := d.db.RunValueLogGC(discardRatio); err == nil {
			t.Fatalf("%s: Badger alone rewrote a file; want that it does not, for the test to show anything", what)
		}
		if !d.collector.collect() {
			t.Errorf("%s: nothing was collected", what)
		}
		for _, file := range files[1:] {
			if there(d, file.number) {
				t.Errorf("%s: file %d is there still", what, file.number)
			}
		}
		if blocked == files[0].number && !there(d, blocked) {
			t.Errorf("%s: file %d is gone", what, blocked)
		}
		equal(t, what, bodies(t, s, 1), want)
	}
	f("a large file with a small share", func(d *disk, files []valueFile) uint32 {
		// It could have so much if it were larger.
		if err := os.Truncate(filepath.Join(d.dir, valueFileName(files[0].number)), 64<<20); err != nil {
			t.Fatal(err)
		}
		d.collector.discards.Update(files[0].number, 30<<20)
		return files[0].number
	})
	f("the newest", func(d *disk, files []valueFile) uint32 {
		newest := uint32(0)
		for _, file := range files {
			newest = max(newest, file.number+1)
		}
		d.collector.discards.Update(newest, 1<<30)
		return newest
	})
}

// A file that could not be rewritten has the count that it had.
func TestCountOfAFileThatIsNotRewrittenStays(t *testing.T) {
	s, _ := severalFiles(t)
	d := s.backend.(*disk)
	files := finished(t, d)
	c := d.collector.discards
	c.Update(files[0].number, 1000)
	newest := files[0].number
	for _, f := range files {
		newest = max(newest, f.number+1)
	}
	c.Update(newest, 77)
	if err := d.collector.rewrite(newest); err == nil {
		t.Fatal("the newest file was rewritten")
	}
	if got := c.Update(newest, 0); got != 77 {
		t.Errorf("got %d bytes of garbage, want 77", got)
	}
}

// damagedFile is a store, not started, with a flipped bit in a file of its value log that was
// written a while ago and is to be collected.
func damagedFile(t testing.TB) (s *Store, want []string, file valueFile) {
	t.Helper()
	s, want = severalFiles(t)
	d := s.backend.(*disk)
	file = finished(t, d)[1]
	name := filepath.Join(d.dir, valueFileName(file.number))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, file.bytes/4); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, file.bytes/4); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * settledAge)
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
	d.collector.discards.Update(file.number, file.bytes*6/10)
	return s, want, file
}

// Badger would delete a damaged file with everything behind the damage.
func TestDamagedFileIsNotCollectedWhileItIsNeeded(t *testing.T) {
	s, want, file := damagedFile(t)
	d := s.backend.(*disk)
	d.collector.collect()
	if !there(d, file.number) {
		t.Errorf("file %d is gone", file.number)
	}
	if got := len(bodies(t, s, 1)); got < len(want)-20 || got == len(want) {
		t.Errorf("got %d messages of %d, want all but those in one record", got, len(want))
	}
}

func TestDamagedFileIsCollectedOnceItIsNotNeeded(t *testing.T) {
	s, want, file := damagedFile(t)
	s.Start()
	q, last := newFake(s, 1), uint64(len(want))
	q.settle(queue.State{Head: last + 1, Next: last + 1, Settled: []queue.Range{{First: 1, Last: last}}})
	flush(t, s, q)
	flush(t, s, q)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(s.backend.(*disk).dir, Options{byHand: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d := s.backend.(*disk)
	for range 200 {
		d.reclaimer = reclaimer{deletes: 1}
		if err := d.reclaim(time.UnixMilli(1)); err != nil {
			t.Fatal(err)
		}
		if err := d.collector.recount(time.Now()); err != nil {
			t.Fatal(err)
		}
		if d.collector.collect(); !there(d, file.number) {
			return
		}
	}
	t.Errorf("file %d is there though nothing in it is needed", file.number)
}
