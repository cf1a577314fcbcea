package broker

import (
	"sync"
	"time"

	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

// window is what an exchange of the type x-message-deduplication remembers (EX-56): which
// values it has seen, at most so many and each for so long. When it is full the oldest goes.
//
// The first message with a value is the original. While it is under way into its queues it
// has a flight, at whose end it is either on disk, as far as it is to be stored, or has come
// to its end without. What waits for that (S-12): the confirms of duplicates, because a
// publisher that is told of a duplicate must be able to rely on the original; and, when the
// window is on disk, the value, which is written with the last of the original's puts, and
// the original's own confirm. So after a crash either both are there or the publisher still
// has to try again. Flights are Transfers of which the window is the source, and like a queue
// it is the Collector of what it has to write.
//
// An original that a queue refuses is forgotten, or its publisher, who is told to try again
// (CONF-4), would be refused for ever. RabbitMQ's plugin remembers it.
//
// A dead letter that is a duplicate is settled at its source at once, although its original
// may not be stored yet.
type window struct {
	id    queue.ID
	store queue.Store
	ttl   int64 // milliseconds; 0 for none
	disk  bool

	mu      sync.Mutex // guards the fields below; it comes before a channel's
	seen    seen
	flights map[uint64]*flight
	number  uint64   // of the last flight
	landed  []uint64 // flights that have ended, whose values are to be written
	under   []uint64 // flights under way with a commit, in order

	records         map[uint64]int // how many values in each record on disk are still wanted
	dead            []uint64       // records of which none is
	enlisted        bool           // the store knows of landed
	enlistedSettled bool           // and of dead
	gone            bool           // the exchange was deleted
}

type flight struct {
	slot     uint32 // of the value, or noValue when that is gone
	refused  bool   // by a queue
	group    uint64 // of the commit it is under way with
	confirms []*message.Confirm
}

// openWindow makes the window of an exchange that deduplicates. It is called before anybody
// can find the exchange.
func (b *Broker) openWindow(n *exchangeNode) {
	spec := n.x.Spec()
	if d, ok := spec.Deduplication(); ok {
		n.window = newWindow(queue.ID(n.id), d, b.messages)
	}
}

func newWindow(id queue.ID, d exchange.Deduplication, store queue.Store) *window {
	return &window{
		id:      id,
		store:   store,
		ttl:     d.TTL.Milliseconds(),
		disk:    d.Disk,
		seen:    newSeen(d.Size),
		flights: make(map[uint64]*flight),
		records: make(map[uint64]int),
	}
}

// admit tells whether a message may pass: it has no value, or is the original of one. The
// flight of an original, unless it is 0, is begun, and confirm then waits for what the
// window has to write; that of a duplicate waits for the original.
func (w *window) admit(now time.Time, m *message.Message, confirm *message.Confirm) (number uint64, pass bool) {
	key, ok, ttl := m.Deduplication()
	if !ok {
		return 0, true
	}
	ms := now.UnixMilli()
	w.mu.Lock()
	defer w.mu.Unlock()
	if slot, there := w.seen.find(key); there {
		v := &w.seen.values[slot]
		if !v.expired(ms) {
			if f := w.flights[v.flight]; f != nil {
				f.wait(confirm)
			}
			return 0, false
		}
		w.remove(slot)
	}
	expiry, remembered := w.expiry(ms, ttl)
	if !remembered {
		return 0, true
	}
	slot := w.add(ms, key, expiry)
	w.number++
	w.seen.values[slot].flight = w.number
	f := &flight{slot: slot}
	w.flights[w.number] = f
	if w.disk {
		f.wait(confirm)
	}
	return w.number, true
}

func (f *flight) wait(c *message.Confirm) {
	if c != nil {
		c.Hold()
		f.confirms = append(f.confirms, c)
	}
}

// expiry is when a value that comes now is forgotten, and whether it is remembered at all.
// The message's own header decides before the exchange's argument.
func (w *window) expiry(ms int64, header any) (expiry int64, remembered bool) {
	ttl, own := exchange.Number(header)
	switch {
	case own && ttl <= 0:
		return 0, false
	case own:
		return ms + min(ttl, message.MaxExpiration), true
	case w.ttl > 0:
		return ms + w.ttl, true
	}
	return 0, true
}

// add adds a value, after the oldest ones if they have expired or there is no room.
func (w *window) add(ms int64, key message.DeduplicationKey, expiry int64) (slot uint32) {
	for w.seen.oldest != noValue && (w.seen.full() || w.seen.values[w.seen.oldest].expired(ms)) {
		w.remove(w.seen.oldest)
	}
	return w.seen.add(key, expiry)
}

func (w *window) remove(slot uint32) {
	v := w.seen.remove(slot)
	if f := w.flights[v.flight]; f != nil {
		f.slot = noValue
	}
	if v.record == 0 {
		return
	}
	if w.records[v.record]--; w.records[v.record] == 0 {
		delete(w.records, v.record)
		w.dead = append(w.dead, v.record)
		w.enlistSettled()
	}
}

func (w *window) enlistSettled() {
	if !w.enlistedSettled && !w.gone {
		w.enlistedSettled = true
		w.store.EnlistSettled(w)
	}
}

// refuse forgets what a queue refused. Whoever waits for it is refused too.
func (w *window) refuse(number uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.flights[number]
	if f == nil {
		return
	}
	f.refused = true
	if f.slot != noValue {
		w.remove(f.slot)
	}
}

// Arrived implements queue.Source: nothing of an original is stored, or it was settled before.
func (w *window) Arrived(p queue.Position, out *queue.Effects) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.flights[p.Seq]
	if f == nil {
		return
	}
	if !w.disk || f.slot == noValue || w.gone {
		w.land(p.Seq, &out.Wakes)
		return
	}
	w.landed = append(w.landed, p.Seq)
	if !w.enlisted {
		w.enlisted = true
		w.store.Enlist(w)
	}
}

