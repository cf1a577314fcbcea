package persistence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// slowBackend writes when it is told to, and remembers what.
type slowBackend struct {
	group   uint64
	proceed chan error // the answer to a write, while blocked

	mu      sync.Mutex
	blocked bool
	log     []string
}

// block makes every write wait for proceed.
func (b *slowBackend) block() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blocked, b.proceed = true, make(chan error)
}

func (b *slowBackend) unblock() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blocked = false
}

// take returns what was written since the last take.
func (b *slowBackend) take() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.log
	b.log = nil
	return l
}

func (b *slowBackend) next() uint64 { return b.group + 1 }

func (b *slowBackend) write(g *group) error {
	b.group++
	var parts []string
	for _, u := range g.units {
		parts = append(parts, fmt.Sprintf("unit+%d-%d", len(u.Puts), len(u.Deletes)))
	}
	if n := len(g.batch.Puts); n > 0 {
		parts = append(parts, fmt.Sprintf("puts %d", n))
	}
	if n := len(g.batch.States); n > 0 {
		parts = append(parts, fmt.Sprintf("states %d (%d with puts)", n, g.withPuts))
	}
	for _, id := range g.drops {
		parts = append(parts, fmt.Sprintf("drop %d", id))
	}
	if g.clean {
		parts = append(parts, "clean")
	}
	b.mu.Lock()
	b.log = append(b.log, strings.Join(parts, ", "))
	blocked := b.blocked
	b.mu.Unlock()
	if blocked {
		return <-b.proceed
	}
	return nil
}

func (b *slowBackend) close() error { return nil }

func withBackend(b backend) *Store {
	s := newStore(Options{})
	s.backend = b
	s.nextID.Store(1)
	return s
}

// I1, DUR-5: no confirm before the commit returned.
func TestConfirmWaitsForTheCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &slowBackend{}
		b.block()
		s := withBackend(b)
		s.Start()
		q := newFake(s, 1)
		q.put(msg(t, "a"))
		synctest.Wait()
		equal(t, "confirmed while the commit is under way", q.storedSeqs(), nil)
		q.put(msg(t, "b")) // waits for the next group
		b.proceed <- nil
		synctest.Wait()
		equal(t, "confirmed after the first commit", q.storedSeqs(), []uint64{1})
		b.proceed <- nil
		synctest.Wait()
		equal(t, "confirmed after the second", q.storedSeqs(), []uint64{1, 2})
		equal(t, "groups", q.groups, []uint64{1, 2})
		b.unblock()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// A9, E5: after a failed commit nothing is confirmed, whatever succeeds later, and every
// call stays harmless.
func TestFailedCommitPoisonsTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("input/output error")
		b := &slowBackend{}
		b.block()
		s := withBackend(b)
		s.Start()
		q := newFake(s, 1)
		q.put(msg(t, "a"))
		b.proceed <- broken
		<-s.Failed()
		b.unblock()
		q.put(msg(t, "b"))
		s.EnlistSettled(q)
		s.Drop(5)
		answers := make(chan error, 2)
		s.Write(topology.Unit{}, func(err error) { answers <- err })
		s.Barrier(q, func(err error) { answers <- err })
		for range 2 {
			if err := <-answers; !errors.Is(err, broken) {
				t.Errorf("got %v, want the failure", err)
			}
		}
		s.AddUnstored(1 << 40)
		if err := s.WaitRoom(context.Background()); !errors.Is(err, broken) {
			t.Errorf("got %v from WaitRoom, want the failure", err)
		}
		synctest.Wait()
		equal(t, "confirmed", q.storedSeqs(), nil)
		if err := s.Close(); !errors.Is(err, broken) {
			t.Errorf("got %v from Close, want the failure", err)
		}
		equal(t, "writes", b.take(), []string{"puts 1"})
	})
}

// S-23: a group ends at its limits, and a queue cut short goes behind the others.
func TestQueueThatWasCutShortGoesToTheTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &slowBackend{}
		s := withBackend(b)
		many, few := newFake(s, 1), newFake(s, 2)
		m := msg(t, "m")
		many.put(slices.Repeat([]*message.Message{m}, 2*groupPuts)...)
		few.put(m)
		s.Start()
		synctest.Wait()
		equal(t, "writes", b.take(), []string{"puts 16384", "puts 16384", "puts 1"})
		equal(t, "groups of the short one", few.groups, []uint64{2})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// S-3: declarations that were handed over before a message was collected are in its
// group, and their callbacks come after the confirms, in the order of the calls.
func TestDeclarationsGoWithTheGroupAndAnswerInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &slowBackend{}
		s := withBackend(b)
		q := newFake(s, 1)
		var order []string
		note := func(what string) func(error) {
			return func(err error) { order = append(order, fmt.Sprint(what, " ", err, " ", q.storedSeqs())) }
		}
		q.put(msg(t, "a"))
		s.Write(topology.Unit{Puts: []topology.Record{topology.VHost{Name: "v"}}}, note("first"))
		s.Barrier(q, note("barrier"))
		s.Write(topology.Unit{Deletes: []topology.Record{topology.VHost{Name: "v"}}}, note("second"))
		s.Drop(9)
		s.Start()
		synctest.Wait()
		equal(t, "writes", b.take(), []string{"unit+1-0, unit+0-1, puts 1, drop 9"})
		equal(t, "order", order, []string{"first <nil> [1]", "second <nil> [1]", "barrier <nil> [1]"})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// A5: acknowledgement state goes with a commit that happens anyway, at most every 100 ms,
