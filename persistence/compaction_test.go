package persistence

import (
	"bytes"
	"runtime"
	"runtime/pprof"
	"sync/atomic"
	"testing"
	"time"
)

// compactors is how many compactors of Badger's are running in this process.
func compactors(t testing.TB) int {
	t.Helper()
	var stacks bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
		t.Fatal(err)
	}
	return bytes.Count(stacks.Bytes(), []byte("levelsController).startCompact in goroutine"))
}

// Badger's compactors are gone while a store is idle, and back when something has to be
// compacted.
func TestCompactorsRestWhileNothingIsWritten(t *testing.T) {
	s := open(t, t.TempDir())
	d := s.backend.(*disk)
	c := d.collector.compaction
	if got := compactors(t); got != 2 {
		t.Fatalf("got %d compactors of a store that was opened, want 2", got)
	}
	c.pause()
	c.pause()
	if got := compactors(t); got != 0 {
		t.Errorf("got %d compactors while the store is idle, want none", got)
	}
	if err := c.resume(); err != nil {
		t.Fatal(err)
	}
	if err := c.resume(); err != nil {
		t.Fatal(err)
	}
	if got := compactors(t); got != 2 {
		t.Errorf("got %d compactors while there is work, want 2", got)
	}
	c.pause()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// More than the lowest level may have tables can be written after a rest, and with rests
// between: nothing waits for compactors that are not there.
func TestWritesAfterARestAreCompacted(t *testing.T) {
	s := open(t, t.TempDir())
	d := s.backend.(*disk)
	for range 6 {
		d.collector.compaction.pause()
		if err := d.collector.compaction.resume(); err != nil {
			t.Fatal(err)
		}
		d.reclaimer = reclaimer{}
		if err := d.reclaim(time.Now()); err != nil { // two memtables full
			t.Fatal(err)
		}
	}
	if err := d.collector.compaction.resume(); err != nil {
		t.Fatal(err)
	}
	if err := d.db.Flatten(1); err != nil {
		t.Fatal(err)
	}
	if l := d.db.Levels()[0]; l.NumTables > 2 {
		t.Errorf("got %d tables on the lowest level", l.NumTables)
	}
}

// A store that was not written to for a moment has no compactors, and has them again with the
// next commit.
func TestCompactorsComeBackWithTheNextCommit(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start()
	q := declare(t, s, 1, "q")
	until := func(want int) {
		t.Helper()
		late := time.After(20 * time.Second)
		for again := time.NewTicker(5 * time.Millisecond); compactors(t) != want; {
			select {
			case <-again.C:
			case <-late:
				t.Fatalf("got %d compactors, want %d", compactors(t), want)
			}
		}
	}
	until(0)
	q.put(msg(t, "x"))
	flush(t, s, q)
	until(2)
}

// Badger does not keep the room in which it has built tables.
func TestRoomForTablesIsGivenBack(t *testing.T) {
	s, err := Open(t.TempDir(), Options{byHand: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d := s.backend.(*disk)
	c := compactionOf(d.db)
	if !c.pieces().IsValid() {
		t.Fatal("Badger keeps what it builds tables in somewhere else")
	}
	// Badger drops a piece itself when it has built none for two seconds, and so does a merge
	// that fills the next table.
	freed := uint64(0)
	for try := 0; freed == 0 && try < 20; try++ {
		merge(t, d)
		freed = c.giveBack()
	}
	if freed < 2*tableSize {
		t.Errorf("got %d bytes freed, want a table's room at least, of %d", freed, 2*tableSize)
	}
	if n := c.pieces().Len(); n != 0 {
		t.Errorf("got %d pieces that are kept, want none", n)
	}
	if freed := c.giveBack(); freed != 0 {
		t.Errorf("got %d bytes freed where none were kept", freed)
	}
}

// What was freed does not count as in use: the heap would be let grow by as much again.
func TestHeapIsCollectedWhenMuchOfItIsGivenBack(t *testing.T) {
	s, err := Open(t.TempDir(), Options{byHand: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d := s.backend.(*disk)
	before, freed := uint64(heapShare), uint64(0)
	for try := 0; freed < before/heapShare && try < 20; try++ { // as above
		merge(t, d)
		runtime.GC()
		before = liveBytes()
		freed = compactionOf(d.db).giveBack()
	}
	if freed < before/heapShare {
		t.Fatalf("got %d bytes freed of %d, want more", freed, before)
	}
	if after := liveBytes(); after > before-freed/2 {
		t.Errorf("got %d bytes that count as in use, of %d of which %d were freed", after, before, freed)
	}
}

// A merge tells of each table it has filled, before it goes on.
func TestMergeTellsOfTheTablesItFills(t *testing.T) {
	s, err := Open(t.TempDir(), Options{byHand: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d := s.backend.(*disk)
	var filled atomic.Int32
	d.log.onFilled(func() { filled.Add(1) })
	merge(t, d)
	if filled.Load() == 0 {
		t.Error("it was told of none")
	}
}

// merge has tables written and merged.
func merge(t *testing.T, d *disk) {
	t.Helper()
	for range 3 {
		d.reclaimer = reclaimer{}
		if err := d.reclaim(time.Now()); err != nil { // two memtables full
			t.Fatal(err)
		}
	}
	if err := d.db.Flatten(1); err != nil {
		t.Fatal(err)
	}
}
