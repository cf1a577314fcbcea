package persistence

import (
	"fmt"
	"testing"

	"github.com/leveretmq/leveret/queue"
)

func restoredCounts(t testing.TB, s *Store, id queue.ID) string {
	t.Helper()
	text := ""
	for _, lv := range restore(t, s, id).Levels {
		for _, p := range lv.Counts {
			text += fmt.Sprintf("%d/%d%v", lv.Level, p.Number, p.Counts)
		}
	}
	return text
}

// Delivery counts survive a crash and a stop; what is settled has none, and pages of it
// go, as does everything of a queue that is deleted.
func TestDeliveryCountsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	q := declare(t, s, 1, "q")
	q.put(msgs(t, 3000, 10)...)
	flush(t, s, q)
	f := func(want string, pages int, st queue.State) {
		t.Helper()
		st.Next = 3001
		q.settle(st)
		flush(t, s, q)
		if got := restoredCounts(t, open(t, copyDir(t, dir)), 1); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got := len(keys(t, s, keyCounts)); got != pages {
			t.Errorf("got %d pages, want %d", got, pages)
		}
	}
	f("0/0[{3 1} {1000 2}]0/2[{2999 16383}]", 2, queue.State{Head: 1, Counts: []queue.CountPage{
		{Number: 0, Counts: []queue.Count{{Seq: 3, N: 1}, {Seq: 1000, N: 2}}},
		{Number: 2, Counts: []queue.Count{{Seq: 2999, N: 20000}}}}})
	f("0/0[{3 4}]0/2[{2999 16383}]", 2, queue.State{Head: 1, Counts: []queue.CountPage{
		{Number: 0, Counts: []queue.Count{{Seq: 3, N: 4}}}}})
	f("0/0[{3 4}]", 1, queue.State{Head: 1, Counts: []queue.CountPage{{Number: 2}}})
	// What is settled has no count, whatever its page says.
	f("", 1, queue.State{Head: 4, Settled: []queue.Range{{First: 1, Last: 3}}})

	f("0/1[{2000 5}]", 2, queue.State{Head: 4, Counts: []queue.CountPage{{Number: 1, Counts: []queue.Count{{Seq: 2000, N: 5}}}}})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if got := restoredCounts(t, s, 1); got != "0/1[{2000 5}]" {
		t.Errorf("after a stop: got %s", got)
	}
	s.Start()
	b, _ := backup(t, s)
	if restored, _ := restoreTo(t, b); restoredCounts(t, open(t, restored), 1) != "0/1[{2000 5}]" {
		t.Error("the counts are not in a backup")
	}
	// The page of what is settled was swept at the start.
	flush(t, s, newFake(s, 1))
	if got := len(keys(t, s, keyCounts)); got != 1 {
		t.Errorf("got %d pages, want 1", got)
	}
	s.backend.(*disk).collector.sweep()
	flush(t, s, newFake(s, 1))
	if got := len(keys(t, s, keyCounts)); got != 1 {
		t.Errorf("after a sweep: got %d pages, want 1", got)
	}
	s.Drop(1)
	flush(t, s, newFake(s, 2))
	if got := len(keys(t, s, keyCounts)); got != 0 {
		t.Errorf("of a queue that was dropped: got %d pages", got)
	}
}

// S-15: the longest page there can be is written beside its key.
func TestPageOfDeliveryCountsStaysInline(t *testing.T) {
	p := queue.CountPage{Number: 1 << 50}
	for i := range uint64(queue.CountPositions) {
		p.Counts = append(p.Counts, queue.Count{Seq: p.Number*queue.CountPositions + i, N: 1<<32 - 1})
	}
	b := appendCounts(nil, &p)
	if len(b) >= valueThreshold {
		t.Errorf("got a page of %d bytes, want less than %d", len(b), valueThreshold)
	}
	got, err := decodeCounts(b, p.Number)
	if err != nil || len(got.Counts) != queue.CountPositions || got.Counts[1023] != (queue.Count{Seq: p.Counts[1023].Seq, N: maxCount}) {
		t.Errorf("got %d counts, %v", len(got.Counts), err)
	}
	if _, err := decodeCounts(b[:len(b)-1], p.Number); err == nil {
		t.Error("a page that was cut was read")
	}
	if _, err := decodeCounts(b, p.Number+1); err != nil {
		t.Errorf("numbers are relative to the page: %v", err)
	}
	if _, err := decodeCounts([]byte{countsVersion, 0, 1, 0, 1}, 0); err == nil {
		t.Error("a page with a number twice was read")
	}
	if _, err := decodeCounts([]byte{countsVersion, 0xFF, 0x7F, 1}, 0); err == nil {
		t.Error("a page with a number beyond it was read")
	}
	if _, err := decodeCounts([]byte{2}, 0); err == nil {
		t.Error("a page of a newer program was read")
	}
}
