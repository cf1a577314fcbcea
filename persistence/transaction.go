package persistence

import (
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// operation is one change of a key. A delete has no value.
type operation struct {
	key, value []byte
	delete     bool
}

// transaction gathers operations for one Badger transaction after the other. What an
// operation will count there is known before it is added: ErrTxnTooBig is never the way
// to find out (S-6). It is used again for every group; keys and small values live in
// its arena until reset.
type transaction struct {
	d     *disk
	arena []byte
	ops   []operation

	count, bytes int64 // as Badger will measure them
	valueBytes   int64 // on their way to the value log

	keep marker // what the marker says beside the group
}

const (
	// What every transaction has beside its operations: marker, slot, and Badger's own end
	// mark.
	ownOperations = 4
	ownBytes      = 256
	// What Badger counts for an entry beside key and value: two meta bytes and room for the
	// version. A value in the value log counts as its pointer.
	entryOverhead = 12
	pointerBytes  = 12
)

func (o *operation) size() int64 {
	if o.inline() {
		return int64(len(o.key)+len(o.value)) + entryOverhead
	}
	return int64(len(o.key)) + pointerBytes + entryOverhead
}

func (o *operation) inline() bool { return len(o.value) < valueThreshold }

// fits tells whether ops can go into the transaction as it stands.
func (t *transaction) fits(ops []operation) bool {
	count, bytes := t.count, t.bytes
	for i := range ops {
		count++
		bytes += ops[i].size()
	}
	return count+ownOperations < t.d.maxCount && bytes+ownBytes < t.d.maxBytes
}

// unit adds operations that belong together. They go into one transaction, the present
// one if they fit and the next one otherwise. Only what no transaction could hold is
// spread over several, in order.
func (t *transaction) unit(ops []operation) error {
	if !t.fits(ops) {
		if err := t.commit(); err != nil {
			return err
		}
	}
	if t.fits(ops) {
		t.add(ops)
		return nil
	}
	return t.each(ops)
}

// each adds operations that need not stay together.
func (t *transaction) each(ops []operation) error {
	for i := range ops {
		if !t.fits(ops[i : i+1]) {
			if err := t.commit(); err != nil {
				return err
			}
		}
		t.add(ops[i : i+1])
	}
	return nil
}

func (t *transaction) add(ops []operation) {
	for i := range ops {
		o := &ops[i]
		if o.delete {
			t.d.reclaimer.deletes++
		}
		if !o.inline() {
			if k := o.key[0]; k != keyJournal && k != keyChunk && k != keyBody {
				panic(fmt.Sprintf("persistence: %d bytes under %x would reach the value log (I6)", len(o.value), o.key))
			}
			t.valueBytes += int64(len(o.value))
		}
		t.count++
		t.bytes += o.size()
	}
	t.ops = append(t.ops, ops...)
}

// commit writes what was gathered, if anything, as a group of its own: durable when it
// returns nil.
func (t *transaction) commit() error {
	if len(t.ops) == 0 {
		return nil
	}
	d := t.d
	group := d.group + 1
	m := t.keep
	m.group, m.nextID = group, d.nextID.Load()+d.idsAhead
	t.add([]operation{
		{key: t.bytesOf(func(b []byte) []byte { return append(b, keyMarker) }),
			value: t.bytesOf(func(b []byte) []byte { return appendMarker(b, m) })},
		{key: t.bytesOf(func(b []byte) []byte { return appendSlotKey(b, group) }),
			value: t.bytesOf(func(b []byte) []byte { return appendGroup(b, group) })},
	})
	t.pad()
	if err := d.commit(t.ops); err != nil {
		return fmt.Errorf("commit group %d of %d operations: %w", group, len(t.ops), err)
	}
	d.group = group
	d.sequence.write(group)
	d.views.renew(group)
	d.adviser.written(t.valueBytes, time.Now())
	d.stats.transactions.Add(1)
	if d.collector != nil {
		d.collector.committed()
	}
	clear(t.ops)
	t.ops, t.count, t.bytes, t.valueBytes = t.ops[:0], 0, 0, 0
	return nil
}

// reset lets the arena be used again. Nothing that was added may be in use.
func (t *transaction) reset() {
	t.arena = t.arena[:0]
	if cap(t.arena) > 1<<20 {
		t.arena = nil
	}
}

// bytesOf keeps what appender appends in the arena.
func (t *transaction) bytesOf(appender func([]byte) []byte) []byte {
	start := len(t.arena)
	t.arena = appender(t.arena)
	return t.arena[start:len(t.arena):len(t.arena)]
}

// padding is what padding slots are filled with.
var padding [metadataPart]byte

// pad adds filler in proportion to what goes to the value log. Badger learns what can be
// collected there only when its memtable, which holds a pointer per record, has been
// flushed and compacted: without filler tens of gigabytes could pass before. What does
// not fit is owed to the next transaction.
func (t *transaction) pad() {
	d := t.d
	d.paddingOwed += t.valueBytes * memTableSize / max(d.padEvery, d.index.held()/paddingShare)
	for d.paddingOwed > 0 {
		n := min(d.paddingOwed, int64(len(padding)))
		d.paddingSlot++
		o := []operation{{key: t.bytesOf(func(b []byte) []byte { return append(b, keyPadding, d.paddingSlot) }), value: padding[:n]}}
		if !t.fits(o) {
			return
		}
		t.add(o)
		d.paddingOwed -= n
		if d.paddingSlot == 255 {
			return // one of each slot; another would overwrite it within the transaction
		}
	}
}

// commit hands operations to Badger. It returns nil only when they are synced: Badger
// reports a failed sync of the value log to its logger alone, so the poison is looked at
// after every commit (A9), and so is whether the directory is still there. After an error
// Badger is not closed any more: what it would flush may have nowhere to go, and it tries
// for ever.
func (d *disk) commit(ops []operation) error {
	err := d.commitSynced(ops)
	if err != nil {
		d.log.fail(err)
	}
	return err
}

func (d *disk) commitSynced(ops []operation) error {
	txn := d.db.NewTransaction(true)
	defer txn.Discard()
	for i := range ops {
		if err := set(txn, &ops[i]); err != nil {
			return err
		}
	}
	if err := txn.Commit(); err != nil {
		return err
	}
	if err := d.log.syncFailure(); err != nil {
		return err
	}
	return d.sequence.present()
}

func set(txn *badger.Txn, o *operation) error {
	if o.delete {
		return txn.Delete(o.key)
	}
	return txn.Set(o.key, o.value)
}
