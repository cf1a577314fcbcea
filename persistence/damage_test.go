package persistence

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/topology"
)

// filled is the directory of a store that crashed with messages of 5000 bytes in queue 1.
func filled(t testing.TB, n int) string {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	q := declare(t, s, 1, "q")
	for i := range n {
		q.put(msg(t, fmt.Sprintf("<%d>", i)+strings.Repeat("x", 5000)))
		flush(t, s, q)
	}
	return copyDir(t, dir)
}

func refused(t testing.TB, dir string) error {
	t.Helper()
	s, err := Open(dir, Options{})
	if err == nil {
		s.Close()
		t.Fatal("the store opened")
	}
	return err
}

func lost(t testing.TB, dir, reason string) {
	t.Helper()
	var l *LostError
	if err := refused(t, dir); !errors.As(err, &l) || !strings.Contains(err.Error(), reason) {
		t.Errorf("got %v, want a LostError about %q", err, reason)
	}
}

// change edits a store's keys behind its back.
func change(t testing.TB, dir string, f func(*badger.Txn) error) {
	t.Helper()
	db, err := badger.Open(badgerOptions(dir, &badgerLog{log: zerolog.Nop()}, valueLogFileSize))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(f); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func glob(t testing.TB, dir, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s in the store: %v", pattern, err)
	}
	return files
}

