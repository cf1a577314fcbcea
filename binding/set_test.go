package binding

import (
	"fmt"
	"math/rand"
	"slices"
	"strconv"
	"testing"

	"github.com/leveretmq/leveret/amqp"
)

// EX-20
func TestBindingsAreTheSameWhenAllTheirPartsAre(t *testing.T) {
	f := func(a, b Binding, want bool) {
		t.Helper()
		if got := a.Key() == b.Key(); got != want {
			t.Errorf("keys of %v and %v: got equal %v, want %v", a, b, got, want)
		}
		var s Set
		s.Add(a)
		if got := !s.Add(b); got != want {
			t.Errorf("set of %v and %v: got equal %v, want %v", a, b, got, want)
		}
		if got := s.Contains(b); !got {
			t.Errorf("set does not contain %v, which was added", b)
		}
	}
	arguments := func(fields ...amqp.Field) Binding {
		return Binding{Source: "x", Destination: "q", RoutingKey: "k", Arguments: fields}
	}
	b := Binding{Source: "x", Destination: "q", RoutingKey: "k"}
	f(b, b, true)
	f(b, Binding{Source: "y", Destination: "q", RoutingKey: "k"}, false)
	f(b, Binding{Source: "x", Destination: "p", RoutingKey: "k"}, false)
	f(b, Binding{Source: "x", Destination: "q", RoutingKey: "l"}, false)
	f(b, Binding{Source: "x", Destination: "q", Kind: Exchange, RoutingKey: "k"}, false)
	f(b, arguments(), true)
	f(b, arguments(amqp.Field{Name: "a"}), false)
	f(arguments(amqp.Field{Name: "n", Value: int64(2)}), arguments(amqp.Field{Name: "n", Value: int64(2)}), true)
	f(arguments(amqp.Field{Name: "n", Value: int64(2)}), arguments(amqp.Field{Name: "n", Value: int32(2)}), false)
	f(arguments(amqp.Field{Name: "n", Value: "v"}), arguments(amqp.Field{Name: "n", Value: []byte("v")}), false)
	// The order in which a client's library writes its map does not matter.
	f(arguments(amqp.Field{Name: "a", Value: "1"}, amqp.Field{Name: "b", Value: "2"}),
		arguments(amqp.Field{Name: "b", Value: "2"}, amqp.Field{Name: "a", Value: "1"}), true)
	// No part runs into the next one.
	f(Binding{Source: "xq", Destination: "k"}, Binding{Source: "x", Destination: "qk"}, false)
	f(Binding{Destination: "q", RoutingKey: "kk"}, Binding{Destination: "qk", RoutingKey: "k"}, false)
}

func TestSetListsBindingsInTheOrderTheyWereMade(t *testing.T) {
	var s Set
	add := func(source, destination string, kind Kind) {
		s.Add(Binding{Source: source, Destination: destination, Kind: kind})
	}
	f := func(what string, got []Binding, want ...string) {
		t.Helper()
		var list []string
		for _, b := range got {
			list = append(list, b.Source+">"+b.Destination)
		}
		if !slices.Equal(list, want) {
			t.Errorf("%s: got %v, want %v", what, list, want)
		}
	}
	add("x", "q", Queue)
	add("y", "q", Queue)
	add("x", "p", Queue)
	add("y", "x", Exchange)
	add("x", "y", Exchange)
	add("x", "x", Exchange)
	add("x", "x", Queue) // a queue may have an exchange's name
	f("all", slices.Collect(s.All()), "x>q", "y>q", "x>p", "y>x", "x>y", "x>x", "x>x")
	f("from x", slices.Collect(s.From("x")), "x>q", "x>p", "x>y", "x>x", "x>x")
	f("from z", slices.Collect(s.From("z")))
	f("to queue q", slices.Collect(s.To(Queue, "q")), "x>q", "y>q")
	f("to exchange x", slices.Collect(s.To(Exchange, "x")), "y>x", "x>x")
	if got := s.CountFrom("x"); got != 5 {
		t.Errorf("count from x: got %d, want 5", got)
	}

	// EX-27: a queue takes the bindings that lead to it along.
	f("queue q goes", s.RemoveDestination(Queue, "q"), "x>q", "y>q")
	f("then all", slices.Collect(s.All()), "x>p", "y>x", "x>y", "x>x", "x>x")
	// EX-8: an exchange takes those of both its ends.
	f("source x goes", s.RemoveSource("x"), "x>p", "x>y", "x>x", "x>x")
	f("destination x goes", s.RemoveDestination(Exchange, "x"), "y>x")
	if s.Len() != 0 || len(s.from) != 0 || len(s.to) != 0 || len(s.byIdentity) != 0 {
		t.Errorf("got %d bindings, %d sources, %d destinations left, want none", s.Len(), len(s.from), len(s.to))
	}
	f("nothing is left", s.RemoveSource("x"))
}

