package persistence

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/queue"
)

// stopped is the directory of a store that was stopped: queue 1 with three messages in a
// chunk and two in the journal, the last of which queue 2 has, too.
func stopped(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	q, other := declare(t, s, 1, "q"), declare(t, s, 2, "other")
	for _, name := range []string{"one", "two", "three"} {
		q.put(msg(t, "<"+name+">"+strings.Repeat("c", 20<<10)))
	}
	s.Together(func() {})
	flush(t, s, q)
	shared := msg(t, "<shared>"+strings.Repeat("s", 5000))
	s.Together(func() {
		q.put(msg(t, "<four>"+strings.Repeat("j", 5000)), shared)
		other.put(shared)
	})
	flush(t, s, q, other)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func check(t testing.TB, dir string) Report {
	t.Helper()
	r, err := Check(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func repair(t testing.TB, dir string) Report {
	t.Helper()
	r, err := Repair(dir, nil, time.UnixMilli(1_700_000_000_000), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// contents are the files of a directory and their checksums.
func contents(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	for _, name := range listing(t, dir) {
		if name == lockName {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s %d %08x", name, info.Size(), crc32.ChecksumIEEE(usedOf(t, filepath.Join(dir, name)))))
	}
	return all
}

func TestCheckOfASoundStoreCountsAndChangesNothing(t *testing.T) {
	f := func(dir string) {
		t.Helper()
		before := contents(t, dir)
		r := check(t, dir)
		if r.Queues != 2 || r.Messages != 6 || r.Bytes < 60<<10 || r.Records < 2 || len(r.Problems) != 0 {
			t.Errorf("got %+v", r)
		}
		equal(t, "files", contents(t, dir), before)
	}
	dir := stopped(t)
	f(dir)
	s := open(t, dir)
	f(copyDir(t, dir)) // as after a crash
	var in *InUseError
	if _, err := Check(dir, nil); !errors.As(err, &in) {
		t.Errorf("in use: got %v, want an InUseError", err)
	}
	if _, err := Repair(dir, nil, time.UnixMilli(1), zerolog.Nop()); !errors.As(err, &in) {
		t.Errorf("in use: got %v, want an InUseError", err)
	}
	s.Close()
	if r := repair(t, dir); len(r.Problems) != 0 || r.Messages != 6 {
		t.Errorf("nothing to repair: got %+v", r)
	}
}

// A file that Badger removes it cuts to nothing first, and with it every link to it: tables when
// it has merged them, and files of the value log in which nothing is. A check must not share
// these with the store.
func TestCheckSharesNoFileThatBadgerRemoves(t *testing.T) {
	dir := stopped(t)
	open(t, dir).Close() // which begins another value log
	if err := os.WriteFile(filepath.Join(dir, valueFileName(0)), make([]byte, logHeader), 0o600); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	scratch := filepath.Join(dir, scratchName)
	if err := shadow(dir, scratch); err != nil {
		t.Fatal(err)
	}
	shared := func(name string) bool {
		t.Helper()
		a, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.Stat(filepath.Join(scratch, filepath.Base(name)))
		if err != nil {
			t.Fatal(err)
		}
		return os.SameFile(a, b)
	}
	tables, logs := glob(t, dir, "*.sst"), glob(t, dir, "*.vlog")
	if len(tables) == 0 || len(logs) < 3 {
		t.Fatalf("got %v and %v, want tables and three logs", tables, logs)
	}
	for _, name := range append(tables, logs[0], logs[2]) {
		if shared(name) {
			t.Errorf("%s is shared", name)
		}
	}
	full := logs[1]
	if !shared(full) {
		t.Errorf("%s is copied, which may take long", full)
	}
	// What happens to all others shows nowhere.
	for _, name := range listing(t, scratch) {
		if name == filepath.Base(full) {
			continue
		}
		if err := os.Truncate(filepath.Join(scratch, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(scratch); err != nil {
		t.Fatal(err)
	}
	equal(t, "files", contents(t, dir), before)
}

// served are the beginnings of what a queue has.
func served(t testing.TB, s *Store, id queue.ID) []string {
	t.Helper()
	var all []string
	for _, b := range bodies(t, s, id) {
		all = append(all, b[:strings.IndexByte(b, '>')+1])
	}
	return all
}

// E12: a damaged message is found, and told with its queue and number; a repair keeps a
// copy of its record, and everything else.
func TestDamagedMessageIsFoundAndRepaired(t *testing.T) {
	f := func(flipped, problem string, one, two []string) {
		t.Helper()
		dir := stopped(t)
		flip(t, dir, []byte(flipped))
		before := contents(t, dir)
		r := check(t, dir)
		if len(r.Problems) == 0 || !strings.Contains(r.Problems[0].String(), problem) || r.Messages != len(one)+len(two) {
			t.Errorf("%s: got %+v, want a problem with %s", flipped, r, problem)
		}
		equal(t, "files", contents(t, dir), before)
		r = repair(t, dir)
		if len(r.Problems) == 0 || !strings.Contains(r.Problems[0].String(), problem) {
			t.Fatalf("%s: repaired %+v, want a problem with %s", flipped, r, problem)
		}
		for _, p := range r.Problems {
			if info, err := os.Stat(p.Kept); err != nil || info.Size() < 5000 {
				t.Errorf("%s: %v is kept nowhere", flipped, p)
			}
		}
		if r := check(t, dir); len(r.Problems) != 0 || r.Messages != len(one)+len(two) {
			t.Errorf("%s: after the repair: got %+v", flipped, r)
		}
		s := open(t, dir)
		equal(t, "queue 1", served(t, s, 1), one)
		equal(t, "queue 2", served(t, s, 2), two)
		if got := s.Stats().Damaged; got != 0 {
			t.Errorf("%s: got %d damaged after the repair", flipped, got)
		}
	}
	f("<four>", "queue 1, message 4", []string{"<one>", "<two>", "<three>", "<shared>"}, []string{"<shared>"})
	f("<shared>", "queue 1, message 5", []string{"<one>", "<two>", "<three>", "<four>"}, nil)
}

// A chunk of which nothing can be read is told with its numbers, which are in its key, and
// goes.
func TestChunkThatCannotBeReadIsFoundAndRepaired(t *testing.T) {
	dir := stopped(t)
	change(t, dir, func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{keyChunk}})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			v, err := it.Item().ValueCopy(nil)
			if err != nil {
				return err
			}
			v[headerBytes] ^= 1
			if err := txn.Set(it.Item().KeyCopy(nil), v); err != nil {
				return err
			}
		}
		return nil
	})
	r := check(t, dir)
	if len(r.Problems) == 0 || r.Problems[0].Kind != "chunk" || r.Problems[0].Queue != 1 || !strings.HasSuffix(r.Problems[0].File, "vlog") {
		t.Errorf("got %+v, want a chunk of queue 1 in a value log", r)
	}
	r = repair(t, dir)
	if len(r.Problems) == 0 || r.Problems[0].Kept == "" {
		t.Errorf("got %+v", r)
	}
	if r := check(t, dir); len(r.Problems) != 0 {
		t.Errorf("after the repair: got %+v", r)
	}
	s := open(t, dir)
	if got := served(t, s, 1); len(got) < 2 || got[len(got)-1] != "<shared>" {
		t.Errorf("got %v, want what is not in a chunk", got)
	}
}

// A table that Badger cannot read is found before Badger panics in it. A repair moves it
// aside, and the store starts with what is left.
func TestDamagedTableIsFoundAndMovedAside(t *testing.T) {
	f := func(damage func(name string) error) {
		t.Helper()
		dir := stopped(t)
		name := glob(t, dir, "*.sst")[0]
		if err := damage(name); err != nil {
			t.Fatal(err)
		}
		if err := refused(t, dir); !strings.Contains(err.Error(), ".sst") {
			t.Errorf("got %v, want the table named", err)
		}
		r := check(t, dir)
		if len(r.Problems) == 0 || r.Problems[0].Kind != "table" || r.Problems[0].File != filepath.Base(name) {
			t.Errorf("got %+v, want %s", r, filepath.Base(name))
		}
		if r = repair(t, dir); len(r.Problems) == 0 || r.Problems[0].Kind != "table" {
			t.Errorf("repaired %+v", r)
		}
		if r := check(t, dir); len(r.Problems) != 0 {
			t.Errorf("after the repair: got %+v", r)
		}
		s := open(t, dir)
		s.Start()
		declare(t, s, queue.ID(s.NextID()), "new")
	}
	f(func(name string) error { return os.Truncate(name, 100) })
	f(func(name string) error {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		b[10] ^= 1
		return os.WriteFile(name, b, 0o600)
	})
	f(os.Remove)
}

// S-19: groups that are missing are told; a repair goes on without them.
func TestMissingGroupIsFoundAndGivenUp(t *testing.T) {
	dir := stopped(t)
	change(t, dir, func(txn *badger.Txn) error { return txn.Delete(appendSlotKey(nil, 3)) })
	if r := check(t, dir); len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Reason, "group 3") || r.Messages != 6 {
		t.Errorf("got %+v, want group 3 missing", r)
	}
	lost(t, dir, "group 3")
	repair(t, dir)
	if got := len(served(t, open(t, dir), 1)); got != 5 {
		t.Errorf("got %d messages, want 5", got)
	}
}
