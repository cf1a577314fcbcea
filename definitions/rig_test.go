package definitions

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// nowhere is a store that keeps nothing, and ends every commit at once.
type nowhere struct{ ids uint64 }

func (s *nowhere) NextID() uint64                            { s.ids++; return s.ids }
func (s *nowhere) Write(_ topology.Unit, done func(error))   { done(nil) }
func (*nowhere) Enlist(queue.Collector)                      {}
func (*nowhere) EnlistSettled(queue.Collector)               {}
func (*nowhere) Drop(queue.ID)                               {}
func (*nowhere) Forget(queue.Forgotten)                      {}
func (*nowhere) Barrier(_ queue.Collector, done func(error)) { done(nil) }
func (*nowhere) Read(_ queue.ID, _ uint8, _ queue.Range, done func([]queue.RestoredMessage, error)) {
	done(nil, nil)
}
func (*nowhere) Spill(_ queue.ID, _ uint8, _ []queue.Copy, done func(error)) { done(nil) }

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// newBroker returns a broker as it starts the first time.
func newBroker(t testing.TB) *broker.Broker {
	t.Helper()
	s := new(nowhere)
	b := broker.New(broker.DefaultOptions(), s, s, rand.NewChaCha8([32]byte{1}))
	if err := b.Restore(now, topology.Catalog{}, nil); err != nil {
		t.Fatal(err)
	}
	return b
}

// load parses and imports.
func load(b *broker.Broker, text string) (Result, error) {
	d, err := Parse([]byte(text))
	if err != nil {
		return Result{}, err
	}
	var out queue.Effects
	defer b.Flush(now, &out)
	return Import(now, b, d, &out)
}
