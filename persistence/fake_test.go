package persistence

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

// fakeQueue is a queue as the committer sees it, driven by hand.
type fakeQueue struct {
	id    queue.ID
	store *Store

	mu       sync.Mutex
	deleted  bool
	enlisted bool
	next     uint64
	unstored []queue.StoredPut
	under    []queue.StoredPut
	states   []queue.State
	stored   []uint64 // sequence numbers, in order of their confirms
	groups   []uint64
	collects int
	confirms chan uint64 // when set, gets every number that is confirmed
}

func newFake(s *Store, id queue.ID) *fakeQueue { return &fakeQueue{id: id, store: s, next: 1} }

func (q *fakeQueue) ID() queue.ID { return q.id }

// put adds messages and returns the number of the first.
func (q *fakeQueue) put(messages ...*message.Message) uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := q.next
	for _, m := range messages {
		q.unstored = append(q.unstored, queue.StoredPut{Queue: q.id, Seq: q.next, Message: m})
		q.next++
		q.store.AddUnstored(int64(m.Size()))
	}
	q.enlist()
	return first
}

func (q *fakeQueue) enlist() {
	if !q.enlisted && len(q.unstored) > 0 {
		q.enlisted = true
		q.store.Enlist(q)
	}
}

// settle leaves a state to be collected.
func (q *fakeQueue) settle(st queue.State) {
	st.Queue = q.id
	q.mu.Lock()
	q.states = append(q.states, st)
	q.mu.Unlock()
	q.store.EnlistSettled(q)
}

func (q *fakeQueue) Collect(b *queue.Batch) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.collects++
	for len(q.unstored) > 0 {
		if b.Full() {
			return true
		}
		p := q.unstored[0]
		q.unstored = q.unstored[1:]
		q.under = append(q.under, p)
		b.Puts = append(b.Puts, p)
		b.Bytes += p.Message.Size()
	}
	q.enlisted = false
	return false
}

func (q *fakeQueue) CollectSettled(b *queue.Batch, _ []queue.Position) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b.States = append(b.States, q.states...)
	q.states = nil
}

func (q *fakeQueue) Deleted() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.deleted
}

func (q *fakeQueue) Stored(group uint64, _ *message.Wakes) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.groups = append(q.groups, group)
	for _, p := range q.under {
		q.stored = append(q.stored, p.Seq)
		if q.confirms != nil {
			q.confirms <- p.Seq
		}
	}
	q.under = nil
}

func (q *fakeQueue) storedSeqs() []uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]uint64(nil), q.stored...)
}

