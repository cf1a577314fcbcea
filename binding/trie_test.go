package binding

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"
)

// EX-32
func TestTopicPatternMatchesWords(t *testing.T) {
	f := func(pattern, key string, want bool) {
		t.Helper()
		var trie Trie
		d := &Destination{Name: "q"}
		trie.Add(Binding{RoutingKey: pattern}, d)
		if got := len(trie.Match(nil, key)) == 1; got != want {
			t.Errorf("pattern %q, key %q: got %v, want %v", pattern, key, got, want)
		}
		if got := naiveTopic(pattern, key); got != want {
			t.Errorf("pattern %q, key %q: the naive twin says %v, want %v", pattern, key, got, want)
		}
	}
	f("a.b.c", "a.b.c", true)
	f("a.b.c", "a.b", false)
	f("a.b", "a.b.c", false)
	f("a.*.c", "a.b.c", true)
	f("a.*.c", "a..c", true) // one word may be empty
	f("a.*.c", "a.c", false)
	f("*", "a", true)
	f("*", "a.b", false)

	// Wildcards only as whole words.
	f("a.b#", "a.b", false)
	f("a.b#", "a.b#", true)
	f("a.*b", "a.xb", false)
	f("a.*b", "a.*b", true)

	// The empty key is no words at all.
	f("", "", true)
	f("", "a", false)
	f("", ".", false)
	f("#", "", true)
	f("*", "", false)
	f("*.#", "", false)

	// "a." is two words, "." is two empty ones.
	f("a.*", "a.", true)
	f("a.#", "a.", true)
	f("a", "a.", false)
	f("*.*", ".", true)
	f(".", ".", true)
	f("*.", ".", true)
	f(".*", ".", true)
	f("#", ".", true)
	f("*", ".", false)
	f(".", "", false)

	f("a.#", "a", true)
	f("a.#", "a.b.c", true)
	f("a.#", "b.a", false)
	f("#.b.#", "b", true)
	f("#.b.#", "a.b.c", true)
	f("#.b.#", "a.b.b", true)
	f("#.b.#", "a.bb.c", false)
	f("#.b", "a.b", true)
	f("#.b", "b.a", false)
	f("a.#.b", "a.b", true)
	f("a.#.b", "a.x.y.b", true)
	f("a.#.b", "a.x.y", false)

	// Runs of wildcards say how many words there are at least.
	f("#.*", "", false)
	f("#.*", "a", true)
	f("*.#.*", "a", false)
	f("*.#.*", "a.b", true)
	f("#.#.#", "", true)
	f("#.*.#.*.#.b", "x.b", false)
	f("#.*.#.*.#.b", "x.y.b", true)
	f("#.*.#.*.#.b", "x.y.z.b", true)

	// A routing key's own wildcards are words like others; case counts.
	f("a.b", "a.*", false)
	f("a.*", "a.*", true)
	f("a.b", "#", false)
	f("A", "a", false)
}

// EX-32
func TestTrieAgreesWithNaiveMatcher(t *testing.T) {
	for seed := range int64(25) {
		r := rand.New(rand.NewSource(seed))
		words := strings.Split("a b c * # # *", " ")
		if seed%2 == 1 { // enough literals for the map
			for i := range 20 {
				words = append(words, fmt.Sprint("w", i))
			}
		}
		text := func(most int) string {
			w := make([]string, r.Intn(most+1))
			for i := range w {
				if w[i] = words[r.Intn(len(words))]; r.Intn(12) == 0 {
					w[i] = ""
				}
			}
			return strings.Join(w, ".")
		}
		ds := someDestinations(1 + r.Intn(60))
		type bound struct {
			pattern string
			to      *Destination
		}
		var trie Trie
		var all []bound
		for range 400 {
			if len(all) > 0 && r.Intn(3) == 0 {
				i := r.Intn(len(all))
				trie.Remove(Binding{RoutingKey: all[i].pattern}, all[i].to)
				all = slices.Delete(all, i, i+1)
			} else {
				b := bound{text(6), ds[r.Intn(len(ds))]}
				trie.Add(Binding{RoutingKey: b.pattern}, b.to)
				all = append(all, b)
			}
			key := text(8)
			want := map[*Destination]bool{}
			for _, b := range all {
				if naiveTopic(b.pattern, key) {
					want[b.to] = true
				}
			}
			if got := trie.Match(nil, key); !sameDestinations(got, want) {
				t.Fatalf("seed %d: key %q with %v: got %v, want %v", seed, key, all, names(got), want)
			}
		}
		for _, b := range all {
			trie.Remove(Binding{RoutingKey: b.pattern}, b.to)
		}
		if !trie.root.empty() || len(trie.free) != trie.nested {
			t.Fatalf("seed %d: after removing everything, root %+v is left and %d of %d numbers are free",
				seed, trie.root, len(trie.free), trie.nested)
		}
	}
}

