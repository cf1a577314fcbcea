package history

import (
	"container/heap"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Violation is a promise that the broker broke.
type Violation struct {
	Rule  string // lost, phantom, corrupt, duplicate, early or order
	ID    ID
	Queue string
	Story string // everything the logs say about the message, a line each
}

// String is the rule, the message and its story.
func (v Violation) String() string {
	return fmt.Sprintf("%s: message %v in %s\n%s", v.Rule, v.ID, v.Queue, v.Story)
}

// A Report is what Check found. A message that is routed to two queues counts twice, except
// in Confirmed.
type Report struct {
	Published  int // messages in queues, had they all arrived
	Confirmed  int // messages
	Deliveries int // repeated ones included
	Repeated   int // deliveries of what had been delivered before
	Duplicates int // of these, deliveries of what had been acknowledged, allowed by a crash
	Letters    int // settled as dead letters
	Gone       int // confirmed, and not settled but taken by a rule
	Unknown    int // never confirmed, refused or returned

	Violations []Violation
	broken     map[string]int
}

// Broken is how often a rule was broken. It counts all, Violations lists the first hundred.
func (r *Report) Broken(rule string) int { return r.broken[rule] }

// Err says in one line which rules were broken, or is nil.
func (r *Report) Err() error {
	if len(r.broken) == 0 {
		return nil
	}
	var counts []string
	for _, rule := range []string{"lost", "phantom", "corrupt", "duplicate", "early", "order"} {
		if n := r.broken[rule]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, rule))
		}
	}
	return fmt.Errorf("promises broken: %s", strings.Join(counts, ", "))
}

// copyKey is one message in one queue, which is what is delivered and settled.
type copyKey struct {
	id    ID
	queue Queue
}

type copyState struct {
	digest    uint64
	transient bool
	born      int // crashes and restarts before it was published
	number    int // among those of its queue, from 1
	delivered bool
	unmarked  bool // one of the deliveries was not marked redelivered
	settled   bool // an ack was sent, or a reject that ended the message
	acked     bool // it was an ack

	// Of a queue with dead letters:
	letter *copyState // what it becomes; nil in other queues
	source *copyState // of a letter, what it was
	dies   bool       // it may have become one: it was rejected, or expires
	marked int        // crashes before unmarked was set; of a letter

	processedBy *Log // who knows that it was taken in; nil when nobody does
	processedAt time.Duration
	life        int // crashes before that
}

type outcome struct {
	confirmed, refused, returned bool
	confirmedAt                  time.Duration
}

// purge is what is known of the purges of a queue.
type purge struct {
	asking  map[*Log]time.Duration // since when, those that were not answered
	through int                    // copies with a number up to this one may be gone
	before  time.Duration          // what was confirmed until then is gone
	at      time.Duration          // when that was answered
}

type checker struct {
	h        *History
	report   *Report
	copies   map[copyKey]*copyState
	outcomes map[ID]*outcome
	pending  map[*Log][]*copyState        // acknowledged, not known to be processed
	latest   map[Queue]map[uint32]copyKey // the youngest delivered so far, by writer
	numbers  map[Queue]int                // copies published so far
	purges   map[Queue]*purge
	life     int // crashes so far
	runs     int // crashes and restarts so far
}

// Check judges the history. It is called when everything is drained: every queue was consumed
// to its end, and no client writes to its log any more.
func (h *History) Check() *Report {
	c := &checker{
		h:        h,
		report:   &Report{broken: make(map[string]int)},
		copies:   make(map[copyKey]*copyState),
		outcomes: make(map[ID]*outcome),
		pending:  make(map[*Log][]*copyState),
		latest:   make(map[Queue]map[uint32]copyKey),
		numbers:  make(map[Queue]int),
		purges:   make(map[Queue]*purge),
	}
	h.each(c.see)
	c.settle()
	return c.report
}

