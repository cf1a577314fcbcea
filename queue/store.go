package queue

import (
	"github.com/leveretmq/leveret/message"
)

// ID is one incarnation of a queue. It is never used again, so what a deleted queue
// left on disk cannot be mistaken for its successor's (store rule I7).
type ID uint64

// Store is where durable messages are kept. A queue enlists itself when it turns
// dirty, so at most once between two collections; the committer comes to collect.
// No method blocks and none calls back before it returns.
type Store interface {
	// Enlist asks the committer to collect c: it has messages that are not stored yet.
	// It may be called with c locked.
	Enlist(c Collector)
	// EnlistSettled asks for c's acknowledgement state to be written some time soon, with
	// a commit that happens anyway or one of its own within 100 ms. It may be called with
	// c locked.
	EnlistSettled(c Collector)
	// Barrier collects all of c, messages and acknowledgement state, in the next commit
	// and calls done after it, from the committer. Not to be called with c locked.
	Barrier(c Collector, done func(error))
	// Drop forgets everything stored for a deleted queue.
	Drop(id ID)
	// Read fetches the messages of a level whose sequence numbers are from r.First to
	// r.Last and that are on disk, in order, and calls done with them once, from another
	// goroutine and with nothing locked; it does not wait for that. Messages that are
	// settled may be among them. A message that cannot be read any more is left out and
	// counted as damaged; an error means that nothing can be read, because the queue was
	// dropped or the store has failed or is closed. It may be called with the queue locked.
	Read(id ID, level uint8, r Range, done func([]RestoredMessage, error))
	// Spill writes copies of messages that are never stored, so that they can leave memory,
	// and calls done when they can be read, from another goroutine and with nothing locked.
	// Copies do not outlive the process and nobody syncs them (S-27). After an error none of
	// them can be read; the caller keeps the messages and may try again. It may be called
	// with the queue locked.
	Spill(id ID, level uint8, copies []Copy, done func(error))
	// Forget lets go of copies, those under way included. It may be called with the queue
	// locked.
	Forget(f Forgotten)
}

// Copy is what is spilled and forgotten as one.
type Copy struct {
	// Range is what the copy stands for. It overlaps that of no other copy of the level
	// unless one of them is stray.
	Range
	// Puts are its messages, in order.
	Puts []StoredPut
	// Stray copies have one message, anywhere.
	Stray bool
}

// Forgotten says which copies nobody wants any more.
type Forgotten struct {
	Queue ID
	Level uint8
	Range      // all copies that overlap it but stray ones
	Stray bool // the stray copy of First instead
	All   bool // everything of the queue instead
}

// Collector is a queue as the committer sees it. Its methods are called from the one
// committing goroutine with nothing locked.
type Collector interface {
	// ID tells which queue it is.
	ID() ID
	// Collect hands over what is not stored yet and still wanted, until b is full; more
	// tells that something was left and the queue expects to be collected again.
	Collect(b *Batch) (more bool)
	// CollectSettled hands over the acknowledgement state. The positions of done transfers
	// are settled first, so that a dead letter's source goes with its targets (S-9).
	CollectSettled(b *Batch, done []Position)
	// Stored tells that the group is on disk: its confirms are released. The confirmers
	// add whom to wake.
	Stored(group uint64, wakes *message.Wakes)
}

// Batch is what one commit writes. The committer makes it, collectors fill it.
type Batch struct {
	// Group is the number of the commit.
	Group uint64
	// MaxBytes and MaxPuts end a batch; zero means no limit. A batch always takes one
	// message, however large.
	MaxBytes int
	MaxPuts  int

	// Puts are the messages to store. Those of one queue are together and in order of
	// level and sequence number unless a queue was collected twice.
	Puts []StoredPut
	// States are acknowledgement states, at most one per queue and level and collection;
	// a later one replaces an earlier one.
	States []State
	// Transfers are dead letters whose last target was collected into this batch: the
	// committer has each source's CollectSettled settle it in this same batch.
	Transfers []*Transfer
	// Histories are recent histories of exchanges that have changed.
	Histories []History
	// Windows are what has changed in windows of deduplication, one for each. What they have
	// seen goes with the messages of the batch.
	Windows []Window
	// Bytes is the sum of the sizes of the messages in Puts.
	Bytes int
}