func TestRemovedPatternLeavesNoNodes(t *testing.T) {
	var trie Trie
	d, other := &Destination{Name: "q"}, &Destination{Name: "other"}
	patterns := []string{"", "a", "a.b", "a.*", "a.#", "#.a.#", "#.a.#.b.#", "*.#.*.c"}
	for _, p := range patterns {
		trie.Add(Binding{RoutingKey: p}, d)
		trie.Add(Binding{RoutingKey: p}, d)
	}
	for _, p := range patterns {
		trie.Remove(Binding{RoutingKey: p}, d)
		trie.Remove(Binding{RoutingKey: p}, other) // never added
	}
	if got := trie.Match(nil, "a.b"); len(got) != 1 || got[0] != d {
		t.Errorf("bound twice, unbound once: got %v, want [q]", names(got))
	}
	for _, p := range patterns {
		trie.Remove(Binding{RoutingKey: p}, d)
		trie.Remove(Binding{RoutingKey: p}, d) // once more than added
	}
	if !trie.root.empty() || len(trie.free) != trie.nested || trie.nested == 0 {
		t.Errorf("got root %+v, %d of %d numbers free, want nothing left", trie.root, len(trie.free), trie.nested)
	}
}

func TestTrieNamesADestinationOnce(t *testing.T) {
	var trie Trie
	ds := someDestinations(100)
	for _, p := range []string{"#", "a.#", "#.b", "a.*", "a.b", "*.b", "#.a.#"} {
		for _, d := range ds {
			trie.Add(Binding{RoutingKey: p}, d)
		}
	}
	before := &Destination{Name: "before"}
	got := trie.Match([]*Destination{before}, "a.b")
	if got[0] != before {
		t.Errorf("got %q at the front, want what was there before", got[0].Name)
	}
	want := map[*Destination]bool{}
	for _, d := range ds {
		want[d] = true
	}
	if !sameDestinations(got[1:], want) {
		t.Errorf("got %v, want each of 100 once", names(got[1:]))
	}
}

func TestTrieAnswersInAnOrderThatFollowsFromTheCalls(t *testing.T) {
	ds := someDestinations(50)
	run := func() []string {
		var trie Trie
		for i, d := range ds {
			trie.Add(Binding{RoutingKey: fmt.Sprintf("a.w%d", i)}, d)
			trie.Add(Binding{RoutingKey: "#.a.#"}, d)
			trie.Add(Binding{RoutingKey: "a.*"}, ds[(i*7)%50])
		}
		for i := 0; i < 50; i += 3 {
			trie.Remove(Binding{RoutingKey: "#.a.#"}, ds[i])
		}
		return names(trie.Match(nil, "a.w7"))
	}
	if first, second := run(), run(); !slices.Equal(first, second) {
		t.Errorf("got %v and then %v, want the same", first, second)
	}
}

