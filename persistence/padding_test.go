package persistence

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

// Garbage may be as much as the padding interval several times over, so with a large
// backlog it takes less filler to keep it in proportion.
func TestFillerIsInProportionToGarbageAndBacklog(t *testing.T) { // A6
	f := func(alive, want int64) {
		t.Helper()
		d := &disk{padEvery: 1 << 20, index: newIndex(), maxCount: 1 << 20, maxBytes: 1 << 30}
		d.tx.d, d.index.bytes = d, alive
		d.tx.valueBytes = 1 << 20
		d.tx.pad()
		filler := d.paddingOwed
		for i := range d.tx.ops {
			filler += int64(len(d.tx.ops[i].value))
		}
		if filler != want {
			t.Errorf("got %d bytes of filler for 1 MiB with %d bytes alive, want %d", filler, alive, want)
		}
	}
	f(0, memTableSize)
	f(4<<20, memTableSize)
	f(8<<20, memTableSize/2)
	f(40<<20, memTableSize/10)
}

func TestIndexKnowsHowMuchItHolds(t *testing.T) {
	dir := t.TempDir()
	s, m := openByHand(t, dir, 1)
	s.Start()
	onDisk := func(s *Store, prefixes ...byte) (bytes int64) {
		t.Helper()
		err := s.backend.(*disk).db.View(func(txn *badger.Txn) error {
			for _, p := range prefixes {
				for _, k := range keys(t, s, p) {
					item, err := txn.Get(k)
					if err != nil {
						return err
					}
					v, err := item.ValueCopy(nil)
					if err != nil {
						return err
					}
					bytes += int64(len(v))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return bytes
	}
	check := func(when string) {
		t.Helper()
		if got, want := s.backend.(*disk).index.held(), onDisk(s, keyJournal, keyChunk); got != want || want == 0 {
			t.Errorf("%s: got %d bytes held, want %d", when, got, want)
		}
	}
	a, b := declare(t, s, 1, "a"), declare(t, s, 2, "b")
	for i := range 20 {
		body := fmt.Sprint(i, strings.Repeat("x", 5000))
		a.put(msg(t, body))
		b.put(msg(t, body), msg(t, body))
		flush(t, s, a, b)
	}
	check("in the journal")
	m.makeRoom()
	flush(t, s, a)
	m.bury()
	check("in chunks")
	last := a.next
	a.settle(allSettled(last))
	flush(t, s, a)
	m.bury()
	check("with a queue settled")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	// Of chunks that recovery has not read it knows the payloads only.
	if got, most := s.backend.(*disk).index.held(), onDisk(s, keyJournal, keyChunk); got > most || got < 40*5000 {
		t.Errorf("after opening: got %d bytes held, want about %d", got, most)
	}
	s.Start()
	q := newFake(s, 2)
	q.next = b.next
	q.settle(allSettled(b.next))
	flush(t, s, q)
	if got := s.backend.(*disk).index.held(); got != 0 {
		t.Errorf("got %d bytes held when everything is settled", got)
	}
}
