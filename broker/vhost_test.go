package broker

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// LIM-1
func TestVirtualHostKeepsItsSettings(t *testing.T) {
	n := newNode(t)
	want := topology.VHost{Name: "v", Description: "a house", Tags: []string{"x", "y"}, DefaultQueueType: "quorum", Tracing: true, Protected: true}
	if _, err := n.b.SetVHost(want); err != nil {
		t.Fatal(err)
	}
	if _, err := n.b.SetVHostLimit("v", auth.MaxQueues, 3); err != nil {
		t.Fatal(err)
	}
	n.disk.commit()
	n = restart(t, n.disk)
	want.Limits = auth.Limits{{Name: "max-queues", Value: 3}}
	if got := n.b.VHost("v").Settings(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := len(n.b.VHost("v").Exchanges()); got != 7 { // EX-1
		t.Errorf("got %d exchanges, want 7", got)
	}
	_, err := n.b.RemoveVHost(n.now, "v", &n.out)
	var r *Refusal
	if !errors.As(err, &r) || r.Kind != Protected {
		t.Errorf("a protected virtual host: got %v", err)
	}
	if _, err := n.b.SetVHost(topology.VHost{Name: "v"}); err != nil {
		t.Fatal(err)
	}
	if got := n.b.VHost("v").Settings(); !reflect.DeepEqual(got, topology.VHost{Name: "v", Limits: want.Limits}) {
		t.Errorf("changed: got %+v, want only its limits", got)
	}
	if _, err := n.b.RemoveVHost(n.now, "v", &n.out); err != nil || n.b.VHost("v") != nil {
		t.Errorf("unprotected: got %v", err)
	}
	if _, err := n.b.RemoveVHost(n.now, "v", &n.out); !errors.As(err, &r) || r.Kind != NotFound {
		t.Errorf("deleted twice: got %v", err)
	}
	if _, err := n.b.SetVHost(topology.VHost{Name: "v", DefaultQueueType: "stream"}); !errors.As(err, &r) || r.Kind != Invalid || n.b.VHost("v") != nil {
		t.Errorf("a type there is none of: got %v", err)
	}
}

//
func TestQueuesAreOfTheirVirtualHostsType(t *testing.T) {
	n := newNode(t)
	n.queue("before")
	if _, err := n.b.SetVHost(topology.VHost{Name: "/", DefaultQueueType: "quorum"}); err != nil {
		t.Fatal(err)
	}
	f := func(q *queue.Queue, want queue.Type) {
		t.Helper()
		if got := q.Options().Type; got != want {
			t.Errorf("%v: got %v, want %v", q, got, want)
		}
	}
	f(n.queue("q"), queue.Quorum)
	f(n.queue("q"), queue.Quorum) // declared again
	f(n.queue("before"), queue.Classic)
	f(n.queue("classic", with("x-queue-type", "classic")), queue.Classic)
	f(n.queue("transient", transientQueue), queue.Classic)
	f(n.queue("exclusive", exclusive), queue.Classic)
	f(n.queue("passing", autoDeleteQueue), queue.Classic)
	f(n.queue(""), queue.Classic)
	if _, err := n.b.SetVHost(topology.VHost{Name: "/"}); err != nil {
		t.Fatal(err)
	}
	_, _, err := n.v.DeclareQueue(n.now, "me", queue.Spec{Name: "q", Durable: true}, nil, &n.out)
	refused(t, err, "soft 406 PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received 'classic' but current is 'quorum'")
	n.disk.commit()
	n = restart(t, n.disk)
	f(n.queue("q", with("x-queue-type", "quorum")), queue.Quorum)
}

// LIM-2, ERR-22, Q-15
func TestVirtualHostHasNoMoreQueuesThanItMay(t *testing.T) {
	n := newNode(t)
	declare := func(name, want string) {
		t.Helper()
		_, _, err := n.v.DeclareQueue(n.now, "me", queue.Spec{Name: name, Durable: true}, nil, &n.out)
		refused(t, err, want)
	}
	limit := func(value int64) {
		t.Helper()
		if _, err := n.b.SetVHostLimit("/", auth.MaxQueues, value); err != nil {
			t.Fatal(err)
		}
	}
	full := func(name string, value int) string {
		return fmt.Sprintf("soft 406 PRECONDITION_FAILED - cannot declare queue '%s': queue limit in vhost '/' (%d) is reached", name, value)
	}
	declare("a", "")
	declare("b", "")
	limit(1) // what is there stays
	declare("a", "")
	declare("c", full("c", 1))
	limit(2)
	if _, _, err := n.v.DeleteQueue(n.now, "me", "b", queue.DeleteOptions{}, nil, &n.out); err != nil {
		t.Fatal(err)
	}
	declare("c", "")
	declare("d", full("d", 2))
	n.disk.commit()
	n = restart(t, n.disk)
	declare("d", full("d", 2))
	limit(-1)
	declare("d", "")
	limit(0)
	declare("e", full("e", 0))
	if _, err := n.b.ClearVHostLimit("/", auth.MaxQueues); err != nil {
		t.Fatal(err)
	}
	declare("e", "")
	if _, err := n.b.SetVHostLimit("/", "max-bytes", 1); err == nil || err.Error() != "Validation failed\n\nUnrecognised terms [{<<\"max-bytes\">>,1}] in limits\n" {
		t.Errorf("got %v", err)
	}
	if _, err := n.b.SetVHostLimit("nowhere", auth.MaxQueues, 1); err == nil || err.Error() != "vhost_not_found" {
		t.Errorf("got %v", err)
	}
}
