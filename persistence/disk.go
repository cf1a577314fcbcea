package persistence

import (
	"errors"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/queue"
)

// disk is the backend that writes to Badger. After open everything belongs to the
// committer but db, log, stats, index, views and reported, which guard themselves.
type disk struct {
	dir   string
	log   *badgerLog
	zero  zerolog.Logger
	db    *badger.DB
	lock  *lock
	stats *counters

	key  []byte // nil when the store is not encrypted
	keys dataKeys

	files *valueFiles

	maxCount, maxBytes int64 // what one transaction may count
	valueLogFile       int64 // the size of a file of the value log
	padEvery           int64 // see paddingInterval

	sequence *sequence
	nextID   *atomic.Uint64
	idsAhead uint64 // ids at and above nextID+idsAhead were never used

	group  uint64 // the last one committed
	run    run
	schema schema

	index         *index
	views         views
	reported      reported
	metadataParts map[string]int // parts of the records that have more than one
	kept          map[queue.ID]*kept

	encoder  encoder
	splitter splitter
	fresh    []*chunkKey // of the last group

	tombstones int  // at most in one group
	owed       bool // there are more
	tx         transaction

	paddingOwed int64
	paddingSlot uint8

	reclaimer reclaimer
	collector *collector
	mover     *mover
	adviser   *adviser

	onProblem func(Problem) // of a check
	repair    bool          // go on where confirmed data is missing
}

// idsAhead is how many ids a run may hand out between two commits without a later run,
// after a crash, handing out the same for things of which nothing was stored.
const idsAhead = 1 << 16

func (d *disk) next() uint64 { return d.group + 1 }

// close ends Badger. After a failed sync or commit Badger is left as it is: what it would
// still write comes from a page cache that cannot be trusted, and the next start replays
// what the disk really has.
func (d *disk) close() error {
	if d.collector != nil {
		d.collector.stop()
	}
	d.log.closing.Store(true)
	var failures []error
	d.views.close()
	if d.log.syncFailure() == nil {
		failures = append(failures, d.db.Close(), d.sequence.sync())
	}
	failures = append(failures, d.sequence.close(), d.lock.release())
	return errors.Join(failures...)
}
