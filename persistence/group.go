package persistence

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// A group is collected until it has this much (S-23). What is left waits for the next.
const (
	groupBytes = 4 << 20
	groupPuts  = 16384
)

// group is everything one commit writes.
type group struct {
	batch queue.Batch
	// withPuts is how many of the batch's states, the first ones, go with its messages and
	// never before them: they settle dead letters whose last target is in this batch (S-9),
	// or were done together with it (S-7).
	withPuts int
	units    []topology.Unit
	drops    []queue.ID
	suspects [][]byte // keys that the sweep does not believe in
	moves    []*move
	bury     bool // write it for the tombstones that are due
	now      time.Time
	clean    bool // the last group of a run that ends cleanly
}

func (g *group) empty() bool {
	return len(g.batch.Puts) == 0 && len(g.batch.States) == 0 && len(g.batch.Histories) == 0 &&
		len(g.batch.Windows) == 0 && len(g.units) == 0 &&
		len(g.drops) == 0 && len(g.suspects) == 0 && len(g.moves) == 0 && !g.bury && !g.clean
}

// reset empties g for group number n and forgets the messages it held.
func (g *group) reset(n uint64) {
	clear(g.batch.Puts)
	clear(g.batch.States)
	clear(g.batch.Transfers)
	clear(g.batch.Histories)
	clear(g.batch.Windows)
	clear(g.units)
	clear(g.moves)
	*g = group{
		batch: queue.Batch{
			Group:     n,
			MaxBytes:  groupBytes,
			MaxPuts:   groupPuts,
			Puts:      g.batch.Puts[:0],
			States:    g.batch.States[:0],
			Transfers: g.batch.Transfers[:0],
			Histories: g.batch.Histories[:0],
			Windows:   g.batch.Windows[:0],
		},
		units: g.units[:0],
		drops: g.drops[:0],
		moves: g.moves[:0],
	}
}

// backend is where groups go. Only the committer calls it.
type backend interface {
	// next is the number of the group to come.
	next() uint64
	// write makes a group durable. After an error nothing is known of what it wrote.
	write(g *group) error
	close() error
}

// write makes one group durable, in as many transactions as it takes: declarations
// first (S-3), then the messages with the settlements that came with them, and the records
// of deleted queues whose letters are among them (S-9), then other acknowledgement state,
// then what is no longer needed.
func (d *disk) write(g *group) error {
	defer d.tx.reset()
	defer d.encoder.forget()
	defer d.splitter.forget()
	d.owed = false
	tombstones := d.beginGroup()
	if err := d.writeUnits(g, false); err != nil {
		return err
	}
	if err := d.writePuts(g); err != nil {
		return err
	}
	if err := d.writeUnits(g, true); err != nil {
		return err
	}
	for i := g.withPuts; i < len(g.batch.States); i++ {
		if err := d.tx.unit(d.stateOperations(nil, &g.batch.States[i])); err != nil {
			return err
		}
	}
	for i := range g.batch.Histories {
		if err := d.tx.unit(d.historyOperations(&g.batch.Histories[i])); err != nil {
			return err
		}
	}
	if err := d.tx.each(d.deadWindowOperations(g.batch.Windows)); err != nil {
		return err
	}
	for i := range g.batch.States {
		d.noteSettled(&g.batch.States[i])
	}
	for _, id := range g.drops {
		if err := d.tx.each(append(d.dropOperations(id), d.dropKept(id)...)); err != nil {
			return err
		}
	}
	if err := d.writeMoves(g.moves); err != nil {
		return err
	}
	tombstones = append(tombstones, d.newlyDead(g.batch.Group, d.tombstones-len(tombstones))...)
	for _, r := range tombstones {
		if err := d.tx.unit(d.recordDeletes(r)); err != nil {
			return err
		}
	}
	if err := d.deleteBodies(g.batch.Group); err != nil {
		return err
	}
	if err := d.tx.each(d.suspectDeletes(g.suspects)); err != nil {
		return err
	}
	if g.clean {
		d.idsAhead = 0
		d.tx.add(d.runOperation(run{d.run.number, true}))
	}
	if err := d.tx.commit(); err != nil {
		return err
	}
	for _, m := range g.moves {
		d.index.moved(m)
	}
	if d.mover != nil {
		d.mover.committed(d.journalUse())
	}
	return nil
}

