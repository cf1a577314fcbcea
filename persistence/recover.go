package persistence

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// recovery reads a store that was just opened: declarations, acknowledgement state, and
// where the messages are that are alive. It reads no bodies.
type recovery struct {
	d    *disk
	last uint64 // the last group, as the sequence file remembers it
	txn  *badger.Txn

	clean    bool   // the run before ended cleanly
	previous uint32 // its number
	floor    uint64
	catalog  topology.Catalog
	garbage  []topology.Record // bindings of predecessors (S-5)
	queues   map[queue.ID]*recovered
	suspects [][]byte            // keys of what is dead
	without  map[chunkKey]uint32 // chunks whose file of the value log is missing
	damaged  int

	salvage  salvage
	rewrites []operation // records that only the salvage had
	gaps     bool        // a repair goes on without some groups
}

type recovered struct {
	levels      []*recoveredLevel
	pessimistic bool // every message counts as delivered before
}

type recoveredLevel struct {
	level  uint8
	state  levelState
	pages  []queue.Page
	counts []queue.CountPage
	next   uint64
	covers []cover     // the chunks, in order; they do not overlap
	logged uint64      // the highest number in the journal so far
	runs   []queue.Run // the messages alive
}

func (r *recovery) read() error {
	r.queues = make(map[queue.ID]*recovered)
	r.without = make(map[chunkKey]uint32)
	r.txn = r.d.db.NewTransaction(false)
	defer r.txn.Discard()
	for _, step := range []func() error{
		r.readSchema, r.readMarker, r.readSlots, r.readCatalog, r.readKept, r.readStates, r.readPages, r.readCounts,
		r.readChunks, r.readJournal,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	r.arrange()
	r.judgeDelivery()
	if err := r.readBodies(); err != nil {
		return err
	}
	r.d.reportFiles()
	return nil
}

// value reads a small value, ok telling whether there is one.
func (r *recovery) value(key ...byte) (v []byte, ok bool, err error) {
	item, err := r.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("get %x: %w", key, err)
	}
	v, err = item.ValueCopy(nil)
	return v, true, err
}

func (r *recovery) readSchema() error {
	v, ok, err := r.value(keySchema)
	if err != nil || !ok {
		return err
	}
	r.d.schema, err = decodeSchema(v)
	return err
}

func (r *recovery) readMarker() error {
	v, ok, err := r.value(keyMarker)
	if err != nil {
		return err
	}
	if !ok {
		if r.last > 0 || r.d.schema.version != 0 {
			if err := r.lost("group %d was committed and there is none", r.last); err != nil {
				return err
			}
		}
		r.d.group = r.last
		r.d.nextID.Store(1)
		return nil
	}
	m, err := decodeMarker(v)
	if err != nil {
		return err
	}
	if m.group < r.last {
		if err := r.lost("group %d was committed and the last one found is %d", r.last, m.group); err != nil {
			return err
		}
	}
	r.d.group, r.floor = max(m.group, r.last), m.journalFloor
	r.d.nextID.Store(m.nextID)
	if v, ok, err = r.value(keyRun); err != nil || !ok {
		return err
	}
	if r.d.run, err = decodeRun(v); err != nil {
		return err
	}
	r.clean, r.previous = r.d.run.clean, r.d.run.number
	return nil
}

// lost tells that confirmed data is missing: a reason not to start, unless it is for a
// repair.
func (r *recovery) lost(format string, args ...any) error {
	reason := fmt.Sprintf(format, args...)
	if !r.d.repair {
		return &LostError{r.d.dir, reason}
	}
	r.gaps = true
	r.d.report(Problem{Kind: "store", Reason: "confirmed data is missing: " + reason})
	return nil
}

// later takes account of a record of a group after the last one known.
func (r *recovery) later(what string, group uint64) error {
	if group <= r.d.group {
		return nil
	}
	if err := r.lost("there is a %s of group %d, and the last group is %d", what, group, r.d.group); err != nil {
		return err
	}
	r.d.group = group
	return nil
}