// see takes in the next event of the story.
func (c *checker) see(l *Log, e event) {
	key := copyKey{e.id, e.queue}
	switch e.kind {
	case published:
		c.publish(key, e)
		if c.outcomes[e.id] == nil {
			c.outcomes[e.id] = new(outcome)
		}
		c.report.Published++
	case confirmed:
		if o := c.outcome(e.id); !o.confirmed {
			o.confirmed, o.confirmedAt = true, e.at
			c.report.Confirmed++
		}
	case refused:
		c.outcome(e.id).refused = true
	case returned:
		c.outcome(e.id).returned = true
	case delivered:
		c.delivery(l, key, e)
	case acked, rejected:
		if s := c.copies[key]; s != nil {
			if e.kind == rejected && s.letter != nil {
				s.dies = true
			} else {
				s.settled, s.acked = true, e.kind == acked
			}
			c.pending[l] = append(c.pending[l], s)
		}
	case requeued:
		// It is to come again, which the rule of the lost asks for: it is not settled.
	case processed:
		for _, s := range c.pending[l] {
			s.processedBy, s.processedAt, s.life = l, e.at, c.life
		}
		delete(c.pending, l)
	case lost:
		delete(c.pending, l)
	case crashed:
		c.life++
		c.runs++
		clear(c.pending)
		c.forgetPurges()
	case restarted:
		c.runs++
		c.forgetPurges()
	case purging:
		p := c.purges[e.queue]
		if p == nil {
			p = &purge{asking: make(map[*Log]time.Duration)}
			c.purges[e.queue] = p
		}
		p.asking[l] = e.at
	case purged:
		p := c.purges[e.queue]
		p.through, p.before, p.at = c.numbers[e.queue], p.asking[l], e.at
		delete(p.asking, l)
	}
}

func (c *checker) publish(key copyKey, e event) {
	if c.copies[key] != nil {
		panic(fmt.Sprintf("message %v is published to %s twice", e.id, c.h.queues[e.queue].name))
	}
	c.numbers[e.queue]++
	s := &copyState{digest: e.digest, transient: e.transient, born: c.runs, number: c.numbers[e.queue], dies: e.expires}
	c.copies[key] = s
	if q := c.h.queues[e.queue]; q.letters {
		s.letter = &copyState{digest: e.digest, transient: e.transient, born: c.runs, source: s}
		c.copies[copyKey{e.id, q.to}] = s.letter
	}
}

// forgetPurges ends the purges that the end of the broker, or of the story, left without an
// answer.
func (c *checker) forgetPurges() {
	for q, p := range c.purges {
		if len(p.asking) > 0 {
			p.through = c.numbers[q]
			clear(p.asking)
		}
	}
}

// isGone tells whether a purge that was answered has taken what is delivered now.
func (c *checker) isGone(l *Log, key copyKey) bool {
	p, o := c.purges[key.queue], c.outcomes[key.id]
	return p != nil && p.at > 0 && o.confirmed && o.confirmedAt < p.before && l.opened > p.at
}

func (c *checker) outcome(id ID) *outcome {
	o := c.outcomes[id]
	if o == nil {
		panic(fmt.Sprintf("an outcome for message %v, which was not published", id))
	}
	return o
}

func (c *checker) delivery(l *Log, key copyKey, e event) {
	c.report.Deliveries++
	s := c.copies[key]
	if s == nil || c.outcomes[key.id].returned || s.source != nil && !s.source.dies || c.isGone(l, key) {
		c.breaks("phantom", key)
		return
	}
	if e.digest != s.digest {
		c.breaks("corrupt", key)
	}
	if s.delivered {
		c.report.Repeated++
	}
	if !e.redelivered {
		// A letter whose death a crash undid dies again, and is new where it goes.
		if s.unmarked && (s.source == nil || s.marked == c.life) {
			c.breaks("early", key)
		}
		s.unmarked, s.marked = true, c.life
	}
	c.repetition(l, key, s)
	if s.source != nil && s.source.acked {
		c.repetition(l, key, s.source)
	}
	if !s.delivered && !c.h.queues[key.queue].shared {
		c.order(key)
	}
	s.delivered = true
}

// repetition holds a delivery against an acknowledgement, of the same copy or of the one whose
// letter it is.
func (c *checker) repetition(l *Log, key copyKey, s *copyState) {
	switch {
	case s.processedBy == nil:
	case s.life != c.life:
		c.report.Duplicates++
	case l == s.processedBy || l.opened > s.processedAt:
		c.breaks("duplicate", key)
	}
}

// order holds a first delivery against the youngest one of the same writer.
func (c *checker) order(key copyKey) {
	writers := c.latest[key.queue]
	if writers == nil {
		writers = make(map[uint32]copyKey)
		c.latest[key.queue] = writers
	}
	if last, seen := writers[key.id.Writer]; seen && key.id.Seq < last.id.Seq {
		c.breaks("order", key)
		return
	}
	writers[key.id.Writer] = key
}

