package persistence

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// randomLogs are the logs in dir that the kernel was told to expect random access to.
func randomLogs(t *testing.T, dir string) (names []string) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	name := ""
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		line := s.Text()
		if m := logMappings([]byte(line), dir); len(m) == 1 {
			name = m[0].name
		} else if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok {
			if name != "" && strings.Contains(flags+" ", " rr ") {
				names = append(names, name)
			}
			name = ""
		}
	}
	slices.Sort(names)
	return names
}

// Small groups have single pages written, large ones large pages. What is not written any
// more is read ahead of again.
func TestKernelIsToldHowTheNewestLogsAreWritten(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, Options{valueLogFile: 1 << 20, byHand: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	equal(t, "random after opening", randomLogs(t, dir), []string{"000001.vlog", "00001.mem"})

	s.Start()
	q := declare(t, s, 1, "q")
	for range 4 {
		q.put(msgs(t, 10, 50<<10)...)
		flush(t, s, q)
	}
	a, now := newAdviser(dir), time.Now()
	tell := func(bytes int64) {
		for range 50 {
			now = now.Add(adviceInterval)
			a.written(bytes, now)
		}
	}
	tell(64 << 10)
	wal, value, err := newestLogs(dir)
	if err != nil || value == "000001.vlog" {
		t.Fatalf("got %s as the newest value log, %v, want a later one", value, err)
	}
	newest := []string{value, wal}
	equal(t, "random with small groups", randomLogs(t, dir), newest)
	tell(4 << 20)
	equal(t, "random with large groups", randomLogs(t, dir), newest[1:])
	tell(64 << 10)
	equal(t, "random with small groups again", randomLogs(t, dir), newest)
}

func TestStoreMayLeaveReadaheadToTheSystem(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, Options{SystemReadahead: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	equal(t, "random", randomLogs(t, dir), nil)
}

// A mapping that was advised in part is two, and has to become one: Badger could not let
// it grow.
func TestMappingInTwoPartsIsAdvisedAsOne(t *testing.T) {
	const maps = `7f0000000000-7f0000100000 rw-s 00000000 fe:00 12  /data/store/000002.vlog
7f0000100000-7f0000300000 rw-s 00100000 fe:00 12  /data/store/000002.vlog
7f0000400000-7f0000500000 rw-s 00000000 fe:00 13  /data/store/00007.mem
7f0000500000-7f0000600000 rw-s 00000000 fe:00 13  /data/store/000007.sst
7f0000600000-7f0000700000 rw-s 00000000 fe:00 14  /data/other/00007.mem
7f0000700000-7f0000800000 rw-p 00000000 00:00 0
7f0000800000-7f0000900000 rw-s 00000000 fe:00 13  /data/store/00006.mem (deleted)
`
	equal(t, "mappings", logMappings([]byte(maps), "/data/store"), []mapping{
		{"000002.vlog", 0x7f0000000000, 0x7f0000300000},
		{"00007.mem", 0x7f0000400000, 0x7f0000500000},
	})
}

func TestNewestLogHasTheHighestNumber(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"00002.mem", "00010.mem", "999999.vlog", "1000000.vlog", "000003.vlog", "MANIFEST", "99999999.sst"} {
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wal, value, err := newestLogs(dir)
	if err != nil || wal != "00010.mem" || value != "1000000.vlog" {
		t.Errorf("got %s and %s, %v", wal, value, err)
	}
}
