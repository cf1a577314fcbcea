package exchange

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/message"
)

// bound returns an exchange with n queues bound to it, each with the weight or key 1.
func bound(t *testing.T, s Spec, n int) (*Exchange, []*binding.Destination) {
	t.Helper()
	if err := s.CheckArguments(); err != nil {
		t.Fatal(err)
	}
	x, err := New(s, seed)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]*binding.Destination, n)
	for i := range all {
		all[i] = &binding.Destination{Name: fmt.Sprint("q", i)}
		x.Bind(binding.Binding{RoutingKey: "1"}, all[i])
	}
	return x, all
}

// EX-51, EX-52
func TestRandomPicksEachBindingAsOften(t *testing.T) {
	for _, typ := range []string{"x-random", "x-local-random"} {
		picksEachAsOften(t, typ)
	}
}

func picksEachAsOften(t *testing.T, typ string) {
	t.Helper()
	x, all := bound(t, Spec{Type: typ}, 3)
	x.Bind(binding.Binding{RoutingKey: "again"}, all[0])
	m := published(t, "k", nil)
	m.More = &message.MoreKeys{CC: []string{"a", "b"}}
	got := make(map[*binding.Destination]int)
	for range 40_000 {
		dst := x.Route(m, nil)
		if len(dst) != 1 {
			t.Fatalf("got %d destinations, want 1 whatever the keys", len(dst))
		}
		got[dst[0]]++
	}
	for i, want := range []int{20_000, 10_000, 10_000} {
		if n := got[all[i]]; n < want-500 || n > want+500 {
			t.Errorf("%s: queue %d: got %d messages, want about %d", typ, i, n, want)
		}
	}
	if empty := mustNew(t, typ).Route(m, nil); len(empty) != 0 {
		t.Errorf("without bindings: got %d destinations, want none", len(empty))
	}
}

// EX-52
func TestLocalRandomIsForClassicQueuesWithoutKey(t *testing.T) {
	x := mustNew(t, "x-local-random")
	refused(t, x.ValidateBinding(binding.Binding{RoutingKey: "k", Kind: binding.Exchange}), 406, "PRECONDITION_FAILED - Non empty binding 'k' key not permitted")
	refused(t, x.ValidateBinding(binding.Binding{Kind: binding.Exchange}), 406, "PRECONDITION_FAILED - Destination not found")
	refused(t, x.ValidateQueue("quorum"), 406, "PRECONDITION_FAILED - Queue type rabbit_quorum_queue not valid for this exchange type")
	if err := cmp.Or(x.ValidateBinding(binding.Binding{}), x.ValidateQueue("classic")); err != nil {
		t.Errorf("got %v, want a classic queue taken", err)
	}
	for _, typ := range Types() {
		if typ == "x-local-random" {
			continue
		}
		if err := mustNew(t, typ).ValidateQueue("quorum"); err != nil {
			t.Errorf("%s: got %v, want any queue taken", typ, err)
		}
	}
}

// EX-51
func TestSeedReplaysRandomChoices(t *testing.T) {
	choices := func(seed uint64) (names []string) {
		x, err := New(Spec{Type: "x-random"}, func() uint64 { return seed })
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			x.Bind(binding.Binding{}, &binding.Destination{Name: fmt.Sprint(i)})
		}
		for range 50 {
			names = append(names, x.Route(published(t, "k", nil), nil)[0].Name)
		}
		return names
	}
	if !slices.Equal(choices(7), choices(7)) {
		t.Error("the same seed made other choices")
	}
	if slices.Equal(choices(7), choices(8)) {
		t.Error("another seed made the same choices")
	}
}

// EX-53
func TestModulusHashGoesByAllKeys(t *testing.T) {
	x, _ := bound(t, Spec{Type: "x-modulus-hash"}, 8)
	route := func(key string, more *message.MoreKeys) string {
		t.Helper()
		m := published(t, key, nil)
		m.More = more
		dst := x.Route(m, nil)
		if len(dst) != 1 {
			t.Fatalf("got %d destinations, want 1", len(dst))
		}
		return dst[0].Name
	}
	seen, differ := make(map[string]int), 0
	for i := range 800 {
		key := fmt.Sprint("k", i)
		alone := route(key, nil)
		seen[alone]++
		if route(key, nil) != alone {
			t.Errorf("key %s went elsewhere the second time", key)
		}
		if route(key, &message.MoreKeys{CC: []string{"cc"}}) != alone {
			differ++
		}
	}
	for name, n := range seen {
		if n < 60 || n > 140 {
			t.Errorf("%s: got %d of 800 keys, want about 100", name, n)
		}
	}
	if len(seen) != 8 || differ < 600 {
		t.Errorf("got %d queues and %d messages moved by a CC, want 8 and about 700", len(seen), differ)
	}
}

