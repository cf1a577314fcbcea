package persistence

import (
	"errors"

	"github.com/dgraph-io/badger/v4"

	"github.com/leveretmq/leveret/queue"
)

// piece is where some messages of a level are: in one record, between two numbers. What
// it points to of a record does not change.
type piece struct {
	record *stored
	queue  queue.ID
	level  uint8
	queue.Range
}

// resolve tells where the messages of a range are. ok is false when nothing is known of
// the queue.
func (x *index) resolve(id queue.ID, level uint8, r queue.Range) (pieces []piece, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.queues[id] == nil {
		return nil, false
	}
	lv := x.find(id, level)
	if lv == nil {
		return nil, true
	}
	for i := lv.search(r.First); i < len(lv.sections) && lv.sections[i].first <= r.Last; i++ {
		if s := &lv.sections[i]; s.left > 0 {
			part := queue.Range{First: max(r.First, s.first), Last: min(r.Last, s.last)}
			pieces = append(pieces, piece{s.record, id, level, part})
		}
	}
	return pieces, true
}

// stillAlive tells whether a message is wanted, as far as the index knows.
func (x *index) stillAlive(id queue.ID, level uint8, seq uint64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	lv := x.find(id, level)
	return lv != nil && lv.alive(seq)
}

// errGone is what a record is that a view does not have.
var errGone = errors.New("the record is gone")

// getAgain is how often a value that does not check out is got again: garbage collection
// may have moved it just then, and Badger answers an empty value without an error.
const getAgain = 3

// get has f look at the value of key. It is errGone, damage, or whatever f returns; f may
// be called several times while what it returns is damage.
func (w *view) get(key []byte, f func([]byte) error) error {
	var err error
	for range 1 + getAgain {
		item, failed := w.txn.Get(key)
		if errors.Is(failed, badger.ErrKeyNotFound) {
			return errGone
		}
		if err = failed; err == nil {
			if err = item.Value(f); err == nil {
				return nil
			}
		}
		var d damage
		if err = asDamage(err); !errors.As(err, &d) {
			return err
		}
	}
	return err
}

// asDamage makes damage of whatever Badger could not read. A format that is newer stays
// what it is.
func asDamage(err error) error {
	var d damage
	var newer *newerError
	if err == nil || errors.As(err, &d) || errors.As(err, &newer) {
		return err
	}
	return damaged("%v", err)
}

// fetcher reads messages for one reader.
type fetcher struct {
	d     *disk
	names map[string]string

	// directories of the records read last: what is asked for next is often in the same.
	directories map[*stored]*record
	held        int // references and bodies in them
	limit       int // of those

	refs []ref // wanted of the present record

	shared map[bodyPlace]*sharedBody // of the moves that wait to be written
	all    []rawMessage              // of the present move
	bodies []byte                    // theirs

	anything bool // of a repair, which moves what is fixed, too
}

const (
	maxDirectoryRefs = 64 << 10
	maxNames         = 1 << 12
)

// reader implements source.
func (d *disk) reader() func(queue.ID, uint8, queue.Range) ([]queue.RestoredMessage, error) {
	return newFetcher(d).read
}

func newFetcher(d *disk) *fetcher {
	return &fetcher{d: d, names: make(map[string]string), directories: make(map[*stored]*record), limit: maxDirectoryRefs}
}

// forget lets go of the directories, and of what moves were made with.
func (f *fetcher) forget() {
	clear(f.directories)
	f.held = 0
	f.all, f.bodies = nil, nil
}

// read reads a range. A record that is gone was moved or has died since the index was
// asked, so it is asked again; if it still names the same, the record is lost (S-21).
func (f *fetcher) read(id queue.ID, level uint8, r queue.Range) ([]queue.RestoredMessage, error) {
	var out []queue.RestoredMessage
	var lost *stored
	for {
		pieces, ok := f.d.index.resolve(id, level, r)
		if !ok {
			return nil, ErrDropped
		}
		again := false
		w := f.d.views.take()
		if w == nil {
			return nil, ErrClosed
		}
		for i := range pieces {
			p := &pieces[i]
			if p.record.group > w.group {
				continue // on its way to disk
			}
			err := f.piece(w, p, &out)
			if errors.Is(err, errGone) && p.record != lost {
				r.First, lost, again = p.First, p.record, true
				break
			}
			if err != nil {
				f.d.reportRecord(p, err)
			}
		}
		f.d.views.release(w)
		if !again {
			return out, nil
		}
	}
}

// piece appends the messages of a piece. What is damaged of it is reported and left out.
func (f *fetcher) piece(w *view, p *piece, out *[]queue.RestoredMessage) error {
	start := len(*out)
	var broken []brokenBody
	err := w.get(p.record.appendKey(nil), func(b []byte) error {
		*out, broken = (*out)[:start], broken[:0]
		rec, err := f.directory(p.record, b)
		if err != nil {
			return err
		}
		f.wanted(rec, p)
		for i := range f.refs {
			m, err := f.message(w, rec, b, &f.refs[i])
			if err != nil {
				broken = append(broken, brokenBody{f.refs[i].seq, err})
				continue
			}
			*out = append(*out, m)
		}
		if len(broken) > 0 {
			return broken[0].err
		}
		return nil
	})
	if errors.Is(err, errGone) {
		*out = (*out)[:start]
		return err
	}
	if len(broken) > 0 {
		for _, b := range broken {
			f.d.reportBody(p, b.seq, b.err)
		}
		return nil
	}
	return err
}

