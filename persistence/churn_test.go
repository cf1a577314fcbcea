//go:build unix

package persistence

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

// diskBytes is what a store takes on disk; holes in files do not count.
func diskBytes(t testing.TB, dir string) int64 {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, f := range files {
		info, err := os.Stat(filepath.Join(dir, f.Name()))
		if err != nil {
			continue // removed since
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			total += st.Blocks * 512
		} else {
			total += info.Size()
		}
	}
	return total
}

// What goes through a short queue does not pile up on disk: garbage collection and padding
// keep up, beside a backlog that is moved and stays.
func TestDiskStaysBoundedUnderChurn(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 300 MB")
	}
	dir := t.TempDir()
	const file = 8 << 20
	s, err := Open(dir, Options{JournalMax: 4 << 20, valueLogFile: file})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.Start()
	churn := &benchQueue{fakeQueue: declare(t, s, 1, "churn")}
	slow := declare(t, s, 2, "slow")
	all := msgs(t, 2000, 10<<10)
	const total = 300 << 20
	backlog, peak := int64(0), int64(0)
	for written := 0; written < total; {
		batch := make([]*message.Message, 0, 16)
		for range 16 {
			batch = append(batch, all[written/(10<<10)%len(all)])
			written += 10 << 10
		}
		churn.putAll(batch)
		if written/(160<<10)%64 == 0 {
			slow.put(all[0])
			backlog += 10 << 10
		}
		if err := s.WaitRoom(t.Context()); err != nil {
			t.Fatal(err)
		}
		if written/(160<<10)%64 == 0 {
			// A fast disk takes all of this before the collector has looked twice.
			s.backend.(*disk).collector.collect()
			peak = max(peak, diskBytes(t, dir))
		}
	}
	done := make(chan error, 1)
	s.Barrier(churn, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	flush(t, s, slow)
	s.backend.(*disk).collector.collect()
	left := diskBytes(t, dir)
	t.Logf("%d MB written, %d MB on disk at most, %d MB in the end, %d MB of backlog", total>>20, peak>>20, left>>20, backlog>>20)
	if limit := backlog + 20*file; peak > total*3/4 || left > limit {
		t.Errorf("got %d MB on disk at most and %d MB in the end, want about %d MB", peak>>20, left>>20, limit>>20)
	}
	found := 0
	for _, m := range read(t, s, 2, 0, queue.Range{Last: 1 << 40}) {
		found += m.Message.BodyBytes()
	}
	if int64(found) != backlog {
		t.Errorf("got a backlog of %d bytes, want %d", found, backlog)
	}
}
