package persistence

import (
	"fmt"
	"strings"
	"testing"

	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

// chunks are the keys of the chunks on disk.
func chunks(t testing.TB, s *Store) []chunkKey {
	t.Helper()
	var all []chunkKey
	for _, k := range keys(t, s, keyChunk) {
		c, ok := parseChunkKey(k)
		if !ok {
			t.Fatalf("a chunk has the key %x", k)
		}
		all = append(all, c)
	}
	return all
}

func TestChunkKeySaysWhatItWasMadeOf(t *testing.T) {
	k := chunkKey{queue: 1 << 60, level: 255, first: 3, last: 1 << 50, count: 7, bytes: 1 << 31,
		minTime: 1_700_000_000_000, minExpiry: 4_102_444_800_000, group: 99}
	if got, ok := parseChunkKey(appendChunkKey(nil, &k)); !ok || got != k {
		t.Errorf("got %+v, %v, want %+v", got, ok, k)
	}
}

// S-17: what earns a queue a chunk of its own, and what is in it.
func TestQueueWithEnoughOfItsOwnGetsAChunk(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	large, small, sharing := declare(t, s, 1, "large"), declare(t, s, 2, "small"), declare(t, s, 3, "sharing")
	shared := msg(t, "shared "+strings.Repeat("s", 40<<10))
	own := msgs(t, 80, 1<<10)
	s.Together(func() {
		large.put(own[:40]...)
		large.put(shared)
		large.put(own[40:]...)
		small.put(msgs(t, 3, 1<<10)...)
		sharing.put(msg(t, "a"), shared)
	})
	flush(t, s, large, small, sharing)
	var got []string
	for _, k := range chunks(t, s) {
		got = append(got, fmt.Sprintf("%d: %d-%d %d %d", k.queue, k.first, k.last, k.count, k.bytes))
	}
	equal(t, "chunks", got, []string{"1: 1-40 40 40960", "1: 42-81 40 40960"})
	if got := len(keys(t, s, keyJournal)); got != 1 {
		t.Errorf("got %d journal records, want 1", got)
	}
	check := func(s *Store) {
		t.Helper()
		all := append(append(append([]*message.Message(nil), own[:40]...), shared), own[40:]...)
		body := func(seq uint64) string { return string(all[seq-1].Body()) }
		if got := seqsOf(t, messages(t, s, 1), body); len(got) != 81 || got[40] != 41 || got[80] != 81 {
			t.Errorf("got %v", got)
		}
		if got := bodies(t, s, 3); len(got) != 2 || got[1] != string(shared.Body()) {
			t.Errorf("got %d messages of the sharing queue", len(got))
		}
	}
	check(open(t, copyDir(t, dir)))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	check(s)
	s.Start()
	for _, q := range []*fakeQueue{newFake(s, 1), newFake(s, 2), newFake(s, 3)} {
		q.settle(allSettled(100))
		flush(t, s, q)
	}
	if c, j := len(chunks(t, s)), len(keys(t, s, keyJournal)); c != 0 || j != 0 {
		t.Errorf("settled: got %d chunks and %d journal records, want none", c, j)
	}
}

// S-22: of a chunk that acknowledgements reach into, recovery counts what is alive; and a
// chunk with holes counts what is settled of it.
func TestChunkWithHolesIsCountedExactly(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	q := declare(t, s, 1, "q")
	s.Together(func() {
		for i, m := range msgs(t, 60, 1<<10) {
			q.put(m)
			if i%4 == 0 {
				q.next++ // a transient one
			}
		}
	})
	flush(t, s, q)
	if got := chunks(t, s); len(got) != 1 || got[0].count != 60 || got[0].last != 75 {
		t.Fatalf("got chunks %+v", got)
	}
	all := q.storedSeqs()
	crash := func(s *Store, dir string, want []uint64) *Store {
		t.Helper()
		again := open(t, copyDir(t, dir))
		var got []uint64
		for _, m := range messages(t, again, 1) {
			got = append(got, m.Seq)
		}
		equal(t, "alive", got, want)
		return again
	}
	crash(s, dir, all)
	flush(t, s, q) // another group, so that the holes are forgotten
	page := queue.Page{}
	page.Bits[0] = 1<<all[10] | 1<<all[20]
	q.settle(queue.State{Head: all[5], Next: q.next, Pages: []queue.Page{page},
		Settled: []queue.Range{{First: all[10], Last: all[10]}, {First: all[20], Last: all[20]}}})
	flush(t, s, q)
	left := append(append(append([]uint64(nil), all[5:10]...), all[11:20]...), all[21:]...)
	again := crash(s, dir, left)
	if got := again.backend.(*disk).index.find(1, 0).sections[0]; int(got.left) != len(left) {
		t.Errorf("got %d left, want %d", got.left, len(left))
	}
	if got := s.backend.(*disk).index.find(1, 0).sections[0]; int(got.left) != len(left) {
		t.Errorf("got %d left before the crash, want %d", got.left, len(left))
	}
	for _, s := range []*Store{s, again} {
		s.Start()
		q := newFake(s, 1)
		q.settle(queue.State{Head: all[59] + 1, Next: all[59] + 1})
		flush(t, s, q)
		if got := chunks(t, s); len(got) != 0 {
			t.Errorf("settled: got chunks %+v", got)
		}
	}
}

// What was put at once is cut into chunks that a queue can read at once.
func TestChunksAreNoLargerThanARun(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start()
	q := declare(t, s, 1, "q")
	q.put(msgs(t, 3000, 1<<10)...)
	q.put(msgs(t, 2, 1<<20)...)
	q.put(msgs(t, 10_000, 16)...)
	flush(t, s, q)
	n := 0
	for _, k := range chunks(t, s) {
		if k.count > 1 && k.bytes > queue.RunBytes || k.count > queue.RunMessages {
			t.Errorf("got a chunk of %d messages and %d bytes", k.count, k.bytes)
		}
		n += int(k.count)
	}
	if n != 13_002 {
		t.Errorf("got %d messages in chunks, want all 13002", n)
	}
}
