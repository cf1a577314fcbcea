package persistence

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// S-10: a record is deleted with the state that settles its last message, and not before.
func TestRecordIsDeletedWhenItsLastMessageIsSettled(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start()
	q1, q2 := declare(t, s, 1, "one"), declare(t, s, 2, "two")
	m := msg(t, "shared")
	q1.put(m, msg(t, "own"))
	q2.put(m)
	flush(t, s, q1, q2)
	records := func() int { return len(keys(t, s, keyJournal)) }
	if got := records(); got < 1 {
		t.Fatalf("got %d records, want at least one", got)
	}
	settle := func(q *fakeQueue, st queue.State) {
		q.settle(st)
		flush(t, s, q)
	}
	settle(q1, queue.State{Head: 1, Next: 3, Settled: []queue.Range{{First: 2, Last: 2}}})
	settle(q2, queue.State{Head: 2, Next: 2, Settled: []queue.Range{{First: 1, Last: 1}}})
	if got := records(); got != 1 {
		t.Errorf("with one message alive: got %d records, want 1", got)
	}
	settle(q1, queue.State{Head: 3, Next: 3, Settled: []queue.Range{{First: 1, Last: 1}}})
	if got := records(); got != 0 {
		t.Errorf("with none alive: got %d records, want none", got)
	}
}

// A page counts as settled what it says, and goes when the head has passed it.
func TestMessagesSettledOutOfOrderStaySettled(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	q := declare(t, s, 1, "q")
	q.put(msg(t, "a"), msg(t, "b"), msg(t, "c"))
	flush(t, s, q)
	page := queue.Page{}
	page.Bits[0] = 1 << 2
	q.settle(queue.State{Head: 1, Next: 4, Pages: []queue.Page{page}, Settled: []queue.Range{{First: 2, Last: 2}}})
	flush(t, s, q)

	again := open(t, copyDir(t, dir))
	equal(t, "alive", bodies(t, again, 1), []string{"a", "c"})

	q.settle(queue.State{Head: 3, Next: 4, DeadPages: 1, Settled: []queue.Range{{First: 1, Last: 1}}})
	flush(t, s, q)
	if got := len(keys(t, s, keyPage)); got != 0 {
		t.Errorf("got %d pages below the head, want none", got)
	}
	again = open(t, copyDir(t, dir))
	equal(t, "alive later", bodies(t, again, 1), []string{"c"})
}

// A queue settles in random order over many records; whenever it stops, exactly what is
// not settled is found again, and no record is left over. Each has a group of its own (S-6).
func TestEveryMessageNotSettledIsFoundAgain(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	q := declare(t, s, 1, "q")
	const n = 300
	alive := make(map[uint64]bool)
	for i := range n {
		q.put(msg(t, fmt.Sprint(i+1)))
		alive[uint64(i+1)] = true
		if i%7 == 0 {
			q.next += 3 // transient messages in between
			for k := range 3 {
				alive[uint64(i)+2+uint64(k)] = false
			}
		}
		if i%10 == 0 {
			flush(t, s, q)
		}
	}
	flush(t, s, q)
	all := q.storedSeqs()
	var page queue.Page
	for i, seq := range all {
		if i%3 != 0 {
			page.Bits[seq/64] |= 1 << (seq % 64)
			q.settle(queue.State{Head: 1, Next: q.next, Pages: []queue.Page{page}, Settled: []queue.Range{{First: seq, Last: seq}}})
		}
	}
	flush(t, s, q)
	var want []uint64
	for i, seq := range all {
		if i%3 == 0 {
			want = append(want, seq)
		}
	}
	var got []uint64
	for _, m := range messages(t, open(t, copyDir(t, dir)), 1) {
		got = append(got, m.Seq)
	}
	equal(t, "found", got, want)
	q.settle(queue.State{Head: q.next, Next: q.next, DeadPages: 0})
	flush(t, s, q)
	if got := len(keys(t, s, keyJournal)); got != 0 {
		t.Errorf("got %d records of nothing, want none", got)
	}
}

func TestDroppedQueueLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	q, other := declare(t, s, 1, "q"), declare(t, s, 2, "other")
	m := msg(t, "shared")
	q.put(m)
	other.put(m)
	flush(t, s, q, other)
	page := queue.Page{}
	page.Bits[0] = 1 << 9
	q.settle(queue.State{Head: 1, Next: 10, Pages: []queue.Page{page}})
	flush(t, s, q)
	deleted := topology.Unit{Deletes: []topology.Record{topology.Queue{ID: 1}}}
	done := make(chan error, 1)
	s.Write(deleted, func(err error) { done <- err })
	s.Drop(1)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	flush(t, s, other)
	if got := len(keys(t, s, keyState)) + len(keys(t, s, keyPage)); got != 0 {
		t.Errorf("got %d keys of acknowledgement state, want none", got)
	}
	again := open(t, copyDir(t, dir))
	equal(t, "of the dropped queue", bodies(t, again, 1), nil)
	equal(t, "of the other", bodies(t, again, 2), []string{"shared"})
	other.settle(queue.State{Head: 2, Next: 2})
	flush(t, s, other)
	if got := len(keys(t, s, keyJournal)); got != 0 {
		t.Errorf("got %d records, want none", got)
	}
}

