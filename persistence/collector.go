package persistence

import (
	"errors"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	// collectInterval is how often garbage is collected while there is work.
	collectInterval = 500 * time.Millisecond
	// collectIdle is where an idle store stops looking: the interval doubles up to it.
	collectIdle = time.Minute
	// sweepInterval is how often the sweep repeats deletes that garbage collection undid.
	sweepInterval = 10 * time.Minute
	// discardRatio is how much of a value-log file must be garbage to have it rewritten.
	discardRatio = 0.5
)

// collector has Badger collect garbage in the value log, and sweeps. It only works after
// commits: an idle store costs nothing.
type collector struct {
	d       *disk
	suspect func([][]byte)
	active  chan struct{} // holds one; something was committed
	quit    chan struct{}
	ended   chan struct{}

	held sync.Mutex // while garbage is collected, or a backup holds it back
}

func newCollector(d *disk, suspect func([][]byte)) *collector {
	return &collector{d: d, suspect: suspect, active: make(chan struct{}, 1), quit: make(chan struct{})}
}

func (c *collector) start() {
	c.ended = make(chan struct{})
	go c.run()
}

func (c *collector) stop() {
	close(c.quit)
	if c.ended != nil {
		<-c.ended
	}
}

// committed tells that there may be garbage soon.
func (c *collector) committed() {
	select {
	case c.active <- struct{}{}:
	default:
	}
}

// hold waits for the file being rewritten and has no other rewritten until release is
// called.
func (c *collector) hold() (release func()) {
	c.held.Lock()
	return func() {
		c.held.Unlock()
		c.committed()
	}
}

// run waits for a commit and then looks every half second, less and less often once
// commits have stopped: garbage shows only when Badger has compacted, some time later.
func (c *collector) run() {
	defer close(c.ended)
	swept, rewritten := time.Now(), false
	for c.wait(c.active, nil) {
		for interval := collectInterval; interval <= collectIdle; {
			if !c.wait(nil, time.After(interval)) {
				return
			}
			rewritten = c.collect() || rewritten
			if rewritten && time.Since(swept) >= sweepInterval {
				c.sweep()
				swept, rewritten = time.Now(), false
			}
			select {
			case <-c.active:
				interval = collectInterval
			default:
				interval *= 2
			}
		}
	}
}

// wait returns false when the collector shall end.
func (c *collector) wait(active <-chan struct{}, after <-chan time.Time) bool {
	select {
	case <-active:
		return true
	case <-after:
		return true
	case <-c.quit:
		return false
	}
}

// collect rewrites value-log files until none has enough garbage.
func (c *collector) collect() (rewrote bool) {
	for {
		select {
		case <-c.quit:
			return rewrote
		default:
		}
		if !c.held.TryLock() {
			return rewrote // a backup wakes the collector when it has ended
		}
		err := c.d.db.RunValueLogGC(discardRatioFor(c.d.dir))
		c.held.Unlock()
		if err == nil {
			rewrote = true
			continue
		}
		if !errors.Is(err, badger.ErrNoRewrite) && !errors.Is(err, badger.ErrRejected) {
			c.d.zero.Warn().Err(err).Msg("garbage not collected")
		}
		return rewrote
	}
}

// sweep hands every key that carries an id to the committer, which deletes those it does
// not know: garbage collection brings back what was deleted (S-20). Keys only, in short
// transactions.
func (c *collector) sweep() {
	for _, prefix := range []byte{keyState, keyJournal, keyChunk, keyPage, keyCounts, keyBody, keyBodyRef, keyWindow, keyHistory} {
		from := []byte{prefix}
		for from != nil {
			var keys [][]byte
			keys, from = c.keys(prefix, from)
			c.suspect(keys)
		}
	}
}

// keys reads up to a few thousand keys of a prefix, and where to go on.
func (c *collector) keys(prefix byte, from []byte) (keys [][]byte, next []byte) {
	txn := c.d.db.NewTransaction(false)
	defer txn.Discard()
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false
	o.Prefix = []byte{prefix}
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Seek(from); it.Valid(); it.Next() {
		if len(keys) == 4096 {
			return keys, it.Item().KeyCopy(nil)
		}
		keys = append(keys, it.Item().KeyCopy(nil))
	}
	return keys, nil
}
