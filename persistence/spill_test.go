package persistence

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leveretmq/leveret/queue"
)

// spillNow spills copies and waits until they are written.
func spillNow(t *testing.T, s *Store, id queue.ID, level uint8, copies ...queue.Copy) error {
	t.Helper()
	done := make(chan error, 1)
	s.Spill(id, level, copies, func(err error) { done <- err })
	return <-done
}

// copyOf makes a copy of messages with these numbers, whose bodies tell them.
func copyOf(t *testing.T, id queue.ID, level uint8, seqs ...uint64) queue.Copy {
	t.Helper()
	c := queue.Copy{Range: queue.Range{First: seqs[0], Last: seqs[len(seqs)-1]}}
	for _, seq := range seqs {
		c.Puts = append(c.Puts, queue.StoredPut{Queue: id, Level: level, Seq: seq, Expiry: int64(seq) * 7,
			Message: msg(t, fmt.Sprintf("spilled %d", seq))})
	}
	return c
}

func stray(c queue.Copy) queue.Copy {
	c.Stray = true
	return c
}

// spilledSeqs are the numbers that can be read in a range; the messages are checked.
func spilledSeqs(t *testing.T, s *Store, id queue.ID, level uint8, first, last uint64) (seqs []uint64) {
	t.Helper()
	for _, m := range read(t, s, id, level, queue.Range{First: first, Last: last}) {
		if want := fmt.Sprintf("spilled %d", m.Seq); string(m.Message.Body()) != want || m.Expiry != int64(m.Seq)*7 || !m.Spilled {
			t.Errorf("got %+v with %q, want %q", m, m.Message.Body(), want)
		}
		seqs = append(seqs, m.Seq)
	}
	return seqs
}

