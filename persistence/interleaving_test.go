package persistence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// hookedQueue has something happen while it is collected.
type hookedQueue struct {
	*fakeQueue
	during func()
}

func (q *hookedQueue) Collect(b *queue.Batch) bool {
	more := q.fakeQueue.Collect(b)
	q.during()
	return more
}

// S-3: a declaration may be made, and a message routed by it, while a group is collected.
// Its record is in the group all the same.
func TestDeclarationMadeDuringACollectionIsInTheGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &slowBackend{}
		s := withBackend(b)
		f := newFake(s, 1)
		f.enlisted = true // by the line after the next
		f.put(msg(t, "a"))
		s.Enlist(&hookedQueue{f, func() {
			s.Write(topology.Unit{Puts: []topology.Record{topology.Queue{ID: 1}}}, nil)
		}})
		s.Start()
		synctest.Wait()
		equal(t, "writes", b.take(), []string{"unit+1-0, puts 1"})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// S-3: where a group takes several transactions, declarations are in the first ones: a
// message is never on disk before its queue.
func TestDeclarationsAreWrittenBeforeMessages(t *testing.T) {
	s := open(t, t.TempDir())
	var u topology.Unit
	for i := range 8000 { // more than one transaction takes
		u.Puts = append(u.Puts, topology.VHost{Name: fmt.Sprint(i)})
	}
	s.Write(u, nil)
	q := newFake(s, 1)
	q.put(msg(t, "a"))
	s.Start()
	flush(t, s, q)
	if st := s.Stats(); st.Groups != 1 || st.Transactions < 2 {
		t.Fatalf("got %d groups in %d transactions, want one in several", st.Groups, st.Transactions)
	}
	first, _ := versions(t, s, keyJournal)
	if _, last := versions(t, s, keyMetadata); first < last {
		t.Errorf("the message was written as version %d, the last declaration as %d", first, last)
	}
}

// versions are the lowest and the highest version, which Badger counts for each
// transaction, of the keys under a prefix.
func versions(t testing.TB, s *Store, prefix byte) (lowest, highest uint64) {
	t.Helper()
	txn := s.backend.(*disk).db.NewTransaction(false)
	defer txn.Discard()
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues = []byte{prefix}, false
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		v := it.Item().Version()
		if lowest == 0 || v < lowest {
			lowest = v
		}
		highest = max(highest, v)
	}
	if lowest == 0 {
		t.Fatalf("nothing under %x", prefix)
	}
	return lowest, highest
}

// S-7: what a client does together and what the committer collects keep out of each other's
// middle.
func TestNothingIsCollectedWhileSomethingIsDoneTogether(t *testing.T) {
	s := withBackend(&slowBackend{})
	s.Together(func() {
		if s.gate.TryLock() {
			s.gate.Unlock()
			t.Error("the committer could collect in the middle")
		}
	})
	f := newFake(s, 1)
	f.enlisted = true
	f.put(msg(t, "a"))
	s.Enlist(&hookedQueue{f, func() {
		if s.gate.TryRLock() {
			s.gate.RUnlock()
			t.Error("something could be done together in the middle of a collection")
		}
	}})
	s.Start()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if f.collects == 0 {
		t.Error("nothing was collected")
	}
}