// C26
func TestKeyOfManyWordsTakesLittleTime(t *testing.T) {
	f := func(what string, patterns []string, key string, want int) {
		t.Helper()
		var trie Trie
		for i, p := range patterns {
			trie.Add(Binding{RoutingKey: p}, &Destination{Name: fmt.Sprint(i)})
		}
		var dst []*Destination
		best := time.Hour
		for range 20 {
			began := time.Now()
			dst = trie.Match(dst[:0], key)
			best = min(best, time.Since(began))
		}
		if len(dst) != want {
			t.Errorf("%s: got %d destinations, want %d", what, len(dst), want)
		}
		t.Logf("%s: %v", what, best)
		if best > 20*time.Millisecond { // a millisecond where nothing else runs
			t.Errorf("%s: took %v", what, best)
		}
	}
	dots := strings.Repeat(".", 255)
	as := strings.Repeat("a.", 127) + "a"
	hundred := func(pattern func(i int) string) (p []string) {
		for i := range 100 {
			p = append(p, pattern(i))
		}
		return p
	}
	f("hashes and stars", hundred(func(i int) string {
		return strings.Repeat("#.", i+1) + strings.Repeat("*.", 20) + "#"
	}), dots, 100)
	f("by turns", hundred(func(i int) string { return strings.Repeat("#.*.", i%60+1) + "#" }), dots, 100)
	f("hashes between words", hundred(func(i int) string {
		return strings.Repeat("#.a.", i%60+1) + "#"
	}), as, 100)
	f("hashes between words, no match", hundred(func(i int) string {
		return strings.Repeat("#.a.", i%60+1) + fmt.Sprint("b", i)
	}), as, 0)
	f("hashes between empty words", hundred(func(i int) string {
		return strings.Repeat("#..", i%80+1) + "#"
	}), dots, 100)
	f("each its own", hundred(func(i int) string {
		return strings.Repeat("#.*.a.", i%40+1) + fmt.Sprint("#.", i)
	}), as, 0)
}

// topicBindings is the shape of S4: bindings with "*" and "#" to ten queues.
func topicBindings(n int) *Trie {
	trie := new(Trie)
	ds := someDestinations(10)
	for i := range n {
		trie.Add(Binding{RoutingKey: topicPattern(i)}, ds[i%len(ds)])
	}
	return trie
}

func topicPattern(i int) string {
	switch i % 4 {
	case 0:
		return fmt.Sprintf("r%d.*.e%d", i, i%7)
	case 1:
		return fmt.Sprintf("r%d.#", i)
	case 2:
		return fmt.Sprintf("*.k%d.e%d", i, i%7)
	}
	return fmt.Sprintf("#.e%d", i)
}

func BenchmarkTrieMatch(b *testing.B) {
	for _, n := range []int{1000, 10000, 100000} {
		b.Run(fmt.Sprintf("bindings=%d", n), func(b *testing.B) {
			trie := topicBindings(n)
			// i and j are bound as "r<i>.#" and "*.k<j>.e<j%7>", and "#.e3" is one more.
			keys := make([]string, 256)
			for i := range keys {
				j := i*4 + 2
				keys[i] = fmt.Sprintf("r%d.k%d.e%d", (i*36+1)%n/4*4+1, j%n, j%7)
			}
			var dst []*Destination
			found := 0
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				dst = trie.Match(dst[:0], keys[i%len(keys)])
				found += len(dst)
			}
			if found == 0 {
				b.Fatal("no key matched")
			}
			b.ReportMetric(float64(found)/float64(b.N), "destinations/op")
		})
	}
}

// naiveTopic matches one pattern as the rule reads. It remembers what it has tried.
func naiveTopic(pattern, key string) bool {
	split := func(s string) []string {
		if s == "" {
			return nil
		}
		return strings.Split(s, ".")
	}
	p, k := split(pattern), split(key)
	tried := map[[2]int]bool{}
	var match func(i, j int) bool
	match = func(i, j int) bool {
		if i == len(p) {
			return j == len(k)
		}
		if tried[[2]int{i, j}] {
			return false
		}
		tried[[2]int{i, j}] = true
		if p[i] == "#" {
			return match(i+1, j) || j < len(k) && match(i, j+1)
		}
		return j < len(k) && (p[i] == "*" || p[i] == k[j]) && match(i+1, j+1)
	}
	return match(0, 0)
}

func someDestinations(n int) []*Destination {
	ds := make([]*Destination, n)
	for i := range ds {
		ds[i] = &Destination{Name: fmt.Sprint("q", i)}
	}
	return ds
}

// sameDestinations reports whether got is exactly want, each once.
func sameDestinations(got []*Destination, want map[*Destination]bool) bool {
	seen := map[*Destination]bool{}
	for _, d := range got {
		if seen[d] || !want[d] {
			return false
		}
		seen[d] = true
	}
	return len(seen) == len(want)
}

func names(ds []*Destination) []string {
	s := make([]string, len(ds))
	for i, d := range ds {
		s[i] = d.Name
	}
	return s
}
