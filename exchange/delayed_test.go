package exchange

import (
	"testing"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/message"
)

// EX-55
func TestDelayedExchangeRoutesAsTheTypeItNames(t *testing.T) {
	x, err := New(Spec{Name: "x", Type: "x-delayed-message", Arguments: amqp.Table{{Name: "x-delayed-type", Value: "topic"}}}, seed)
	if err != nil {
		t.Fatal(err)
	}
	if !x.Delays() {
		t.Error("it does not delay")
	}
	d := &binding.Destination{Name: "q"}
	x.Bind(binding.Binding{Source: "x", Destination: "q", RoutingKey: "a.*"}, d)
	for key, want := range map[string]int{"a.b": 1, "b.a": 0} {
		m, err := message.New(message.Content{RoutingKey: key, Properties: []byte{0, 0}})
		if err != nil {
			t.Fatal(err)
		}
		if got := x.Route(m, nil); len(got) != want {
			t.Errorf("%s: %d destinations, want %d", key, len(got), want)
		}
	}
}

// EX-55
func TestDelayedTypeHasToBeAnotherExchangeType(t *testing.T) {
	f := func(arguments amqp.Table) {
		t.Helper()
		spec := Spec{Name: "x", Type: "x-delayed-message", Arguments: arguments}
		if err := CheckType(spec.Type); err != nil {
			t.Fatal(err)
		}
		_, err := New(spec, seed)
		const want = "PRECONDITION_FAILED - Invalid argument, 'x-delayed-type' must be an existing exchange type"
		if e, ok := err.(*amqp.Error); !ok || e.Code != amqp.ReplyPreconditionFailed || e.Text != want {
			t.Errorf("%v: got %v, want a 406 with %q", arguments, err, want)
		}
	}
	f(nil)
	f(amqp.Table{{Name: "x-delayed-type", Value: "x-delayed-message"}})
	f(amqp.Table{{Name: "x-delayed-type", Value: "nothing"}})
	f(amqp.Table{{Name: "x-delayed-type", Value: int32(1)}})
	f(amqp.Table{{Name: "delayed-type", Value: "direct"}})
}
