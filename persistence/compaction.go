package persistence

import (
	"reflect"
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// compaction stops Badger's compactors while a store is idle. Each looks twenty times a
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
