package broker

import (
	"fmt"
	"slices"
	"testing"

	"github.com/leveretmq/leveret/queue"
)

//
func TestExclusiveQueuesGoWithTheirConnectionWhicheverWentBefore(t *testing.T) {
	n := newNode(t)
	declare := func(owner, name string) {
		t.Helper()
		if _, _, err := n.v.DeclareQueue(n.now, owner, queue.Spec{Name: name, Exclusive: true}, nil, &n.out); err != nil {
			t.Fatal(err)
		}
	}
	const many = 2*releasedAtOnce + 10
	for i := range many {
		declare("me", fmt.Sprint("q", i))
	}
	declare("other", "other")
	left := func(want int) {
		t.Helper()
		names := make(map[string]bool)
		for _, o := range n.v.exclusive["me"] {
			names[o.q.Name()] = true
		}
		if len(names) != want || len(n.v.exclusive["me"]) != want || len(n.v.Queues()) != want+1 {
			t.Fatalf("got %d of the connection, %d queues, want %d and another", len(names), len(n.v.Queues()), want)
		}
	}
	left(many)
	for i, name := range []string{"q0", fmt.Sprint("q", many-1), "q1", "q100", fmt.Sprint("q", many-2), "q50"} {
		if _, _, err := n.v.DeleteQueue(n.now, "me", name, queue.DeleteOptions{}, nil, &n.out); err != nil {
			t.Fatal(err)
		}
		left(many - i - 1)
	}
	declare("me", "q0")
	left(many - 5)
	if !slices.IsSortedFunc(n.v.exclusive["me"], func(a, b *queueNode) int { return int(a.q.ID()) - int(b.q.ID()) }) {
		t.Error("got them out of the order in which they were declared")
	}
	n.v.Release(n.now, "me", &n.out)
	left(0)
	n.v.Release(n.now, "me", &n.out)
	n.v.Release(n.now, "other", &n.out)
	if len(n.v.exclusive) != 0 || len(n.v.Queues()) != 0 {
		t.Errorf("got %v and %d queues left", n.v.exclusive, len(n.v.Queues()))
	}
}
