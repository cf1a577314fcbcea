package history

import (
	"fmt"
	"sync"
	"time"
)

// An ID names a message: its writer, and its place among the writer's messages, from 1.
type ID struct {
	Writer uint32
	Seq    uint32
}

// String is writer.seq.
func (id ID) String() string { return fmt.Sprintf("%d.%d", id.Writer, id.Seq) }

// A Queue is a queue's number in a History.
type Queue uint16

type kind uint8

const (
	published kind = iota
	confirmed
	refused
	returned
	delivered
	acked
	rejected
	requeued
	processed
	lost
	crashed
	restarted
	purging
	purged
)

func (k kind) String() string {
	return [...]string{"published", "confirmed", "refused", "returned", "delivered", "acked",
		"rejected", "requeued", "acks processed", "connection lost", "broker crashed", "broker restarted",
		"about to purge", "purged"}[k]
}

// event is something a client did or saw. It is small because a long run has millions.
type event struct {
	at          time.Duration // since the history began
	id          ID
	digest      uint64 // published, delivered
	queue       Queue  // published, delivered, acked, rejected, requeued, purging, purged
	kind        kind
	redelivered bool // delivered
	transient   bool // published
	expires     bool // published
}

// A History is the logs of all clients of one run.
type History struct {
	begin  time.Time
	queues []queueInfo

	mu   sync.Mutex // guards the fields below
	logs []*Log
}

type queueInfo struct {
	name    string
	shared  bool
	letters bool  // what is rejected or expires goes to the next field
	to      Queue // when letters is true
}

// New begins a history at the given time.
func New(begin time.Time) *History { return &History{begin: begin} }

// Queue adds a queue. A shared queue has several consumers at once, so the order in which
// its messages are seen says nothing. All queues are added before the first Log.
func (h *History) Queue(name string, shared bool) Queue {
	h.queues = append(h.queues, queueInfo{name: name, shared: shared})
	return Queue(len(h.queues) - 1)
}

// DeadLetters says that what is rejected from one queue, or expires there, goes to another.
// That one is fed by nothing else, and it is shared: letters come in the order of their death.
func (h *History) DeadLetters(from, to Queue) {
	h.queues[from].letters, h.queues[from].to = true, to
}

// Log opens the log of one client, or rather of one of its channels, before that is opened.
func (h *History) Log(client string) *Log {
	l := &Log{client: client, begin: h.begin, now: time.Now}
	l.opened = l.now().Sub(l.begin)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.logs = append(h.logs, l)
	return l
}

// A Log is what one client did and saw, in its order. What causes something is logged before
// it is done (a publish, an acknowledgement), what was seen is logged after.
type Log struct {
	client string
	begin  time.Time
	now    func() time.Time
	opened time.Duration
	events []event
}

func (l *Log) add(e event) {
	e.at = l.now().Sub(l.begin)
	l.events = append(l.events, e)
}

// A Message is what the rules ask about one, besides its name.
type Message struct {
	Digest    uint64
	Transient bool // it may vanish whenever the broker restarts
	Expires   bool // it may leave its queues by itself, to where their dead letters go
}

// Published says that a message is about to be published, and to which queues it will be routed.
func (l *Log) Published(id ID, m Message, queues ...Queue) {
	for _, q := range queues {
		l.add(event{kind: published, id: id, digest: m.Digest, queue: q, transient: m.Transient, expires: m.Expires})
	}
}

// Confirmed says that the broker took the responsibility for a message.
func (l *Log) Confirmed(id ID) { l.add(event{kind: confirmed, id: id}) }

// Refused says that the broker nacked a message.
func (l *Log) Refused(id ID) { l.add(event{kind: refused, id: id}) }

// Returned says that the broker gave a mandatory message back.
func (l *Log) Returned(id ID) { l.add(event{kind: returned, id: id}) }

// Delivered says that a message came from a queue. The digest is that of what came.
func (l *Log) Delivered(q Queue, id ID, digest uint64, redelivered bool) {
	l.add(event{kind: delivered, queue: q, id: id, digest: digest, redelivered: redelivered})
}

// Acked says that a delivery is about to be acknowledged.
func (l *Log) Acked(q Queue, id ID) { l.add(event{kind: acked, queue: q, id: id}) }

// Rejected says that a delivery is about to be rejected for good, or to become a dead letter if
// its queue has a place for them.
func (l *Log) Rejected(q Queue, id ID) { l.add(event{kind: rejected, queue: q, id: id}) }

// Requeued says that a delivery is about to be put back.
func (l *Log) Requeued(q Queue, id ID) { l.add(event{kind: requeued, queue: q, id: id}) }

// Processed says that a synchronous reply came, so what this log acknowledged before it was
// asked for is taken in.
func (l *Log) Processed() { l.add(event{kind: processed}) }

// Lost says that the connection is gone, and with it whatever was not processed.
func (l *Log) Lost() { l.add(event{kind: lost}) }

// Crashed says that the broker was killed. The logs of those who were connected should have
// ended, by Lost or without a word.
func (l *Log) Crashed() { l.add(event{kind: crashed}) }

// Restarted says that the broker was stopped in good order, which costs transient messages.
func (l *Log) Restarted() { l.add(event{kind: restarted}) }

// Purging says that a queue is about to be purged, of which nothing is consumed meanwhile.
func (l *Log) Purging(q Queue) { l.add(event{kind: purging, queue: q}) }

// Purged says that the purge this log began was answered.
func (l *Log) Purged(q Queue) { l.add(event{kind: purged, queue: q}) }
