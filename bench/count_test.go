package bench

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSequenceAgreesWithASet(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var s sequence
		seen := map[uint64]bool{}
		for range 300 {
			n := uint64(random.IntN(60))
			if random.IntN(2) == 0 {
				n = s.next
			}
			if got := s.see(n); got == seen[n] {
				t.Fatalf("of %d: got new %v, want %v; it has %+v", n, got, !got, s)
			}
			seen[n] = true
		}
		missing := 0
		for i, g := range s.gaps {
			if g.from >= g.to || i > 0 && s.gaps[i-1].to >= g.from {
				t.Fatalf("gaps %v are empty, touch or are out of order", s.gaps)
			}
			missing += int(g.to - g.from)
		}
		if got := int(s.next) - missing; got != len(seen) {
			t.Fatalf("got %d seen, want %d", got, len(seen))
		}
	}
}

func TestWindowCountsEachConfirmOnce(t *testing.T) {
	w := newWindow(4)
	f := func(confirmed, nacked, wrong uint64, room int) {
		t.Helper()
		if w.confirmed != confirmed || w.nacked != nacked || w.wrong != wrong || w.room(4) != room {
			t.Errorf("got %d confirmed, %d nacked, %d wrong and room for %d, want %d, %d, %d and %d",
				w.confirmed, w.nacked, w.wrong, w.room(4), confirmed, nacked, wrong, room)
		}
	}
	f(0, 0, 0, 4)
	w.publish(4, 10) // 1 to 4
	f(0, 0, 0, 0)
	w.confirm(3, false, false, 20) // out of order
	f(1, 0, 0, 1)
	w.confirm(3, false, false, 20) // again
	f(1, 0, 1, 1)
	w.confirm(2, true, false, 20)
	f(3, 0, 1, 3)
	w.confirm(5, false, false, 20) // not published
	f(3, 0, 2, 3)
	w.publish(3, 30) // 5 to 7
	w.confirm(5, true, true, 40)
	f(3, 2, 2, 2)
	w.confirm(4, true, false, 40) // all of them were
	f(3, 2, 3, 2)
	w.confirm(0, true, false, 40) // all
	f(5, 2, 3, 4)
	if got := w.latency.summary(); got.Count != 7 {
		t.Errorf("got %d latencies, want 7", got.Count)
	}
}

func TestWindowNeverForgetsTheOldestOfManyConfirmedOutOfOrder(t *testing.T) {
	w := newWindow(4)
	w.publish(4, 1)
	for tag := uint64(2); w.room(4) > 0 || tag == 2; tag++ {
		w.confirm(tag, false, false, 2)
		w.publish(min(1, w.room(4)), 2)
	}
	w.confirm(1, false, false, 3)
	if w.wrong != 0 || w.low == 1 {
		t.Errorf("got %d wrong and the oldest still %d, want the confirm of 1 to count", w.wrong, w.low)
	}
}

func TestLatencyHasEveryMessageInIt(t *testing.T) {
	l, other := newLatency(), newLatency()
	for range 98 {
		l.record(int64(2 * time.Millisecond))
	}
	l.record(int64(50 * time.Millisecond))
	l.record(int64(2 * time.Millisecond))
	other.record(int64(time.Hour)) // more than there is room for
	other.record(-5)
	l.add(other)
	got := l.summary()
	near := func(name string, got, want Milliseconds) {
		t.Helper()
		if got < want*0.999 || got > want*1.001 {
			t.Errorf("got %s %v, want %v", name, got, want)
		}
	}
	near("p50", got.P50, 2)
	near("p90", got.P90, 2)
	near("p99", got.P99, 50)
	near("max", got.Max, 100_000)
	if got.Count != 102 {
		t.Errorf("got %d counted, want 102", got.Count)
	}
	if newLatency().summary() != nil {
		t.Error("an empty histogram has a summary")
	}
}