func TestRemovingWhatIsNotThereChangesNothing(t *testing.T) {
	var s Set
	b := Binding{Source: "x", Destination: "q", Arguments: amqp.Table{{Name: "n", Value: int64(2)}}}
	other := Binding{Source: "x", Destination: "q", Arguments: amqp.Table{{Name: "n", Value: int32(2)}}}
	if _, there := s.Remove(b); there {
		t.Error("removed a binding from an empty set")
	}
	s.Add(b)
	if _, there := s.Remove(other); there {
		t.Error("removed a binding whose argument has another type")
	}
	if _, there := s.Remove(b); !there || s.Len() != 0 || s.CountFrom("x") != 0 {
		t.Error("did not remove what was there")
	}
}

func TestSetAgreesWithAList(t *testing.T) {
	for seed := range int64(30) {
		r := rand.New(rand.NewSource(seed))
		var s Set
		var model []Binding
		filter := func(keep func(Binding) bool) (kept []Binding) {
			for _, b := range model {
				if keep(b) {
					kept = append(kept, b)
				}
			}
			return kept
		}
		check := func(what string, got, want []Binding) {
			t.Helper()
			if !slices.EqualFunc(got, want, func(a, b Binding) bool { return a.Key() == b.Key() }) {
				t.Fatalf("seed %d: %s: got %v, want %v", seed, what, got, want)
			}
		}
		for range 500 {
			b := Binding{
				Source:      fmt.Sprint("x", r.Intn(5)),
				Destination: fmt.Sprint("x", r.Intn(5)),
				Kind:        Kind(r.Intn(2)),
				RoutingKey:  fmt.Sprint(r.Intn(4)),
			}
			same := func(o Binding) bool { return o.Key() == b.Key() }
			there := slices.ContainsFunc(model, same)
			from := func(o Binding) bool { return o.Source == b.Source }
			to := func(o Binding) bool { return o.Kind == b.Kind && o.Destination == b.Destination }
			switch r.Intn(16) {
			case 0:
				check("removed source", s.RemoveSource(b.Source), filter(from))
				model = slices.DeleteFunc(model, from)
			case 1:
				check("removed destination", s.RemoveDestination(b.Kind, b.Destination), filter(to))
				model = slices.DeleteFunc(model, to)
			case 2, 3, 4:
				if _, got := s.Remove(b); got != there {
					t.Fatalf("seed %d: remove %v: got %v, want %v", seed, b, got, there)
				}
				model = slices.DeleteFunc(model, same)
			default:
				if got := s.Add(b); got == there {
					t.Fatalf("seed %d: add %v: got new %v, want %v", seed, b, got, !there)
				}
				if !there {
					model = append(model, b)
				}
			}
			check("all", slices.Collect(s.All()), model)
			check("from", slices.Collect(s.From(b.Source)), filter(from))
			check("to", slices.Collect(s.To(b.Kind, b.Destination)), filter(to))
			if got, want := s.CountFrom(b.Source), len(filter(from)); got != want || s.Len() != len(model) {
				t.Fatalf("seed %d: got %d from %s and %d in all, want %d and %d", seed, got, b.Source, s.Len(), want, len(model))
			}
		}
	}
}

func BenchmarkSetAddRemove(b *testing.B) {
	for _, n := range []int{1000, 100000} {
		b.Run(fmt.Sprintf("bindings=%d", n), func(b *testing.B) {
			var s Set
			key := make([]string, n)
			for i := range n {
				key[i] = fmt.Sprint("key.", i)
				s.Add(Binding{Source: "x", Destination: fmt.Sprint("q", i%100), RoutingKey: key[i]})
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				one := Binding{Source: "x", Destination: "another", RoutingKey: key[i%n]}
				added := s.Add(one)
				if _, there := s.Remove(one); !added || !there {
					b.Fatal("a new binding was there, or was not after it was added")
				}
			}
		})
	}
}

// TestRoomOfManyBindingsIsGivenBack, and those that are left are found.
func TestRoomOfManyBindingsIsGivenBack(t *testing.T) { // C25
	var s Set
	const many, left = 4000, 10
	binding := func(i int) Binding {
		return Binding{Source: "x" + strconv.Itoa(i%7), Destination: "q" + strconv.Itoa(i), Kind: Queue}
	}
	for i := range many {
		s.Add(binding(i))
	}
	for i := left; i < many; i++ {
		if _, there := s.Remove(binding(i)); !there {
			t.Fatalf("binding %d was not there", i)
		}
	}
	if s.most > many/2 {
		t.Errorf("there is room for %d, of which %d are left", s.most, s.Len())
	}
	for i := range left {
		if !s.Contains(binding(i)) || len(slices.Collect(s.To(Queue, binding(i).Destination))) != 1 {
			t.Errorf("binding %d is gone", i)
		}
	}
	// 0 to 9 come from x0 to x6, and 0, 1 and 2 a second time.
	s.Add(binding(left))
	if got := s.CountFrom("x3"); got != 2 || !s.Contains(binding(left)) {
		t.Errorf("got %d bindings of x3, want the two", got)
	}
}