// or alone after 100 ms; it wakes nobody before (S-23).
func TestAcknowledgementsWaitATenthOfASecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &slowBackend{}
		s := withBackend(b)
		s.Start()
		q := newFake(s, 1)
		state := func() { q.settle(queue.State{Head: 1}) }

		time.Sleep(time.Second)
		state()
		time.Sleep(ackInterval - time.Millisecond)
		synctest.Wait()
		equal(t, "before 100 ms", b.take(), nil)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		equal(t, "alone after 100 ms", b.take(), []string{"states 1 (0 with puts)"})

		state()
		time.Sleep(ackInterval / 2)
		q.put(msg(t, "a"))
		synctest.Wait()
		equal(t, "a commit too soon after the last state", b.take(), []string{"puts 1"})
		time.Sleep(ackInterval)
		synctest.Wait()
		equal(t, "and then alone", b.take(), []string{"states 1 (0 with puts)"})

		time.Sleep(time.Second)
		state()
		time.Sleep(ackInterval / 2)
		q.put(msg(t, "b"))
		synctest.Wait()
		equal(t, "a commit that happens anyway", b.take(), []string{"puts 1, states 1 (0 with puts)"})
		time.Sleep(time.Second)
		synctest.Wait()
		equal(t, "nothing more", b.take(), nil)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestBarrierCollectsAllPastTheLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &slowBackend{}
		s := withBackend(b)
		q := newFake(s, 1)
		q.put(slices.Repeat([]*message.Message{msg(t, "m")}, groupPuts+5)...)
		q.settle(queue.State{Head: 1})
		s.Barrier(q, func(error) {})
		s.Start()
		synctest.Wait()
		equal(t, "writes", b.take(), []string{"puts 16389, states 1 (0 with puts)"})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// S-7: what was done together is in one group, settlements included, past its limits.
func TestWhatIsDoneTogetherIsStoredTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &slowBackend{}
		s := withBackend(b)
		q1, q2 := newFake(s, 1), newFake(s, 2)
		s.Together(func() {
			q1.put(slices.Repeat([]*message.Message{msg(t, "m")}, groupPuts)...)
			q2.put(msg(t, "n"))
			q2.settle(queue.State{Head: 1})
		})
		s.Start()
		synctest.Wait()
		equal(t, "writes", b.take(), []string{"puts 16385, states 1 (1 with puts)"})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// S-25: publishers wait while too much waits for the disk; what is committed lets them
// go on.
func TestPublishersWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &slowBackend{}
		b.block()
		s := withBackend(b)
		s.maximum = 1000
		s.Start()
		q := newFake(s, 1)
		q.put(msg(t, strings.Repeat("b", 2000)))
		synctest.Wait()
		let := make(chan error, 1)
		go func() { let <- s.WaitRoom(context.Background()) }()
		ctx, cancel := context.WithCancel(context.Background())
		gone := make(chan error, 1)
		go func() { gone <- s.WaitRoom(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's error", err)
		}
		select {
		case err := <-let:
			t.Errorf("the publisher went on before there was room, with %v", err)
		default:
		}
		b.proceed <- nil
		if err := <-let; err != nil {
			t.Error(err)
		}
		if got := s.Stats().Unstored; got != 0 {
			t.Errorf("got %d bytes unstored after the commit, want 0", got)
		}
		b.unblock()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCloseCommitsWhatIsLeftAndMarksTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &slowBackend{}
		s := withBackend(b)
		s.Start()
		q := newFake(s, 1)
		q.put(msg(t, "a"))
		synctest.Wait()
		// Not enlisted: delivery marks of a queue that only delivered.
		q.mu.Lock()
		q.states = []queue.State{{Queue: 1, DeliveredTo: 1}}
		q.mu.Unlock()
		newFake(s, 2).put(msg(t, "b"))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		equal(t, "writes", b.take(), []string{"puts 1", "puts 1", "states 1 (0 with puts), clean"})
		answer := make(chan error, 1)
		s.Write(topology.Unit{}, func(err error) { answer <- err })
		if err := <-answer; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v after Close, want ErrClosed", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("got %v from a second Close", err)
		}
	})
}

func TestMemoryStoreConfirmsAndKeepsNothing(t *testing.T) {
	s := NewMemory(Options{})
	s.Start()
	q := newFake(s, 1)
	first := s.NextID()
	q.put(msg(t, "a"), msg(t, "b"))
	flush(t, s, q)
	equal(t, "confirmed", q.storedSeqs(), []uint64{1, 2})
	if c := s.Catalog(); len(c.Queues) != 0 {
		t.Errorf("got queues %v", c.Queues)
	}
	if r, err := s.Restore(1); err != nil || len(r.Levels) != 0 {
		t.Errorf("got %v, %v", r, err)
	}
	if s.NextID() == first {
		t.Error("got an id twice")
	}
	if st := s.Stats(); st.Messages != 2 || st.Groups == 0 {
		t.Errorf("got %+v", st)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A queue is not kept for what it asked for before it was deleted, which comes after its drop:
// acknowledgements wait for up to 100 ms, and a drop does not.
func TestDroppedQueueIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := withBackend(&slowBackend{})
		s.Start()
		stays, goes := newFake(s, 1), newFake(s, 2)
		stays.put(msg(t, "a"))
		goes.put(msg(t, "b"))
		goes.settle(queue.State{})
		synctest.Wait()
		stays.settle(queue.State{})
		goes.settle(queue.State{})
		goes.mu.Lock()
		goes.deleted = true
		goes.mu.Unlock()
		s.Drop(2)
		synctest.Wait()
		stays.mu.Lock() // which the committer asks whether it is deleted before it notes it again
		if _, ok := s.c.known[2]; ok {
			t.Error("the queue is known after its drop")
		}
		stays.mu.Unlock()
		time.Sleep(2 * ackInterval) // of the test's own time
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.c.known[2]; ok || len(s.c.known) != 1 {
			t.Errorf("got the queues %v known, want 1", s.c.known)
		}
	})
}