func TestPacerKeepsTheRateAndBlamesWhoIsLate(t *testing.T) {
	now := time.Duration(0)
	clock := func() time.Duration { return now }
	p := pacer{interval: 10}
	f := func(at time.Duration, most, want int, wantSent time.Duration) {
		t.Helper()
		now = at
		n, sent := p.wait(clock, most)
		if n != want || sent != wantSent {
			t.Errorf("at %d: got %d stamped %d, want %d stamped %d", at, n, sent, want, wantSent)
		}
	}
	f(1, 5, 1, 1)    // the one due at 0; a stamp is never 0
	f(10, 5, 1, 10)  // exactly in time
	f(45, 5, 3, 20)  // the broker held up those due at 20, 30 and 40
	f(100, 2, 2, 50) // no more than there is room for
	f(100, 9, 4, 70) // the rest
	// Slept for: the stamp is when it woke, though that was before the one was due.
	f(105, 9, 1, 105)
}

func TestGateGivesNoMoreThanItWasGiven(t *testing.T) {
	g := newGate(100)
	f := func(got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
	f(g.take(60, 10), 60)
	f(g.take(60, 10), 40)
	g.give(25)
	f(g.take(60, 10), 20) // in units of ten
	g.give(5)
	f(g.take(60, 10), 10)
	taken := make(chan int)
	go func() { taken <- g.take(60, 10) }()
	g.give(30)
	n := <-taken
	g.close()
	f(n, 30)
	f(g.take(60, 10), 0)
}

func TestShareDealsOutEverything(t *testing.T) {
	if got := share(10, 4); !slices.Equal(got, []int{3, 3, 2, 2}) {
		t.Errorf("got %v", got)
	}
	if got := share(0, 2); got[0] < 1<<31-1 || got[1] != got[0] {
		t.Errorf("got %v, want no limit", got)
	}
}

func TestPlansSendEachStreamToItsQueues(t *testing.T) {
	f := func(s Scenario, producers string) {
		t.Helper()
		p := newPlan(s, "p")
		var got []string
		for _, routes := range p.routes {
			var to []string
			for _, r := range routes {
				to = append(to, r.key)
			}
			got = append(got, strings.Join(to, "+"))
		}
		if all := strings.Join(got, " "); all != producers {
			t.Errorf("got %s, want %s", all, producers)
		}
	}
	f(Scenario{Producers: 1, Queues: 1}, "p.q0")
	f(Scenario{Producers: 3, Queues: 3}, "p.q0 p.q1 p.q2")
	f(Scenario{Producers: 3, Queues: 2}, "p.q0 p.q1 p.q0")
	f(Scenario{Producers: 2, Queues: 5}, "p.q0+p.q2+p.q4 p.q1+p.q3")
	f(Scenario{Producers: 1, Queues: 2, ExchangeType: "topic", Bindings: 3}, "a0.b0.c0+a1.b1.c1+a2.b2.c2")
}

func TestEveryTopicKeyMatchesExactlyItsPattern(t *testing.T) {
	const n = 120
	for i := range n {
		for j := range n {
			matches := topicMatches(strings.Split(topicPattern(j), "."), strings.Split(topicKey(i), "."))
			if matches != (i == j) {
				t.Fatalf("%s matching %s: got %v, want %v", topicPattern(j), topicKey(i), matches, i == j)
			}
		}
	}
}

func TestRingHandsOutEveryRouteInTurn(t *testing.T) {
	s := Scenario{BodyBytes: 24}
	routes := []route{{"a", 0}, {"bb", 1}, {"ccc", 2}}
	r := newRing(s, "x", routes, 4096, 1000)
	if len(r.slots)%3 != 0 || len(r.bytes) < 1000 {
		t.Fatalf("got %d slots in %d bytes, want all routes as often and 1000 bytes", len(r.slots), len(r.bytes))
	}
	next, turn := make([]uint64, 3), 0
	for range 100 {
		var asked []stamp
		b, n := r.next(4, 300, func(stream int) stamp {
			at := stamp{run: 9, stream: uint32(stream), sequence: next[stream], sent: 5}
			next[stream]++
			asked = append(asked, at)
			return at
		})
		if n == 0 || n > 4 || len(b) > 300 || len(asked) != n {
			t.Fatalf("got %d messages in %d bytes, and %d stamps", n, len(b), len(asked))
		}
		for i, at := range asked {
			if int(at.stream) != turn%3 {
				t.Fatalf("got stream %d, want %d", at.stream, turn%3)
			}
			turn++
			// What is stamped is what is in the bytes.
			var want [24]byte
			at.put(want[:])
			if !strings.Contains(string(b), string(want[:])) {
				t.Fatalf("stamp %d of %d is not in what is sent", i, n)
			}
		}
	}
}

func TestScenariosAreValidAndWhatCannotBeIsRefused(t *testing.T) {
	for _, s := range Scenarios() {
		if err := s.validate(); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
	f := func(change func(*Scenario), want string) {
		t.Helper()
		s := scenario(t, "s2") // in any case
		change(&s)
		if err := s.validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	f(func(s *Scenario) { s.Producers = 0 }, "producers: 0 is less than 1")
	f(func(s *Scenario) { s.Prefetch = 10 }, "acknowledging every 50 needs a prefetch")
	f(func(s *Scenario) { s.Rate = 1 }, "without confirms")
	f(func(s *Scenario) { s.ExchangeType = "headers" }, "exchange type")
	f(func(s *Scenario) { s.ExchangeType, s.Queues = "topic", 2 }, "0 bindings do not go round 2 queues")
	f(func(s *Scenario) { s.Prefetch = 1 << 16 }, "16 bits")
	if _, err := FindScenario("S99"); err == nil || !strings.Contains(err.Error(), "S2w1") {
		t.Errorf("got %v, want the names there are", err)
	}
}

func TestURIsAreReadAsClientsReadThem(t *testing.T) {
	f := func(uri string, want address) {
		t.Helper()
		if got, err := parseURI(uri); err != nil || got != want {
			t.Errorf("of %s: got %+v and %v, want %+v", uri, got, err, want)
		}
	}
	f("amqp://", address{"localhost:5672", "guest", "guest", "/"})
	f("amqp://h", address{"h:5672", "guest", "guest", "/"})
	f("amqp://u:p%40@h:1/", address{"h:1", "u", "p@", "/"})
	f("amqp://u:p@h:1/%2f", address{"h:1", "u", "p", "/"})
	f("amqp://u:p@h:1/a%2Fb", address{"h:1", "u", "p", "a/b"})
	f("amqp://u@[::1]:1/v", address{"[::1]:1", "u", "", "v"})
	for _, bad := range []string{"http://h/", "amqps://h/", "amqp://u:secret@h:x/"} {
		_, err := parseURI(bad)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("of %s: got %v, want an error without the password", bad, err)
		}
	}
	if got := (address{"h:1", "u", "secret", "/"}).redacted(); got != "amqp://h:1/%2F" {
		t.Errorf("got %s", got)
	}
}

func TestProcIsReadAsLinuxWritesIt(t *testing.T) {
	var u usage
	stat := "7193 (a b) c) S 1 7193 7193 0 -1 4194304 100 200 3 4 150 25 6 7 20 0 12 0 100 4096 33 18446744073709551615"
	if err := u.parseStat(stat); err != nil || u.user != 1500*time.Millisecond || u.system != 250*time.Millisecond {
		t.Errorf("got %v, %v and %v, want 1.5s and 250ms", u.user, u.system, err)
	}
	for _, bad := range []string{"", "7193 (x", "7193 (x) S 1 2", strings.Replace(stat, " 150 ", " x ", 1)} {
		if err := u.parseStat(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	status := "Name:\tx\nVmHWM:\t  30 kB\nVmRSS:\t  20 kB\nRssAnon:\t  10 kB\nThreads:\t7\n"
	f := func(name string, want int64, found bool) {
		t.Helper()
		if got, ok := procField(status, name); got != want || ok != found {
			t.Errorf("%s: got %d and %v, want %d and %v", name, got, ok, want, found)
		}
	}
	f("VmRSS:", 20<<10, true)
	f("RssAnon:", 10<<10, true)
	f("Threads:", 7, true)
	f("Rss", 0, false)
}