// The delete of a queue reached the disk and its Drop did not: the next start cleans up.
func TestWhatADeletedQueueLeftIsSweptAtStart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	q := declare(t, s, 1, "q")
	q.put(msg(t, "a"))
	flush(t, s, q)
	page := queue.Page{}
	page.Bits[0] = 1 << 9
	q.settle(queue.State{Head: 1, Next: 10, Pages: []queue.Page{page}})
	flush(t, s, q)
	write(t, s, topology.Unit{Deletes: []topology.Record{topology.Queue{ID: 1}}})
	again := open(t, copyDir(t, dir))
	again.Start()
	write(t, again, topology.Unit{Puts: []topology.Record{topology.VHost{Name: "/"}}})
	for _, prefix := range []byte{keyState, keyPage, keyJournal} {
		if got := len(keys(t, again, prefix)); got != 0 {
			t.Errorf("got %d keys under %x, want none", got, prefix)
		}
	}
}

// S-18: bodies above 32 MiB are kept in parts, which go with the record.
func TestHugeBodyIsKeptInParts(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	q, other := declare(t, s, 1, "q"), declare(t, s, 2, "other")
	body := bytes.Repeat([]byte("0123456789abcdef"), maxInlineBody/16)
	body = append(body, "the end"...)
	m, err := message.New(message.Content{RoutingKey: "q", Properties: []byte{0, 0}, Body: body})
	if err != nil {
		t.Fatal(err)
	}
	s.Together(func() {
		q.put(m, msg(t, "small"))
		other.put(m)
	})
	flush(t, s, q, other)
	if parts, refs := len(keys(t, s, keyBody)), len(keys(t, s, keyBodyRef)); parts != 2 || refs != 2 {
		t.Errorf("got %d parts and %d references, want 2 and 2", parts, refs)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if got := messages(t, s, 1)[0].Message; !bytes.Equal(got.Body(), body) {
		t.Errorf("got a body of %d bytes, want %d and the same", got.BodyBytes(), len(body))
	}
	s.Start()
	q, other = newFake(s, 1), newFake(s, 2)
	q.settle(queue.State{Head: 3, Next: 3})
	other.settle(queue.State{Head: 2, Next: 2})
	flush(t, s, q, other)
	for _, prefix := range []byte{keyBody, keyBodyRef, keyJournal} {
		if got := len(keys(t, s, prefix)); got != 0 {
			t.Errorf("settled: got %d keys under %x, want none", got, prefix)
		}
	}
}

// S-6: what one Badger transaction cannot hold goes into several, measured beforehand.
func TestManyStatesAreSpreadOverTransactions(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	const queues = 8000
	var u topology.Unit
	for id := range queue.ID(queues) {
		u.Puts = append(u.Puts, topology.Queue{ID: id + 1, Spec: queue.Spec{VHost: "/", Name: fmt.Sprint("q", id), Durable: true}})
	}
	write(t, s, u)
	before := s.Stats()
	q := newFake(s, 1)
	for id := range queue.ID(queues) {
		q.states = append(q.states, queue.State{Queue: id + 1, Head: 5, Next: 9})
	}
	for i := range q.states {
		q.states[i].Queue = queue.ID(i + 1)
	}
	flush(t, s, q)
	after := s.Stats()
	if groups, txns := after.Groups-before.Groups, after.Transactions-before.Transactions; groups != 1 || txns < 2 {
		t.Errorf("got %d groups in %d transactions, want one in several", groups, txns)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if got := len(s.Catalog().Queues); got != queues {
		t.Errorf("got %d queues, want %d", got, queues)
	}
	if r := restore(t, s, queues); len(r.Levels) != 1 || r.Levels[0].Head != 5 || r.Levels[0].Next != 9 {
		t.Errorf("got %+v", r)
	}
}

// S-2: an id is never handed out twice, whether the run ended cleanly or not.
func TestIDIsNeverHandedOutAgain(t *testing.T) {
	dir := t.TempDir()
	seen := make(map[uint64]bool)
	take := func(s *Store, n int) {
		t.Helper()
		for range n {
			id := s.NextID()
			if id == 0 || seen[id] {
				t.Fatalf("got id %d again", id)
			}
			seen[id] = true
		}
	}
	s := open(t, dir)
	take(s, 100)
	crashed := copyDir(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	take(open(t, crashed), 100)
	clear(seen)
	for id := range uint64(100) {
		seen[id+1] = true
	}
	s = open(t, dir)
	if id := s.NextID(); id != 101 {
		t.Errorf("after a clean stop: got id %d, want 101", id)
	}
}

// DUR-4, S-11: after a clean stop the marks are exact; after any other end everything of
// a queue that had a consumer counts as delivered, and only that.
func TestRedeliveredMarksAfterCleanAndUncleanEnds(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	used, idle := declare(t, s, 1, "used"), declare(t, s, 2, "idle")
	used.put(msg(t, "a"), msg(t, "b"))
	idle.put(msg(t, "c"))
	used.settle(queue.State{Head: 1, Next: 3, DeliveredTo: 1, HadConsumer: true})
	idle.settle(queue.State{Head: 1, Next: 2})
	flush(t, s, used, idle)

	mark := func(s *Store, id queue.ID, all bool, to uint64) {
		t.Helper()
		lv := restore(t, s, id).Levels[0]
		if lv.AllRedelivered != all || lv.DeliveredTo != to {
			t.Errorf("queue %d: got all redelivered %v, delivered to %d, want %v, %d", id, lv.AllRedelivered, lv.DeliveredTo, all, to)
		}
	}
	crashed := copyDir(t, dir)
	s2 := open(t, crashed)
	mark(s2, 1, true, 2)
	mark(s2, 2, false, 0)
	// A second crash, in a run that nobody consumed in: what was found out is not lost.
	s3 := open(t, copyDir(t, crashed))
	mark(s3, 1, false, 2)
	mark(s3, 2, false, 0)

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	mark(s, 1, false, 1)
	// Nobody consumed since the clean stop, so a crash now changes nothing either.
	mark(open(t, copyDir(t, dir)), 1, false, 1)
}

// S-1: whatever tells of a number counts.
func TestNextIsAboveEveryNumberEverUsed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	f := func(id queue.ID, want uint64, do func(q *fakeQueue)) {
		t.Helper()
		q := declare(t, s, id, fmt.Sprint(id))
		do(q)
		flush(t, s, q)
		if got := restore(t, open(t, copyDir(t, dir)), id).Levels[0].Next; got < want {
			t.Errorf("queue %d: got next %d, want at least %d", id, got, want)
		}
	}
	f(1, 3, func(q *fakeQueue) { q.put(msg(t, "a"), msg(t, "b")) })
	f(2, 50, func(q *fakeQueue) { q.settle(queue.State{Head: 3, Next: 50}) })
	f(3, 78, func(q *fakeQueue) { q.settle(queue.State{Head: 3, DeliveredTo: 77}) })
	f(4, 100*64+6, func(q *fakeQueue) {
		p := queue.Page{Number: 0}
		p.Bits[100] = 1 << 5
		q.settle(queue.State{Head: 3, Pages: []queue.Page{p}})
	})
}

// A journal record is found again in whatever size: inline in the tree or in the value
// log, and of a group that filled it.
func TestGroupsOfAllSizesAreFoundAgain(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	q := declare(t, s, 1, "q")
	var want []string
	for _, c := range []struct{ n, size int }{{1, 0}, {1, 3900}, {1, 4100}, {3, 5000}, {20_000, 16}, {6, 1 << 20}} {
		for i := range c.n {
			body := fmt.Sprintf("%d/%d/%s", c.size, i, strings.Repeat("x", c.size))
			want = append(want, body)
			q.put(msg(t, body))
		}
		flush(t, s, q)
	}
	check := func(dir string) {
		t.Helper()
		if got := bodies(t, open(t, dir), 1); !slices.Equal(got, want) {
			t.Errorf("got %d messages, want %d and the same", len(got), len(want))
		}
	}
	check(copyDir(t, dir))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(dir)
}

func TestStatsCountWhatWasCommitted(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start()
	q := declare(t, s, 1, "q")
	m := msg(t, "a")
	q.put(m, m)
	if got := s.Stats().Unstored; got > int64(2*m.Size()) {
		t.Errorf("got %d bytes unstored, want at most %d", got, 2*m.Size())
	}
	flush(t, s, q)
	st := s.Stats()
	if st.Messages != 2 || st.Bytes != uint64(2*m.Size()) || st.Groups < 2 || st.Transactions < 3 ||
		st.CommitTime <= 0 || st.CommitTime > time.Minute || !st.Committing.IsZero() || st.Damaged != 0 {
		t.Errorf("got %+v", st)
	}
}
