package persistence

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

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

// S-12, S-15
func TestDamagedPastOfAnExchangeIsReportedAndLeftOut(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	write(t, s, exchanges(7, 8))
	for _, id := range []queue.ID{7, 8} {
		keep(t, s, &keeper{id: id, history: []*message.Message{msg(t, fmt.Sprint("m", id))}, seen: []queue.Seen{{Expiry: int64(id)}}})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	damage := []operation{
		{key: appendHistoryKey(nil, 7, 0), value: []byte{historyVersion, 1, 9, 9}},
		{key: appendWindowKey(nil, 7, s.Catalog().Windows[0].Record, 0), value: []byte{windowVersion, 1, 2, 3}},
	}
	if err := s.backend.(*disk).commitSynced(damage); err != nil {
		t.Fatal(err)
	}
	if err := s.abandon(); err != nil {
		t.Fatal(err)
	}
	var problems []string
	s, err := Open(dir, Options{onProblem: func(p Problem) { problems = append(problems, p.Kind) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := s.Catalog()
	if len(c.Histories) != 1 || c.Histories[0].ID != 8 || len(c.Windows) != 1 || c.Windows[0].ID != 8 {
		t.Errorf("got %+v and %+v, want what exchange 8 kept", c.Histories, c.Windows)
	}
	equal(t, "problems", problems, []string{"exchange", "exchange"})
}

func TestBackupHasWhatExchangesKept(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start()
	write(t, s, exchanges(7))
	keep(t, s, &keeper{id: 7, history: []*message.Message{msg(t, "m")}, seen: []queue.Seen{{Hash: [16]byte{1}, Expiry: 5}}})
	b, _ := backup(t, s)
	dir, _ := restoreTo(t, b)
	c := open(t, dir).Catalog()
	if len(c.Histories) != 1 || len(c.Histories[0].Messages) != 1 || len(c.Windows) != 1 || c.Windows[0].Seen[0].Expiry != 5 {
		t.Errorf("got %+v and %+v, want what the exchange kept", c.Histories, c.Windows)
	}
}

// windowSource is a window as far as a transfer knows it.
type windowSource struct {
	keeper
	value queue.Seen
}

func (s *windowSource) Arrived(queue.Position, *queue.Effects) {}

func (s *windowSource) CollectSettled(b *queue.Batch, done []queue.Position) {
	if len(done) > 0 {
		s.seen = []queue.Seen{s.value}
	}
	s.keeper.CollectSettled(b, done)
}

// S-12: a crash has both or neither.
func TestWhatWasSeenIsInOneTransactionWithItsMessage(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	u := exchanges(7)
	spec := queue.Spec{VHost: "/", Name: "q", Durable: true}
	u.Puts = append(u.Puts, topology.Queue{ID: 9, Spec: spec})
	write(t, s, u)
	o, err := queue.ParseArguments(spec)
	if err != nil {
		t.Fatal(err)
	}
	q := queue.New(9, spec, o, s)
	var out queue.Effects
	from := &windowSource{keeper: keeper{id: 7}, value: queue.Seen{Hash: [16]byte{1}}}
	transfer := queue.NewTransfer(from, queue.Position{}, nil)
	q.PublishLast(time.Now(), queue.Put{Message: msg(t, "m"), Transfer: transfer}, &out)
	done := make(chan error, 1)
	s.Barrier(q, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	records := keys(t, s, keyJournal)
	if len(records) != 1 || len(from.records) != 1 {
		t.Fatalf("got %d journal records and %d of the window, want one each", len(records), len(from.records))
	}
	if group, _ := parseJournalKey(records[0]); group != from.records[0] {
		t.Errorf("the message is in group %d, what was seen in %d", group, from.records[0])
	}
}