// E12: a damaged message is never served. The rest of its record is.
func TestFlippedBitInTheValueLogIsNeverServed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	q := declare(t, s, 1, "q")
	q.put(msg(t, "first "+strings.Repeat("x", 5000)), msg(t, "needle"+strings.Repeat("y", 5000)), msg(t, "last  "+strings.Repeat("z", 5000)))
	flush(t, s, q)
	dir = copyDir(t, dir)
	flip(t, dir, []byte("needle"))

	var log sharedLog
	s, err := Open(dir, Options{Logger: zerolog.New(&log)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	var got []string
	for _, b := range bodies(t, s, 1) {
		got = append(got, b[:6])
	}
	equal(t, "served", got, []string{"first ", "last  "})
	if s.Stats().Damaged != 1 || !strings.Contains(log.String(), `"queue":1`) || !strings.Contains(log.String(), `"seq":2`) {
		t.Errorf("got %d damaged and the log %s", s.Stats().Damaged, log.String())
	}
	// It stays for a repair, whatever is settled.
	s.Start()
	q = newFake(s, 1)
	q.next = 4
	q.settle(allSettled(4))
	flush(t, s, q)
	if got := len(keys(t, s, keyJournal)); got != 1 {
		t.Errorf("got %d records, want the damaged one kept", got)
	}
}

// sharedLog is a log that Badger's goroutines write, too.
type sharedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *sharedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *sharedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// flip flips one bit of what, wherever it is in a value log.
func flip(t testing.TB, dir string, what []byte) {
	t.Helper()
	for _, name := range glob(t, dir, "*.vlog") {
		b := usedOf(t, name)
		if i := bytes.Index(b, what); i >= 0 {
			overwrite(t, name, i, b[i]^4)
			return
		}
	}
	t.Fatalf("%q is in no value log", what)
}

// E12: a record whose directory is damaged hides its messages but not those of others.
func TestDamagedDirectoryCostsItsRecordAlone(t *testing.T) {
	dir := filled(t, 3)
	magic := []byte{0xB4, 0x51, recordVersion}
	flip(t, dir, magic)
	s := open(t, dir)
	if got := len(bodies(t, s, 1)); got != 2 || s.Stats().Damaged != 1 {
		t.Errorf("got %d messages and %d damaged, want 2 and 1", got, s.Stats().Damaged)
	}
	// Badger cut the log at the damage; what it cut was written again and is not needed
	// from there any more.
	again := open(t, copyDir(t, dir))
	if got := len(bodies(t, again, 1)); got != 2 {
		t.Errorf("at the next start: got %d messages, want 2", got)
	}
}

// E3: a start that is interrupted after Badger cut its log loses nothing either.
func TestWhatWasSetAsideSurvivesAnInterruptedStart(t *testing.T) {
	dir := filled(t, 3)
	flip(t, dir, []byte("<0>"))
	if err := saveTails(dir, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	change(t, dir, func(*badger.Txn) error { return nil }) // opens, cuts, closes
	s := open(t, dir)
	if got := len(bodies(t, s, 1)); got != 2 || s.Stats().Damaged != 1 {
		t.Errorf("got %d messages and %d damaged, want 2 and 1", got, s.Stats().Damaged)
	}
}

// E15: a store does not start without a file of its value log in which something alive
// is: it names the file and the way out, again and again. The repair takes out what was in
// it, tells so, and keeps the rest.
func TestMissingValueLogIsRefusedAndRepaired(t *testing.T) {
	f := func(what, dir string, left int) {
		t.Helper()
		logs := slices.DeleteFunc(glob(t, dir, "*.vlog"), func(name string) bool {
			return len(usedOf(t, name)) < 4096 // nothing is in it
		})
		for _, name := range []string{logs[0], logs[len(logs)-1]} {
			dir := copyDir(t, dir)
			file := filepath.Base(name)
			if err := os.Remove(filepath.Join(dir, file)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				lost(t, dir, file+" is missing")
				if err := refused(t, dir); !strings.Contains(err.Error(), "leveret store repair") {
					t.Errorf("%s: got %v, want the way out", what, err)
				}
			}
			if r := check(t, dir); len(r.Problems) < 2 || !slices.ContainsFunc(r.Problems, func(p Problem) bool { return p.Kind == "log" && p.File == file }) {
				t.Errorf("%s: check: got %+v", what, r)
			}
			if r := repair(t, dir); len(r.Problems) < 2 || !strings.Contains(fmt.Sprint(r.Problems), "queue 1") && left > 0 {
				t.Errorf("%s: repair: got %+v", what, r)
			}
			if r := check(t, dir); len(r.Problems) != 0 {
				t.Errorf("%s: after the repair: got %+v", what, r)
			}
			s := open(t, dir)
			if got := len(bodies(t, s, 1)); len(logs) > 1 && got < left || len(logs) == 1 && got != 0 {
				t.Errorf("%s without %s: got %d messages after the repair, want at least %d", what, file, got, left)
			}
			s.Close()
		}
	}
	f("journal records", filled(t, 3), 0)
	f("a chunk", stopped(t), 0)

	dir := t.TempDir()
	s, err := Open(dir, Options{valueLogFile: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	q := declare(t, s, 1, "q")
	for range 3 {
		q.put(msgs(t, 40, 30<<10)...)
		flush(t, s, q)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(glob(t, dir, "*.vlog")); n < 2 {
		t.Fatalf("got %d value logs, want several", n)
	}
	f("one of several", dir, 20)
}

// pointerOf looks where Badger keeps what it tells nobody.
func TestValueFileOfAnItemIsFound(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start()
	q := declare(t, s, 1, "q")
	q.put(msg(t, strings.Repeat("x", 5000)))
	flush(t, s, q)
	err := s.backend.(*disk).db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(keys(t, s, keyJournal)[0])
		if err != nil {
			return err
		}
		if p, ok := pointerOf(item); !ok || p.file != 1 || p.bytes < 5000 || p.bytes > 5200 {
			t.Errorf("a record: got %+v, %v, want some 5000 octets of file 1", p, ok)
		}
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{keyJournal}})
		defer it.Close()
		it.Rewind()
		if p, ok := pointerOf(it.Item()); !ok || p.file != 1 || p.bytes < 5000 || p.bytes > 5200 {
			t.Errorf("a record of an iterator: got %+v, %v, want some 5000 octets of file 1", p, ok)
		}
		if item, err = txn.Get([]byte{keyMarker}); err != nil {
			return err
		}
		if p, ok := pointerOf(item); ok {
			t.Errorf("the marker: got %+v, want none", p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestZeroLengthLogsAreRemoved(t *testing.T) {
	dir := filled(t, 1)
	for _, name := range []string{"00099.mem", "000099.vlog"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, dir)
	if got := len(bodies(t, s, 1)); got != 1 {
		t.Errorf("got %d messages, want 1", got)
	}
}

// E15: Badger alone would begin an empty store.
func TestMissingManifestIsRefused(t *testing.T) {
	dir := filled(t, 1)
	if err := os.Remove(filepath.Join(dir, badger.ManifestFilename)); err != nil {
		t.Fatal(err)
	}
	lost(t, dir, "MANIFEST")
}

func TestTruncatedTableIsRefusedAndNamed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	declare(t, s, 1, "q")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	table := glob(t, dir, "*.sst")[0]
	if err := os.Truncate(table, 10); err != nil {
		t.Fatal(err)
	}
	if err := refused(t, dir); !strings.Contains(err.Error(), filepath.Base(table)) {
		t.Errorf("got %v, want %s named", err, filepath.Base(table))
	}
}

// The log of a memtable is cut at the first damaged byte, and Badger says nothing; that
// groups are missing tells it (S-19).
func TestDamageInTheMiddleOfTheLogIsNoticed(t *testing.T) {
	dir := filled(t, 20)
	name := glob(t, dir, "*.mem")[0]
	b := usedOf(t, name)
	overwrite(t, name, len(b)/2, b[len(b)/2]^0xFF)
	lost(t, dir, "was committed")
}

// E13: a torn tail was never confirmed; the store opens without it.
func TestTornTailIsNoReasonToStop(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	q := declare(t, s, 1, "q")
	q.put(msg(t, "confirmed"))
	flush(t, s, q)
	crashed := copyDir(t, dir)
	before, err := os.ReadFile(filepath.Join(crashed, sequenceName))
	if err != nil {
		t.Fatal(err)
	}
	q.put(msg(t, "torn"))
	flush(t, s, q)
	crashed = copyDir(t, dir)
	// As if the last transaction had only half reached the disk, and its commit not
	// returned.
	name := glob(t, crashed, "*.mem")[0]
	overwrite(t, name, len(usedOf(t, name))-20, make([]byte, 20)...)
	if err := os.WriteFile(filepath.Join(crashed, sequenceName), before, 0o600); err != nil {
		t.Fatal(err)
	}
	equal(t, "found", bodies(t, open(t, crashed), 1), []string{"confirmed"})
}

// S-19: a gap in the group numbers is confirmed data cut out of the middle.
func TestGapInTheGroupNumbersIsRefused(t *testing.T) {
	dir := filled(t, 5)
	change(t, dir, func(txn *badger.Txn) error { return txn.Delete(appendSlotKey(nil, 3)) })
	lost(t, dir, "group 3")
}

func TestTornGroupNumberFileIsIgnored(t *testing.T) {
	for _, content := range []string{"", "torn", strings.Repeat("x", 16)} {
		dir := filled(t, 1)
		if err := os.WriteFile(filepath.Join(dir, sequenceName), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := len(bodies(t, open(t, dir), 1)); got != 1 {
			t.Errorf("%q: got %d messages, want 1", content, got)
		}
	}
}

// E17: data of a newer program is refused and not touched.
func TestStoreOfANewerProgramIsRefused(t *testing.T) {
	dir := filled(t, 1)
	change(t, dir, func(txn *badger.Txn) error {
		return txn.Set([]byte{keySchema}, appendSchema(schema{version: schemaVersion + 1, minReader: schemaVersion + 1}))
	})
	if err := refused(t, dir); !strings.Contains(err.Error(), "newer") {
		t.Errorf("got %v, want an error about a newer program", err)
	}
	change(t, dir, func(txn *badger.Txn) error {
		return txn.Set([]byte{keySchema}, appendSchema(schema{version: schemaVersion + 1, minReader: schemaVersion}))
	})
	open(t, dir)
}

// E11: a second process is told who has the store.
func TestStoreInUseNamesItsOwner(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	var in *InUseError
	if err := refused(t, dir); !errors.As(err, &in) || in.PID != fmt.Sprint(os.Getpid()) {
		t.Errorf("got %v, want the store in use by pid %d", err, os.Getpid())
	}
}

// A9, E6: Badger only logs that the value log could not be synced, and its Commit
// succeeds. Nothing may be confirmed all the same.
func TestFailedSyncThatIsOnlyLoggedPoisons(t *testing.T) {
	f := func(format string, args ...any) {
		t.Helper()
		s := open(t, t.TempDir())
		s.Start()
		q := declare(t, s, 1, "q")
		s.backend.(*disk).log.Errorf(format, args...)
		select {
		case <-s.Failed():
		default:
			t.Errorf("%s did not poison the store", format)
		}
		q.put(msg(t, "a"))
		answer := make(chan error, 1)
		s.Barrier(q, func(err error) { answer <- err })
		if err := <-answer; !errors.Is(err, errSync) {
			t.Errorf("got %v, want a failed sync", err)
		}
		equal(t, "confirmed", q.storedSeqs(), nil)
	}
	f("Error while curlf sync: %v\n", errors.New("input/output error"))
	f("writeRequests: %v", errors.New("input/output error"))
}

// The failure may be heard of while Commit is under way, from another goroutine.
func TestSyncFailureDuringACommitIsNotConfirmed(t *testing.T) {
	s := open(t, t.TempDir())
	d := s.backend.(*disk)
	err := d.commit([]operation{{key: []byte{keyRun}, value: appendRun(nil, run{number: 5})}})
	if err != nil {
		t.Fatal(err)
	}
	d.log.Errorf("Error while curlf sync: %v\n", errors.New("input/output error"))
	if err := d.commit([]operation{{key: []byte{keyRun}, value: appendRun(nil, run{number: 5})}}); !errors.Is(err, errSync) {
		t.Errorf("got %v from a commit that Badger took, want a failed sync", err)
	}
}

// I6, S-15: only batch records may reach the value log.
func TestLargeValueOutsideABatchRecordIsRefused(t *testing.T) {
	s := open(t, t.TempDir())
	d := s.backend.(*disk)
	defer func() {
		if recover() == nil {
			t.Error("a large value was taken")
		}
		d.tx.ops = nil
	}()
	d.tx.add([]operation{{key: []byte{keyState}, value: make([]byte, valueThreshold)}})
}

func TestHalfMadeStoreIsFinished(t *testing.T) {
	dir := t.TempDir()
	db, err := badger.Open(badgerOptions(dir, &badgerLog{log: zerolog.Nop()}, valueLogFileSize))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	s.Start()
	write(t, s, topology.Unit{Puts: []topology.Record{topology.VHost{Name: "/"}}})
}

func TestZerosAtTheEndOfALogAreNotInUse(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, 64<<20); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := func(from, want int64) {
		t.Helper()
		if got, err := usedBytes(f, from); got != want || err != nil {
			t.Errorf("from %d: got %d and %v, want %d", from, got, err, want)
		}
	}
	found(0, 0)
	found(logHeader, logHeader)
	overwrite(t, name, 100, 'a')
	found(0, 101)
	overwrite(t, name, 20<<20, make([]byte, 3<<20)...) // that were written
	found(0, 101)
	overwrite(t, name, 40<<20+12345, 'b')
	found(0, 40<<20+12346)
	found(50<<20, 50<<20)
	overwrite(t, name, 64<<20-1, 'c')
	found(0, 64<<20)
	found(64<<20, 64<<20)
}
