//go:build linux

package persistence

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"
)

// ballastOf is the size of the ballast in dir, -1 when there is none.
func ballastOf(t *testing.T, dir string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, ballastName))
	if errors.Is(err, os.ErrNotExist) {
		return -1
	}
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestBallastIsMadeWhereThereIsRoom(t *testing.T) {
	dir := t.TempDir()
	space, err := SpaceOf(dir)
	if err != nil || space.Memory || space.Total < ballastDisk {
		t.Skipf("SKIPPED: %+v, %v is no disk that has a ballast", space, err)
	}
	f := func(size, keep int64, want bool, wantSize int64) {
		t.Helper()
		s, err := Open(dir, Options{Ballast: size})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for i := range 2 { // the second time there is nothing to do
			made, err := s.RestoreBallast(keep)
			if err != nil || made != (want && i == 0) {
				t.Errorf("got %v and %v, want %v", made, err, want && i == 0)
			}
		}
		if got := ballastOf(t, dir); got != wantSize {
			t.Errorf("got a ballast of %d bytes, want %d", got, wantSize)
		}
	}
	f(1<<20, space.Total, false, -1)
	f(1<<20, 0, true, 1<<20)
	f(1<<20, 0, false, 1<<20) // it is there already
	f(2<<20, 0, true, 2<<20)  // it is to be larger
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(dir, ballastName), &st); err != nil || st.Blocks*512 < 2<<20 {
		t.Errorf("got %d bytes on the disk and %v, want all of them set aside", st.Blocks*512, err)
	}
	f(0, 0, false, -1) // it is not wanted any more

	memory := NewMemory(Options{Ballast: 1 << 20})
	if made, err := memory.RestoreBallast(0); made || err != nil {
		t.Errorf("got %v and %v of a store in memory, want no ballast", made, err)
	}
}

func TestRoomToOpenIsLessOnASmallDisk(t *testing.T) {
	f := func(total, want int64) {
		t.Helper()
		if got := (Space{Total: total}).roomToOpen(); got != want {
			t.Errorf("got %d of %d, want %d", got, total, want)
		}
	}
	f(1<<40, 64<<20)
	f(1<<30, 1<<30/20)
	f(200<<20, 10<<20)
	const want = "store /d cannot be opened: 3 MiB are free on its disk and 64 MiB needed; make room, or move the directory to a larger disk"
	if got := (&FullError{Dir: "/d", Free: 4<<20 - 1, Needed: 64<<20 - 1}).Error(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStoreInMemoryIsWarnedAbout(t *testing.T) { // E11
	dir, err := os.MkdirTemp("/dev/shm", "leveret") //nolint:usetesting // it has to be in memory
	if err != nil {
		t.Skipf("SKIPPED: no tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if space, err := SpaceOf(dir); err != nil || !space.Memory {
		t.Skipf("SKIPPED: /dev/shm is no tmpfs: %+v, %v", space, err)
	}
	var log bytes.Buffer
	s, err := Open(dir, Options{Logger: zerolog.New(zerolog.SyncWriter(&log)), Ballast: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if made, err := s.RestoreBallast(0); made || err != nil {
		t.Errorf("got %v and %v, want no ballast that would take up memory", made, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "does not survive") {
		t.Errorf("got %s, want a warning", &log)
	}
}

// TestReclaimWritesWhatMakesGarbageShow, once for each time something was deleted (P12).
func TestReclaimWritesWhatMakesGarbageShow(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start()
	q := declare(t, s, 1, "q")
	reclaim := func() uint64 {
		t.Helper()
		flush(t, s, q)
		before := s.Stats().Transactions
		s.Reclaim()
		flush(t, s, q) // this asks, or comes after
		flush(t, s, q)
		return s.Stats().Transactions - before
	}
	// What the run before has left is not known.
	if got := reclaim(); got < 2*memTableSize/(memTableSize*15/100) {
		t.Errorf("got %d transactions, want as many as fill two memtables", got)
	}
	if got := reclaim(); got != 0 {
		t.Errorf("got %d transactions with nothing deleted, want none", got)
	}
}

func TestGarbageCollectionTakesWhatFits(t *testing.T) {
	if got := freeOf(filepath.Join(t.TempDir(), "nowhere")); got < 1<<40 {
		t.Errorf("got %d bytes of room where nothing is known, want no end of it", got)
	}
	f := func(garbage, free int64, want bool) {
		t.Helper()
		if got := deserves(128<<20, garbage<<20, free<<20); got != want {
			t.Errorf("got %v for a file of 128 MiB with %d MiB of garbage and %d MiB free, want %v", got, garbage, free, want)
		}
	}
	f(64, 100<<10, true)
	f(63, 100<<10, false)
	f(64, 128, true)
	f(64, 127, false)
	f(96, 64, true)
	f(95, 64, false)
	f(120, 15, false)
	f(126, 0, true)
	f(125, 0, false)
}