func (d *disk) writeUnits(g *group, late bool) error {
	for i := range g.units {
		if g.units[i].Late != late {
			continue
		}
		if err := d.tx.unit(d.unitOperations(&g.units[i])); err != nil {
			return err
		}
	}
	return nil
}

func (d *disk) journalUse() journalUse {
	d.index.mu.Lock()
	defer d.index.mu.Unlock()
	return d.index.journal
}

// beginGroup takes the records whose tombstones are due and notes the floor.
func (d *disk) beginGroup() (tombstones []*stored) {
	d.index.mu.Lock()
	defer d.index.mu.Unlock()
	d.forgetFresh()
	d.tx.keep.journalFloor = d.index.floor(d.group + 1)
	n := min(len(d.index.dead), d.tombstones)
	tombstones, d.index.dead = d.index.dead[:n:n], d.index.dead[n:]
	return tombstones
}

// newlyDead takes the records that died in this write, but for those that were only
// written by it: their turn is the next, so that no transaction sets and deletes a key. It
// takes no more than room of them; the others are owed.
func (d *disk) newlyDead(first uint64, room int) []*stored {
	d.index.mu.Lock()
	defer d.index.mu.Unlock()
	var now, later []*stored
	for _, r := range d.index.dead {
		if r.group < first && len(now) < room {
			now = append(now, r)
		} else {
			later = append(later, r)
			d.owed = d.owed || r.group < first
		}
	}
	d.index.dead = later
	return now
}

// tombstonesPerGroup is how many records one group deletes. A queue that is deleted may
// leave very many, and nobody shall wait for their tombstones.
const tombstonesPerGroup = 4096

// maxRecordBytes is how much goes into one journal record. Only a barrier collects more
// than groupBytes; the parts of a record are then one transaction each.
const maxRecordBytes = 64 << 20

func (d *disk) writePuts(g *group) error {
	settled := d.withPutsOperations(g)
	puts := g.batch.Puts
	for len(puts) > 0 {
		n := recordPuts(puts, g.batch.Bytes)
		if n < len(puts) {
			if err := d.writeRecords(puts[:n], g.now.UnixMilli(), nil); err != nil {
				return err
			}
			if err := d.tx.commit(); err != nil {
				return err
			}
		} else if err := d.writeRecords(puts, g.now.UnixMilli(), settled); err != nil {
			return err
		}
		puts = puts[n:]
	}
	return d.tx.unit(settled)
}

func (d *disk) withPutsOperations(g *group) []operation {
	var ops []operation
	for i := range g.batch.States[:g.withPuts] {
		ops = d.stateOperations(ops, &g.batch.States[i])
	}
	return d.windowOperations(ops, g.batch.Windows)
}

// recordPuts is how many puts go into one record: at least one, however large. A body
// counts once, and not at all when it is kept aside.
func recordPuts(puts []queue.StoredPut, batchBytes int) int {
	if batchBytes <= maxRecordBytes {
		return len(puts)
	}
	bytes := 0
	seen := make(map[*message.Message]struct{})
	for i := range puts {
		m := puts[i].Message
		if _, again := seen[m]; again {
			continue
		}
		seen[m] = struct{}{}
		if m.BodyBytes() <= maxInlineBody {
			bytes += m.Size()
		}
		if bytes > maxRecordBytes && i > 0 {
			return i
		}
	}
	return len(puts)
}

// writeRecords adds messages to the transaction: a journal record, and the chunks that
// queues with enough messages of their own get. with is what shall be in the same
// transaction and is added afterwards: the settlements of dead letters that arrived here.
// If no transaction can hold both, the settlements come later, never earlier.
func (d *disk) writeRecords(puts []queue.StoredPut, now int64, with []operation) error {
	segments := d.splitter.split(puts)
	// Records carry the number of their transaction, so there must be room for them before
	// they are made.
	room := operation{key: make([]byte, chunkKeyBytes), value: padding[:]}
	need := append(slices.Repeat([]operation{room}, len(segments)+1), with...)
	for i := range puts {
		if puts[i].Message.BodyBytes() > maxInlineBody {
			// Its parts, and the reference to it.
			n := puts[i].Message.BodyBytes()/maxInlineBody + 2
			need = append(need, slices.Repeat([]operation{room}, n)...)
		}
	}
	if !d.tx.fits(need) {
		if err := d.tx.commit(); err != nil {
			return err
		}
	}
	group := d.group + 1
	records := make([]*stored, len(segments))
	rest := puts
	if len(segments) > 1 || segments[0].chunk {
		rest = d.splitter.rest(puts, segments)
		for i, s := range segments {
			if s.chunk {
				records[i] = d.addChunk(puts[s.start:s.end], group, now)
			}
		}
	}
	var refs []operation
	if len(rest) > 0 {
		var r *stored
		r, refs = d.addJournal(rest, group, now)
		for i, s := range segments {
			if !s.chunk {
				records[i] = r
			}
		}
	}
	d.indexRecords(puts, segments, records)
	return d.tx.unit(refs)
}