// land ends a flight.
func (w *window) land(number uint64, wakes *message.Wakes) {
	f := w.flights[number]
	delete(w.flights, number)
	if f.slot != noValue {
		w.seen.values[f.slot].flight = 0
	}
	for _, c := range f.confirms {
		if f.refused {
			c.Reject()
		}
		c.Release(wakes)
	}
}

// ID implements queue.Collector.
func (w *window) ID() queue.ID { return w.id }

// Collect implements queue.Collector: it hands over values of which no original is stored.
func (w *window) Collect(b *queue.Batch) (more bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.enlisted = false
	for _, number := range w.landed {
		w.collect(b, number)
	}
	w.landed = w.landed[:0]
	return false
}

// CollectSettled implements queue.Collector: it hands over the values of originals that are
// stored with this very batch, and the records that are dead.
func (w *window) CollectSettled(b *queue.Batch, done []queue.Position) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range done {
		w.collect(b, p.Seq)
	}
	w.enlistedSettled = false
	if len(w.dead) > 0 && !w.gone {
		change := w.change(b)
		for _, record := range w.dead {
			// A record of this batch may have died and come to life again.
			if w.records[record] == 0 {
				change.Dead = append(change.Dead, record)
			}
		}
		w.dead = nil
	}
}

func (w *window) collect(b *queue.Batch, number uint64) {
	f := w.flights[number]
	if f == nil {
		return
	}
	f.group = b.Group
	w.under = append(w.under, number)
	if !w.disk || f.slot == noValue || w.gone {
		return
	}
	v := &w.seen.values[f.slot]
	v.record = b.Group
	w.records[b.Group]++
	change := w.change(b)
	change.Seen = append(change.Seen, queue.Seen{Hash: v.key, Expiry: v.expiry})
}

// change is what of this window goes into b.
func (w *window) change(b *queue.Batch) *queue.Window {
	for i := range b.Windows {
		if b.Windows[i].ID == w.id {
			return &b.Windows[i]
		}
	}
	b.Windows = append(b.Windows, queue.Window{ID: w.id, Record: b.Group})
	return &b.Windows[len(b.Windows)-1]
}

// Stored implements queue.Collector.
func (w *window) Stored(group uint64, wakes *message.Wakes) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for n < len(w.under) && w.flights[w.under[n]].group <= group {
		w.land(w.under[n], wakes)
		n++
	}
	w.under = w.under[:copy(w.under, w.under[n:])]
}

// restore fills a new window with records, the oldest first. Of a value that is in several
// the last one counts.
func (w *window) restore(ms int64, stored []queue.Window) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range stored {
		r := &stored[i]
		w.records[r.Record]++ // so that it does not die before it is whole
		for j := range r.Seen {
			s := &r.Seen[j]
			if slot, there := w.seen.find(s.Hash); there {
				w.remove(slot)
			}
			if v := (seenValue{expiry: s.Expiry}); !w.disk || v.expired(ms) {
				continue
			}
			w.seen.values[w.add(ms, s.Hash, s.Expiry)].record = r.Record
			w.records[r.Record]++
		}
		if w.records[r.Record]--; w.records[r.Record] == 0 {
			delete(w.records, r.Record)
			w.dead = append(w.dead, r.Record)
			w.enlistSettled()
		}
	}
}

// forget has what is stored deleted, when the exchange is. What is under way still ends.
func (w *window) forget() {
	if w == nil {
		return
	}
	w.mu.Lock()
	w.gone = true
	w.mu.Unlock()
	w.store.Drop(w.id)
}
