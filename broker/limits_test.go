package broker

import (
	"strings"
	"testing"

	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

func TestVHostHasSoManyBindings(t *testing.T) { // C25
	n := newNode(t)
	n.queue("q")
	bind := func(key string) error {
		_, err := n.v.Bind(nil, binding.Binding{Source: "amq.topic", Destination: "q", Kind: binding.Queue, RoutingKey: key}, nil)
		return err
	}
	if _, err := n.b.SetVHostLimit("/", auth.MaxBindings, 2); err != nil {
		t.Fatal(err)
	}
	refused(t, bind("a"), "")
	refused(t, bind("b"), "")
	refused(t, bind("b"), "") // it is there (EX-20)
	refused(t, bind("c"), "soft 406 PRECONDITION_FAILED - cannot bind to 'amq.topic': binding limit in vhost '/' (2) is reached")
}

// TestUserHasMadeSoManyQueuesAndBindings in each virtual host, and may make another when one of
// them has gone. What is nobody's counts for nobody.
func TestUserHasMadeSoManyQueuesAndBindings(t *testing.T) { // C25
	n := newNode(t)
	declare := func(v *VHost, name, by string) error {
		_, _, err := v.DeclareQueue(n.now, nil, queue.Spec{Name: name, Durable: true, By: by}, nil, &n.out)
		return err
	}
	bind := func(key, by string) error {
		_, err := n.v.Bind(nil, binding.Binding{Source: "amq.topic", Destination: "1", Kind: binding.Queue, RoutingKey: key, By: by}, nil)
		return err
	}
	for _, limit := range []string{auth.MaxQueues, auth.MaxBindings} {
		if _, err := n.b.SetUserLimit("guest", limit, 2); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, declare(n.v, "1", "guest"), "")
	refused(t, declare(n.v, "2", "guest"), "")
	refused(t, declare(n.v, "2", "guest"), "") // it is there
	const tooMany = "soft 406 PRECONDITION_FAILED - cannot declare queue '3': queue limit of user 'guest' in vhost '/' (2) is reached"
	refused(t, declare(n.v, "3", "guest"), tooMany)
	refused(t, declare(n.v, "3", "other"), "")
	refused(t, declare(n.v, "4", ""), "")
	if _, err := n.b.SetVHost(topology.VHost{Name: "v"}); err != nil {
		t.Fatal(err)
	}
	refused(t, declare(n.b.VHost("v"), "3", "guest"), "")

	refused(t, bind("a", "guest"), "")
	refused(t, bind("b", "guest"), "")
	refused(t, bind("b", "guest"), "")
	const tooManyBound = "soft 406 PRECONDITION_FAILED - cannot bind to 'amq.topic': binding limit of user 'guest' in vhost '/' (2) is reached"
	refused(t, bind("c", "guest"), tooManyBound)
	refused(t, bind("c", "other"), "")
	if got := n.b.Counters.UserLimitsReached.Load(); got != 2 {
		t.Errorf("got %d refused for a limit of their user, want 2", got)
	}
	// Whoever takes it away, it was the user's.
	if _, err := n.v.Unbind(nil, binding.Binding{Source: "amq.topic", Destination: "1", Kind: binding.Queue, RoutingKey: "b"}, nil); err != nil {
		t.Fatal(err)
	}
	refused(t, bind("d", "guest"), "")
	refused(t, bind("e", "guest"), tooManyBound)

	n.disk.commit()
	n = restart(t, n.disk)
	refused(t, declare(n.v, "3x", "guest"), strings.Replace(tooMany, "'3'", "'3x'", 1))
	refused(t, bind("e", "guest"), tooManyBound)
	// With a queue go its bindings.
	if _, _, err := n.v.DeleteQueue(n.now, nil, "1", queue.DeleteOptions{}, nil, &n.out); err != nil {
		t.Fatal(err)
	}
	refused(t, declare(n.v, "1", "guest"), "")
	refused(t, bind("e", "guest"), "")
	refused(t, bind("f", "guest"), "")
	refused(t, bind("g", "guest"), tooManyBound)
	if got, want := n.v.made["guest"], (made{queues: 2, bindings: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, name := range []string{"1", "2"} {
		if _, _, err := n.v.DeleteQueue(n.now, nil, name, queue.DeleteOptions{}, nil, &n.out); err != nil {
			t.Fatal(err)
		}
	}
	if got, there := n.v.made["guest"]; there {
		t.Errorf("got %+v of a user whose things are gone", got)
	}
}
