package queue

import (
	"errors"
	"testing"
	"time"
)

// failingReads is a store whose reads come to nothing.
type failingReads struct {
	heldStore
	asked []func([]RestoredMessage, error)
}

func (s *failingReads) Read(_ ID, _ uint8, _ Range, done func([]RestoredMessage, error)) {
	s.asked = append(s.asked, done)
}

// S-21: who waits for what is on disk is told when it cannot be read, because the queue was
// deleted meanwhile, say. Nothing else would end a get.
func TestWhoWaitsForAReadIsToldOfItsFailure(t *testing.T) {
	s := &failingReads{}
	q := New(1, Spec{Name: "q", Durable: true}, Options{MessageTTL: None, Expires: None, MaxLength: None, MaxLengthBytes: None, DeliveryLimit: None}, s)
	now := time.UnixMilli(1)
	q.Attach(func(f func(time.Time, *Effects)) { f(now, &Effects{}) })
	q.Restore(now, Restored{Levels: []RestoredLevel{{
		Head: 1, Next: 6, Runs: []Run{{Range: Range{First: 5, Last: 5}, Count: 1}},
	}}}, &Effects{})
	if _, _, got := q.Get(now, true, &Effects{}); got != GotLater || len(s.asked) != 1 {
		t.Fatalf("got %v with %d reads, want to be told to wait for one", got, len(s.asked))
	}
	dropped, told := errors.New("dropped"), error(nil)
	if !q.WhenRead(func(err error) { told = err }) {
		t.Fatal("it waits for nothing")
	}
	if _, err := q.Delete(now, DeleteOptions{}, &Effects{}); err != nil {
		t.Fatal(err)
	}
	s.asked[0](nil, dropped)
	if !errors.Is(told, dropped) {
		t.Errorf("told %v, want that it was dropped", told)
	}
}
