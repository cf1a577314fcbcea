package persistence

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/leveretmq/leveret/queue"
)

// onDisk is how much the value log of a store takes, holes left out as far as they are not
// data.
func onDisk(t testing.TB, dir string) (bytes int64) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		bytes += info.Size()
	}
	return bytes
}

// A7, S-13: a purge costs nothing that grows with the queue, and the room of what it
// dropped comes back when garbage is collected.
func TestRoomOfAPurgeComesBack(t *testing.T) {
	dir := t.TempDir()
	o := Options{valueLogFile: 4 << 20}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	q := declare(t, s, 1, "q")
	const groups, messages, size = 16, 64, 32 << 10 // 32 MiB
	for range groups {
		q.put(msgs(t, messages, size)...)
		flush(t, s, q)
	}
	last := uint64(groups * messages)
	q.settle(queue.State{Head: last + 1, Next: last + 1, Settled: []queue.Range{{First: 1, Last: last}}})
	flush(t, s, q)
	flush(t, s, q)
	if got := len(keys(t, s, keyChunk)); got != 0 {
		t.Errorf("got %d chunks after the purge", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	full := onDisk(t, dir)
	if full < groups*messages*size {
		t.Fatalf("got %d bytes on disk, want at least %d", full, groups*messages*size)
	}

	// Nothing is started: what the committer and the collector do is done by hand.
	if s, err = Open(dir, o); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d := s.backend.(*disk)
	for range 200 {
		d.reclaimer = reclaimer{deletes: 1}
		if err := d.reclaim(time.UnixMilli(1)); err != nil {
			t.Fatal(err)
		}
		d.collector.collect()
		if onDisk(t, dir) < full/2 {
			return
		}
	}
	t.Errorf("got %d bytes on disk of %d before", onDisk(t, dir), full)
}

// A queue that is deleted may leave very many records; they are deleted a group at a time,
// without anybody asking.
func TestRecordsOfADeletedQueueAreDeletedInSeveralGroups(t *testing.T) {
	s := open(t, t.TempDir())
	s.backend.(*disk).tombstones = 3
	s.Start()
	q := declare(t, s, 1, "q")
	for _, m := range msgs(t, 20, 10) {
		q.put(m)
		flush(t, s, q)
	}
	before := s.Stats().Groups
	s.Drop(1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := s.Stats().Groups - before; got < 7 {
		t.Errorf("got %d groups for 20 records, want at least 7", got)
	}
	s = open(t, s.backend.(*disk).dir)
	if got := len(keys(t, s, keyJournal)); got != 0 {
		t.Errorf("got %d records left", got)
	}
}
