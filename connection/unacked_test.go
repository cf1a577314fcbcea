package connection

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/leveretmq/leveret/queue"
)

var someQueue = queue.New(1, queue.Spec{Name: "q"}, queue.Options{}, nil)

func unackedOf(tags ...uint64) *unacked {
	u := new(unacked)
	for _, tag := range tags {
		u.add(delivered{tag: tag, queue: someQueue})
	}
	return u
}

func tagsOf(ds []delivered) (tags []uint64) {
	for _, d := range ds {
		tags = append(tags, d.tag)
	}
	return tags
}

func (u *unacked) tags() (tags []uint64) {
	u.each(func(d *delivered) { tags = append(tags, d.tag) })
	return tags
}

func TestMultipleSettlesUpToATagThatIsOut(t *testing.T) {
	f := func(out []uint64, through uint64, wantTaken, wantLeft []uint64, wantOK bool) {
		t.Helper()
		u := unackedOf(out...)
		taken, ok := u.takeThrough(through, nil)
		if ok != wantOK || !slices.Equal(tagsOf(taken), wantTaken) || !slices.Equal(u.tags(), wantLeft) {
			t.Errorf("through %d of %v: took %v, left %v, %v", through, out, tagsOf(taken), u.tags(), ok)
		}
		if u.count() != len(wantLeft) {
			t.Errorf("through %d of %v: %d are counted, want %d", through, out, u.count(), len(wantLeft))
		}
	}
	f([]uint64{1, 2, 3}, 2, []uint64{1, 2}, []uint64{3}, true)
	f([]uint64{1, 4, 9}, 4, []uint64{1, 4}, []uint64{9}, true)
	f([]uint64{1, 4, 9}, 5, nil, []uint64{1, 4, 9}, false) // ACK-3
	f([]uint64{1, 4, 9}, 10, nil, []uint64{1, 4, 9}, false)
	f([]uint64{2}, 1, nil, []uint64{2}, false)
	f([]uint64{1, 4, 9}, 0, []uint64{1, 4, 9}, nil, true) // ACK-4
	f(nil, 0, nil, nil, true)
	f(nil, 1, nil, nil, false)
}

func TestTagIsSettledOnce(t *testing.T) {
	u := unackedOf(1, 2, 3)
	for _, tag := range []uint64{2, 1, 3} {
		if d, ok := u.take(tag); !ok || d.tag != tag {
			t.Errorf("cannot take %d", tag)
		}
		if _, ok := u.take(tag); ok {
			t.Errorf("took %d twice", tag)
		}
	}
	if u.count() != 0 {
		t.Errorf("%d are left", u.count())
	}
}

// TestUnackedAgreesWithAMap compares with a map under random use, gaps, tombstones and
// restored deliveries included.
func TestUnackedAgreesWithAMap(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		u, model := new(unacked), map[uint64]bool{}
		next := uint64(0)
		for step := range 2000 {
			switch rnd.IntN(10) {
			default:
				next += 1 + uint64(rnd.IntN(3))/2
				u.add(delivered{tag: next, queue: someQueue})
				model[next] = true
			case 5, 6, 7:
				tag := uint64(rnd.IntN(int(next + 2)))
				_, ok := u.take(tag)
				if ok != model[tag] {
					t.Fatalf("seed %d, step %d: take %d is %v, want %v", seed, step, tag, ok, model[tag])
				}
				delete(model, tag)
			case 8:
				if rnd.IntN(20) > 0 {
					break
				}
				tag := uint64(rnd.IntN(int(next + 2)))
				taken, ok := u.takeThrough(tag, nil)
				if ok != (tag == 0 || model[tag]) {
					t.Fatalf("seed %d, step %d: through %d is %v", seed, step, tag, ok)
				}
				if rnd.IntN(3) == 0 {
					u.restore(taken)
					break
				}
				for _, d := range taken {
					if !model[d.tag] {
						t.Fatalf("seed %d, step %d: took %d, which is not out", seed, step, d.tag)
					}
					delete(model, d.tag)
				}
			}
			if u.count() != len(model) {
				t.Fatalf("seed %d, step %d: %d are counted, want %d", seed, step, u.count(), len(model))
			}
		}
		tags := u.tags()
		if len(tags) != len(model) || !slices.IsSorted(tags) {
			t.Fatalf("seed %d: %d in order (%v), want %d", seed, len(tags), slices.IsSorted(tags), len(model))
		}
	}
}

func TestMemoryOfUnackedFollowsHowManyAreOut(t *testing.T) {
	u := new(unacked)
	const many = 100_000
	for tag := range uint64(many) {
		u.add(delivered{tag: tag + 1, queue: someQueue})
	}
	// The oldest one stays out while all others are settled.
	for tag := uint64(2); tag <= many; tag++ {
		u.take(tag)
	}
	if got := cap(u.entries); got > 1000 {
		t.Errorf("room for %d deliveries is kept for one", got)
	}
	// A window that slides does not grow.
	for tag := uint64(many + 1); tag <= 2*many; tag++ {
		u.add(delivered{tag: tag, queue: someQueue})
		u.take(tag - 10)
	}
	if got := cap(u.entries); got > 1000 {
		t.Errorf("room for %d deliveries is kept for a window of ten", got)
	}
}
