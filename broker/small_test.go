//go:build !race

// The race detector adds to what everything takes.

package broker

import (
	"fmt"
	"runtime"
	"testing"
)

// A queue that nobody has used takes 430 bytes, of which a third are the table of names. Here
// the store of the test has some 200 more.
func TestEmptyQueueTakesLittleMemory(t *testing.T) {
	n := newNode(t)
	const count, most = 10_000, 750
	declare := func(from int) {
		for i := range count {
			n.queue(fmt.Sprint("queue.", from+i))
		}
	}
	inUse := func() uint64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	declare(0)
	before := inUse()
	declare(count)
	if each := int64(inUse()-before) / count; each > most {
		t.Errorf("an empty queue takes %d bytes, want at most %d", each, most)
	}
	runtime.KeepAlive(n)
}
