package persistence

import (
	"encoding/binary"
	"slices"

	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// What the parts of a group come to as operations. Keys and small values live in the
// transaction's arena.

func (d *disk) put(key, value []byte) operation { return operation{key: key, value: value} }

func (d *disk) remove(key []byte) operation { return operation{key: key, delete: true} }

// unitOperations are the changes of one unit of declarations. Its deletes come first, so
// that what is put stays, whatever its key.
func (d *disk) unitOperations(u *topology.Unit) []operation {
	var ops []operation
	for _, r := range u.Deletes {
		ops = d.metadataDeletes(ops, r)
	}
	for _, r := range u.Puts {
		ops = d.metadataPuts(ops, r)
	}
	return ops
}

// metadataPuts writes a record, in numbered parts of at most metadataPart bytes: the first
// begins with how many there are.
func (d *disk) metadataPuts(ops []operation, r topology.Record) []operation {
	name := d.tx.bytesOf(func(b []byte) []byte { return appendMetadataKey(b, r) })
	value := d.tx.bytesOf(func(b []byte) []byte { return appendMetadata(b, r) })
	parts := max(1, (len(value)+metadataPart-1)/metadataPart)
	for n := range parts {
		piece := value[n*metadataPart : min((n+1)*metadataPart, len(value))]
		if n == 0 {
			piece = d.tx.bytesOf(func(b []byte) []byte { return append(binary.AppendUvarint(b, uint64(parts)), piece...) })
		}
		ops = append(ops, d.put(d.partKey(name, n), piece))
	}
	for n := parts; n < d.metadataParts[string(name)]; n++ {
		ops = append(ops, d.remove(d.partKey(name, n)))
	}
	d.noteParts(name, parts)
	return ops
}

func (d *disk) metadataDeletes(ops []operation, r topology.Record) []operation {
	name := d.tx.bytesOf(func(b []byte) []byte { return appendMetadataKey(b, r) })
	for n := range max(1, d.metadataParts[string(name)]) {
		ops = append(ops, d.remove(d.partKey(name, n)))
	}
	d.noteParts(name, 1)
	return ops
}

// noteParts remembers records of several parts; nearly all have one.
func (d *disk) noteParts(name []byte, parts int) {
	if parts > 1 {
		d.metadataParts[string(name)] = parts
	} else {
		delete(d.metadataParts, string(name))
	}
}

func (d *disk) partKey(name []byte, part int) []byte {
	return d.tx.bytesOf(func(b []byte) []byte { return binary.BigEndian.AppendUint16(append(b, name...), uint16(part)) })
}

// stateOperations writes the acknowledgement state of a level.
// Pages go before the head and the deletes of pages after it, so that even spread over
// several transactions nothing acknowledged comes back.
func (d *disk) stateOperations(ops []operation, s *queue.State) []operation {
	d.index.mu.Lock()
	defer d.index.mu.Unlock()
	lv := d.index.level(s.Queue, s.Level)
	for i := range s.Pages {
		p := &s.Pages[i]
		lv.addPage(p.Number)
		ops = append(ops, d.put(
			d.tx.bytesOf(func(b []byte) []byte { return appendPageKey(b, s.Queue, s.Level, p.Number) }),
			d.tx.bytesOf(func(b []byte) []byte { return appendPage(b, &p.Bits) })))
	}
	lv.state = true
	ops = append(ops, d.statePut(s.Queue, s.Level, levelState{
		head:        s.Head,
		next:        s.Next,
		deliveredTo: s.DeliveredTo,
		hadConsumer: s.HadConsumer,
		run:         d.run.number,
	}))
	dead := 0
	for ; dead < len(lv.pages) && lv.pages[dead] < s.DeadPages; dead++ {
		ops = append(ops, d.pageDelete(s.Queue, s.Level, lv.pages[dead]))
	}
	lv.pages = lv.pages[dead:]
	return d.countOperations(ops, lv, s)
}

// countOperations writes the delivery counts of a level that changed.
func (d *disk) countOperations(ops []operation, lv *levelIndex, s *queue.State) []operation {
	for i := range s.Counts {
		p := &s.Counts[i]
		if len(p.Counts) > 0 {
			addNumber(&lv.counts, p.Number)
			ops = append(ops, d.put(d.countsKey(s.Queue, s.Level, p.Number),
				d.tx.bytesOf(func(b []byte) []byte { return appendCounts(b, p) })))
		} else if removeNumber(&lv.counts, p.Number) {
			ops = append(ops, d.remove(d.countsKey(s.Queue, s.Level, p.Number)))
		}
	}
	return ops
}

func (d *disk) countsKey(id queue.ID, level uint8, page uint64) []byte {
	return d.tx.bytesOf(func(b []byte) []byte { return appendCountsKey(b, id, level, page) })
}

// noteSettled takes what a state settles off the records. The puts of the batch must be
// in the index: one may have been settled while it was collected.
func (d *disk) noteSettled(s *queue.State) {
	d.index.mu.Lock()
	defer d.index.mu.Unlock()
	lv := d.index.level(s.Queue, s.Level)
	for _, r := range s.Settled {
		d.index.settle(lv, r.First, r.Last)
	}
	if s.Head > 0 {
		d.index.settle(lv, 0, s.Head-1)
	}
}

func (d *disk) statePut(id queue.ID, level uint8, s levelState) operation {
	return d.put(
		d.tx.bytesOf(func(b []byte) []byte { return appendStateKey(b, id, level) }),
		d.tx.bytesOf(func(b []byte) []byte { return appendState(b, s) }))
}

func (d *disk) pageDelete(id queue.ID, level uint8, page uint64) operation {
	return d.remove(d.tx.bytesOf(func(b []byte) []byte { return appendPageKey(b, id, level, page) }))
}

// dropOperations deletes the state of a queue that is gone. Its messages die with it.
func (d *disk) dropOperations(id queue.ID) []operation {
	d.index.mu.Lock()
	defer d.index.mu.Unlock()
	q := d.index.queues[id]
	if q == nil {
		return nil
	}
	var ops []operation
	for i := range q.levels {
		lv := &q.levels[i]
		if lv.state {
			ops = append(ops, d.remove(d.tx.bytesOf(func(b []byte) []byte { return appendStateKey(b, id, lv.level) })))
		}
		for _, page := range lv.pages {
			ops = append(ops, d.pageDelete(id, lv.level, page))
		}
		for _, page := range lv.counts {
			ops = append(ops, d.remove(d.countsKey(id, lv.level, page)))
		}
	}
	d.index.drop(id)
	return ops
}

// recordDeletes deletes a record.
func (d *disk) recordDeletes(r *stored) []operation {
	return []operation{d.remove(d.tx.bytesOf(func(b []byte) []byte { return r.appendKey(b) }))}
}

// suspectDeletes deletes those of the sweep's keys that are still unknown: a record may
// have been made since it looked (S-20).
func (d *disk) suspectDeletes(keys [][]byte) []operation {
	d.index.mu.Lock()
	defer d.index.mu.Unlock()
	var ops []operation
	for _, k := range keys {
		if !d.needed(k) {
			ops = append(ops, d.remove(k))
		}
	}
	return ops
}

// needed tells whether the index, which is locked, knows what a key stands for.
func (d *disk) needed(key []byte) bool {
	switch key[0] {
	case keyJournal:
		group, ok := parseJournalKey(key)
		_, known := d.index.records[group]
		return !ok || known
	case keyChunk:
		k, ok := parseChunkKey(key)
		return !ok || d.index.hasChunk(k)
	case keyState:
		id, level, ok := parseStateKey(key)
		lv := d.index.find(id, level)
		return !ok || lv != nil && lv.state
	case keyPage:
		id, level, page, ok := parsePageKey(key)
		lv := d.index.find(id, level)
		return !ok || lv != nil && slices.Contains(lv.pages, page)
	case keyCounts:
		id, level, page, ok := parsePageKey(key)
		lv := d.index.find(id, level)
		return !ok || lv != nil && slices.Contains(lv.counts, page)
	case keyBody:
		id, _, ok := parseBodyKey(key)
		_, known := d.index.bodies[id]
		return !ok || known
	case keyBodyRef:
		id, _, _, _, ok := parseBodyRefKey(key)
		_, known := d.index.bodies[id]
		return !ok || known
	case keyWindow, keyHistory:
		return d.keeps(key)
	}
	return true
}

func (d *disk) runOperation(r run) []operation {
	return []operation{d.put(
		d.tx.bytesOf(func(b []byte) []byte { return append(b, keyRun) }),
		d.tx.bytesOf(func(b []byte) []byte { return appendRun(b, r) }))}
}