// readSlots looks for a gap in the group numbers (S-19). Badger replays the log of each
// memtable alone, so damage in an older one cuts groups out of the middle. Every slot
// that can still be told is looked at, which is more than the memtables can have held.
func (r *recovery) readSlots() error {
	found := make([]uint64, slots)
	err := r.each([]byte{keySlot}, func(item *badger.Item) error {
		return item.Value(func(v []byte) error {
			c := cursor{b: v}
			k := cursor{b: item.Key()[1:]}
			if group := c.fixed64(); !c.failed && len(k.b) == 2 {
				found[int(k.octet())<<8|int(k.octet())] = group
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	first := uint64(1)
	if r.d.group > slots {
		first = r.d.group - slots + 1
	}
	for g := first; g <= r.d.group; g++ {
		if found[g%slots] != g {
			return r.lost("group %d of %d is missing", g, r.d.group)
		}
	}
	return nil
}

// each walks the keys under a prefix in order.
func (r *recovery) each(prefix []byte, f func(*badger.Item) error) error {
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false
	o.Prefix = prefix
	it := r.txn.NewIterator(o)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := f(it.Item()); err != nil {
			return err
		}
	}
	return nil
}

func (r *recovery) readCatalog() error {
	var value []byte
	missing := 0 // parts still to come of the record in value
	err := r.each([]byte{keyMetadata}, func(item *badger.Item) error {
		key := item.Key()
		if len(key) < 4 {
			return damaged("a declaration under %x", key)
		}
		name, part := key[:len(key)-2], int(key[len(key)-2])<<8|int(key[len(key)-1])
		v, err := item.ValueCopy(nil)
		if err != nil {
			return fmt.Errorf("read %x: %w", key, err)
		}
		if part == 0 {
			c := cursor{b: v}
			missing = int(c.uvarint())
			if c.failed || missing == 0 || missing > 1<<16 {
				return damaged("a declaration under %x", key)
			}
			r.d.noteParts(name, missing)
			value = c.b
		} else {
			value = append(value, v...)
		}
		if missing--; missing != 0 {
			return nil
		}
		return r.declared(name, value)
	})
	if err != nil {
		return err
	}
	r.dropStrayBindings()
	return nil
}

func (r *recovery) declared(name, value []byte) error {
	rec, err := decodeMetadata(name[1], value)
	if err != nil {
		return fmt.Errorf("declaration %x: %w", name, err)
	}
	c := &r.catalog
	switch rec := rec.(type) {
	case topology.VHost:
		c.VHosts = append(c.VHosts, rec)
	case topology.User:
		c.Users = append(c.Users, rec)
	case topology.Permission:
		c.Permissions = append(c.Permissions, rec)
	case topology.TopicPermission:
		c.TopicPermissions = append(c.TopicPermissions, rec)
	case topology.Policy:
		c.Policies = append(c.Policies, rec)
	case topology.GlobalParameter:
		c.GlobalParameters = append(c.GlobalParameters, rec)
	case topology.Exchange:
		c.Exchanges = append(c.Exchanges, rec)
		r.queues[queue.ID(rec.ID)] = &recovered{} // for messages that wait there
	case topology.Queue:
		c.Queues = append(c.Queues, rec)
		r.queues[rec.ID] = &recovered{}
	case topology.Binding:
		c.Bindings = append(c.Bindings, rec)
	}
	return nil
}

// dropStrayBindings leaves out bindings whose ends are not there any more: an owner was
// deleted and the rest did not follow before a crash (S-5).
func (r *recovery) dropStrayBindings() {
	exchanges := make(map[uint64]string, len(r.catalog.Exchanges))
	for _, x := range r.catalog.Exchanges {
		exchanges[x.ID] = x.Spec.VHost + "\x00" + x.Spec.Name
	}
	queues := make(map[uint64]string, len(r.catalog.Queues))
	for _, q := range r.catalog.Queues {
		queues[uint64(q.ID)] = q.Spec.VHost + "\x00" + q.Spec.Name
	}
	r.catalog.Bindings = slices.DeleteFunc(r.catalog.Bindings, func(b topology.Binding) bool {
		to := queues
		if b.Binding.Kind == binding.Exchange {
			to = exchanges
		}
		source, ok := exchanges[b.SourceID]
		destination, there := to[b.DestinationID]
		if ok && there && source == b.VHost+"\x00"+b.Binding.Source && destination == b.VHost+"\x00"+b.Binding.Destination {
			return false
		}
		r.garbage = append(r.garbage, b)
		return true
	})
}

func (q *recovered) level(level uint8) *recoveredLevel {
	for _, lv := range q.levels {
		if lv.level == level {
			return lv
		}
	}
	lv := &recoveredLevel{level: level, next: 1}
	q.levels = append(q.levels, lv)
	return lv
}

func (r *recovery) suspect(item *badger.Item) error {
	r.suspects = append(r.suspects, item.KeyCopy(nil))
	return nil
}

func (r *recovery) readStates() error {
	return r.each([]byte{keyState}, func(item *badger.Item) error {
		id, level, ok := parseStateKey(item.Key())
		if q := r.queues[id]; ok && q != nil {
			return item.Value(func(v []byte) error {
				s, err := decodeState(v)
				if err != nil {
					return fmt.Errorf("queue %d level %d: %w", id, level, err)
				}
				lv := q.level(level)
				lv.state = s
				lv.next = max(lv.next, s.next, s.head, s.deliveredTo+1, s.purgeFloor)
				r.d.index.level(id, level).state = true
				return nil
			})
		}
		return r.suspect(item)
	})
}

func (r *recovery) readPages() error {
	return r.each([]byte{keyPage}, func(item *badger.Item) error {
		id, level, number, ok := parsePageKey(item.Key())
		q := r.queues[id]
		if !ok || q == nil {
			return r.suspect(item)
		}
		lv := q.level(level)
		if (number+1)*queue.PagePositions <= lv.state.head {
			return r.suspect(item)
		}
		return item.Value(func(v []byte) error {
			p := queue.Page{Number: number}
			if err := decodePage(v, &p.Bits); err != nil {
				return fmt.Errorf("queue %d level %d page %d: %w", id, level, number, err)
			}
			lv.pages = append(lv.pages, p)
			lv.next = max(lv.next, number*queue.PagePositions+highest(&p.Bits)+1)
			r.d.index.level(id, level).addPage(number)
			return nil
		})
	})
}

// readCounts reads the delivery counts of messages that may be alive. Counts of others are
// what was not deleted before a crash.
func (r *recovery) readCounts() error {
	return r.each([]byte{keyCounts}, func(item *badger.Item) error {
		id, level, number, ok := parsePageKey(item.Key())
		q := r.queues[id]
		if !ok || q == nil {
			return r.suspect(item)
		}
		lv := q.level(level)
		var page queue.CountPage
		err := item.Value(func(v []byte) (err error) {
			page, err = decodeCounts(v, number)
			return err
		})
		if err != nil {
			return fmt.Errorf("queue %d level %d counts %d: %w", id, level, number, err)
		}
		page.Counts = slices.DeleteFunc(page.Counts, func(c queue.Count) bool { return !lv.alive(c.Seq) })
		if len(page.Counts) == 0 {
			return r.suspect(item)
		}
		lv.counts = append(lv.counts, page)
		addNumber(&r.d.index.level(id, level).counts, number)
		return nil
	})
}

func highest(p *[queue.PagePositions / 64]uint64) uint64 {
	for w := len(p) - 1; w >= 0; w-- {
		if p[w] != 0 {
			return uint64(w*64 + bits.Len64(p[w]) - 1)
		}
	}
	return 0
}

// alive is the rule that decides: not below the head and not in a page.
func (lv *recoveredLevel) alive(seq uint64) bool {
	if seq < lv.state.head {
		return false
	}
	number := seq / queue.PagePositions
	i, found := slices.BinarySearchFunc(lv.pages, number, func(p queue.Page, n uint64) int { return cmp.Compare(p.Number, n) })
	bit := seq % queue.PagePositions
	return !found || lv.pages[i].Bits[bit/64]&(1<<(bit%64)) == 0
}

// judgeDelivery decides which queues must count every message as delivered before: those
// that had a consumer in a run that did not end cleanly, since what was handed out last
// is not on disk then (DUR-4, S-11).
func (r *recovery) judgeDelivery() {
	if r.clean {
		return
	}
	for _, q := range r.queues {
		for _, lv := range q.levels {
			q.pessimistic = q.pessimistic || lv.state.hadConsumer && lv.state.run == r.previous
		}
	}
}

// markDelivered writes that judgement down as delivery marks, so that this run's end,
// clean or not, finds them exact. A queue's levels go together: one mark decides for all.
func (r *recovery) markDelivered() error {
	for id, q := range r.queues {
		if !q.pessimistic {
			continue
		}
		var ops []operation
		for _, lv := range q.levels {
			lv.state.deliveredTo, lv.state.next, lv.state.hadConsumer = lv.next-1, lv.next, false
			ops = append(ops, r.d.statePut(id, lv.level, lv.state))
			r.d.index.level(id, lv.level).state = true
		}
		if err := r.d.tx.unit(ops); err != nil {
			return err
		}
	}
	return nil
}

// restored is a queue as it was found, for its owner.
func (q *recovered) restored() queue.Restored {
	slices.SortFunc(q.levels, func(a, b *recoveredLevel) int { return cmp.Compare(a.level, b.level) })
	var out queue.Restored
	for _, lv := range q.levels {
		out.Levels = append(out.Levels, queue.RestoredLevel{
			Level:          lv.level,
			Head:           lv.state.head,
			Next:           lv.next,
			DeliveredTo:    lv.state.deliveredTo,
			AllRedelivered: q.pessimistic,
			Pages:          lv.pages,
			Counts:         lv.counts,
			Runs:           lv.runs,
		})
	}
	return out
}
