package queue

import (
	"fmt"
	"math/rand"
	"testing"
)

// Counts agree with a map, and so does what was handed over for the disk.
func TestCountsAgreeWithAMap(t *testing.T) {
	for seed := range int64(20) {
		rng := rand.New(rand.NewSource(seed))
		var c counts
		want, disk := map[uint64]uint32{}, map[uint64]CountPage{}
		takeOver := func() (pages int) {
			for more := true; more; {
				var changed []CountPage
				changed, more = c.changed()
				if len(changed) > countPagesPerState {
					t.Fatalf("seed %d: %d pages at once", seed, len(changed))
				}
				for _, p := range changed {
					pages++
					if disk[p.Number] = p; len(p.Counts) == 0 {
						delete(disk, p.Number)
					}
				}
			}
			return pages
		}
		for range 3000 {
			seq := uint64(1 + rng.Intn(200*CountPositions))
			switch rng.Intn(8) {
			case 0:
				last := seq + uint64(rng.Intn(4*CountPositions))
				removed := c.removeRange(seq, last)
				some := false
				for s := range want {
					if s >= seq && s <= last {
						delete(want, s)
						some = true
					}
				}
				if removed != some {
					t.Fatalf("seed %d: removed from %d to %d: %v, want %v", seed, seq, last, removed, some)
				}
			default:
				want[seq]++
				c.set(seq, want[seq])
			}
			if rng.Intn(50) == 0 {
				takeOver()
			}
		}
		takeOver()
		if n := takeOver(); n != 0 {
			t.Errorf("seed %d: %d pages changed when nothing did", seed, n)
		}
		onDisk := map[uint64]uint32{}
		var restored counts
		var pages []CountPage
		for _, p := range disk {
			pages = append(pages, p)
			for _, x := range p.Counts {
				if x.Seq/CountPositions != p.Number {
					t.Fatalf("seed %d: %d is on page %d", seed, x.Seq, p.Number)
				}
				onDisk[x.Seq] = x.N
			}
		}
		restored.restore(pages)
		if fmt.Sprint(onDisk) != fmt.Sprint(want) {
			t.Errorf("seed %d: on disk are %d counts, want %d", seed, len(onDisk), len(want))
		}
		for seq := range uint64(200 * CountPositions) {
			if got := c.get(seq); got != want[seq] || restored.get(seq) != want[seq] {
				t.Fatalf("seed %d: %d came back %d times, restored %d, want %d", seed, seq, got, restored.get(seq), want[seq])
			}
		}
	}
}

// A message that never came back leaves nothing, and neither does one that did, once it
// is settled before a state was written.
func TestCountsOfNothingAreNothing(t *testing.T) {
	var c counts
	c.set(5, 1)
	c.removeRange(5, 5)
	if pages, more := c.changed(); len(pages) != 0 || more || len(c.pages) != 0 {
		t.Errorf("got %v, %v, %d pages", pages, more, len(c.pages))
	}
}
