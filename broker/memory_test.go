package broker

import (
	"strings"
	"testing"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/queue"
)

// A queue that was large is forgotten with its deletion, not when memory is short the next time,
// which may be never; also when it became large in the same batch.
func TestDeletedQueueLeavesTheLargeOnes(t *testing.T) {
	n := newNode(t)
	body := strings.Repeat("x", 300<<10)
	remove := func(name string) {
		t.Helper()
		if _, _, err := n.v.DeleteQueue(n.now, "me", name, queue.DeleteOptions{}, nil, &n.out); err != nil {
			t.Fatal(err)
		}
		n.b.Flush(n.now, &n.out)
		if len(n.b.memory.large) != 0 {
			t.Errorf("got %d large queues after %s was deleted, want none", len(n.b.memory.large), name)
		}
	}
	n.queue("before")
	n.publish("", "before", body, amqp.Properties{})
	if len(n.b.memory.large) != 1 {
		t.Fatalf("got %d large queues, want 1", len(n.b.memory.large))
	}
	remove("before")

	n.queue("same")
	x, err := n.v.ExchangeForPublish("")
	if err != nil {
		t.Fatal(err)
	}
	n.v.Publish(n.now, &n.router, x, n.message("", "same", body, amqp.Properties{}), nil, &n.out)
	remove("same")
}
