package broker

import (
	"testing"

	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
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
