package persistence

import (
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/leveretmq/leveret/queue"
)

// reappear puts a copy of a record back, as Badger's garbage collection does.
func reappear(t testing.TB, s *Store, group uint64, puts ...queue.StoredPut) {
	t.Helper()
	var e encoder
	b := e.record(group, 0, puts, noID)
	err := s.backend.(*disk).db.Update(func(txn *badger.Txn) error { return txn.Set(appendJournalKey(nil, group), b) })
	if err != nil {
		t.Fatal(err)
	}
}

// S-20: the sweep deletes what came back and nothing that is needed.
func TestSweepDeletesWhatCameBack(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start()
	q := declare(t, s, 1, "q")
	q.put(msg(t, "gone"))
	flush(t, s, q)
	q.settle(allSettled(2))
	flush(t, s, q)
	q.put(msg(t, "alive"))
	flush(t, s, q)
	live := keys(t, s, keyJournal)
	reappear(t, s, 2, queue.StoredPut{Queue: 1, Seq: 1, Message: msg(t, "gone")})
	s.backend.(*disk).collector.sweep()
	flush(t, s, q)
	got := keys(t, s, keyJournal)
	if len(live) != 1 || len(got) != 1 || string(got[0]) != string(live[0]) {
		t.Errorf("got records %x, want only %x", got, live)
	}
}

// B5: a record that came back before a restart is recognised by the acknowledgement
// state, and by the floor.
func TestRecordThatCameBackIsNotDeliveredAgain(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	q := declare(t, s, 1, "q")
	for _, body := range []string{"a", "b", "c"} {
		q.put(msg(t, body))
		flush(t, s, q)
	}
	written := keys(t, s, keyJournal)
	page := queue.Page{}
	page.Bits[0] = 1 << 2
	q.settle(queue.State{Head: 2, Next: 4, Pages: []queue.Page{page}, Settled: []queue.Range{{First: 1, Last: 2}}})
	flush(t, s, q)
	if got := len(keys(t, s, keyJournal)); got != 1 {
		t.Fatalf("got %d records before any came back, want 1", got)
	}
	for seq := range uint64(2) {
		group, _ := parseJournalKey(written[seq])
		reappear(t, s, group, queue.StoredPut{Queue: 1, Seq: seq + 1, Message: msg(t, "again")})
	}
	again := open(t, copyDir(t, dir))
	equal(t, "found", bodies(t, again, 1), []string{"c"})
	again.Start()
	q = newFake(again, 1)
	q.next = 4
	q.put(msg(t, "d"))
	flush(t, again, q)
	if got := len(keys(t, again, keyJournal)); got != 2 {
		t.Errorf("got %d records, want those of c and d", got)
	}
}
