package persistence

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// seqsOf are the numbers of messages, and that the bodies are those put with them.
func seqsOf(t testing.TB, found []queue.RestoredMessage, body func(seq uint64) string) []uint64 {
	t.Helper()
	var seqs []uint64
	for _, m := range found {
		if got, want := string(m.Message.Body()), body(m.Seq); got != want {
			t.Fatalf("message %d: got %.40q, want %.40q", m.Seq, got, want)
		}
		seqs = append(seqs, m.Seq)
	}
	return seqs
}

// S-21, S-26: what is committed is read at once, and a read of what is gone says so.
func TestStoredMessagesAreReadBackInOrder(t *testing.T) {
	f := func(s *Store) {
		t.Helper()
		s.Start()
		q, other := declare(t, s, 1, "q"), declare(t, s, 2, "other")
		body := func(seq uint64) string { return fmt.Sprint("message ", seq) }
		for i := range uint64(10) {
			m := msg(t, body(i+1))
			q.put(m)
			other.put(m)
			if i%3 == 0 {
				flush(t, s, q, other)
			}
		}
		flush(t, s, q, other)
		get := func(id queue.ID, first, last uint64) []uint64 {
			t.Helper()
			return seqsOf(t, read(t, s, id, 0, queue.Range{First: first, Last: last}), body)
		}
		equal(t, "all", get(1, 1, 10), []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
		equal(t, "some", get(1, 3, 6), []uint64{3, 4, 5, 6})
		equal(t, "beyond the end", get(2, 9, 100), []uint64{9, 10})
		q.settle(queue.State{Head: 4, Next: 11, Settled: []queue.Range{{First: 1, Last: 3}, {First: 6, Last: 7}}})
		flush(t, s, q)
		equal(t, "not settled", get(1, 1, 10), []uint64{4, 5, 8, 9, 10})
		equal(t, "of the other queue", get(2, 1, 3), []uint64{1, 2, 3})
		s.Drop(2)
		flush(t, s, q)
		dropped := make(chan error, 1)
		s.Read(2, 0, queue.Range{Last: 100}, func(_ []queue.RestoredMessage, err error) { dropped <- err })
		if err := <-dropped; !errors.Is(err, ErrDropped) {
			t.Errorf("of a dropped queue: got %v, want ErrDropped", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s.Read(1, 0, queue.Range{Last: 100}, func(_ []queue.RestoredMessage, err error) { dropped <- err })
		if err := <-dropped; !errors.Is(err, ErrClosed) {
			t.Errorf("of a closed store: got %v, want ErrClosed", err)
		}
	}
	f(open(t, t.TempDir()))
	f(NewMemory(Options{}))
}

// What a reference has of its own comes back with it.
func TestReadGivesBackExpiryAndRedelivered(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start()
	q := declare(t, s, 1, "q")
	q.mu.Lock()
	q.unstored = append(q.unstored, queue.StoredPut{Queue: 1, Level: 3, Seq: 5, Expiry: 4_102_444_800_000, Redelivered: true, Message: msg(t, "m")})
	q.enlist()
	q.mu.Unlock()
	flush(t, s, q)
	got := read(t, s, 1, 3, queue.Range{First: 5, Last: 5})
	if len(got) != 1 || got[0].Seq != 5 || got[0].Expiry != 4_102_444_800_000 || !got[0].Redelivered {
		t.Errorf("got %+v", got)
	}
}

// Reading goes on while messages are stored and settled, and never calls anything damaged.
func TestReadsDoNotMindCommits(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start()
	q := declare(t, s, 1, "q")
	body := func(seq uint64) string { return fmt.Sprint(seq, strings.Repeat("x", 3000)) }
	const n = 400
	var readers sync.WaitGroup
	for seq := uint64(1); seq <= n; seq++ {
		q.put(msg(t, body(seq)))
		if seq%8 == 0 {
			flush(t, s, q)
			readers.Add(1)
			s.Read(1, 0, queue.Range{First: seq - 7, Last: seq}, func(m []queue.RestoredMessage, err error) {
				defer readers.Done()
				if err != nil {
					t.Error(err)
				}
				seqsOf(t, m, body)
			})
			if seq > 40 {
				q.settle(queue.State{Head: seq - 40, Next: seq + 1})
			}
		}
	}
	readers.Wait()
	if got := s.Stats().Damaged; got != 0 {
		t.Errorf("got %d damaged, want none", got)
	}
}

// Neighbours are one run up to queue.RunBytes and queue.RunMessages.
func TestRunsAreMergedAndBounded(t *testing.T) {
	f := func(n, size, runs int) {
		t.Helper()
		dir := t.TempDir()
		s := open(t, dir)
		s.Start()
		q := declare(t, s, 1, "q")
		q.put(msgs(t, n, size)...)
		flush(t, s, q)
		again := open(t, copyDir(t, dir))
		r := restore(t, again, 1)
		if got := len(r.Levels[0].Runs); got != runs {
			t.Errorf("%d messages of %d bytes: got %d runs, want %d", n, size, got, runs)
		}
		if got := len(readAll(t, again, 1, r)); got != n {
			t.Errorf("got %d messages, want %d", got, n)
		}
	}
	f(3, 10, 1)
	f(1000, 1024, 4)
	f(2*queue.RunMessages, 16, 2)
	f(3, queue.RunBytes+1, 3)
}

// E12, I8: recovery reads no bodies, so damage there shows when the message is read: it is
// told once, and its record stays for a repair (S-20).
func TestDamagedBodyIsFoundWhenItIsRead(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start()
	q := declare(t, s, 1, "q")
	q.put(msg(t, "first"), msg(t, "second"))
	flush(t, s, q)
	var e encoder
	key := keys(t, s, keyJournal)[0]
	group, _ := parseJournalKey(key)
	b := e.record(group, 0, []queue.StoredPut{{Queue: 1, Seq: 1, Message: msg(t, "first")}, {Queue: 1, Seq: 2, Message: msg(t, "second")}}, noID)
	b[len(b)-1] ^= 1
	if err := s.backend.(*disk).db.Update(func(txn *badger.Txn) error { return txn.Set(key, b) }); err != nil {
		t.Fatal(err)
	}
	s.backend.(*disk).views.renew(group)
	for range 2 {
		if got := read(t, s, 1, 0, queue.Range{First: 1, Last: 2}); len(got) != 1 || got[0].Seq != 1 {
			t.Errorf("got %+v, want the first message", got)
		}
	}
	if got := s.Stats().Damaged; got != 1 {
		t.Errorf("got %d damaged, want 1", got)
	}
	q.settle(allSettled(3))
	flush(t, s, q)
	if got := len(keys(t, s, keyJournal)); got != 1 {
		t.Errorf("got %d records, want the damaged one kept", got)
	}
}

// What the first release wrote: every key and value of a store of it that was stopped.
func TestStoreOfTheFirstReleaseIsRead(t *testing.T) {
	dir := t.TempDir()
	firstRelease(t, dir)
	s := open(t, dir)
	c := s.Catalog()
	if len(c.Queues) != 2 || c.Queues[0].Spec.Name != "orders" || c.Queues[1].Spec.Name != "others" {
		t.Fatalf("got queues %+v", c.Queues)
	}
	r := restore(t, s, 11)
	lv := r.Levels[0]
	if lv.Head != 2 || lv.Next != 9 || lv.DeliveredTo != 3 || lv.AllRedelivered || len(lv.Pages) != 1 {
		t.Errorf("got %+v", lv)
	}
	want := map[uint64]string{2: "shared", 6: "c", 7: strings.Repeat("d", 5000), 8: "e"}
	got := readAll(t, s, 11, r)
	equal(t, "orders", seqsOf(t, got, func(seq uint64) string { return want[seq] }), []uint64{2, 6, 7, 8})
	m := got[1]
	if !m.Redelivered || m.Expiry != 4_102_444_800_000 {
		t.Errorf("got %+v", m)
	}
	more, err := message.New(message.Content{Exchange: "amq.topic", RoutingKey: "r.k", Properties: []byte{0x10, 0x00, 2}, Body: []byte("c"), Dead: true,
		More: &message.MoreKeys{CC: []string{"cc"}, BCC: []string{"bcc"}}})
	if err != nil {
		t.Fatal(err)
	}
	if !sameMessage(m.Message, more) {
		t.Errorf("got %+v, want %+v", m.Message, more)
	}
	equal(t, "others", bodies(t, s, 12), []string{"shared"})
	s.Start()
	write(t, s, topology.Unit{Puts: []topology.Record{topology.VHost{Name: "/"}}})
}

// firstRelease fills dir with what the first release wrote.
func firstRelease(t testing.TB, dir string) {
	t.Helper()
	db, err := badger.Open(badgerOptions(dir, &badgerLog{log: zerolog.Nop()}, valueLogFileSize))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	f, err := os.Open("testdata/first-release.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	err = db.Update(func(txn *badger.Txn) error {
		for lines.Scan() {
			k, v, _ := strings.Cut(lines.Text(), " ")
			key, err := hex.DecodeString(k)
			if err != nil {
				return err
			}
			value, err := hex.DecodeString(v)
			if err != nil {
				return err
			}
			if err := txn.Set(key, value); err != nil {
				return err
			}
		}
		return lines.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
}