// S-20: the sweep looks at every kind of key that carries an id, and takes what nobody
// knows and nothing else.
func TestSweepLooksAtEverythingThatCarriesAnID(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start()
	q, small := declare(t, s, 1, "q"), declare(t, s, 2, "small")
	q.put(msgs(t, 40, 1<<10)...)
	small.put(msg(t, "small"))
	page := queue.Page{}
	page.Bits[0] = 1 << 3
	q.settle(queue.State{Head: 2, Next: 41, Pages: []queue.Page{page}, Settled: []queue.Range{{First: 1, Last: 1}, {First: 3, Last: 3}}})
	flush(t, s, q, small)
	prefixes := []byte{keyState, keyJournal, keyChunk, keyPage, keyCounts, keyBody, keyBodyRef, keyWindow, keyHistory}
	all := func() (found [][]byte) {
		for _, p := range prefixes {
			found = append(found, keys(t, s, p)...)
		}
		return found
	}
	live := all()
	if len(live) != 4 {
		t.Fatalf("got %x, want a state, a page, a chunk and a journal record", live)
	}
	dead := [][]byte{
		appendStateKey(nil, 77, 0),
		appendJournalKey(nil, 1),
		appendChunkKey(nil, &chunkKey{queue: 77, first: 1, last: 2, count: 2, group: 1}),
		appendPageKey(nil, 77, 0, 0),
		appendCountsKey(nil, 77, 0, 0),
		appendBodyKey(nil, 77, 0),
		appendBodyRefKey(nil, 77, 77, 0, 1),
		appendWindowKey(nil, 77, 1, 0),
		appendHistoryKey(nil, 77, 0),
	}
	err := s.backend.(*disk).db.Update(func(txn *badger.Txn) error {
		for _, k := range dead {
			if err := txn.Set(k, []byte("back")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.backend.(*disk).collector.sweep()
	flush(t, s, small)
	flush(t, s, small) // what the sweep handed over is looked at by now
	if got := all(); string(bytes.Join(got, nil)) != string(bytes.Join(live, nil)) {
		t.Errorf("got\n%x, want\n%x", got, live)
	}
}

// S-21: a reader asks where messages are, and before it has looked they are moved and
// their record deleted. It asks again; nothing is damaged.
func TestReadFollowsWhatWasMoved(t *testing.T) {
	s, m := openByHand(t, t.TempDir(), 1)
	s.Start()
	q := declare(t, s, 1, "q")
	q.put(msg(t, "a"), msg(t, "b"))
	flush(t, s, q)
	every := func(*stored) bool { return true }
	pieces := m.pick(levelPlace{1, 0}, 0, func(x *index, lv *levelIndex, from uint64) []piece {
		return x.pickJournal(lv, from, every, every)
	})
	mv := &move{queue: 1, from: pieces}
	if err := m.fetcher.build(mv); err != nil || len(mv.chunks) != 1 {
		t.Fatalf("got %d chunks, %v", len(mv.chunks), err)
	}

	d := s.backend.(*disk)
	d.views.mu.Lock()
	found := make(chan []queue.RestoredMessage, 1)
	go func() {
		m, err := newFetcher(d).read(1, 0, queue.Range{First: 1, Last: 2})
		if err != nil {
			t.Error(err)
		}
		found <- m
	}()
	waitBlocked("(*views).take")
	// What the committer does, but for the lock.
	c := &mv.chunks[0]
	c.key.group = d.group + 1
	sealRecord(c.value, c.key.group, c.dirEnd, 0)
	err := d.db.Update(func(txn *badger.Txn) error {
		return errors.Join(txn.Set(appendChunkKey(nil, &c.key), c.value), txn.Delete(pieces[0].record.appendKey(nil)))
	})
	if err != nil {
		t.Fatal(err)
	}
	d.index.moved(mv)
	d.views.now = &view{txn: d.db.NewTransaction(false), group: c.key.group, refs: 1}
	d.views.mu.Unlock()

	equal(t, "found", seqsOf(t, <-found, func(seq uint64) string { return string("ab"[seq-1]) }), []uint64{1, 2})
	if got := s.Stats().Damaged; got != 0 {
		t.Errorf("got %d damaged, want none", got)
	}
}

// waitBlocked waits until some goroutine is in a function.
func waitBlocked(function string) {
	stacks := make([]byte, 1<<20)
	for !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), function) {
		runtime.Gosched()
	}
}

// S-25: who waits for room when the store fails is told so, and does not wait for ever.
func TestFailureLetsPublishersGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("input/output error")
		b := &slowBackend{}
		b.block()
		s := withBackend(b)
		s.maximum = 1000
		s.Start()
		newFake(s, 1).put(msg(t, strings.Repeat("b", 2000)))
		synctest.Wait()
		waiting := make(chan error, 1)
		go func() { waiting <- s.WaitRoom(context.Background()) }()
		synctest.Wait()
		b.proceed <- broken
		if err := <-waiting; !errors.Is(err, broken) {
			t.Errorf("got %v, want the failure", err)
		}
		if err := s.Close(); !errors.Is(err, broken) {
			t.Errorf("got %v from Close, want the failure", err)
		}
	})
}

// stallingLog is where Badger's lines go. It holds up whoever writes one, from arm on.
type stallingLog struct {
	line string

	mu      sync.Mutex
	armed   bool
	stalled chan struct{} // closed when somebody is held up
	release chan struct{}
}

func (l *stallingLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	hold := l.armed && bytes.Contains(b, []byte(l.line))
	l.armed = l.armed && !hold
	l.mu.Unlock()
	if hold {
		close(l.stalled)
		<-l.release
	}
	return len(b), nil
}

// S-26: Badger's new read transactions wait for commits under way, sync included. Messages
// are read while one is.
func TestReadsDoNotWaitForACommit(t *testing.T) {
	l := &stallingLog{line: "Writing to memtable", stalled: make(chan struct{}), release: make(chan struct{})}
	s, err := Open(t.TempDir(), Options{Logger: zerolog.New(l).Level(zerolog.TraceLevel)})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	q := declare(t, s, 1, "q")
	q.put(msg(t, "stored"))
	flush(t, s, q)

	l.mu.Lock()
	l.armed = true
	l.mu.Unlock()
	q.put(msg(t, "under way"))
	<-l.stalled
	found := make(chan int, 1)
	s.Read(1, 0, queue.Range{First: 1, Last: 1}, func(m []queue.RestoredMessage, err error) { found <- len(m) })
	select {
	case n := <-found:
		if n != 1 {
			t.Errorf("found %d messages, want 1", n)
		}
	case <-time.After(10 * time.Second):
		t.Error("the reader waits for the commit")
	}
	close(l.release)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// S-7: the acknowledgements of a client's transaction go with its messages, even right
// after acknowledgements were written.
func TestAcknowledgementsDoneTogetherDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &slowBackend{}
		s := withBackend(b)
		s.Start()
		q1, q2 := newFake(s, 1), newFake(s, 2)
		time.Sleep(time.Second)
		q2.settle(queue.State{Head: 1})
		time.Sleep(ackInterval)
		synctest.Wait()
		equal(t, "writes before", b.take(), []string{"states 1 (0 with puts)"})
		s.Together(func() {
			q1.put(msg(t, "m"))
			q2.settle(queue.State{Head: 2})
		})
		synctest.Wait()
		equal(t, "writes", b.take(), []string{"puts 1, states 1 (1 with puts)"})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
