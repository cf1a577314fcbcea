package persistence

import (
	"reflect"
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

// giveBack frees the room in which tables were built. Badger keeps eight pieces of it, of 8 MiB
// and more, as long as a table is built every two seconds, which under load is always. It does
// nothing where they are not where they used to be; a test guards that they are.
func (c *compaction) giveBack() {
	pieces := c.pieces()
	if !pieces.IsValid() {
		return
	}
	for {
		piece, ok := pieces.TryRecv()
		if !ok {
			return
		}
		if p, ok := piece.Interface().(interface{ Release() }); ok {
			p.Release()
		}
	}
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