// settle asks at the end for what was promised and did not happen.
func (c *checker) settle() {
	c.forgetPurges()
	var missing []copyKey
	for key, s := range c.copies {
		switch o := c.outcomes[key.id]; {
		case o.returned:
		case s.source != nil:
			if s.settled {
				c.report.Letters++
			}
		case o.confirmed && s.settled, o.confirmed && s.letter != nil && s.letter.settled:
		case o.confirmed && c.excused(key, s):
			c.report.Gone++
		case o.confirmed:
			missing = append(missing, key)
		case !o.confirmed && !o.refused:
			c.report.Unknown++
		}
	}
	slices.SortFunc(missing, func(a, b copyKey) int {
		if a.id.Writer != b.id.Writer {
			return int(a.id.Writer) - int(b.id.Writer)
		}
		if a.id.Seq != b.id.Seq {
			return int(a.id.Seq) - int(b.id.Seq)
		}
		return int(a.queue) - int(b.queue)
	})
	for _, key := range missing {
		c.breaks("lost", key)
	}
}

// excused tells whether a copy may be gone though nobody settled it.
func (c *checker) excused(key copyKey, s *copyState) bool {
	if p := c.purges[key.queue]; p != nil && s.number <= p.through {
		return true
	}
	return s.transient && s.born != c.runs || s.dies && s.letter == nil
}

// breaks notes a violation. Its story costs a pass over the logs, so only the first hundred
// violations of a run are told.
func (c *checker) breaks(rule string, key copyKey) {
	c.report.broken[rule]++
	if len(c.report.Violations) < 100 {
		c.report.Violations = append(c.report.Violations, Violation{
			Rule: rule, ID: key.id, Queue: c.h.queues[key.queue].name, Story: c.h.story(key.id),
		})
	}
}

// story is what the logs say about a message, and about crashes.
func (h *History) story(id ID) string {
	var b strings.Builder
	h.each(func(l *Log, e event) {
		if e.id != id && e.kind != crashed && e.kind != restarted && e.kind != purged {
			return
		}
		fmt.Fprintf(&b, "  %12v  %-20s %v", e.at, l.client, e.kind)
		switch e.kind {
		case published:
			fmt.Fprintf(&b, " to %s, digest %016x, transient %t, expires %t", h.queues[e.queue].name, e.digest, e.transient, e.expires)
		case delivered:
			fmt.Fprintf(&b, " from %s, digest %016x, redelivered %t", h.queues[e.queue].name, e.digest, e.redelivered)
		case acked, rejected, requeued:
			fmt.Fprintf(&b, " to %s", h.queues[e.queue].name)
		case purged:
			fmt.Fprintf(&b, " %s", h.queues[e.queue].name)
		}
		b.WriteByte('\n')
	})
	return b.String()
}

// each calls f for every event of all logs in the order of time.
func (h *History) each(f func(*Log, event)) {
	h.mu.Lock()
	m := make(merge, 0, len(h.logs))
	for i, l := range h.logs {
		if len(l.events) > 0 {
			m = append(m, cursor{l, l.events, i})
		}
	}
	h.mu.Unlock()
	heap.Init(&m)
	for len(m) > 0 {
		first := &m[0]
		f(first.log, first.rest[0])
		if first.rest = first.rest[1:]; len(first.rest) == 0 {
			heap.Pop(&m)
		} else {
			heap.Fix(&m, 0)
		}
	}
}

// merge is the heap of what is left of each log.
type merge []cursor

type cursor struct {
	log   *Log
	rest  []event
	order int // of the logs; for events of the same instant
}

func (m merge) Len() int { return len(m) }
func (m merge) Less(i, j int) bool {
	if a, b := m[i].rest[0].at, m[j].rest[0].at; a != b {
		return a < b
	}
	return m[i].order < m[j].order
}
func (m merge) Swap(i, j int) { m[i], m[j] = m[j], m[i] }
func (m *merge) Push(x any)   { *m = append(*m, x.(cursor)) }
func (m *merge) Pop() any {
	last := (*m)[len(*m)-1]
	*m = (*m)[:len(*m)-1]
	return last
}
