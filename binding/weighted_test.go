package binding

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/leveretmq/leveret/amqp"
)

func weight(n int) Binding { return Binding{RoutingKey: strconv.Itoa(n)} }

func key(i int) uint64 { return NewHash().String(fmt.Sprint("key-", i)).Sum() }

// EX-50
func TestOnlyAWholeNumberFromOneIsAWeight(t *testing.T) {
	f := func(routingKey, want string) {
		t.Helper()
		_, err := ParseWeight(routingKey)
		if want == "" {
			if err != nil {
				t.Errorf("%q: got %v, want it accepted", routingKey, err)
			}
			return
		}
		var e *amqp.Error
		if !errors.As(err, &e) || e.Code != 406 || e.Text != "PRECONDITION_FAILED - "+want {
			t.Errorf("%q: got %v, want 406 %s", routingKey, err, want)
		}
	}
	for _, ok := range []string{"1", "+5", "007", "20000", "99999999999999999999"} {
		f(ok, "")
	}
	f("abc", `The binding key must be an integer: <<"abc">>`)
	f("é", `The binding key must be an integer: <<"é">>`) // as recorded
	f("É", "The binding key must be an integer: <<195,137>>")
	f("5 ", `The binding key must be an integer: <<"5 ">>`)
	f("1.5", `The binding key must be an integer: <<"1.5">>`)
	f("1_000", `The binding key must be an integer: <<"1_000">>`)
	f("", "The binding key must be an integer: <<>>")
	f("0", "The binding key must be greater than 0")
	f("-5", "The binding key must be greater than 0")
	f("-99999999999999999999", "The binding key must be greater than 0")
}

// EX-50. Of 100,000 keys each destination gets its share to within five standard deviations.
func TestWeightsAreTheSharesOfTheKeys(t *testing.T) {
	f := func(weights ...int) {
		t.Helper()
		var w Weighted
		sum := 0
		all := someDestinations(len(weights))
		for i, d := range all {
			w.Add(weight(weights[i]), d)
			sum += weights[i]
		}
		const keys = 100_000
		got := make(map[*Destination]int)
		for i := range keys {
			got[w.Match(nil, key(i))[0]]++
		}
		for i, d := range all {
			p := float64(weights[i]) / float64(sum)
			want, deviation := keys*p, math.Sqrt(keys*p*(1-p))
			if diff := math.Abs(float64(got[d]) - want); diff > 5*deviation+1 {
				t.Errorf("weights %v: destination %d got %d keys, want %.0f", weights, i, got[d], want)
			}
		}
	}
	f(1)
	f(1, 1)
	f(1, 1, 1, 1, 1, 1, 1, 1)
	f(10, 10, 20, 20)
	f(1, 2, 3, 4, 5)
	f(1, 1000)
	f(20000, 40000)
}

// EX-50. What comes takes keys from all and moves none between them; what goes gives them
// back.
func TestOnlyTheKeysOfTheChangedDestinationMove(t *testing.T) {
	var w Weighted
	all := someDestinations(11)
	last := all[10]
	for i, d := range all[:10] {
		w.Add(weight(1+i%3), d)
	}
	const keys = 20_000
	where := func() (to [keys]*Destination) {
		for i := range to {
			to[i] = w.Match(nil, key(i))[0]
		}
		return to
	}
	before := where()
	w.Add(weight(2), last)
	with := where()
	moved := 0
	for i := range with {
		if with[i] != before[i] {
			moved++
			if with[i] != last {
				t.Fatalf("key %d went from %s to %s when %s came", i, before[i].Name, with[i].Name, last.Name)
			}
		}
	}
	if share := float64(moved) / keys; math.Abs(share-2.0/21) > 0.01 { // 19 without it
		t.Errorf("got %.3f of the keys moved, want %.3f", share, 2.0/21)
	}
	w.Remove(weight(2), last)
	if where() != before {
		t.Error("keys did not go back to where they were")
	}
	w.Remove(weight(1), all[3]) // out of the middle
	for i, to := range where() {
		if to != before[i] && before[i] != all[3] {
			t.Fatalf("key %d went from %s to %s when %s left", i, before[i].Name, to.Name, all[3].Name)
		}
	}
}

// EX-50. RabbitMQ 3.10 forgets a queue that was bound twice when it is unbound once.
func TestWeightsOfTwoBindingsAreAdded(t *testing.T) {
	var twice, once Weighted
	a, b := &Destination{Name: "a"}, &Destination{Name: "b"}
	twice.Add(weight(1), a)
	twice.Add(weight(2), b)
	twice.Add(weight(3), a)
	twice.Remove(weight(1), a)
	twice.Remove(weight(7), &Destination{Name: "never"})
	once.Add(weight(2), b)
	once.Add(weight(3), a)
	for i := range 1000 {
		got, want := twice.Match(nil, key(i)), once.Match(nil, key(i))
		if !slices.Equal(got, want) {
			t.Fatalf("key %d: got %s, want %s", i, got[0].Name, want[0].Name)
		}
	}
	twice.Remove(weight(3), a)
	twice.Remove(weight(2), b)
	if got := twice.Match(nil, key(0)); len(got) != 0 {
		t.Errorf("got %v, want nothing left", got)
	}
}

// The naive twin takes the logarithm of every draw.
func TestWeightedAgreesWithEveryDraw(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	var w Weighted
	weights := make(map[*Destination]float64)
	all := someDestinations(10)
	for step := range 3000 {
		d, n := all[r.IntN(len(all))], 1+r.IntN(4)
		if r.IntN(2) == 0 {
			w.Add(weight(n), d)
			weights[d] += float64(n)
		} else if weights[d] >= float64(n) {
			w.Remove(weight(n), d)
			weights[d] -= float64(n)
		}
		hash := r.Uint64()
		var want *Destination
		least := math.Inf(1)
		for _, d := range all {
			u := (float64(Mix(hash^d.hash())>>11) + 0.5) / (1 << 53)
			if t := -math.Log(u) / weights[d]; weights[d] > 0 && t < least {
				want, least = d, t
			}
		}
		got := w.Match(nil, hash)
		if want == nil && len(got) != 0 || want != nil && (len(got) != 1 || got[0] != want) {
			t.Fatalf("seed %d, step %d: got %v, want %v", seed, step, got, want)
		}
	}
}

func BenchmarkWeighted(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("destinations=%d", n), func(b *testing.B) {
			var w Weighted
			for _, d := range someDestinations(n) {
				w.Add(weight(10), d)
			}
			var dst []*Destination
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				dst = w.Match(dst[:0], Mix(uint64(i)))
			}
			if len(dst) != 1 {
				b.Fatalf("got %d destinations, want 1", len(dst))
			}
		})
	}
}
