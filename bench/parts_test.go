package bench

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestLongRunIsToldInParts(t *testing.T) {
	needsProc(t)
	b := newFakeBroker(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "data")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	o := small(b, 0)
	o.BrokerPID, o.DataDir, o.DataLimit = os.Getpid(), dir, 512<<10
	o.Duration = time.Nanosecond // it takes as long as its messages
	s := scenario(t, "churn")
	s.Messages = 20_000
	got, err := Run(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for _, p := range got.Parts {
		sum += p.Received
		if p.RSSAnonBytes <= 0 || p.DataBytes < 1<<20 || p.Seconds <= 0 {
			t.Errorf("got the part %+v", p)
		}
	}
	if len(got.Parts) < 2 || len(got.Parts) > partsOfARun || sum != 20_000 || got.Received != 20_000 {
		t.Errorf("got %d parts of %d messages, want ten or a few less, of 20000", len(got.Parts), sum)
	}
	if faults := got.Faults(); len(faults) != 1 || faults[0] != "1 MiB on disk, more than 0" && faults[0] != "1 MiB on disk, more than 1" {
		t.Errorf("got %q, want too much on disk and nothing else", faults)
	}
	var table strings.Builder
	if err := got.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"part 1", "last ÷ first", "on disk"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("got\n%s\nwant %q in it", &table, want)
		}
	}
}

func TestTrendIsTheSlopeOfALine(t *testing.T) {
	f := func(want float64, points ...float64) {
		t.Helper()
		var l trend
		for i, y := range points {
			l.add(float64(i)*1e9, y)
		}
		if got := l.slope() * 1e9; got < want-1e-6 || got > want+1e-6 {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	f(0)
	f(0, 1, 2)
	f(0, 5, 5, 5, 5)
	f(3, 0, 3, 6, 9)
	f(-1, 9, 8, 7)
	f(0, 1, 2, 1, 2, 1) // up and down
}

func TestBacklogIsDrainedByAnotherRun(t *testing.T) {
	b := newFakeBroker(t)
	o := small(b, 300)
	o.Name, o.Only = "kept", onlyFill
	s := scenario(t, "S6")
	got, err := Run(t.Context(), s, o)
	if err != nil || len(got.Faults()) != 0 || got.Published != 300 || got.Confirmed != 300 || got.Received != 0 {
		t.Fatalf("filled: got %d published, %d received, faults %q and %v", got.Published, got.Received, got.Faults(), err)
	}
	if left := b.declared(); len(left) == 0 {
		t.Fatal("the queue is gone")
	}
	o.Only = onlyDrain
	got, err = Run(t.Context(), s, o)
	if err != nil || len(got.Faults()) != 0 || got.Found != 300 || got.Received != 300 {
		t.Errorf("drained: got %d found, %d received, faults %q and %v", got.Found, got.Received, got.Faults(), err)
	}
	if got.First == nil || *got.First != 0 || *got.Last != 299 {
		t.Errorf("got the first and last %v and %v, want 0 and 299", got.First, got.Last)
	}
	if left := b.declared(); len(left) != 0 {
		t.Errorf("left %q declared", left)
	}
}

func TestDrainThatFindsLessSaysSo(t *testing.T) {
	b := newFakeBroker(t)
	o := small(b, 300)
	o.Name, o.Only = "kept", onlyFill
	s := scenario(t, "S6")
	if _, err := Run(t.Context(), s, o); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	q := b.queues["kept.q0"]
	q.ready[10], q.ready[11] = q.ready[11], q.ready[10]
	q.ready = q.ready[:299]
	b.mu.Unlock()
	o.Only, o.DrainTimeout = onlyDrain, 50*time.Millisecond
	got, err := Run(t.Context(), s, o)
	if want := "1 lost, 1 reordered, 1 not found before the drain"; err != nil || orNothing(got.Faults()) != want {
		t.Errorf("got %q and %v, want %s", got.Faults(), err, want)
	}
	o.Name = ""
	if _, err := Run(t.Context(), s, o); err == nil {
		t.Error("half a run went without a name")
	}
	o.Name = "kept"
	if _, err := Run(t.Context(), scenario(t, "S2"), o); err == nil {
		t.Error("what has no backlog was drained")
	}
}

func needsProc(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc to look at a process in")
	}
}

func TestIdleProcessIsMeasured(t *testing.T) {
	needsProc(t)
	i, err := MeasureIdle(t.Context(), os.Getpid(), t.TempDir(), time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if i.RSSAnonBytes <= 0 || i.CPUPercent < 0 || i.DataBytes < 0 || i.Seconds <= 0 {
		t.Errorf("got %+v", i)
	}
	var b strings.Builder
	if err := i.WriteTable(&b); err != nil || !strings.Contains(b.String(), "% of a core") {
		t.Errorf("got %q, %v", &b, err)
	}
	if _, err := MeasureIdle(t.Context(), 1<<30, "", time.Millisecond); err == nil {
		t.Error("a process that is not there was measured")
	}
}
