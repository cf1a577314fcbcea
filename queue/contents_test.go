package queue

import (
	"testing"
	"time"

	"github.com/leveretmq/leveret/message"
)

// A broker may have very many queues that nobody uses. Declaring them, looking at them and
// deleting them costs no more than their declaration.
func TestQueueThatNobodyUsesHasNoContents(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	o, err := ParseArguments(Spec{Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	o.Expires = time.Minute
	q := New(1, Spec{Name: "q", VHost: "/", Durable: true}, o, &heldStore{})
	var out Effects
	f := func(what string, do func()) {
		t.Helper()
		if do(); q.contents != nil {
			t.Fatalf("the queue has contents after %s", what)
		}
	}
	f("a restart", func() { q.Restore(now, Restored{}, &out) })
	f("a declare", func() { q.Touch(now, &out) })
	f("a policy", func() {
		o.MaxLength, o.DeadLetter, o.Deduplicate = 1, true, true
		q.SetOptions(now, o, &out)
	})
	f("looking at it", func() {
		if ready, consumers := q.Counts(); ready != 0 || consumers != 0 {
			t.Errorf("%d ready and %d consumers, want none", ready, consumers)
		}
		if s := q.Stats(); s != (Stats{}) {
			t.Errorf("counters %+v, want none", s)
		}
		if n := q.Memory(); n != 0 {
			t.Errorf("%d bytes in memory, want none", n)
		}
		if all := q.Subscriptions(); len(all) != 0 {
			t.Errorf("consumers %v, want none", all)
		}
		if got := q.Options(); got != o {
			t.Errorf("options %+v, want %+v", got, o)
		}
	})
	f("a timer that is early", func() {
		if next, want := q.Expire(now.Add(time.Second), &out), now.Add(time.Minute); !next.Equal(want) {
			t.Errorf("due again at %v, want %v", next, want)
		}
	})
	f("its end", func() {
		if q.Expire(now.Add(time.Minute), &out); len(out.Unused) != 1 {
			t.Errorf("%d queues to be deleted, want this one", len(out.Unused))
		}
		if ready, err := q.Delete(now, DeleteOptions{IfEmpty: true, IfUnused: true}, &out); ready != 0 || err != nil {
			t.Errorf("%d messages went with it, %v", ready, err)
		}
		if q.WhenLeft(func() {}) {
			t.Error("letters are under way of a queue that had none")
		}
	})
	if !q.Publish(now, Put{Message: &message.Message{Expiration: message.NoExpiration}}, &out) {
		t.Error("a queue that is gone refused a message")
	}
}

// What was set before the first message holds for it.
func TestFirstMessageFindsTheOptionsOfItsQueue(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	q := New(1, Spec{Name: "q"}, plain, &heldStore{})
	var out Effects
	o := plain
	o.MaxLength, o.Overflow = 1, RejectPublish
	q.SetOptions(now, o, &out)
	for i, want := range []bool{true, false} {
		if got := q.Publish(now, Put{Message: &message.Message{Expiration: message.NoExpiration}}, &out); got != want {
			t.Errorf("message %d taken: %v, want %v", i, got, want)
		}
	}
	if plain.MaxLength != None {
		t.Error("the options of one queue became those of all")
	}
}
