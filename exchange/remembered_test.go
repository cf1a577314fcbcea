package exchange

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/leveretmq/leveret/binding"
)

// pattern and its routing key of the benchmarks: two bindings in a thousand match.
func patternOf(i int) string {
	return [...]string{"a%d.*.c%[1]d", "a%d.#", "*.b%d.*", "#.c%d"}[i%4]
}

func keyOf(i int) string { return fmt.Sprintf("a%d.b%[1]d.c%[1]d", i) }

// TestRememberedAnswersAreThoseOfTheBindings has bindings come and go between messages of few
// keys, which are therefore remembered, and compares with what the trie says.
func TestRememberedAnswersAreThoseOfTheBindings(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	words := []string{"a", "b", "c", "*", "#"}
	key := func(words []string) string {
		k := words[rng.IntN(len(words))]
		for range rng.IntN(3) {
			k += "." + words[rng.IntN(len(words))]
		}
		return k
	}
	x := mustNew(t, "topic")
	var trie binding.Trie
	type bound struct {
		b binding.Binding
		d *binding.Destination
	}
	var all []bound
	found := 0
	answers := &x.typ.(*topic).answers
	for i := range 5000 {
		switch {
		case len(all) < 2*rememberFrom || i%100 == 0:
			n := bound{binding.Binding{RoutingKey: key(words)}, &binding.Destination{Name: fmt.Sprint(i)}}
			all = append(all, n)
			x.Bind(n.b, n.d)
			trie.Add(n.b, n.d)
		case i%100 == 50:
			at := rng.IntN(len(all))
			x.Unbind(all[at].b, all[at].d)
			trie.Remove(all[at].b, all[at].d)
			all = slices.Delete(all, at, at+1)
		}
		k := key(words[:3])
		if _, known := answers.find(k, nil); known {
			found++
		}
		other := &binding.Destination{Name: "before"}
		got, want := x.Route(published(t, k, nil), []*binding.Destination{other}), trie.Match([]*binding.Destination{other}, k)
		if !slices.Equal(got, want) {
			t.Fatalf("message %d, key %q: got %d destinations, want %d", i, k, len(got), len(want))
		}
	}
	if found < 500 {
		t.Errorf("%d of 5000 keys were remembered, want at least 500", found)
	}
}

func TestKeysThatComeAgainAreRemembered(t *testing.T) {
	x := mustNew(t, "topic")
	answers := &x.typ.(*topic).answers
	d := &binding.Destination{Name: "d"}
	for i := range rememberFrom - 1 {
		x.Bind(binding.Binding{RoutingKey: fmt.Sprintf(patternOf(i), i)}, d)
	}
	if answers.places != nil {
		t.Errorf("%d bindings have room for answers, which are found as quickly without", rememberFrom-1)
	}
	const bindings, rounds = 1000, 60
	for i := rememberFrom - 1; i < bindings; i++ {
		x.Bind(binding.Binding{RoutingKey: fmt.Sprintf(patternOf(i), i)}, d)
	}
	var dst []*binding.Destination
	for range rounds {
		for i := range bindings {
			dst = x.Route(published(t, keyOf(i), nil), dst[:0])
		}
	}
	known := 0
	for i := range bindings {
		if _, ok := answers.find(keyOf(i), nil); ok {
			known++
		}
	}
	if known < bindings*9/10 {
		t.Errorf("%d of %d keys are remembered after %d rounds, want nine tenths", known, bindings, rounds)
	}
	if n := len(answers.places); n > rememberMost {
		t.Errorf("got room for %d answers, want %d at most", n, rememberMost)
	}
}

func BenchmarkTopicRoute(b *testing.B) {
	run := func(name string, bindings, keys int) {
		b.Run(fmt.Sprintf("%s/bindings=%d", name, bindings), func(b *testing.B) {
			x, err := New(Spec{Name: "x", Type: "topic"}, seed)
			if err != nil {
				b.Fatal(err)
			}
			for i := range bindings {
				x.Bind(binding.Binding{RoutingKey: fmt.Sprintf(patternOf(i), i)}, &binding.Destination{Name: fmt.Sprint(i)})
			}
			m := published(b, "", nil)
			all := make([]string, keys)
			for i := range all {
				all[i] = keyOf(i)
			}
			var dst []*binding.Destination
			found := 0
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				m.RoutingKey = all[i%keys]
				dst = x.Route(m, dst[:0])
				found += len(dst)
			}
			if found == 0 {
				b.Fatal("no key matched")
			}
		})
	}
	for _, n := range []int{10, 1000, 100000} {
		run("again", n, min(n, 1000))
	}
	run("once", 1000, 1_000_000)
}
