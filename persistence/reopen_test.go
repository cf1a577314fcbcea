package persistence

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// declare writes a durable queue's record and waits for it.
func declare(t testing.TB, s *Store, id queue.ID, name string) *fakeQueue {
	t.Helper()
	write(t, s, topology.Unit{Puts: []topology.Record{
		topology.Queue{ID: id, Spec: queue.Spec{VHost: "/", Name: name, Durable: true}}}})
	return newFake(s, id)
}

func write(t testing.TB, s *Store, u topology.Unit) {
	t.Helper()
	done := make(chan error, 1)
	s.Write(u, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func restore(t testing.TB, s *Store, id queue.ID) queue.Restored {
	t.Helper()
	r, err := s.Restore(id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func equal[T comparable](t testing.TB, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestStoredMessagesAreThereAfterACrashAndAfterACleanStop(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	q := declare(t, s, 7, "orders")
	q.put(msg(t, "a"), msg(t, "b"), msg(t, "c"))
	flush(t, s, q)
	q.settle(queue.State{Head: 2, Next: 4, DeliveredTo: 1, Settled: []queue.Range{{First: 1, Last: 1}}})
	flush(t, s, q)

	check := func(dir string) {
		t.Helper()
		s := open(t, dir)
		r := restore(t, s, 7)
		var got []string
		for _, m := range readAll(t, s, 7, r) {
			got = append(got, string(m.Message.Body()))
		}
		equal(t, "bodies", got, []string{"b", "c"})
		lv := r.Levels[0]
		if lv.Head != 2 || lv.Next != 4 || lv.DeliveredTo != 1 || lv.AllRedelivered {
			t.Errorf("got head %d, next %d, delivered to %d, all redelivered %v; want 2, 4, 1, false",
				lv.Head, lv.Next, lv.DeliveredTo, lv.AllRedelivered)
		}
		c := s.Catalog()
		if len(c.Queues) != 1 || c.Queues[0].Spec.Name != "orders" {
			t.Errorf("got queues %v", c.Queues)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	check(copyDir(t, dir))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(dir)
	check(dir)
}

// P10: a table is written before it enters the manifest, and a crash may come between.
func TestTableThatACrashCutShortIsNoReasonToRefuse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	q := declare(t, s, 1, "q")
	q.put(msg(t, "kept"))
	flush(t, s, q)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"", "half of a table"} {
		if err := os.WriteFile(filepath.Join(dir, "000999.sst"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := open(t, dir).Close(); err != nil {
			t.Fatal(err)
		}
	}
}
