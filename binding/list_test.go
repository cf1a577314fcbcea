package binding

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// EX-51, EX-53
func TestListPicksByPlaceAmongNames(t *testing.T) {
	var l List
	if got := l.Match(nil, 7); len(got) != 0 {
		t.Errorf("an empty list: got %v, want nothing", got)
	}
	a, b, c := &Destination{Name: "a"}, &Destination{Name: "b"}, &Destination{Name: "c"}
	for _, d := range []*Destination{c, a, b, a} {
		l.Add(Binding{}, d)
	}
	f := func(want ...*Destination) {
		t.Helper()
		for n := range 3 * len(want) {
			if got := l.Match(nil, uint64(n)); len(got) != 1 || got[0] != want[n%len(want)] {
				t.Errorf("number %d: got %v, want %v", n, got, want[n%len(want)])
			}
		}
	}
	f(a, a, b, c)
	l.Remove(Binding{}, &Destination{Name: "a"}) // another one of that name
	l.Remove(Binding{}, &Destination{Name: "d"})
	f(a, a, b, c)
	l.Remove(Binding{}, a)
	f(a, b, c)
	l.Remove(Binding{}, a)
	f(b, c)
}

// The naive twin keeps what was added in a slice and sorts it for every match.
func TestListAgreesWithSorting(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	var l List
	var naive []*Destination
	all := someDestinations(12)
	for step := range 2000 {
		d := all[r.IntN(len(all))]
		if r.IntN(2) == 0 {
			l.Add(Binding{}, d)
			naive = append(naive, d)
		} else {
			l.Remove(Binding{}, d)
			if i := slices.Index(naive, d); i >= 0 {
				naive = slices.Delete(naive, i, i+1)
			}
		}
		slices.SortFunc(naive, func(a, b *Destination) int { return compare(a, b) })
		n := r.Uint64()
		var want []*Destination
		if len(naive) > 0 {
			want = naive[n%uint64(len(naive)):][:1]
		}
		if got := l.Match(nil, n); !slices.Equal(got, want) {
			t.Fatalf("seed %d, step %d: got %v, want %v", seed, step, got, want)
		}
	}
}
