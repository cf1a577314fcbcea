package queue

import (
	"math/rand"
	"testing"
)

func TestAcksAgreeWithASet(t *testing.T) {
	seeds := int64(20)
	if testing.Short() {
		seeds = 4 // one goroutine: the race detector has nothing to find
	}
	for seed := range seeds {
		rng := rand.New(rand.NewSource(seed))
		a := acks{head: 1}
		settled := map[uint64]bool{}
		low, high := uint64(1), uint64(1)
		for range 60_000 {
			// Mostly near the head, so that it moves; now and then far ahead.
			seq := low + uint64(rng.Intn(200))
			if rng.Intn(50) == 0 {
				seq = low + uint64(rng.Intn(5*PagePositions))
			}
			high = max(high, seq)
			if rng.Intn(6000) == 0 {
				last := seq + uint64(rng.Intn(3*PagePositions))
				a.setRange(seq, last)
				for ; seq <= last; seq++ {
					settled[seq] = true
				}
				high = max(high, last)
			} else {
				a.set(seq)
				settled[seq] = true
			}
			for settled[low] {
				low++
			}
			if a.head != low {
				t.Fatalf("seed %d: head %d after settling %d, want %d", seed, a.head, seq, low)
			}
		}
		for seq := uint64(1); seq < high+10; seq++ {
			if a.has(seq) != settled[seq] {
				t.Fatalf("seed %d: %d settled: %v, want %v", seed, seq, a.has(seq), settled[seq])
			}
		}
		pages := a.changed(nil)
		if again := a.changed(nil); len(again) != 0 {
			t.Errorf("seed %d: %d pages changed with nothing settled", seed, len(again))
		}
		var b acks
		b.restore(a.head, pages)
		for seq := uint64(1); seq < high+10; seq++ {
			if b.has(seq) != settled[seq] {
				t.Fatalf("seed %d: restored %d settled: %v, want %v", seed, seq, b.has(seq), settled[seq])
			}
		}
	}
}

func TestSettlingInOrderKeepsNoPage(t *testing.T) {
	a := acks{head: 1}
	for seq := uint64(1); seq < 3*PagePositions; seq++ {
		a.set(seq)
	}
	if len(a.pages) != 0 {
		t.Errorf("%d pages after settling in order", len(a.pages))
	}
}
