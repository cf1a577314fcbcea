package exchange

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/message"
)

// EX-30, EX-31, EX-32, EX-33
func TestEachTypeRoutesItsWay(t *testing.T) {
	f := func(typ string, b binding.Binding, m *message.Message, want bool) {
		t.Helper()
		x := mustNew(t, typ)
		d := &binding.Destination{Name: "q"}
		x.Bind(b, d)
		if got := len(x.Route(m, nil)) == 1; got != want {
			t.Errorf("%s, bound with %q %v, key %q: got %v, want %v", typ, b.RoutingKey, b.Arguments, m.RoutingKey, got, want)
		}
		x.Unbind(b, d)
		if got := x.Route(m, nil); len(got) != 0 {
			t.Errorf("%s, unbound again: got %d destinations, want none", typ, len(got))
		}
	}
	key := func(k string) binding.Binding { return binding.Binding{RoutingKey: k} }
	f("direct", key("a.b"), published(t, "a.b", nil), true)
	f("direct", key("a.*"), published(t, "a.b", nil), false)
	f("fanout", key("x"), published(t, "a.b", nil), true)
	f("topic", key("a.*"), published(t, "a.b", nil), true)
	f("topic", key("b.#"), published(t, "a.b", nil), false)
	f("topic", key("#.#.#.#"), published(t, "a.b", nil), true)

	header := amqp.Table{{Name: "format", Value: "pdf"}}
	f("headers", binding.Binding{Arguments: header}, published(t, "k", header), true)
	f("headers", binding.Binding{RoutingKey: "k", Arguments: header}, published(t, "k", nil), false)
	f("headers", binding.Binding{}, published(t, "k", nil), true) // EX-35
}

// EX-37
func TestEveryKeyOfAMessageIsRouted(t *testing.T) {
	f := func(typ string, want ...string) {
		t.Helper()
		x := mustNew(t, typ)
		for _, name := range []string{"a", "b", "c", "d"} {
			x.Bind(binding.Binding{RoutingKey: name}, &binding.Destination{Name: name})
		}
		both := &binding.Destination{Name: "both"}
		x.Bind(binding.Binding{RoutingKey: "a"}, both)
		x.Bind(binding.Binding{RoutingKey: "b"}, both)
		before := both // as if another exchange had led there
		m := published(t, "a", nil)
		m.More = &message.MoreKeys{CC: []string{"b", "a", "nowhere"}, BCC: []string{"c"}}
		got := x.Route(m, []*binding.Destination{before})
		var list []string
		for _, d := range got[1:] {
			list = append(list, d.Name)
		}
		slices.Sort(list)
		if !slices.Equal(list, want) || got[0] != before {
			t.Errorf("%s: got %v, want %v", typ, list, want)
		}
		if in, out := x.PublishedIn.Load(), x.PublishedOut.Load(); in != 1 || out != uint64(len(want)) {
			t.Errorf("%s: counted %d in and %d out, want 1 and %d", typ, in, out, len(want))
		}
	}
	f("direct", "a", "b", "both", "c")
	f("topic", "a", "b", "both", "c")
	f("fanout", "a", "b", "both", "c", "d")
	f("headers", "a", "b", "both", "c", "d")
}

// ERR-23
func TestUnknownTypeIsRefused(t *testing.T) {
	for _, typ := range []string{"", "Direct", "x-jms-topic"} { // EX-57
		_, err := New(Spec{Name: "x", Type: typ}, seed)
		refused(t, err, 406, "PRECONDITION_FAILED - unknown exchange type '"+typ+"'")
		refused(t, CheckType(typ), 406, "PRECONDITION_FAILED - unknown exchange type '"+typ+"'")
	}
	for _, typ := range Types() {
		if err := CheckType(typ); err != nil {
			t.Errorf("type %s: got %v, want it known", typ, err)
		}
	}
}

