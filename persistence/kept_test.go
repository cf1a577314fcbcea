package persistence

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// keeper is an exchange that keeps something, as the committer sees it.
type keeper struct {
	id      queue.ID
	history []*message.Message
	seen    []queue.Seen
	dead    []uint64
	records []uint64
}

func (k *keeper) ID() queue.ID                  { return k.id }
func (k *keeper) Collect(*queue.Batch) bool     { return false }
func (k *keeper) Stored(uint64, *message.Wakes) {}
func (k *keeper) CollectSettled(b *queue.Batch, _ []queue.Position) {
	if k.history != nil {
		b.Histories = append(b.Histories, queue.History{ID: k.id, Messages: k.history})
	}
	if k.seen != nil || k.dead != nil {
		b.Windows = append(b.Windows, queue.Window{ID: k.id, Record: b.Group, Seen: k.seen, Dead: k.dead})
		k.records = append(k.records, b.Group)
	}
	k.history, k.seen, k.dead = nil, nil, nil
}

func keep(t *testing.T, s *Store, k *keeper) {
	t.Helper()
	done := make(chan error, 1)
	s.Barrier(k, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func exchanges(ids ...uint64) topology.Unit {
	var u topology.Unit
	for _, id := range ids {
		u.Puts = append(u.Puts, topology.Exchange{ID: id, Spec: exchange.Spec{VHost: "/", Name: fmt.Sprint(id), Type: "fanout", Durable: true}})
	}
	return u
}

// EX-54, DUR-7
func TestHistoryIsReplacedWhole(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	write(t, s, exchanges(7, 8))
	k := &keeper{id: 7}
	store := func(bodies ...string) {
		t.Helper()
		k.history = []*message.Message{}
		for _, b := range bodies {
			k.history = append(k.history, msg(t, b))
		}
		keep(t, s, k)
	}
	f := func(want ...string) {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir)
		var got []string
		for _, h := range s.Catalog().Histories {
			for _, m := range h.Messages {
				got = append(got, fmt.Sprint(h.ID, m.Exchange, m.RoutingKey, string(m.Body())))
			}
		}
		equal(t, "histories", got, want)
		s.Start()
	}
	long := strings.Repeat("l", 9000)
	store("a", "b")
	f("7xka", "7xkb")
	store("c", long, "d")
	if got := len(keys(t, s, keyHistory)); got != 3 {
		t.Errorf("got %d parts, want 3", got)
	}
	f("7xkc", "7xk"+long, "7xkd")
	store("e")
	if got := len(keys(t, s, keyHistory)); got != 1 {
		t.Errorf("got %d parts, want 1", got)
	}
	f("7xke")
	store()
	f()
	store("f")
	s.Drop(7)
	write(t, s, topology.Unit{Deletes: []topology.Record{topology.Exchange{ID: 7}}})
	if got := len(keys(t, s, keyHistory)); got != 0 {
		t.Errorf("got %d parts after the drop, want none", got)
	}
	f()
}

// S-12, S-15
func TestWindowIsMadeOfRecordsThatDieAlone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	write(t, s, exchanges(7, 8))
	k := &keeper{id: 7}
	values := func(n int, of byte) (seen []queue.Seen) {
		for i := range n {
			seen = append(seen, queue.Seen{Hash: [16]byte{of, byte(i >> 8), byte(i)}, Expiry: int64(i)})
		}
		return seen
	}
	f := func(want ...[]queue.Seen) {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir)
		found := make(map[uint64][]queue.Seen)
		for _, w := range s.Catalog().Windows {
			found[w.Record] = append(found[w.Record], w.Seen...)
		}
		var got [][]queue.Seen
		for _, record := range k.records {
			if seen := found[record]; seen != nil {
				got = append(got, seen)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %d records, want %d, or others", len(got), len(want))
		}
		s.Start()
	}
	a, b := values(2*seenPerPart+1, 'a'), values(2, 'b')
	k.seen = a
	keep(t, s, k)
	k.seen = b
	keep(t, s, k)
	if got := len(keys(t, s, keyWindow)); got != 4 {
		t.Errorf("got %d parts, want 3 and 1", got)
	}
	f(a, b)
	k.dead = k.records[:1]
	keep(t, s, k)
	if got := len(keys(t, s, keyWindow)); got != 1 {
		t.Errorf("got %d parts, want 1", got)
	}
	f(b)
	// Nothing that is needed is swept, and nothing else stays (S-20).
	s.suspect(keys(t, s, keyWindow))
	write(t, s, topology.Unit{Deletes: []topology.Record{topology.Exchange{ID: 7}}})
	f()
	write(t, s, exchanges(9))
	if got := len(keys(t, s, keyWindow)); got != 0 {
		t.Errorf("got %d parts of an exchange that is gone, want none", got)
	}
}
