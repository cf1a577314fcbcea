package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestLargeHeapMayHaveLessGarbage(t *testing.T) {
	percent := smallHeapGarbage
	for _, step := range []struct {
		live uint64
		want int
	}{{2 << 20, 100}, {31 << 20, 100}, {32 << 20, 35}, {500 << 20, 35}, {25 << 20, 35}, {23 << 20, 100}, {31 << 20, 100}} {
		if percent = garbageFor(step.live, percent); percent != step.want {
			t.Errorf("%d MiB in use: got %d %%, want %d %%", step.live>>20, percent, step.want)
		}
	}
}

func TestHeapIsCollectedSoonerWhileItIsLarge(t *testing.T) {
	if t.Setenv("GOGC", ""); liveHeap() > smallHeap {
		runtime.GC()
	}
	before := debug.SetGCPercent(smallHeapGarbage)
	defer debug.SetGCPercent(before)
	keepHeapSmall()
	f := func(what string, want int) {
		t.Helper()
		for range 10_000 { // what is called after a collection runs beside it
			runtime.GC()
			if runtime.Gosched(); gcPercent() == want {
				return
			}
		}
		t.Fatalf("%s: got %d %%, want %d %%", what, gcPercent(), want)
	}
	used := make([]byte, 2*largeHeap)
	f("a large heap", largeHeapGarbage)
	runtime.KeepAlive(used)
	f("a small heap", smallHeapGarbage)
}

// gcPercent is what is set now.
func gcPercent() int {
	percent := debug.SetGCPercent(-1)
	debug.SetGCPercent(percent)
	return percent
}