// StoredPut is one message going to disk for one queue. A message that reached several
// queues is the same *message.Message in each put, so it can be written once.
type StoredPut struct {
	Queue       ID
	Level       uint8 // priority level; 0 for queues without priorities
	Redelivered bool
	Seq         uint64
	Expiry      int64 // absolute, Unix milliseconds; 0 for none
	Message     *message.Message
}

// Full tells that nothing more should be added.
func (b *Batch) Full() bool {
	return b.MaxBytes > 0 && b.Bytes >= b.MaxBytes || b.MaxPuts > 0 && len(b.Puts) >= b.MaxPuts
}

// PagePositions is how many sequence numbers an acknowledgement page covers.
const PagePositions = 16384

// Page is one acknowledgement page: bit i of word w stands for sequence number
// Number*PagePositions + w*64 + i, and is set when that message is settled.
type Page struct {
	Number uint64
	Bits   [PagePositions / 64]uint64
}

// Range is a run of sequence numbers, both ends included.
type Range struct{ First, Last uint64 }

// State is the acknowledgement state of one level of a queue, as it goes to disk.
type State struct {
	Queue ID
	Level uint8
	// Head is the first sequence number that may be alive; everything below is settled.
	Head uint64
	// Next is the queue's next sequence number (S-1).
	Next uint64
	// DeliveredTo is the highest sequence number ever handed to a consumer.
	DeliveredTo uint64
	// HadConsumer is set once someone consumed or got from the queue in this run (S-11).
	HadConsumer bool
	// Pages are the pages at or above Head that changed since the last state.
	Pages []Page
	// DeadPages counts pages below Head: all pages with a smaller number than this can go.
	DeadPages uint64
	// Counts are pages of delivery counts that changed since the last state, some of them at
	// least; one without counts is gone.
	Counts []CountPage
	// Settled are the stored messages settled since the last state, so that the store can
	// count what is alive in each record. A message is among them once; a range may also
	// cover numbers under which nothing was ever stored.
	Settled []Range
}

// Restored is a queue as it was found on disk.
type Restored struct {
	Levels []RestoredLevel
}

// RestoredLevel is one priority level of a restored queue.
type RestoredLevel struct {
	Level       uint8
	Head        uint64
	Next        uint64 // at least one more than every sequence number ever used
	DeliveredTo uint64
	// AllRedelivered marks every message as delivered before: the broker did not stop
	// cleanly and the queue had a consumer (DUR-4, S-11).
	AllRedelivered bool
	Pages          []Page
	Counts         []CountPage // of messages that are alive
	// Runs are the messages alive, in order of their sequence numbers, without their
	// bodies: the queue reads those when it needs them. Runs do not overlap. A store that
	// merges neighbours keeps a run near RunBytes.
	Runs []Run
}

// RunBytes is about how many bytes of bodies a run has, so that reading one is worth the
// trouble and holding one is bearable. A single message may be larger.
const RunBytes = 256 << 10

// RunMessages is how many messages a run has at most.
const RunMessages = 4096

// Run is a stretch of a level that is on disk and not in memory. Between First and Last
// there may be numbers that stand for nothing.
type Run struct {
	Range
	Count     int   // messages alive
	Bytes     int64 // of their bodies
	MinExpiry int64 // the earliest deadline, Unix milliseconds; 0 when none expires
}

// RestoredMessage is one message found on disk.
type RestoredMessage struct {
	Seq         uint64
	Expiry      int64 // absolute, Unix milliseconds; 0 for none
	Redelivered bool
	Spilled     bool // in a copy; it is not stored
	Message     *message.Message
}