// EX-50
func TestConsistentHashGoesByOneThing(t *testing.T) {
	content := func(key string, p amqp.Properties) *message.Message {
		t.Helper()
		m, err := message.New(message.Content{RoutingKey: key, Properties: p.Append(nil)})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	// same and other make the i-th message: with what is hashed alike, and different.
	f := func(arguments amqp.Table, same, other func(i int) *message.Message) {
		t.Helper()
		x, _ := bound(t, Spec{Type: "x-consistent-hash", Arguments: arguments}, 8)
		if n := len(reached(t, x, same)); n != 1 {
			t.Errorf("%v: what is alike went to %d queues, want 1", arguments, n)
		}
		if n := len(reached(t, x, other)); n != 8 {
			t.Errorf("%v: what is different went to %d queues, want 8", arguments, n)
		}
	}
	properties := func(p func(i int, p *amqp.Properties)) func(i int) *message.Message {
		return func(i int) *message.Message {
			var all amqp.Properties
			p(i, &all)
			return content(fmt.Sprint("key-", i), all)
		}
	}
	argument := func(name, value string) amqp.Table { return amqp.Table{{Name: name, Value: value}} }

	f(nil,
		func(i int) *message.Message {
			m := content("key", amqp.Properties{Flags: amqp.FlagMessageID, MessageID: fmt.Sprint(i)})
			m.More = &message.MoreKeys{CC: []string{fmt.Sprint(i)}} // only the first key counts
			return m
		},
		func(i int) *message.Message { return content(fmt.Sprint("key-", i), amqp.Properties{}) })
	f(argument("hash-header", "h"),
		properties(func(_ int, p *amqp.Properties) {
			p.Flags, p.Headers = amqp.FlagHeaders, amqp.Table{{Name: "h", Value: "v"}}
		}),
		properties(func(i int, p *amqp.Properties) {
			p.Flags, p.Headers = amqp.FlagHeaders, amqp.Table{{Name: "h", Value: int32(i)}}
		}))
	f(argument("hash-property", "message_id"),
		properties(func(_ int, p *amqp.Properties) { p.Flags, p.MessageID = amqp.FlagMessageID, "m" }),
		properties(func(i int, p *amqp.Properties) { p.Flags, p.MessageID = amqp.FlagMessageID, fmt.Sprint(i) }))
	f(argument("hash-property", "correlation_id"),
		properties(func(_ int, p *amqp.Properties) { p.Flags, p.CorrelationID = amqp.FlagCorrelationID, "c" }),
		properties(func(i int, p *amqp.Properties) {
			p.Flags, p.CorrelationID = amqp.FlagCorrelationID, fmt.Sprint(i)
		}))
	f(argument("hash-property", "timestamp"),
		properties(func(int, *amqp.Properties) {}), // all that have none are alike
		properties(func(i int, p *amqp.Properties) { p.Flags, p.Timestamp = amqp.FlagTimestamp, amqp.Timestamp(i) }))
}

// reached returns where 200 messages went.
func reached(t *testing.T, x *Exchange, message func(i int) *message.Message) map[string]bool {
	t.Helper()
	seen := make(map[string]bool)
	for i := range 200 {
		dst := x.Route(message(i), nil)
		if len(dst) != 1 {
			t.Fatalf("got %d destinations, want 1", len(dst))
		}
		seen[dst[0].Name] = true
	}
	return seen
}

// EX-50
func TestConsistentHashRefusesWhatItCannotHash(t *testing.T) {
	f := func(want string, arguments ...amqp.Field) {
		t.Helper()
		s := Spec{VHost: "/", Name: "x", Type: "x-consistent-hash", Arguments: arguments}
		if want == "" {
			if err := s.CheckArguments(); err != nil {
				t.Errorf("%v: got %v, want it accepted", arguments, err)
			}
			return
		}
		refused(t, s.CheckArguments(), 406, "PRECONDITION_FAILED - "+want)
	}
	header := amqp.Field{Name: "hash-header", Value: "h"}
	f("")
	f("", header)
	for _, p := range []string{"correlation_id", "message_id", "timestamp"} {
		f("", amqp.Field{Name: "hash-property", Value: p})
	}
	f("Unsupported property: app_id", amqp.Field{Name: "hash-property", Value: "app_id"})
	f("hash-header and hash-property are mutually exclusive", header, amqp.Field{Name: "hash-property", Value: "app_id"})
	f("invalid type 'signedint' for arg 'hash-header' in exchange 'x' in vhost '/'",
		amqp.Field{Name: "hash-header", Value: int32(1)})
	f("invalid type 'bool' for arg 'hash-property' in exchange 'x' in vhost '/'",
		amqp.Field{Name: "hash-property", Value: true})

	refused(t, mustNew(t, "x-consistent-hash").ValidateBinding(binding.Binding{RoutingKey: "many"}), 406,
		`PRECONDITION_FAILED - The binding key must be an integer: <<"many">>`)
}

// An answer is used again only where the routing key alone makes it.
func TestWhatTheRoutingKeyDecides(t *testing.T) {
	f := func(s Spec, want bool) {
		t.Helper()
		x, err := New(s, seed)
		if err != nil {
			t.Fatal(err)
		}
		if got := x.ByKey(); got != want {
			t.Errorf("%s %v: got %v, want %v", s.Type, s.Arguments, got, want)
		}
	}
	for _, typ := range []string{"direct", "fanout", "topic", "x-modulus-hash", "x-consistent-hash"} {
		f(Spec{Type: typ}, true)
	}
	f(Spec{Type: "headers"}, false)
	f(Spec{Type: "x-random"}, false)
	f(Spec{Type: "x-local-random"}, false)
	f(Spec{Type: "x-consistent-hash", Arguments: amqp.Table{{Name: "hash-header", Value: "h"}}}, false)
	f(Spec{Type: "x-consistent-hash", Arguments: amqp.Table{{Name: "hash-property", Value: "timestamp"}}}, false)
}
