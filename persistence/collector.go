package persistence

import (
	"errors"
	"math"
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
)

// collector has Badger collect garbage in the value log and compact its tree, and sweeps. It
// only works after commits, and once at the start: an idle store costs nothing.
type collector struct {
	d          *disk
	suspect    func([][]byte)
	discards   discards // nil when they are not to be had
	compaction *compaction
	active     chan struct{} // holds one; something was committed
	quit       chan struct{}
	ended      chan struct{}

	held    sync.Mutex           // while garbage is collected, or a backup holds it back; guards the fields below
	counted time.Time            // when garbage was counted anew
	damaged map[uint32]time.Time // files that cannot be read to their end, and what counted was when they were still needed
}

func newCollector(d *disk, suspect func([][]byte)) *collector {
	return &collector{
		d: d, suspect: suspect,
		discards: discardsOf(d.db), compaction: compactionOf(d.db),
		active: make(chan struct{}, 1), quit: make(chan struct{}),
		damaged: make(map[uint32]time.Time),
	}
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

// run looks every half second while there are commits, and less and less often once they
// have stopped: garbage shows only when Badger has compacted, some time later. In the end
// nothing but a commit wakes it.
func (c *collector) run() {
	defer close(c.ended)
	swept, rewritten := time.Now(), false
	look := time.NewTimer(collectInterval)
	defer look.Stop()
	for interval := collectInterval; ; look.Reset(interval) {
		for waiting := true; waiting; {
			active := c.active
			if interval == collectInterval {
				active = nil // it looks soon enough
			}
			select {
			case <-c.quit:
				return
			case <-active:
				c.warn(unmerged, c.compaction.resume())
				interval = collectInterval
				look.Reset(interval)
			case <-look.C:
				waiting = false
			}
		}
		c.compaction.giveBack()
		c.warn(uncounted, c.countNowAndThen(time.Now()))
		rewritten = c.collect() || rewritten
		if rewritten && time.Since(swept) >= sweepInterval {
			c.sweep()
			swept, rewritten = time.Now(), false
		}
		select {
		case <-c.active:
			interval = collectInterval
		default:
			c.compaction.pause()
			if interval *= 2; interval > collectIdle {
				interval = math.MaxInt64
			}
		}
	}
}

// collect rewrites files of the value log until none has enough garbage.
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
		done, err := c.collectOne()
		c.held.Unlock()
		c.warn(uncollected, err)
		if !done {
			return rewrote
		}
		rewrote = true
	}
}

// collectOne rewrites one file, if one deserves it.
func (c *collector) collectOne() (done bool, err error) {
	if c.discards == nil {
		err = c.d.db.RunValueLogGC(discardRatio)
	} else {
		file, ok, failed := c.choose(time.Now())
		if failed != nil || !ok {
			return false, failed
		}
		if err := c.compaction.resume(); err != nil {
			return false, err
		}
		err = c.rewrite(file)
	}
	if errors.Is(err, badger.ErrNoRewrite) || errors.Is(err, badger.ErrRejected) {
		return false, nil
	}
	return err == nil, err
}

// What goes wrong is tried again later.
const (
	uncounted   = "garbage not counted"
	uncollected = "garbage not collected"
	unmerged    = "tree not merged"
)

func (c *collector) warn(what string, err error) {
	if err != nil {
		c.d.zero.Warn().Err(err).Msg(what)
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
