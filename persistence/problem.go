package persistence

import (
	"fmt"
	"strings"
	"sync"

	"github.com/leveretmq/leveret/queue"
)

// Problem is something wrong with a store: what is damaged, where, and which messages
// cannot be served because of it.
type Problem struct {
	// Kind is what is damaged: journal record, chunk, message, table, log, or store.
	Kind string
	// File is the file it is in, without its directory; empty when that cannot be told.
	File string
	// Key is the key of the record, in hexadecimal; empty when it is not about one.
	Key string
	// Queue, Level and Seqs are the messages in question. The queue is 0 when the damage is
	// in what would tell.
	Queue queue.ID
	Level uint8
	Seqs  queue.Range
	// Reason is what was found instead of what should be there.
	Reason string
	// Kept is the file that what was damaged was moved to by a repair.
	Kept string
}

// String tells it in a line.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Kind)
	if p.File != "" {
		fmt.Fprintf(&b, " in %s", p.File)
	}
	if p.Key != "" {
		fmt.Fprintf(&b, ", key %s", p.Key)
	}
	if p.Queue != 0 {
		fmt.Fprintf(&b, ", queue %d", p.Queue)
		if p.Level != 0 {
			fmt.Fprintf(&b, " level %d", p.Level)
		}
		if p.Seqs.First == p.Seqs.Last {
			fmt.Fprintf(&b, ", message %d", p.Seqs.First)
		} else {
			fmt.Fprintf(&b, ", messages %d to %d", p.Seqs.First, p.Seqs.Last)
		}
	}
	fmt.Fprintf(&b, ": %s", p.Reason)
	if p.Kept != "" {
		fmt.Fprintf(&b, "; kept in %s", p.Kept)
	}
	return b.String()
}

// problem is what is wrong with a record.
func (r *stored) problem(kind string, err error) Problem {
	p := Problem{Kind: kind, Key: fmt.Sprintf("%x", r.appendKey(nil)), Reason: err.Error()}
	if kind == "" {
		p.Kind = "journal record"
		if k := r.chunk; k != nil {
			p.Kind, p.Queue, p.Level, p.Seqs = "chunk", k.queue, k.level, queue.Range{First: k.first, Last: k.last}
		}
	}
	return p
}

// report counts a problem, logs it, and tells whoever checks the store.
func (d *disk) report(p Problem) {
	d.stats.damaged.Add(1)
	line := d.zero.With().Str("kind", p.Kind).Str("key", p.Key)
	if p.Queue != 0 {
		line = line.Uint64("queue", uint64(p.Queue)).Uint8("level", p.Level).Uint64("seq", p.Seqs.First).Uint64("last", p.Seqs.Last)
	}
	log := line.Logger()
	log.Error().Str("damage", p.Reason).Msg("messages are damaged and not served")
	if d.onProblem != nil {
		d.onProblem(p)
	}
}

// reported remembers which messages were reported as damaged: one is counted and told once.
type reported struct {
	mu   sync.Mutex
	seen map[place]struct{}
}

// place is a message's.
type place struct {
	queue queue.ID
	level uint8
	seq   uint64
}

func (r *reported) first(p place) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, again := r.seen[p]; again {
		return false
	}
	if r.seen == nil {
		r.seen = make(map[place]struct{})
	}
	r.seen[p] = struct{}{}
	return true
}

// reportBody tells that a message is damaged, and keeps its record for a repair.
func (d *disk) reportBody(p *piece, seq uint64, err error) {
	if !d.index.stillAlive(p.queue, p.level, seq) || !d.reported.first(place{p.queue, p.level, seq}) {
		return
	}
	d.keepDamaged(p.record)
	d.report(messageProblem(p.record, p.queue, p.level, seq, err))
}

func messageProblem(r *stored, id queue.ID, level uint8, seq uint64, err error) Problem {
	p := r.problem("message", err)
	p.Queue, p.Level, p.Seqs = id, level, queue.Range{First: seq, Last: seq}
	return p
}

// reportRecord tells that nothing in a record can be read, and keeps it for a repair.
func (d *disk) reportRecord(p *piece, err error) {
	if !d.reported.first(place{p.queue, p.level, p.First}) {
		return
	}
	d.keepDamaged(p.record)
	problem := p.record.problem("", err)
	problem.Queue, problem.Level, problem.Seqs = p.queue, p.level, p.Range
	d.report(problem)
}

func (d *disk) keepDamaged(r *stored) {
	d.index.mu.Lock()
	defer d.index.mu.Unlock()
	d.index.quarantine(r)
}
