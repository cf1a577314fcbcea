package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/node"
)

// limitHeap has the runtime collect garbage sooner as the memory of the machine or the
// container runs out, rather than let the heap double until the process is killed. As long as
// there is no memory alarm that is at the limit where there would be one, so that it is not
// garbage that raises it; while there is one, what is in use is no garbage, and the heap may
// grow to what there is. The environment has the last word, with GOMEMLIMIT.
func limitHeap(c config.Config) (relax func(alarm bool)) {
	memory := node.Memory()
	if os.Getenv("GOMEMLIMIT") != "" || memory <= 0 {
		return nil
	}
	most := max(memory/100*85, int64(c.MemoryLimit))
	limit := min(most, node.MemoryLimit(c)/10*11) // what the runtime itself needs is a tenth
	relax = func(alarm bool) {
		if alarm {
			debug.SetMemoryLimit(most)
		} else {
			debug.SetMemoryLimit(limit)
		}
	}
	relax(false)
	return relax
}

const (
	// largeHeap is from how many bytes in use on garbage may be a third of what is in use, and
	// smallHeap below how many it may be as much again, which is the runtime's own rule.
	largeHeap = 32 << 20
	smallHeap = 24 << 20

	smallHeapGarbage = 100 // percent
	largeHeapGarbage = 35
)

// keepHeapSmall has the runtime collect garbage three times as often while much is in use. A heap of a
// few megabytes may double at no cost that anybody sees; one that is large because millions of
// messages wait is merged tables for a moment, and would double on top of those. Collecting is
// about a hundredth of the processor time of such a broker. The environment has the last word,
// with GOGC.
func keepHeapSmall() {
	if os.Getenv("GOGC") != "" {
		return
	}
	now := smallHeapGarbage
	var next func(int)
	next = func(int) {
		if percent := garbageFor(liveHeap(), now); percent != now {
			now = percent
			debug.SetGCPercent(percent)
		}
		atNextCollection(next)
	}
	atNextCollection(next)
}

// atNextCollection calls f once when garbage was collected.
func atNextCollection(f func(int)) { runtime.AddCleanup(&sentinel{1}, f, 0) }

// sentinel is not so small that the runtime keeps it together with something that lives on.
type sentinel [64]byte

// garbageFor is how much garbage there may be, as a percentage of the bytes that are in use, with
// now what it was up to now.
func garbageFor(live uint64, now int) int {
	switch {
	case live >= largeHeap:
		return largeHeapGarbage
	case live < smallHeap:
		return smallHeapGarbage
	}
	return now
}

// liveHeap is how many bytes of the heap were in use when garbage was last collected.
func liveHeap() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