type brokenBody struct {
	seq uint64
	err error
}

// directory parses the directory of a record, or remembers it.
func (f *fetcher) directory(r *stored, b []byte) (*record, error) {
	rec := f.directories[r]
	if rec != nil && rec.fits(b) {
		return rec, nil
	}
	rec, err := r.parse(b)
	if err != nil {
		return nil, err
	}
	n := len(rec.bodies)
	for i := range rec.sections {
		n += len(rec.sections[i].refs)
	}
	if f.held += n; f.held > f.limit {
		clear(f.directories)
		f.held = n
	}
	f.directories[r] = rec
	return rec, nil
}

// parse reads a record's directory, if it is that record.
func (r *stored) parse(b []byte) (*record, error) {
	rec, err := parseRecord(b)
	if err != nil {
		return nil, err
	}
	if rec.group != r.group {
		return nil, damaged("group %d instead of %d", rec.group, r.group)
	}
	if k := r.chunk; k != nil {
		if len(rec.sections) != 1 {
			return nil, damaged("%d sections in a chunk", len(rec.sections))
		}
		if s := &rec.sections[0]; s.queue != k.queue || s.level != k.level || len(s.refs) != int(k.count) ||
			s.refs[0].seq != k.first || s.refs[len(s.refs)-1].seq != k.last {
			return nil, damaged("another chunk")
		}
	}
	return rec, nil
}

// wanted puts into f.refs what a record has of a piece, settled messages left out.
func (f *fetcher) wanted(rec *record, p *piece) {
	f.refs = f.refs[:0]
	x := f.d.index
	x.mu.Lock()
	defer x.mu.Unlock()
	lv := x.find(p.queue, p.level)
	if lv == nil {
		return
	}
	for i := range rec.sections {
		s := &rec.sections[i]
		if s.queue != p.queue || s.level != p.level {
			continue
		}
		for j := s.search(p.First); j < len(s.refs) && s.refs[j].seq <= p.Last; j++ {
			if lv.alive(s.refs[j].seq) {
				f.refs = append(f.refs, s.refs[j])
			}
		}
	}
}

func (f *fetcher) message(w *view, rec *record, b []byte, r *ref) (queue.RestoredMessage, error) {
	meta, payload, err := rec.body(b, r.body)
	if e := &rec.bodies[r.body]; err == nil && e.aside() {
		payload, err = w.aside(e)
	}
	m := queue.RestoredMessage{Seq: r.seq, Expiry: r.expiry, Redelivered: r.redelivered}
	if err == nil {
		m.Message, err = decodeMessage(meta, payload, f.intern)
	}
	return m, err
}

// aside reads a payload that is kept in parts.
func (w *view) aside(e *bodyEntry) ([]byte, error) {
	payload := make([]byte, 0, e.payload)
	for n := range e.parts {
		err := w.get(appendBodyKey(nil, e.id, n), func(b []byte) error {
			piece, err := parsePart(b)
			if err == nil {
				payload = append(payload, piece...)
			}
			return err
		})
		if err != nil {
			return nil, damaged("part %d of body %d: %v", n, e.id, err)
		}
	}
	if len(payload) != e.payload {
		return nil, damaged("body %d has %d bytes instead of %d", e.id, len(payload), e.payload)
	}
	return payload, nil
}

func (f *fetcher) intern(b []byte) string { return interned(f.names, b) }

// interned makes a string of b that it shares with all that are equal.
func interned(names map[string]string, b []byte) string {
	if s, ok := names[string(b)]; ok {
		return s
	}
	if len(names) >= maxNames {
		clear(names)
	}
	s := string(b)
	names[s] = s
	return s
}

// lookUp tells the numbers of a stretch of a chunk. The index is locked.
func (d *disk) lookUp(s *stretch) ([]uint64, error) {
	w := d.views.take()
	if w == nil {
		return nil, ErrClosed
	}
	defer d.views.release(w)
	var seqs []uint64
	err := w.get(s.record.appendKey(nil), func(b []byte) error {
		rec, err := s.record.parse(b)
		if err != nil {
			return err
		}
		seqs = seqs[:0]
		sec := &rec.sections[0]
		for i := sec.search(s.first); i < len(sec.refs) && sec.refs[i].seq <= s.last; i++ {
			seqs = append(seqs, sec.refs[i].seq)
		}
		return nil
	})
	if err == nil && len(seqs) != int(s.count) {
		err = damaged("%d messages from %d to %d instead of %d", len(seqs), s.first, s.last, s.count)
	}
	return seqs, err
}
