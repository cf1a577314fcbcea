package persistence

import (
	"reflect"
	"runtime"
	"runtime/metrics"
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// compaction looks after what Badger merges tables with.
//
// It stops Badger's compactors while a store is idle. Each looks twenty times a
// second whether there is anything to compact, and there is nothing where nothing is
// written: these looks were nine tenths of what an idle broker took of a processor.
type compaction struct {
	db *badger.DB

	mu     sync.Mutex // guards the field below, and what it says
	paused bool

	collecting sync.Mutex // of those who fill tables, one collects the heap
}

// restingTree is how large a tree may be for its compactors to be stopped, in bytes. The
// only way to have Badger start them again is to have it merge all levels first, which is
// little work when there is one, and at most one table on top of it.
const restingTree = 16 << 20

func compactionOf(db *badger.DB) *compaction { return &compaction{db: db} }

// compactors are what stops them; nil when it is not where it used to be. A test guards
// that it is.
func (c *compaction) compactors() interface{ SignalAndWait() } {
	v := reflect.ValueOf(c.db).Elem().FieldByName("closers")
	if v.Kind() != reflect.Struct {
		return nil
	}
	if v = v.FieldByName("compactors"); v.Kind() != reflect.Pointer || v.IsNil() {
		return nil
	}
	stop, _ := unlocked(v).(interface{ SignalAndWait() })
	return stop
}

// pause stops the compactors when they have nothing to do.
func (c *compaction) pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paused || !c.rested() {
		return
	}
	if compactors := c.compactors(); compactors != nil {
		compactors.SignalAndWait()
		c.paused = true
	}
}

// resume starts them again.
func (c *compaction) resume() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.paused {
		return nil
	}
	c.paused = false
	return c.db.Flatten(1)
}

// heapShare is which part of what Go's heap had in use is reason to collect it at once.
const heapShare = 4

// giveBack frees the room in which tables were built, and returns how many bytes that were.
// Badger keeps eight pieces of it as long as a table is built every two seconds, which under
// load is always. It does nothing where they are not where they used to be; a test guards
// that they are.
//
// What is freed was in use when the heap was last collected, and the heap may grow by as much
// again before the next time. Where that is a large part of it, it is collected now.
func (c *compaction) giveBack() (freed uint64) {
	if freed = c.release(); freed > 0 && freed >= liveBytes()/heapShare {
		runtime.GC()
	}
	return freed
}

// filled is called when a merge has filled a table, by the goroutine that goes on with the
// next: each takes 7 MiB and is garbage a moment later, a merge makes a dozen at once, and a
// heap that is small would double on top of what is being built. So the heap is collected
// each time it has grown by a part of itself, and the merge waits for that, while tables are
// written.
func (c *compaction) filled() {
	c.collecting.Lock()
	defer c.collecting.Unlock()
	c.release()
	if live := liveBytes(); heapBytes() >= live+live/heapShare {
		runtime.GC()
	}
}

// release frees what giveBack does.
func (c *compaction) release() (freed uint64) {
	pieces := c.pieces()
	if !pieces.IsValid() {
		return 0
	}
	for {
		piece, ok := pieces.TryRecv()
		if !ok {
			return freed
		}
		if p, ok := piece.Interface().(interface {
			Allocated() uint64
			Release()
		}); ok {
			freed += p.Allocated()
			p.Release()
		}
	}
}

// liveBytes is how much of Go's heap was in use when it was last collected, in bytes.
func liveBytes() uint64 { return metric("/gc/heap/live:bytes") }

// heapBytes is how much of Go's heap is in use now, or is garbage, in bytes.
func heapBytes() uint64 { return metric("/memory/classes/heap/objects:bytes") }

func metric(name string) uint64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// pieces is the channel in which Badger keeps room for tables.
func (c *compaction) pieces() (pieces reflect.Value) {
	v := reflect.ValueOf(c.db).Elem().FieldByName("allocPool")
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return pieces
	}
	if v = v.Elem().FieldByName("allocCh"); v.Kind() != reflect.Chan {
		return pieces
	}
	return reflect.ValueOf(unlocked(v))
}

// rested tells whether the tree is small and has nothing to compact.
func (c *compaction) rested() bool {
	size := int64(0)
	for _, l := range c.db.Levels() {
		if l.Score >= 1 { // it has one when it is to be compacted
			return false
		}
		size += l.Size
	}
	return size <= restingTree
}
