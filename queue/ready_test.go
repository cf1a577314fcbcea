package queue

import (
	"math/rand"
	"slices"
	"testing"

	"github.com/leveretmq/leveret/message"
)

func TestReadyAgreesWithASlice(t *testing.T) {
	m := new(message.Message)
	for seed := range int64(30) {
		rng := rand.New(rand.NewSource(seed))
		var r ready
		var twin []uint64
		next := uint64(1)
		removing := rng.Intn(3)
		for step := range 20_000 {
			switch n := rng.Intn(10); {
			case n < 4:
				r.push(entry{msg: m, seq: next})
				twin = append(twin, next)
				next += 1 + uint64(rng.Intn(3))
			case n < 7 && removing > 0 && len(twin) > 0:
				i := rng.Intn(len(twin))
				b, e := r.find(twin[i])
				if e == nil {
					t.Fatalf("seed %d step %d: %d is not found", seed, step, twin[i])
				}
				r.removeAt(b, e)
				twin = slices.Delete(twin, i, i+1)
			case n < 9 && len(twin) > 0 && (removing < 2 || rng.Intn(20) == 0):
				if e := r.front(); e == nil || e.seq != twin[0] {
					t.Fatalf("seed %d step %d: front %v, want %d", seed, step, e, twin[0])
				}
				r.pop()
				twin = twin[1:]
			default:
				if _, e := r.find(uint64(rng.Intn(int(next) + 5))); e != nil && !slices.Contains(twin, e.seq) {
					t.Fatalf("seed %d step %d: found %d, which was removed", seed, step, e.seq)
				}
			}
		}
		if removing == 2 && len(r.blocks)-r.start > len(twin)/8+20 {
			t.Errorf("seed %d: %d blocks for %d messages", seed, len(r.blocks)-r.start, len(twin))
		}
		for _, want := range twin {
			if e := r.front(); e == nil || e.seq != want {
				t.Fatalf("seed %d: front %v, want %d", seed, e, want)
			}
			r.pop()
		}
		if e := r.front(); e != nil {
			t.Errorf("seed %d: %d is left over", seed, e.seq)
		}
	}
}
