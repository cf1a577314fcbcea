package persistence

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// openByHand opens a store whose mover works when it is told to, as if everything were old
// enough.
func openByHand(t testing.TB, dir string, journalMax int64) (*Store, *mover) {
	t.Helper()
	s, err := Open(dir, Options{JournalMax: journalMax, byHand: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	m := s.backend.(*disk).mover
	m.now = func() time.Time { return time.Now().Add(time.Hour) }
	return s, m
}

// What stays in the journal beyond its limit becomes chunks of its queues; the records it
// was in go; and everything is found where it went, before and after a crash.
func TestJournalAboveItsLimitIsMovedToChunks(t *testing.T) {
	dir := t.TempDir()
	s, m := openByHand(t, dir, 100<<10)
	s.Start()
	const queues, rounds = 10, 30
	body := func(seq uint64) string { return fmt.Sprint(seq, strings.Repeat("x", 1000)) }
	var all []*fakeQueue
	for id := range queue.ID(queues) {
		all = append(all, declare(t, s, id+1, fmt.Sprint(id)))
	}
	for i := range uint64(rounds) {
		for _, q := range all {
			q.put(msg(t, body(i+1)))
		}
		flush(t, s, all...)
	}
	if use := s.backend.(*disk).journalUse(); use.bytes < 200<<10 || len(chunks(t, s)) != 0 {
		t.Fatalf("got %+v in the journal and %d chunks before", use, len(chunks(t, s)))
	}
	m.makeRoom()
	crashed := copyDir(t, dir)
	m.relieve()
	if use := s.backend.(*disk).journalUse(); use.bytes > 100<<10 {
		t.Errorf("got %+v in the journal", use)
	}
	if got := len(chunks(t, s)); got < queues || got > 3*queues {
		t.Errorf("got %d chunks of %d queues", got, queues)
	}
	check := func(s *Store) {
		t.Helper()
		want := make([]uint64, rounds)
		for i := range want {
			want[i] = uint64(i + 1)
		}
		for id := range queue.ID(queues) {
			equal(t, "found", seqsOf(t, messages(t, s, id+1), body), want)
		}
	}
	for id := range queue.ID(queues) {
		if got := len(read(t, s, id+1, 0, queue.Range{First: 1, Last: rounds})); got != rounds {
			t.Errorf("queue %d: got %d messages, want %d", id+1, got, rounds)
		}
	}
	check(open(t, crashed))
	check(open(t, copyDir(t, dir)))
	for _, q := range all {
		q.settle(allSettled(rounds + 1))
	}
	flush(t, s, all...)
	flush(t, s, all...)
	if c, j := len(chunks(t, s)), len(keys(t, s, keyJournal)); c != 0 || j != 0 {
		t.Errorf("settled: got %d chunks and %d journal records, want none", c, j)
	}
}

// Between writing a chunk and deleting what it was made of both are there: the chunk
// counts, also about what was settled before it was made (S-22).
func TestChunkWinsOverTheRecordItWasMadeOf(t *testing.T) {
	dir := t.TempDir()
	s, m := openByHand(t, dir, 1)
	s.Start()
	q := declare(t, s, 1, "q")
	for _, body := range []string{"a", "b", "c"} {
		q.put(msg(t, body))
		flush(t, s, q)
	}
	q.settle(queue.State{Head: 2, Next: 4, Settled: []queue.Range{{First: 1, Last: 1}}})
	flush(t, s, q)
	m.makeRoom()
	if c, j := len(chunks(t, s)), len(keys(t, s, keyJournal)); c != 1 || j != 2 {
		t.Fatalf("got %d chunks and %d journal records, want the chunk and what it was made of", c, j)
	}
	again := open(t, copyDir(t, dir))
	equal(t, "found", bodies(t, again, 1), []string{"b", "c"})
	again.Start()
	q = newFake(again, 1)
	q.next = 4
	q.put(msg(t, "d"))
	flush(t, again, q)
	if c, j := len(chunks(t, again)), len(keys(t, again, keyJournal)); c != 1 || j != 1 {
		t.Errorf("got %d chunks and %d journal records, want one for b and c and one for d", c, j)
	}
}

// Records follow bytes and not publishes: what came one by one ends in few chunks, and so
// do small chunks.
func TestSmallRecordsOfAQueueBecomeFew(t *testing.T) {
	dir := t.TempDir()
	s, m := openByHand(t, dir, 1<<30)
	m.limits.records = 100
	s.Start()
	q := declare(t, s, 1, "q")
	const n = 2000
	for i := range n {
		q.put(msg(t, fmt.Sprint(i+1)))
		flush(t, s, q)
		if i%200 == 199 {
			m.relieve()
		}
	}
	flush(t, s, q)
	m.tidy()
	flush(t, s, q)
	body := func(seq uint64) string { return fmt.Sprint(seq) }
	if got := len(seqsOf(t, read(t, s, 1, 0, queue.Range{Last: n}), body)); got != n {
		t.Errorf("got %d messages, want %d", got, n)
	}
	if c, j := len(chunks(t, s)), len(keys(t, s, keyJournal)); c > 6 || j > 110 {
		t.Errorf("got %d chunks and %d journal records of %d messages", c, j, n)
	}
	// Chunks of 40 KiB, as one group makes them.
	q.next = n + 1
	for range 24 {
		q.put(msgs(t, 40, 1<<10)...)
		flush(t, s, q)
	}
	before := len(chunks(t, s))
	m.tidy()
	flush(t, s, q)
	if got := len(chunks(t, s)); got > before-24+5 {
		t.Errorf("got %d chunks, and %d before", got, before)
	}
	if got := len(messages(t, open(t, copyDir(t, dir)), 1)); got != n+24*40 {
		t.Errorf("got %d messages, want %d", got, n+24*40)
	}
}

// A record of which little is left is emptied when it is old, full journal or not.
func TestOldRecordOfWhichLittleIsAliveIsEmptied(t *testing.T) {
	s, m := openByHand(t, t.TempDir(), 0)
	s.Start()
	q, slow := declare(t, s, 1, "q"), declare(t, s, 2, "slow")
	s.Together(func() {
		q.put(msgs(t, 5, 100)...)
		slow.put(msgs(t, 1, 100)...)
	})
	flush(t, s, q, slow)
	m.tidy()
	if got := len(chunks(t, s)); got != 0 {
		t.Errorf("with all alive: got %d chunks, want none", got)
	}
	q.settle(allSettled(6))
	flush(t, s, q)
	m.tidy()
	flush(t, s, q)
	if c, j := len(chunks(t, s)), len(keys(t, s, keyJournal)); c != 1 || j != 0 {
		t.Errorf("got %d chunks and %d journal records, want one chunk", c, j)
	}
}

// A queue may be deleted, and messages settled, after a chunk was made and before it is
// written.
func TestMoveThatCameTooLateIsGivenUp(t *testing.T) {
	s, m := openByHand(t, t.TempDir(), 1)
	s.Start()
	q, dropped, done := declare(t, s, 1, "q"), declare(t, s, 2, "dropped"), declare(t, s, 3, "done")
	for _, q := range []*fakeQueue{q, dropped, done} {
		q.put(msg(t, "a"), msg(t, "b"))
		flush(t, s, q)
	}
	b := &moveBatch{done: make(chan struct{})}
	every := func(*stored) bool { return true }
	for id := range queue.ID(3) {
		pieces := m.pick(levelPlace{id + 1, 0}, 0, func(x *index, lv *levelIndex, from uint64) []piece {
			return x.pickJournal(lv, from, every, every)
		})
		mv := &move{queue: id + 1, from: pieces}
		if err := m.fetcher.build(mv); err != nil || len(mv.chunks) != 1 {
			t.Fatalf("queue %d: got %d chunks, %v", id+1, len(mv.chunks), err)
		}
		b.moves = append(b.moves, mv)
	}
	write(t, s, topology.Unit{Deletes: []topology.Record{topology.Queue{ID: 2}}})
	s.Drop(2)
	q.settle(queue.State{Head: 2, Next: 3, Settled: []queue.Range{{First: 1, Last: 1}}})
	done.settle(allSettled(3))
	flush(t, s, q, done)
	s.move(b)
	m.bury()
	if got := chunks(t, s); len(got) != 1 || got[0].queue != 1 || len(keys(t, s, keyJournal)) != 0 {
		t.Errorf("got chunks %+v and %d journal records, want a chunk of queue 1", got, len(keys(t, s, keyJournal)))
	}
	equal(t, "left", seqsOf(t, read(t, s, 1, 0, queue.Range{Last: 9}), func(uint64) string { return "b" }), []uint64{2})
	q.settle(allSettled(3))
	flush(t, s, q)
	if got := len(chunks(t, s)); got != 0 {
		t.Errorf("got %d chunks, want none", got)
	}
}

// A7: a body that several queues share and that is of some size is not copied to the chunks
// of each. It gets a place of its own, lives for as long as one of them has it, and does
// not keep its journal record.
func TestLargeSharedBodyIsMovedToAPlaceOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	s, m := openByHand(t, dir, 1)
	s.Start()
	queues := []*fakeQueue{declare(t, s, 1, "a"), declare(t, s, 2, "b"), declare(t, s, 3, "c")}
	shared := msg(t, "<shared>"+strings.Repeat("s", sharedFloor))
	s.Together(func() {
		for _, q := range queues {
			q.put(msg(t, "<own>"), shared)
		}
	})
	flush(t, s, queues...)
	if use := s.backend.(*disk).journalUse(); use.bytes < sharedFloor || use.records != 1 {
		t.Errorf("got %+v in the journal, want the record with all its bytes", use)
	}
	counts := func(s *Store, parts, refs, journal, chunkRecords int) {
		t.Helper()
		got := []int{len(keys(t, s, keyBody)), len(keys(t, s, keyBodyRef)), len(keys(t, s, keyJournal)), len(chunks(t, s))}
		equal(t, "parts, references, journal records and chunks", got, []int{parts, refs, journal, chunkRecords})
	}
	counts(s, 0, 0, 1, 0)
	m.relieve()
	counts(s, 1, 3, 0, 3)
	if use := s.backend.(*disk).journalUse(); use.bytes != 0 || use.records != 0 {
		t.Errorf("got %+v in the journal, want nothing", use)
	}
	// Nobody's chunk has the body.
	for _, c := range chunks(t, s) {
		if item := valueOfChunk(t, s, c); len(item) > 4096 {
			t.Errorf("got a chunk of %d bytes", len(item))
		}
	}
	f := func(s *Store, want ...int) {
		t.Helper()
		for i, n := range want {
			if got := read(t, s, queue.ID(i+1), 0, queue.Range{Last: 9}); len(got) != n || n > 0 && string(got[n-1].Message.Body()) != string(shared.Body()) {
				t.Errorf("queue %d: got %d messages, want %d and the shared one last", i+1, len(got), n)
			}
		}
	}
	f(s, 2, 2, 2)
	crashed := open(t, copyDir(t, dir))
	f(crashed, 2, 2, 2)
	crashed.Close()

	queues[0].settle(queue.State{Head: 3, Next: 3, Settled: []queue.Range{{First: 1, Last: 2}}})
	flush(t, s, queues[0])
	counts(s, 1, 3, 0, 2)
	s.Drop(2)
	flush(t, s, queues[2])
	counts(s, 1, 3, 0, 1)
	dir = copyDir(t, dir)
	s.Close()
	s = open(t, dir)
	if got := read(t, s, 3, 0, queue.Range{Last: 9}); len(got) != 2 || string(got[1].Message.Body()) != string(shared.Body()) {
		t.Errorf("after a crash: got %d messages, want 2", len(got))
	}
	s.Start()
	last := newFake(s, 3)
	last.settle(queue.State{Head: 3, Next: 3, Settled: []queue.Range{{First: 1, Last: 2}}})
	flush(t, s, last)
	flush(t, s, last)
	counts(s, 0, 0, 0, 0)
}

func valueOfChunk(t testing.TB, s *Store, k chunkKey) (value []byte) {
	t.Helper()
	err := s.backend.(*disk).db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(appendChunkKey(nil, &k))
		if err != nil {
			return err
		}
		value, err = item.ValueCopy(nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// What is in the journal beside messages of which a body went to a place of its own can
// be moved at another time, or be acknowledged there.
func TestSharedBodyIsKnownToThoseLeftInTheJournal(t *testing.T) {
	f := func(then func(s *Store, m *mover, a, b *fakeQueue)) {
		t.Helper()
		dir := t.TempDir()
		s, m := openByHand(t, dir, 1)
		s.Start()
		a, b := declare(t, s, 1, "a"), declare(t, s, 2, "b")
		shared := msg(t, strings.Repeat("s", sharedFloor))
		s.Together(func() {
			a.put(shared)
			b.put(shared)
		})
		flush(t, s, a, b)
		// Only queue 1 is looked at.
		m.pass(func(x *index, lv *levelIndex, from uint64) []piece {
			return x.pickJournal(lv, from, func(*stored) bool { return lv == x.find(1, 0) }, func(*stored) bool { return true })
		}, onlyJournal)
		if got := []int{len(chunks(t, s)), len(keys(t, s, keyJournal)), len(keys(t, s, keyBody)), len(keys(t, s, keyBodyRef))}; got[0] != 1 || got[1] != 1 || got[2] != 1 || got[3] != 2 {
			t.Fatalf("got %d chunks, %d journal records, %d bodies, %d references", got[0], got[1], got[2], got[3])
		}
		then(s, m, a, b)
		a, b = newFake(s, 1), newFake(s, 2)
		a.settle(allSettled(2))
		b.settle(allSettled(2))
		flush(t, s, a, b)
		flush(t, s, a, b)
		for _, prefix := range []byte{keyBody, keyBodyRef, keyJournal, keyChunk} {
			if got := len(keys(t, s, prefix)); got != 0 {
				t.Errorf("settled: got %d keys under %x", got, prefix)
			}
		}
	}
	f(func(*Store, *mover, *fakeQueue, *fakeQueue) {})
	f(func(s *Store, m *mover, _, _ *fakeQueue) {
		m.relieve()
		if got := []int{len(chunks(t, s)), len(keys(t, s, keyJournal)), len(keys(t, s, keyBody)), len(keys(t, s, keyBodyRef))}; got[0] != 2 || got[1] != 0 || got[2] != 1 || got[3] != 2 {
			t.Errorf("got %d chunks, %d journal records, %d bodies, %d references", got[0], got[1], got[2], got[3])
		}
	})
	f(func(s *Store, _ *mover, a, b *fakeQueue) {
		a.settle(allSettled(2))
		flush(t, s, a)
		if got := read(t, s, 2, 0, queue.Range{Last: 9}); len(got) != 1 || got[0].Message.BodyBytes() != sharedFloor {
			t.Errorf("got %d messages", len(got))
		}
	})
}

// S-18: what is too large for a record is not too large to be moved: the reference to it
// is. The whole is found again, and goes with the last of its messages.
func TestHugeBodyIsMovedByItsReference(t *testing.T) {
	dir := t.TempDir()
	s, m := openByHand(t, dir, 1)
	s.Start()
	q := declare(t, s, 1, "q")
	huge := msg(t, strings.Repeat("h", maxInlineBody+5))
	q.put(msg(t, "small"), huge, msg(t, "small"))
	flush(t, s, q)
	m.relieve()
	if got := []int{len(keys(t, s, keyJournal)), len(keys(t, s, keyBody)), len(keys(t, s, keyBodyRef))}; got[0] != 0 || got[1] != 2 || got[2] != 1 {
		t.Errorf("got %d journal records, %d parts, %d references; want 0, 2, 1", got[0], got[1], got[2])
	}
	before := len(chunks(t, s))
	dir = copyDir(t, dir)
	s.Close()
	s = open(t, dir)
	got := messages(t, s, 1)
	if len(got) != 3 || got[1].Message.BodyBytes() != huge.BodyBytes() || string(got[1].Message.Body()) != string(huge.Body()) {
		t.Fatalf("got %d messages from %d chunks, want 3 and the huge one whole", len(got), before)
	}
	if r, err := Check(copyDir(t, dir), nil); err != nil || len(r.Problems) != 0 || r.Messages != 3 {
		t.Errorf("check: got %+v, %v", r, err)
	}
	s.Start()
	q = newFake(s, 1)
	q.settle(queue.State{Head: 4, Next: 4, Settled: []queue.Range{{First: 1, Last: 3}}})
	flush(t, s, q)
	flush(t, s, q)
	for _, prefix := range []byte{keyBody, keyBodyRef, keyChunk} {
		if got := len(keys(t, s, prefix)); got != 0 {
			t.Errorf("settled: got %d keys under %x", got, prefix)
		}
	}
}

// The mover pushes back: publishers wait while the journal is far too full, and go on once
// there is room.
func TestPublishersWaitForTheMover(t *testing.T) {
	s, m := openByHand(t, t.TempDir(), 1000)
	s.Start()
	q := declare(t, s, 1, "q")
	q.put(msgs(t, 3, 1000)...)
	flush(t, s, q)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.WaitRoom(ctx); err == nil {
		t.Error("the publisher went on")
	}
	m.relieve()
	if err := s.WaitRoom(t.Context()); err != nil {
		t.Error(err)
	}
}

// E12: a damaged message does not come along. Its record is kept for a repair, and the
// others are moved.
func TestDamagedMessageIsNotMoved(t *testing.T) {
	dir := t.TempDir()
	s, m := openByHand(t, dir, 1)
	s.Start()
	q := declare(t, s, 1, "q")
	q.put(msg(t, "first"), msg(t, "second"))
	flush(t, s, q)
	key := keys(t, s, keyJournal)[0]
	group, _ := parseJournalKey(key)
	var e encoder
	b := e.record(group, 0, []queue.StoredPut{{Queue: 1, Seq: 1, Message: msg(t, "first")}, {Queue: 1, Seq: 2, Message: msg(t, "second")}}, noID)
	b[len(b)-1] ^= 1
	if err := s.backend.(*disk).db.Update(func(txn *badger.Txn) error { return txn.Set(key, b) }); err != nil {
		t.Fatal(err)
	}
	flush(t, s, q)
	s.backend.(*disk).views.renew(s.backend.(*disk).group)
	m.relieve()
	flush(t, s, q)
	if c, j := len(chunks(t, s)), len(keys(t, s, keyJournal)); c != 1 || j != 1 || s.Stats().Damaged != 1 {
		t.Errorf("got %d chunks, %d journal records and %d damaged, want one each", c, j, s.Stats().Damaged)
	}
	equal(t, "found", seqsOf(t, read(t, s, 1, 0, queue.Range{Last: 9}), func(uint64) string { return "first" }), []uint64{1})
}

// modelQueue is a queue of the model below.
type modelQueue struct {
	*fakeQueue
	alive map[uint64]string
}

func (q *modelQueue) add(m ...*message.Message) {
	for _, m := range m {
		q.alive[q.put(m)] = string(m.Body())
	}
}

// settleSome settles about one in n of what is alive, from the front or anywhere.
func (q *modelQueue) settleSome(r *rand.Rand, front bool, n int) {
	var st queue.State
	seqs := slices.Sorted(maps.Keys(q.alive))
	for i, seq := range seqs {
		if front && i < len(seqs)/n || !front && r.IntN(n) == 0 {
			delete(q.alive, seq)
			st.Settled = append(st.Settled, queue.Range{First: seq, Last: seq})
		}
	}
	st.Head, st.Next = q.next, q.next
	for seq := range q.alive {
		st.Head = min(st.Head, seq)
	}
	st.DeadPages = st.Head / queue.PagePositions
	for number := st.DeadPages; number*queue.PagePositions < q.next; number++ {
		p := queue.Page{Number: number}
		for bit := range uint64(queue.PagePositions) {
			if seq := number*queue.PagePositions + bit; seq < q.next {
				if _, alive := q.alive[seq]; !alive {
					p.Bits[bit/64] |= 1 << (bit % 64)
				}
			}
		}
		st.Pages = append(st.Pages, p)
	}
	q.settle(st)
}

// Messages of all sizes are stored, shared, settled, moved, merged, read and dropped at
// random; whatever happens, reads and crashes find what is alive, and nothing is left over.
func TestEverythingIsFoundWhereverItWasMoved(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { findMoved(t, rand.New(rand.NewPCG(seed, 7))) })
	}
}

func findMoved(t *testing.T, r *rand.Rand) {
	dir := t.TempDir()
	s, m := openByHand(t, dir, 20<<10)
	s.Start()
	var queues []*modelQueue
	all := func() (f []*fakeQueue) {
		for _, q := range queues {
			f = append(f, q.fakeQueue)
		}
		return f
	}
	id := queue.ID(0)
	n := 0
	message := func() *message.Message {
		n++
		size := []int{0, 10, 300, 5000, 40_000}[r.IntN(5)]
		return msg(t, fmt.Sprint(n, strings.Repeat("b", size)))
	}
	for range 120 {
		if len(queues) < 3 {
			id++
			queues = append(queues, &modelQueue{declare(t, s, id, fmt.Sprint(id)), make(map[uint64]string)})
		}
		q := queues[r.IntN(len(queues))]
		switch k := r.IntN(20); {
		case k < 8:
			s.Together(func() {
				for range 1 + r.IntN(12) {
					q.add(message())
					if r.IntN(8) == 0 {
						q.next++
					}
				}
			})
		case k < 11:
			shared := message()
			s.Together(func() {
				for _, q := range queues {
					q.add(shared)
				}
			})
		case k < 13:
			q.settleSome(r, false, 1+r.IntN(4))
		case k < 14:
			q.settleSome(r, true, 1+r.IntN(3))
		case k < 15:
			flush(t, s, all()...)
		case k < 16:
			m.relieve()
		case k < 17:
			m.tidy()
		case k < 18:
			flush(t, s, q.fakeQueue)
			lo, hi := r.Uint64N(q.next+1), r.Uint64N(q.next+1)
			lookFor(t, s, q, queue.Range{First: min(lo, hi), Last: max(lo, hi)})
		case k < 19 && r.IntN(4) == 0:
			write(t, s, topology.Unit{Deletes: []topology.Record{topology.Queue{ID: q.id}}})
			s.Drop(q.id)
			queues = slices.DeleteFunc(queues, func(o *modelQueue) bool { return o == q })
		case k < 20:
			flush(t, s, all()...)
			again := open(t, copyDir(t, dir))
			for _, q := range queues {
				compareModel(t, again, q)
			}
			again.Close()
		}
	}
	flush(t, s, all()...)
	flush(t, s, all()...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, m = openByHand(t, dir, 1)
	for _, q := range queues {
		compareModel(t, s, q)
		q.store = s
	}
	s.Start()
	m.relieve()
	m.tidy()
	flush(t, s, all()...)
	flush(t, s, all()...)
	x := s.backend.(*disk).index
	if got := len(keys(t, s, keyJournal)); got != len(x.records) {
		t.Errorf("got %d journal records, %d of them known", got, len(x.records))
	}
	for _, k := range chunks(t, s) {
		if !x.hasChunk(k) {
			t.Errorf("nobody knows the chunk %+v", k)
		}
	}
	for _, q := range queues {
		lookFor(t, s, q, queue.Range{Last: q.next})
		clear(q.alive)
		q.settle(allSettled(q.next))
	}
	flush(t, s, all()...)
	flush(t, s, all()...)
	if c, j := len(chunks(t, s)), len(keys(t, s, keyJournal)); c != 0 || j != 0 || x.journal != (journalUse{}) {
		t.Errorf("settled: got %d chunks, %d journal records and %+v, want nothing", c, j, x.journal)
	}
	if got := s.Stats().Damaged; got != 0 {
		t.Errorf("got %d damaged", got)
	}
}

// lookFor reads a range of a queue that was flushed.
func lookFor(t *testing.T, s *Store, q *modelQueue, r queue.Range) {
	t.Helper()
	if len(q.storedSeqs()) == 0 {
		return // nothing is known of it
	}
	got := make(map[uint64]string)
	for _, m := range read(t, s, q.id, 0, r) {
		got[m.Seq] = string(m.Message.Body())
	}
	for seq, body := range q.alive {
		if seq >= r.First && seq <= r.Last && got[seq] != body {
			t.Fatalf("queue %d: message %d is not found", q.id, seq)
		}
	}
}

func compareModel(t *testing.T, s *Store, q *modelQueue) {
	t.Helper()
	got := messages(t, s, q.id)
	for _, m := range got {
		if q.alive[m.Seq] != string(m.Message.Body()) {
			t.Fatalf("queue %d: message %d is another, or was settled", q.id, m.Seq)
		}
	}
	if len(got) != len(q.alive) {
		t.Fatalf("queue %d: got %d messages, want %d", q.id, len(got), len(q.alive))
	}
}
