package main

import (
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A ledger holds what the broker has promised and not yet kept. A message is entered before it is
// published, and struck out when it is confirmed and was acknowledged at each of its ends; so it
// takes no more than what is under way, however long a run is. (Package history keeps the whole
// story of every message, which is right for lives of some seconds.)
//
// An end is where a message has to arrive once: a queue, or any of the queues of a chain of dead
// letters. Whoever reads from a ledger's queues says what it sees. The promises:
//
//	lost       confirmed, and not acknowledged at one of its ends when it was due
//	phantom    it never was, it was taken back, or had been acknowledged at this end before
//	early      it came from a queue twice without being marked redelivered
//	damaged    it is not as it was published
//	returned   it was given back as unroutable, or refused, though there was room for it
type ledger struct {
	seed maphash.Seed

	mu        sync.Mutex // guards the fields below
	open      map[string]*entry
	published int
	confirmed int
	settled   int // acknowledged, once for each end
	repeated  int // deliveries marked redelivered
	broken    map[string]int
	told      []string // of the first that were broken
}

// An entry is a message under way.
type entry struct {
	digest    uint64
	due       time.Time // when it has to be at its ends at the latest
	confirmed bool
	ends      []end
	late      bool // that it is lost has been told
}

type end struct {
	name    string
	settled bool
	fresh   []string // queues it came from without being marked
}

func newLedger() *ledger {
	return &ledger{seed: maphash.MakeSeed(), open: make(map[string]*entry), broken: make(map[string]int)}
}

// publish enters a message that is about to be published.
func (l *ledger) publish(id string, m amqp.Publishing, due time.Time, ends []string) {
	e := &entry{digest: l.digest(m), due: due, ends: make([]end, len(ends))}
	for i, name := range ends {
		e.ends[i].name = name
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[id] = e
	l.published++
}

// confirm says what the broker said of a message.
func (l *ledger) confirm(id string, ack bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.open[id]
	switch {
	case e == nil:
		l.breaks("phantom", "a confirm for message %s", id)
	case !ack:
		l.breaks("returned", "message %s was refused", id)
		delete(l.open, id)
	default:
		l.confirmed++
		e.confirmed = true
		l.strike(id, e)
	}
}

// returned says that a message was given back.
func (l *ledger) returned(id, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.breaks("returned", "message %s: %s", id, why)
}

// deliver says that a message came from a queue that belongs to an end.
func (l *ledger) deliver(at, queue string, d amqp.Delivery) {
	digest := l.digest(published(d))
	l.mu.Lock()
	defer l.mu.Unlock()
	e, x := l.find(d.MessageId, at)
	if x == nil || x.settled {
		l.breaks("phantom", "message %s came from %s, redelivered %t", d.MessageId, queue, d.Redelivered)
		return
	}
	if e.digest != digest {
		l.breaks("damaged", "message %s from %s: %.200v", d.MessageId, queue, d)
	}
	if d.Redelivered {
		l.repeated++
		return
	}
	if slices.Contains(x.fresh, queue) {
		l.breaks("early", "message %s came from %s again and is not marked redelivered", d.MessageId, queue)
	}
	x.fresh = append(x.fresh, queue)
}

// settle says that a message is about to be acknowledged.
func (l *ledger) settle(at, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, x := l.find(id, at); x != nil && !x.settled {
		x.settled = true
		l.settled++
		l.strike(id, e)
	}
}

// overdue tells of what should have arrived. What was never confirmed is not held against the
// broker.
func (l *ledger) overdue(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, e := range l.open {
		if e.confirmed && !e.late && now.After(e.due) {
			e.late = true
			l.breaks("lost", "message %s was confirmed, and %v after it was due: %+v", id, now.Sub(e.due).Round(time.Second), e.ends)
		}
	}
}

// waiting is how many confirmed messages have not arrived.
func (l *ledger) waiting() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.open {
		if e.confirmed {
			n++
		}
	}
	return n
}

// counts are the messages confirmed and those under way.
func (l *ledger) counts() (confirmed, open int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.confirmed, len(l.open)
}

// err tells which promises were broken, or is nil.
func (l *ledger) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.broken) == 0 {
		return nil
	}
	return fmt.Errorf("promises broken: %v", l.broken)
}

// String is the ledger's part of the verdict.
func (l *ledger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%d messages published, %d confirmed, %d acknowledged at their ends, %d delivered again; "+
		"%d lost, %d phantom, %d early, %d damaged, %d returned", l.published, l.confirmed, l.settled, l.repeated,
		l.broken["lost"], l.broken["phantom"], l.broken["early"], l.broken["damaged"], l.broken["returned"])
}

func (l *ledger) find(id, at string) (*entry, *end) {
	e := l.open[id]
	if e == nil {
		return nil, nil
	}
	for i := range e.ends {
		if e.ends[i].name == at {
			return e, &e.ends[i]
		}
	}
	return e, nil
}

// strike takes out a message of which nothing is owed any more.
func (l *ledger) strike(id string, e *entry) {
	if e.confirmed && !slices.ContainsFunc(e.ends, func(x end) bool { return !x.settled }) {
		delete(l.open, id)
	}
}

// breaks counts a broken promise, and tells of the first ones.
func (l *ledger) breaks(promise, format string, args ...any) {
	l.broken[promise]++
	if len(l.told) < 20 {
		l.told = append(l.told, promise+": "+fmt.Sprintf(format, args...))
	}
}

// digest is over everything of a message that has to arrive as it was sent.
func (l *ledger) digest(m amqp.Publishing) uint64 {
	var h maphash.Hash
	h.SetSeed(l.seed)
	for _, s := range []string{m.MessageId, m.CorrelationId, m.ContentType, fmt.Sprint(m.Headers["lane"], m.DeliveryMode, m.Priority, m.Timestamp.Unix())} {
		_, _ = h.WriteString(s) // a hash takes everything
		_ = h.WriteByte(0)
	}
	_, _ = h.Write(m.Body)
	return h.Sum64()
}

// published is what a delivery says was published, as far as digest looks.
func published(d amqp.Delivery) amqp.Publishing {
	return amqp.Publishing{
		MessageId:     d.MessageId,
		CorrelationId: d.CorrelationId,
		ContentType:   d.ContentType,
		Headers:       d.Headers,
		DeliveryMode:  d.DeliveryMode,
		Priority:      d.Priority,
		Timestamp:     d.Timestamp,
		Body:          d.Body,
	}
}
