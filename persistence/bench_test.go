package persistence

import (
	"fmt"
	"testing"
	"time"

	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

// BenchmarkCommit pushes messages through queues that settle what is stored, as consumers
// that keep up do.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{16, 1024, 65536} {
		for _, queues := range []int{1, 100} {
			b.Run(fmt.Sprintf("size=%d/queues=%d", size, queues), func(b *testing.B) { benchmarkCommit(b, size, queues) })
		}
	}
}

func benchmarkCommit(b *testing.B, size, queues int) {
	s := open(b, b.TempDir())
	s.Start()
	all := make([]*benchQueue, queues)
	for i := range all {
		all[i] = &benchQueue{fakeQueue: newFake(s, queue.ID(i+1))}
		declare(b, s, queue.ID(i+1), fmt.Sprint(i))
	}
	// More than a group takes, so that no body is in it twice.
	m := msgs(b, min(2*groupPuts, 4*groupBytes/(size+128)), size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	before := s.Stats()
	b.ResetTimer()
	batch := make([]*message.Message, 0, 16)
	for n := 0; n < b.N; {
		batch = batch[:0]
		for ; len(batch) < 16 && n < b.N; n++ {
			batch = append(batch, m[n%len(m)])
		}
		all[n/16%queues].putAll(batch)
		if err := s.WaitRoom(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	for _, q := range all {
		done := make(chan error, 1)
		s.Barrier(q, func(err error) { done <- err })
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	st := s.Stats()
	if got := st.Messages - before.Messages; got != uint64(b.N) {
		b.Fatalf("got %d messages stored, want %d", got, b.N)
	}
	groups := st.Groups - before.Groups
	b.ReportMetric(float64(b.N)/float64(groups), "msgs/group")
	b.ReportMetric(float64((st.CommitTime-before.CommitTime)/time.Duration(groups))/1e6, "ms/group")
}

// benchQueue is a fakeQueue that settles everything as soon as it is stored and allocates
// nothing to speak of.
type benchQueue struct {
	*fakeQueue
	head    uint64
	settled uint64 // the head in the last state
	listed  bool   // for its state
}

func (q *benchQueue) putAll(batch []*message.Message) {
	bytes := int64(0)
	q.mu.Lock()
	for _, m := range batch {
		q.unstored = append(q.unstored, queue.StoredPut{Queue: q.id, Seq: q.next, Message: m})
		q.next++
		bytes += int64(m.Size())
	}
	if !q.enlisted {
		q.enlisted = true
		q.store.Enlist(q)
	}
	q.mu.Unlock()
	q.store.AddUnstored(bytes)
}

func (q *benchQueue) Collect(b *queue.Batch) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for n < len(q.unstored) && !b.Full() {
		b.Puts = append(b.Puts, q.unstored[n])
		b.Bytes += q.unstored[n].Message.Size()
		n++
	}
	if n > 0 {
		q.head = q.unstored[n-1].Seq + 1
	}
	rest := copy(q.unstored, q.unstored[n:])
	clear(q.unstored[rest:])
	q.unstored = q.unstored[:rest]
	q.enlisted = rest > 0
	return rest > 0
}

func (q *benchQueue) CollectSettled(b *queue.Batch, _ []queue.Position) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b.States = append(b.States, queue.State{Queue: q.id, Head: q.head, Next: q.next})
	q.settled, q.listed = q.head, false
}

func (q *benchQueue) Stored(uint64, *message.Wakes) {
	q.mu.Lock()
	behind := q.settled < q.head && !q.listed
	q.listed = q.listed || behind
	q.mu.Unlock()
	if behind {
		q.store.EnlistSettled(q)
	}
}

// BenchmarkRecord makes the records of full groups, what a store spends on a message
// beside Badger.
func BenchmarkRecord(b *testing.B) {
	for _, queues := range []int{1, 1000} {
		for _, size := range []int{16, 1024} {
			b.Run(fmt.Sprintf("queues=%d/size=%d", queues, size), func(b *testing.B) {
				var puts []queue.StoredPut
				for i, m := range msgs(b, min(groupPuts, groupBytes/size), size) {
					puts = append(puts, queue.StoredPut{Queue: queue.ID(i*queues/groupPuts + 1), Seq: uint64(i + 1), Message: m})
				}
				var e encoder
				var s splitter
				n := len(puts)
				b.ReportAllocs()
				for b.Loop() {
					s.split(puts)
					if r := e.record(1, 1_700_000_000_000, puts, nil); len(r) < n*size {
						b.Fatalf("got a record of %d bytes", len(r))
					}
					e.forget()
					s.forget()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/msg")
				b.ReportMetric(float64(len(e.record(1, 1_700_000_000_000, puts, nil))-n*size)/float64(n), "B/msg")
			})
		}
	}
}