// addJournal adds a journal record to the transaction, and the parts of bodies that are too
// large for it. It returns the references to those, which may come later.
func (d *disk) addJournal(puts []queue.StoredPut, group uint64, now int64) (r *stored, refs []operation) {
	value := d.encoder.record(group, now, puts, d.newID)
	r = &stored{group: group, written: now, bytes: int64(len(value))}
	ops := []operation{{key: d.tx.bytesOf(r.appendKey), value: value}}
	for _, a := range d.encoder.aside {
		b := &storedBody{id: a.id, group: group, parts: uint32(len(a.parts)), refs: a.refs}
		for n, part := range a.parts {
			key := d.tx.bytesOf(func(b []byte) []byte { return appendBodyKey(b, a.id, uint32(n)) })
			ops = append(ops, operation{key: key, value: part})
		}
		refs = append(refs, d.refKeys(b)...)
		d.index.mu.Lock()
		d.index.addBody(b, func(*levelIndex, uint64) bool { return true })
		d.index.mu.Unlock()
	}
	d.tx.add(ops)
	return r, refs
}

// addChunk adds a chunk of messages of one level to the transaction.
func (d *disk) addChunk(puts []queue.StoredPut, group uint64, now int64) *stored {
	value := d.encoder.record(group, now, puts, noAside)
	k := &chunkKey{
		queue: puts[0].Queue, level: puts[0].Level,
		first: puts[0].Seq, last: puts[len(puts)-1].Seq, count: uint32(len(puts)),
		minTime: now, group: group,
	}
	for i := range puts {
		k.bytes += uint32(puts[i].Message.BodyBytes())
		if e := puts[i].Expiry; e != 0 && (k.minExpiry == 0 || e < k.minExpiry) {
			k.minExpiry = max(e, 1)
		}
	}
	r := &stored{group: group, written: now, bytes: int64(len(value)), chunk: k}
	d.tx.add([]operation{{key: d.tx.bytesOf(r.appendKey), value: value}})
	return r
}

func noAside() uint64 { panic("persistence: a chunk keeps no bodies aside") }

// indexRecords makes records known before their transaction commits (S-20): those of each
// segment of puts. The journal's may be there several times.
func (d *disk) indexRecords(puts []queue.StoredPut, segments []segment, records []*stored) {
	d.index.mu.Lock()
	defer d.index.mu.Unlock()
	var journal *stored
	for n, s := range segments {
		r := records[n]
		if r.chunk != nil || r != journal {
			d.index.addRecord(r)
		}
		if r.chunk == nil {
			journal = r
		} else {
			d.fresh = append(d.fresh, r.chunk)
		}
		for i := s.start; i < s.end; {
			end := min(sectionEnd(puts, i), s.end)
			lv := d.index.level(puts[i].Queue, puts[i].Level)
			for ; i < end; i++ {
				d.index.add(lv, r, puts[i].Queue, puts[i].Seq, puts[i].Message.BodyBytes())
			}
		}
	}
}

// forgetFresh lets go of the numbers in the chunks of the group before: they can be looked
// up by now.
func (d *disk) forgetFresh() {
	for _, k := range d.fresh {
		if lv := d.index.find(k.queue, k.level); lv != nil {
			if i := lv.search(k.first); i < len(lv.sections) && lv.sections[i].record.chunk == k {
				lv.sections[i].forgetMembers()
			}
		}
	}
	clear(d.fresh)
	d.fresh = d.fresh[:0]
}

func (d *disk) newID() uint64 { return d.nextID.Add(1) - 1 }

func appendGroup(dst []byte, group uint64) []byte { return binary.BigEndian.AppendUint64(dst, group) }
