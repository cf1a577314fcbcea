package persistence

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// node is a handful of real queues on a store, driven by one goroutine. What dies in one
// of them goes to the last.
type node struct {
	t      testing.TB
	store  *Store
	queues []*queue.Queue
	out    queue.Effects
	now    time.Time

	held      []held
	confirmed chan uint64
	waiting   int // publishes not confirmed yet
}

// held is a delivery not settled yet.
type held struct {
	queue int
	queue.Delivery
}

func (n *node) Confirmed(seq uint64, ok bool, _ *message.Wakes) {
	if ok {
		n.confirmed <- seq
	}
}

func newNode(t testing.TB, s *Store, queues int) *node {
	n := &node{t: t, store: s, now: time.UnixMilli(1_700_000_000_000), confirmed: make(chan uint64, 1<<16)}
	var u topology.Unit
	for i := range queues {
		spec := queue.Spec{VHost: "/", Name: fmt.Sprint("q", i), Durable: true}
		o := nodeOptions(i, queues)
		id := queue.ID(s.NextID())
		n.queues = append(n.queues, queue.New(id, spec, o, s))
		u.Puts = append(u.Puts, topology.Queue{ID: id, Spec: spec})
	}
	write(t, s, u)
	return n
}

func nodeOptions(i, queues int) queue.Options {
	o := queue.Options{MessageTTL: queue.None, Expires: queue.None, MaxLength: queue.None,
		MaxLengthBytes: queue.None, DeliveryLimit: queue.None}
	if i < queues-1 {
		o.DeadLetter = true
	}
	if i == 1 {
		o.MaxPriority = 2
	}
	return o
}

// flush does what a batch's end does: letters, transfers, wakes.
func (n *node) flush() {
	for len(n.out.Letters)+len(n.out.Transfers) > 0 {
		for i := 0; i < len(n.out.Letters); i++ {
			n.carry(n.out.Letters[i])
		}
		n.out.Letters = n.out.Letters[:0]
		queue.SettleTransfers(&n.out)
	}
	n.out.Timers = n.out.Timers[:0]
	n.store.AddUnstored(n.out.Unstored)
	n.out.Unstored = 0
	n.out.Wakes.Wake()
}

func (n *node) carry(q *queue.Queue) {
	letters, ok := q.TakeLetters(nil, false)
	for ok {
		for i := range letters {
			l := &letters[i]
			n.queues[len(n.queues)-1].Publish(n.now, queue.Put{Message: l.Message, Confirm: l.Confirm, Transfer: l.Transfer}, &n.out)
			l.Confirm.Release(&n.out.Wakes)
			l.Transfer.Release(&n.out)
		}
		letters, ok = q.TakeLetters(letters[:0], true)
	}
}

// publish sends one message to some queues and returns its body.
func (n *node) publish(seq uint64, priority byte, to ...int) {
	m, err := message.New(message.Content{Exchange: "x", RoutingKey: "k",
		Properties: []byte{0x18, 0x00, 2, priority}, Body: fmt.Append(nil, seq)})
	if err != nil {
		n.t.Fatal(err)
	}
	c := message.NewConfirm(n, seq)
	for _, i := range to {
		n.queues[i].Publish(n.now, queue.Put{Message: m, Confirm: c}, &n.out)
	}
	c.Release(&n.out.Wakes)
	n.waiting++
}

func (n *node) get(i int) (queue.Delivery, bool) {
	d, _, got := n.queues[i].Get(n.now, false, &n.out)
	if got == queue.GotMessage {
		n.held = append(n.held, held{i, d})
	}
	return d, got == queue.GotMessage
}

// settle acknowledges or rejects one of the deliveries held.
func (n *node) settle(i int, how func(q *queue.Queue, p []queue.Position)) held {
	h := n.held[i]
	n.held = slices.Delete(n.held, i, i+1)
	how(n.queues[h.queue], []queue.Position{h.Position})
	return h
}

// barrier waits until everything is on disk, acknowledgements included.
func (n *node) barrier() {
	n.t.Helper()
	// What is settled while it is under way goes into the next group, and what arrives by a
	// transfer may be.
	for range 3 {
		done := make(chan error, len(n.queues))
		for _, q := range n.queues {
			n.store.Barrier(q, func(err error) { done <- err })
		}
		for range n.queues {
			if err := <-done; err != nil {
				n.t.Fatal(err)
			}
		}
	}
}

