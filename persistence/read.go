package persistence

import (
	"errors"
	"sync"

	"github.com/leveretmq/leveret/queue"
)

// ErrDropped is what a read of a queue is answered of which the store has nothing any
// more.
var ErrDropped = errors.New("the queue was deleted")

const (
	// readers is how many goroutines read messages back.
	readers = 2
	// readsAtOnce is how many requests one of them takes, so that those for the same record
	// come together.
	readsAtOnce = 32
)

// Read implements queue.Store. It works from Open on.
func (s *Store) Read(id queue.ID, level uint8, r queue.Range, done func([]queue.RestoredMessage, error)) {
	s.reads.add(readRequest{id, level, r, done})
}

type readRequest struct {
	queue queue.ID
	level uint8
	queue.Range
	done func([]queue.RestoredMessage, error)
}

// source is where messages are read from.
type source interface {
	// reader makes what one goroutine reads with.
	reader() func(id queue.ID, level uint8, r queue.Range) ([]queue.RestoredMessage, error)
}

// reads is the list of what is to be read, and the goroutines that do it. They begin with
// the first request.
type reads struct {
	source  source       // set before the first request
	refusal func() error // why nothing is read any more

	mu     sync.Mutex // a leaf; guards the fields below
	more   *sync.Cond
	wanted []readRequest
	begun  bool
	ended  bool
	idle   sync.WaitGroup
}

func newReads(refusal func() error) *reads {
	r := &reads{refusal: refusal}
	r.more = sync.NewCond(&r.mu)
	return r
}

func (r *reads) add(q readRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		go q.done(nil, ErrClosed)
		return
	}
	if !r.begun {
		r.begun = true
		for range readers {
			r.idle.Go(r.run)
		}
	}
	r.wanted = append(r.wanted, q)
	r.more.Signal()
}

// take waits for requests and takes some: not all, if there are many, so that the other
// reader has a part in them.
func (r *reads) take(batch []readRequest) []readRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.wanted) == 0 && !r.ended {
		r.more.Wait()
	}
	n := min(readsAtOnce, (len(r.wanted)+readers-1)/readers)
	batch = append(batch[:0], r.wanted[:n]...)
	clear(r.wanted[:n])
	if r.wanted = r.wanted[n:]; len(r.wanted) == 0 {
		r.wanted = nil
	}
	return batch
}

func (r *reads) run() {
	read := r.source.reader()
	var batch []readRequest
	for {
		if batch = r.take(batch); len(batch) == 0 {
			return
		}
		for i := range batch {
			r.answer(read, &batch[i])
		}
		clear(batch)
	}
}

func (r *reads) answer(read func(queue.ID, uint8, queue.Range) ([]queue.RestoredMessage, error), q *readRequest) {
	err := r.refusal()
	if err != nil {
		q.done(nil, err)
		return
	}
	q.done(read(q.queue, q.level, q.Range))
}

// close has every request answered and waits for that.
func (r *reads) close() {
	r.mu.Lock()
	r.ended = true
	r.more.Broadcast()
	r.mu.Unlock()
	r.idle.Wait()
}