// msg makes a message with a body.
func msg(t testing.TB, body string) *message.Message {
	t.Helper()
	m, err := message.New(message.Content{
		Exchange: "x", RoutingKey: "k", Properties: []byte{0x10, 0x00, 2}, Body: []byte(body)})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func msgs(t testing.TB, n int, size int) []*message.Message {
	t.Helper()
	all := make([]*message.Message, n)
	for i := range all {
		b := make([]byte, size)
		copy(b, fmt.Sprintf("message %d", i))
		all[i] = msg(t, string(b))
	}
	return all
}

// open opens a store in dir and closes it at the end of the test, if it is still open.
func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// flush waits until everything handed to the store so far is committed.
func flush(t testing.TB, s *Store, queues ...*fakeQueue) {
	t.Helper()
	done := make(chan error, len(queues))
	for _, q := range queues {
		s.Barrier(q, func(err error) { done <- err })
	}
	for range queues {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// copyDir copies a store as a crash would leave it: the locks are not in the way. A crash
// is one moment, so when Badger flushed or compacted meanwhile the copy is made again.
func copyDir(t testing.TB, dir string) string {
	t.Helper()
	for {
		to := t.TempDir()
		before := listing(t, dir)
		copied := true
		for _, name := range before {
			copied = copied && copySparse(t, filepath.Join(dir, name), filepath.Join(to, name))
		}
		if copied && slices.Equal(before, listing(t, dir)) && sameFile(dir, to, badger.ManifestFilename) && sameFile(dir, to, sequenceName) {
			return to
		}
	}
}

func listing(t testing.TB, dir string) []string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		if f.Name() != "LOCK" {
			names = append(names, f.Name())
		}
	}
	return names
}

func sameFile(a, b, name string) bool {
	x, errX := os.ReadFile(filepath.Join(a, name))
	y, errY := os.ReadFile(filepath.Join(b, name))
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// copySparse leaves out the holes: the logs are mapped far beyond what is in them. It
// reports false when the file is gone.
func copySparse(t testing.TB, from, to string) bool {
	t.Helper()
	in, err := os.Open(from)
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	info, err := in.Stat()
	if err != nil {
		t.Fatal(err)
	}
	const seekData, seekHole = 3, 4 // of Linux; elsewhere all of the file is data
	for at := int64(0); at < info.Size(); {
		start, end := at, info.Size()
		if n, err := in.Seek(at, seekData); err == nil {
			start = n
			if end, err = in.Seek(start, seekHole); err != nil {
				t.Fatal(err)
			}
		} else if errors.Is(err, syscall.ENXIO) {
			break
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, start), io.NewSectionReader(in, start, end-start)); err != nil {
			t.Fatal(err)
		}
		at = end
	}
	if err := out.Truncate(info.Size()); err != nil {
		t.Fatal(err)
	}
	return true
}

// usedOf is what is in a file without the zeros at its end.
func usedOf(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := usedBytes(f, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// overwrite has b at an offset of a file.
func overwrite(t testing.TB, name string, at int, b ...byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(b, int64(at))
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// messages are the messages found of a queue, which are as many as was said unless some
// are damaged.
func messages(t testing.TB, s *Store, id queue.ID) []queue.RestoredMessage {
	t.Helper()
	return readAll(t, s, id, restore(t, s, id))
}

func readAll(t testing.TB, s *Store, id queue.ID, r queue.Restored) []queue.RestoredMessage {
	t.Helper()
	var all []queue.RestoredMessage
	for _, lv := range r.Levels {
		for i, run := range lv.Runs {
			if i > 0 && lv.Runs[i-1].Last >= run.First {
				t.Fatalf("run %+v comes after %+v", run, lv.Runs[i-1])
			}
			found := read(t, s, id, lv.Level, run.Range)
			bytes := int64(0)
			for _, m := range found {
				bytes += int64(m.Message.BodyBytes())
			}
			if (len(found) != run.Count || bytes != run.Bytes) && s.Stats().Damaged == 0 {
				t.Fatalf("got %d messages of %d bytes in the run %+v", len(found), bytes, run)
			}
			all = append(all, found...)
		}
	}
	return all
}

// read reads a range of a queue.
func read(t testing.TB, s *Store, id queue.ID, level uint8, r queue.Range) []queue.RestoredMessage {
	t.Helper()
	type answer struct {
		messages []queue.RestoredMessage
		err      error
	}
	answers := make(chan answer, 1)
	s.Read(id, level, r, func(m []queue.RestoredMessage, err error) { answers <- answer{m, err} })
	a := <-answers
	if a.err != nil {
		t.Fatal(a.err)
	}
	return a.messages
}

// bodies are the bodies found of a queue.
func bodies(t testing.TB, s *Store, id queue.ID) []string {
	t.Helper()
	var all []string
	for _, m := range messages(t, s, id) {
		all = append(all, string(m.Message.Body()))
	}
	return all
}

// keys are the keys on disk under a prefix.
func keys(t testing.TB, s *Store, prefix byte) [][]byte {
	t.Helper()
	txn := s.backend.(*disk).db.NewTransaction(false)
	defer txn.Discard()
	o := badger.DefaultIteratorOptions
	o.Prefix = []byte{prefix}
	o.PrefetchValues = false
	it := txn.NewIterator(o)
	defer it.Close()
	var all [][]byte
	for it.Rewind(); it.Valid(); it.Next() {
		all = append(all, it.Item().KeyCopy(nil))
	}
	return all
}

// allSettled is the state of a queue in which everything below next is settled.
func allSettled(next uint64) queue.State { return queue.State{Head: next, Next: next} }