// S-9: a dead letter's put and the settlement at its source are in one group.
func TestDeadLetterAndItsSettlementAreInOneGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &slowBackend{}
		s := withBackend(b)
		s.Start()
		n := newNode(t, s, 2)
		n.publish(1, 0, 0)
		n.flush()
		n.get(0)
		n.barrier()
		synctest.Wait()
		b.take()
		b.block()
		newFake(s, 99).put(msg(t, "keeps the committer busy"))
		synctest.Wait()
		n.settle(0, func(q *queue.Queue, p []queue.Position) { q.Reject(n.now, p, false, &n.out) })
		n.flush()
		b.proceed <- nil
		synctest.Wait()
		b.proceed <- nil
		synctest.Wait()
		equal(t, "writes", b.take()[1:], []string{"puts 1, states 1 (1 with puts)"})
		b.unblock()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// The whole way with real queues: messages are published, fetched, acknowledged, returned
// and dead-lettered at random, the machine crashes or stops at random, and what is found
// then is what the model says.
func TestQueuesComeBackAsTheyWere(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { comeBack(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func comeBack(t *testing.T, r *rand.Rand) {
	const queues = 4
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	n := newNode(t, s, queues)
	// model has, for each queue, how often a message is in it: a letter may come to where
	// its message is already.
	model := make([]map[string]int, queues)
	for i := range model {
		model[i] = make(map[string]int)
	}
	seq := uint64(0)
	for range 4 {
		for range 50 + r.IntN(100) {
			switch k := r.IntN(10); {
			case k < 4:
				seq++
				var to []int
				for i := range queues {
					if r.IntN(2) == 0 {
						to = append(to, i)
						model[i][fmt.Sprint(seq)]++
					}
				}
				n.publish(seq, byte(r.IntN(4)), to...)
			case k < 7:
				n.get(r.IntN(queues))
			case len(n.held) > 0 && k < 9:
				h := n.settle(r.IntN(len(n.held)), func(q *queue.Queue, p []queue.Position) { q.Ack(n.now, p, &n.out) })
				model[h.queue][string(h.Message.Body())]--
			case len(n.held) > 0:
				requeue := r.IntN(2) == 0
				h := n.settle(r.IntN(len(n.held)), func(q *queue.Queue, p []queue.Position) { q.Reject(n.now, p, requeue, &n.out) })
				if !requeue {
					model[h.queue][string(h.Message.Body())]--
					if h.queue != queues-1 {
						model[queues-1][string(h.Message.Body())]++
					}
				}
			}
			if r.IntN(5) == 0 {
				n.flush()
			}
		}
		n.flush()
		n.barrier()
		for n.waiting > 0 {
			<-n.confirmed
			n.waiting--
		}
		compare(t, open(t, copyDir(t, dir)), n, model)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	compare(t, s, n, model)
	if got, live := len(keys(t, s, keyJournal)), len(s.backend.(*disk).index.records); got != live {
		t.Errorf("got %d records on disk, %d of them alive; want none left over", got, live)
	}
}

// compare restores every queue of n from s.
func compare(t *testing.T, s *Store, n *node, model []map[string]int) {
	t.Helper()
	for i, q := range n.queues {
		r := restore(t, s, q.ID())
		var want []string
		for _, body := range slices.Sorted(maps.Keys(model[i])) {
			want = append(want, slices.Repeat([]string{body}, model[i][body])...)
		}
		var got []string
		for _, m := range readAll(t, s, q.ID(), r) {
			got = append(got, string(m.Message.Body()))
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("queue %d: got %v, want %v", i, got, want)
		}
		// It can be filled with that, and hands the messages out.
		again := queue.New(q.ID(), q.Spec(), nodeOptions(i, len(n.queues)), s)
		var out queue.Effects
		again.Restore(n.now, r, &out)
		if ready, _ := again.Counts(); ready != len(want) {
			t.Fatalf("queue %d: got %d ready, want %d", i, ready, len(want))
		}
	}
}
