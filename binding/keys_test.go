package binding

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"
)

// EX-30
func TestKeysMatchOctetByOctet(t *testing.T) {
	f := func(bound, key string, want bool) {
		t.Helper()
		var k Keys
		k.Add(Binding{RoutingKey: bound}, &Destination{})
		if got := len(k.Match(nil, key)) == 1; got != want {
			t.Errorf("bound %q, key %q: got %v, want %v", bound, key, got, want)
		}
	}
	f("a", "a", true)
	f("a", "A", false)
	f("", "", true)
	f("", "a", false)
	f("#", "a", false)
	f("a.*", "a.b", false)
	f("a\x00", "a", false)
	f("\xff", "\xff", true)
}

// EX-30, EX-31: a destination stays until it was removed as often as it was added.
func TestKeysAndAllAgreeWithCounting(t *testing.T) {
	for seed := range int64(20) {
		r := rand.New(rand.NewSource(seed))
		ds := someDestinations(40) // more than are searched one by one
		var k Keys
		var all All
		type bound struct {
			key string
			to  *Destination
		}
		byKey, count := map[bound]int{}, map[*Destination]int{}
		for range 600 {
			b := bound{fmt.Sprint(r.Intn(2)), ds[r.Intn(len(ds))]}
			if r.Intn(2) == 0 {
				k.Add(Binding{RoutingKey: b.key}, b.to)
				all.Add(Binding{RoutingKey: b.key}, b.to)
				byKey[b]++
				count[b.to]++
			} else {
				k.Remove(Binding{RoutingKey: b.key}, b.to)
				if byKey[b] > 0 { // All looks at no key, so only what was added is removed
					all.Remove(Binding{RoutingKey: b.key}, b.to)
					byKey[b]--
					count[b.to]--
				}
			}
			wantKey, wantAll := map[*Destination]bool{}, map[*Destination]bool{}
			for _, d := range ds {
				if byKey[bound{b.key, d}] > 0 {
					wantKey[d] = true
				}
				if count[d] > 0 {
					wantAll[d] = true
				}
			}
			if got := k.Match(nil, b.key); !sameDestinations(got, wantKey) {
				t.Fatalf("seed %d: key %q: got %v, want %v", seed, b.key, names(got), wantKey)
			}
			if got := all.Match(nil); !sameDestinations(got, wantAll) {
				t.Fatalf("seed %d: all: got %v, want %v", seed, names(got), wantAll)
			}
		}
		for b, n := range byKey {
			for range n {
				k.Remove(Binding{RoutingKey: b.key}, b.to)
				all.Remove(Binding{}, b.to)
			}
		}
		if len(k.byKey) != 0 || len(all.to.each) != 0 || all.to.index != nil || len(all.to.more) != 0 {
			t.Fatalf("seed %d: %d keys and %+v are left, want nothing", seed, len(k.byKey), all.to)
		}
	}
}

func TestCompactKeepsTheFirstOfEach(t *testing.T) {
	for _, n := range []int{0, 1, 5, searchUpTo, searchUpTo + 1, 500} {
		ds := someDestinations(n + 1)
		before, ds := ds[0], ds[1:]
		dst := []*Destination{before}
		dst = append(dst, ds...)
		dst = append(dst, before)
		dst = append(dst, ds...)
		got := Compact(dst, 1)
		want := append(append([]*Destination{before}, ds...), before)
		if !slices.Equal(got, want) {
			t.Errorf("%d twice: got %v, want %v", n, names(got), names(want))
		}
	}
}

func BenchmarkKeysMatch(b *testing.B) {
	for _, n := range []int{1000, 1000000} {
		b.Run(fmt.Sprintf("bindings=%d", n), func(b *testing.B) {
			var k Keys
			d := &Destination{}
			keys := make([]string, n)
			for i := range n {
				keys[i] = fmt.Sprint("key.", i)
				k.Add(Binding{RoutingKey: keys[i]}, d)
			}
			var dst []*Destination
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if dst = k.Match(dst[:0], keys[i%1000]); len(dst) != 1 {
					b.Fatalf("got %d destinations, want 1", len(dst))
				}
			}
		})
	}
}