// ERR-24, EX-21
func TestOnlyHeadersLooksAtTheArgumentsOfABinding(t *testing.T) {
	for _, typ := range Types() {
		b := binding.Binding{RoutingKey: "5", Arguments: amqp.Table{{Name: "x-match", Value: "most"}}}
		if typ == typeLocalRandom {
			b.RoutingKey = "" // a key it refuses
		}
		err := mustNew(t, typ).ValidateBinding(b)
		if typ == "headers" {
			refused(t, err, 406,
				`PRECONDITION_FAILED - Invalid x-match field value <<"most">>; expected all, any, all-with-x, or any-with-x`)
		} else if err != nil {
			t.Errorf("%s: got %v, want the binding accepted", typ, err)
		}
	}
}

func TestBindingWhileRoutingIsSafe(t *testing.T) {
	for _, typ := range Types() {
		x := mustNew(t, typ)
		header := amqp.Table{{Name: "n", Value: int64(0)}}
		b := binding.Binding{RoutingKey: "a.b", Arguments: header}
		keys := []string{"a.b", "a.*", "#.b.#", "a.c"}
		if oneOf(typ) {
			b.RoutingKey, keys = "5", []string{"1", "2", "3", "4"}
		}
		stays := &binding.Destination{Name: "stays"}
		x.Bind(b, stays)
		m := published(t, "a.b", header)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				var dst []*binding.Destination
				for range 500 {
					if dst = x.Route(m, dst[:0]); !slices.Contains(dst, stays) && !(oneOf(typ) && len(dst) == 1) {
						t.Errorf("%s: a binding that stays was missed", typ)
						return
					}
				}
			})
		}
		wg.Go(func() {
			for i := range 500 {
				b := binding.Binding{
					RoutingKey: keys[i%4],
					Arguments:  amqp.Table{{Name: fmt.Sprint("n", i%3), Value: int64(i)}},
				}
				d := &binding.Destination{Name: "comes and goes"}
				x.Bind(b, d)
				x.Unbind(b, d)
			}
		})
		wg.Wait()
	}
}

func BenchmarkRoute(b *testing.B) {
	for _, typ := range Types() {
		for _, n := range []int{100, 10000} {
			if typ == "fanout" {
				n /= 100 // every one of them is a destination
			}
			b.Run(fmt.Sprintf("%s/bindings=%d", typ, n), func(b *testing.B) {
				x, err := New(Spec{Name: "x", Type: typ}, seed)
				if err != nil {
					b.Fatal(err)
				}
				headers := func(i int) amqp.Table {
					return amqp.Table{{Name: "format", Value: "pdf"}, {Name: "customer", Value: int64(i)}}
				}
				for i := range n {
					key := fmt.Sprintf("customer.%d", i)
					if oneOf(typ) {
						key = "1"
					}
					x.Bind(binding.Binding{RoutingKey: key, Arguments: headers(i)},
						&binding.Destination{Name: fmt.Sprint(i)})
				}
				m := published(b, fmt.Sprintf("customer.%d", n/2), headers(n/2))
				var dst []*binding.Destination
				b.ReportAllocs()
				for b.Loop() {
					dst = x.Route(m, dst[:0])
				}
				if want := map[bool]int{true: n, false: 1}[typ == "fanout"]; len(dst) != want {
					b.Fatalf("got %d destinations, want %d", len(dst), want)
				}
			})
		}
	}
}

func seed() uint64 { return 1 }

// oneOf tells which types route to one of what matches, and not to all of it.
func oneOf(typ string) bool {
	return typ == "x-consistent-hash" || typ == "x-modulus-hash" || typ == "x-random" || typ == typeLocalRandom
}

func mustNew(t *testing.T, typ string) *Exchange {
	t.Helper()
	s := Spec{VHost: "/", Name: strings.ToUpper(typ), Type: typ}
	if typ == delayedMessage {
		s.Arguments = amqp.Table{{Name: delayedType, Value: "direct"}}
	}
	x, err := New(s, seed)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func published(t testing.TB, key string, headers amqp.Table) *message.Message {
	t.Helper()
	p := amqp.Properties{Headers: headers}
	if headers != nil {
		p.Flags = amqp.FlagHeaders
	}
	m, err := message.New(message.Content{RoutingKey: key, Properties: p.Append(nil)})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