func wantSeqs(t *testing.T, got []uint64, want ...uint64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestSpilledMessagesAreReadUntilTheyAreForgotten holds S-27.
func TestSpilledMessagesAreReadUntilTheyAreForgotten(t *testing.T) {
	for _, disk := range []bool{false, true} {
		t.Run(fmt.Sprintf("disk=%v", disk), func(t *testing.T) {
			s := NewMemory(Options{})
			if disk {
				s = open(t, t.TempDir())
			}
			s.Start()
			defer s.Close()
			if err := spillNow(t, s, 5, 0, copyOf(t, 5, 0, 1, 2, 4), copyOf(t, 5, 0, 7, 8), stray(copyOf(t, 5, 0, 3))); err != nil {
				t.Fatal(err)
			}
			if err := spillNow(t, s, 5, 1, copyOf(t, 5, 1, 2)); err != nil {
				t.Fatal(err)
			}
			wantSeqs(t, spilledSeqs(t, s, 5, 0, 1, 100), 1, 2, 3, 4, 7, 8)
			wantSeqs(t, spilledSeqs(t, s, 5, 0, 2, 7), 2, 3, 4, 7)
			wantSeqs(t, spilledSeqs(t, s, 5, 1, 0, 100), 2)

			s.Forget(queue.Forgotten{Queue: 5, Range: queue.Range{First: 2, Last: 3}})
			s.Forget(queue.Forgotten{Queue: 5, Range: queue.Range{First: 8, Last: 8}, Stray: true})
			// What is forgotten waits for what is written before it, so a write shows its end.
			if err := spillNow(t, s, 5, 0, copyOf(t, 5, 0, 2)); err != nil {
				t.Fatal(err)
			}
			wantSeqs(t, spilledSeqs(t, s, 5, 0, 1, 100), 2, 3, 7, 8)
			s.Forget(queue.Forgotten{Queue: 5, Range: queue.Range{First: 3, Last: 3}, Stray: true})
			s.Forget(queue.Forgotten{Queue: 5, All: true})
			if err := spillNow(t, s, 6, 0, copyOf(t, 6, 0, 1)); err != nil {
				t.Fatal(err)
			}
			answer := make(chan error, 1)
			s.Read(5, 0, queue.Range{First: 1, Last: 9}, func(_ []queue.RestoredMessage, err error) { answer <- err })
			if err := <-answer; !errors.Is(err, ErrDropped) {
				t.Errorf("got %v of a queue that is gone, want %v", err, ErrDropped)
			}
		})
	}
}

// TestReadsMixStoredAndSpilled holds that a durable queue gets both kinds in one read, in order.
func TestReadsMixStoredAndSpilled(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start()
	defer s.Close()
	q := declare(t, s, 5, "q")
	q.next = 2
	q.put(msg(t, "stored"))
	q.next = 4
	q.put(msg(t, "stored"))
	flush(t, s, q)
	if err := spillNow(t, s, 5, 0, copyOf(t, 5, 0, 1, 3, 5)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range read(t, s, 5, 0, queue.Range{First: 1, Last: 9}) {
		got = append(got, fmt.Sprintf("%d %v", m.Seq, m.Spilled))
	}
	if want := "1 true, 2 false, 3 true, 4 false, 5 true"; strings.Join(got, ", ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// TestSpillFilesGoWithTheirLastCopy holds that disk space returns.
func TestSpillFilesGoWithTheirLastCopy(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	files := func() []string {
		all, err := filepath.Glob(filepath.Join(dir, spillDir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	body := strings.Repeat("x", 8<<20)
	for seq := uint64(1); seq <= 20; seq++ { // more than two files
		c := queue.Copy{Range: queue.Range{First: seq, Last: seq}, Puts: []queue.StoredPut{{Queue: 5, Seq: seq, Message: msg(t, body)}}}
		if err := spillNow(t, s, 5, 0, c); err != nil {
			t.Fatal(err)
		}
	}
	if got := files(); len(got) != 3 {
		t.Fatalf("got %v, want three files", got)
	}
	if got, want := s.Stats().Spilled, int64(20*len(body)); got < want || got > want+4096 {
		t.Errorf("%d bytes are said to be spilled, want %d and a little", got, want)
	}
	s.Forget(queue.Forgotten{Queue: 5, Range: queue.Range{First: 1, Last: 15}})
	if err := spillNow(t, s, 5, 0, copyOf(t, 5, 0, 30)); err != nil {
		t.Fatal(err)
	}
	if got := files(); len(got) != 2 {
		t.Errorf("got %v, want two files: nothing in the first is wanted", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := files(); len(got) != 0 {
		t.Errorf("got %v after the end, want nothing", got)
	}
}

// TestSpilledMessagesDoNotOutliveTheProcess holds S-27: a new run has none.
func TestSpilledMessagesDoNotOutliveTheProcess(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, spillDir, "000001.spill")
	if err := os.MkdirAll(filepath.Dir(left), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(left, []byte("of a run that was killed"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	s.Start()
	defer s.Close()
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", left, err)
	}
}

// TestDamagedCopyIsLeftOut holds P11 for what is spilled: it is reported, and never served.
func TestDamagedCopyIsLeftOut(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	defer s.Close()
	if err := spillNow(t, s, 5, 0, copyOf(t, 5, 0, 1, 2), copyOf(t, 5, 0, 3)); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, spillDir, "000001.spill")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-3] ^= 1 // in the body of 3
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	wantSeqs(t, spilledSeqs(t, s, 5, 0, 1, 9), 1, 2)
	if got := s.Stats().Damaged; got != 1 {
		t.Errorf("%d things damaged, want 1", got)
	}
}

// TestWithoutRoomNothingIsSpilled holds that a caller is told, and may try again after a
// while.
func TestWithoutRoomNothingIsSpilled(t *testing.T) {
	f := func(retry time.Duration, again bool) {
		t.Helper()
		dir := t.TempDir()
		s := open(t, dir)
		s.spills.retry = retry
		s.Start()
		blocked := filepath.Join(dir, spillDir)
		if err := os.WriteFile(blocked, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := spillNow(t, s, 5, 0, copyOf(t, 5, 0, 1)); err == nil || errors.Is(err, errSpillFailed) {
			t.Errorf("got %v where no file can be made", err)
		}
		if err := os.Remove(blocked); err != nil {
			t.Fatal(err)
		}
		if err := spillNow(t, s, 5, 0, copyOf(t, 5, 0, 1)); again != (err == nil) || !again && !errors.Is(err, errSpillFailed) {
			t.Errorf("got %v when it is tried again, with a pause of %v", err, retry)
		}
		if again {
			wantSeqs(t, spilledSeqs(t, s, 5, 0, 1, 9), 1)
		}
	}
	f(time.Hour, false)
	f(0, true)
}

// TestSpilledLevelAgreesWithAList holds the index of copies against one that is searched
// from end to end.
func TestSpilledLevelAgreesWithAList(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	lv := &spilledLevel{strays: make(map[uint64]spilledCopy)}
	held := map[uint64]uint64{} // by first, the last
	for step := range 20000 {
		first := random.Uint64N(3000)
		r := queue.Range{First: first, Last: first + random.Uint64N(20)}
		overlaps := func() (all []uint64) {
			for f, l := range held {
				if f <= r.Last && l >= r.First {
					all = append(all, f)
				}
			}
			slices.Sort(all)
			return all
		}
		if random.IntN(5) < 3 {
			if len(overlaps()) == 0 {
				lv.add(spilledCopy{Range: r, puts: []queue.StoredPut{{}}}, false)
				held[r.First] = r.Last
			}
			continue
		}
		want := overlaps()
		var found, removed []uint64
		for _, c := range lv.overlapping(r) {
			found = append(found, c.First)
		}
		lv.remove(r, func(c spilledCopy) { removed = append(removed, c.First) })
		if !slices.Equal(found, want) || !slices.Equal(removed, want) {
			t.Fatalf("step %d: found %v and removed %v in %+v, want %v", step, found, removed, r, want)
		}
		for _, f := range want {
			delete(held, f)
		}
	}
}
