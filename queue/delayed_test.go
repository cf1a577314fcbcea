package queue

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	"github.com/leveretmq/leveret/message"
)

var delayedSeeds = flag.Int("delayed.seeds", 15, "how many seeds TestDelayedMessagesAgreeWithANaiveModel runs")

// The model knows of each message when it is due, and of a disk what is on it.
type delayedModel struct {
	t    *testing.T
	seed int64
	step int
	op   string
	rng  *rand.Rand
	now  time.Time

	q     *Queue
	out   Effects
	timer time.Time

	messages []*delayedMessage
	puts     bool
	group    uint64
	underway *Batch
	disk     map[Position]StoredPut
	states   map[uint8]State
	pages    diskPages
	reads    []func()
	writes   int
}

type delayedMessage struct {
	due       int64
	gone      bool // fired, or purged
	confirmed bool
	letter    *Letter
}

func newDelayedModel(t *testing.T, seed int64) *delayedModel {
	m := &delayedModel{t: t, seed: seed, rng: rand.New(rand.NewSource(seed)), now: time.UnixMilli(1_000_000_000_000),
		disk: map[Position]StoredPut{}, states: map[uint8]State{}, pages: diskPages{}}
	m.make()
	return m
}

func (m *delayedModel) make() {
	m.q = NewDelayed(1, Spec{VHost: "/", Name: "x", Durable: true}, m)
	m.q.Attach(func(f func(time.Time, *Effects)) { f(m.now, &m.out) })
}

func (m *delayedModel) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("seed %d step %d (%s): %s", m.seed, m.step, m.op, fmt.Sprintf(format, args...))
}

func (m *delayedModel) Enlist(Collector)                     { m.puts = true }
func (m *delayedModel) EnlistSettled(Collector)              {}
func (m *delayedModel) Barrier(Collector, func(error))       {}
func (m *delayedModel) Drop(ID)                              {}
func (m *delayedModel) Spill(ID, uint8, []Copy, func(error)) { m.fail("a delayed message was spilled") }
func (m *delayedModel) Forget(Forgotten)                     {}
func (m *delayedModel) Confirmed(seq uint64, ok bool, _ *message.Wakes) {
	if x := m.messages[seq]; !ok || x.confirmed {
		m.fail("message %d confirmed ok=%v, before: %v", seq, ok, x.confirmed)
	}
	m.messages[seq].confirmed = true
}

func (m *delayedModel) Read(_ ID, level uint8, r Range, done func([]RestoredMessage, error)) {
	m.reads = append(m.reads, func() {
		var found []RestoredMessage
		for p, put := range m.disk {
			if p.Level == level && p.Seq >= r.First && p.Seq <= r.Last {
				found = append(found, RestoredMessage{Seq: p.Seq, Expiry: put.Expiry, Message: put.Message})
			}
		}
		slices.SortFunc(found, func(a, b RestoredMessage) int { return cmp.Compare(a.Seq, b.Seq) })
		done(found, nil)
	})
}

// delay is anything from a millisecond to three years, most of them short.
func (m *delayedModel) delay() {
	for range 1 + m.rng.Intn(20) {
		most := []int64{20, 3000, 60_000, 3_600_000, 86_400_000, 40 * 86_400_000, 3 * 365 * 86_400_000}[m.rng.Intn(7)]
		m.delayFor(1 + m.rng.Int63n(most))
	}
}

func (m *delayedModel) delayFor(millis int64) {
	id := len(m.messages)
	msg, err := message.New(message.Content{Properties: []byte{0, 0}, Body: fmt.Appendf(nil, "%d", id)})
	if err != nil {
		m.fail("%v", err)
	}
	m.messages = append(m.messages, &delayedMessage{due: m.now.UnixMilli() + millis})
	c := message.NewConfirm(m, uint64(id))
	m.q.Delay(m.now, Put{Message: msg, Confirm: c}, millis, &m.out)
	c.Release(&m.out.Wakes)
}

func (m *delayedModel) of(msg *message.Message) *delayedMessage {
	var id int
	if _, err := fmt.Sscan(string(msg.Body()), &id); err != nil {
		m.fail("%v", err)
	}
	return m.messages[id]
}

func (m *delayedModel) collect() {
	if m.underway != nil {
		return
	}
	m.group++
	b := &Batch{Group: m.group, MaxPuts: 1 + m.rng.Intn(60)}
	m.puts = m.q.Collect(b)
	var done []Position
	for _, t := range b.Transfers {
		done = append(done, t.Position())
	}
	if len(done) > 0 || m.rng.Intn(3) > 0 {
		m.q.CollectSettled(b, done)
	}
	m.underway = b
}

func (m *delayedModel) commit() {
	b := m.underway
	if b == nil {
		return
	}
	m.underway = nil
	for _, p := range b.Puts {
		at := Position{Seq: p.Seq, Level: p.Level}
		if _, there := m.disk[at]; there {
			m.fail("two messages at %+v", at)
		}
		m.disk[at] = p
		m.writes++
	}
	for _, s := range b.States {
		m.states[s.Level] = s
		m.pages.put(s)
		for _, r := range s.Settled {
			for p := range m.disk {
				if p.Level == s.Level && p.Seq >= r.First && p.Seq <= r.Last {
					delete(m.disk, p)
				}
			}
		}
	}
	var w message.Wakes
	m.q.Stored(b.Group, &w)
}

func (m *delayedModel) read() {
	for len(m.reads) > 0 {
		r := m.reads[0]
		m.reads = m.reads[1:]
		r()
	}
}

// carryOut takes letters: each of them once, and none early.
func (m *delayedModel) carryOut() {
	m.out.Letters = nil
	for letters, ok := m.q.TakeLetters(nil, false); ok; letters, ok = m.q.TakeLetters(nil, true) {
		for _, l := range letters {
			x := m.of(l.Message)
			switch {
			case x.gone:
				m.fail("%s fired twice", l.Message.Body())
			case l.Reason != Due || l.Exchange != "x":
				m.fail("%s left for %q because of %v", l.Message.Body(), l.Exchange, l.Reason)
			case x.due > m.now.UnixMilli():
				m.fail("%s fired at %d, due %d", l.Message.Body(), m.now.UnixMilli(), x.due)
			}
			x.gone = true
			x.letter = &l
		}
	}
	SettleTransfers(&m.out)
	for _, tm := range m.out.Timers {
		if m.timer.IsZero() || tm.At.Before(m.timer) {
			m.timer = tm.At
		}
	}
	m.out = Effects{}
}

// arrive lets letters end in their targets.
func (m *delayedModel) arrive() {
	for _, x := range m.messages {
		if x.letter != nil && m.rng.Intn(2) == 0 {
			l := x.letter
			x.letter = nil
			l.Confirm.Release(&m.out.Wakes)
			l.Transfer.Release(&m.out)
		}
	}
}

// wait lets time pass with a disk that keeps up: nothing may be late then.
func (m *delayedModel) wait() {
	end := m.now.Add(time.Duration(m.rng.Int63n([]int64{30, 5000, 100_000, 10_000_000, 1e9, 3e10}[m.rng.Intn(6)])) * time.Millisecond)
	m.waitUntil(end)
}

func (m *delayedModel) waitUntil(end time.Time) {
	for turns := 0; !m.timer.IsZero() && !m.timer.After(end); turns++ {
		if turns > 100_000 {
			m.fail("the timer stands still at %v, it is %v", m.timer, m.now)
		}
		if m.timer.After(m.now) {
			m.now = m.timer
		}
		m.timer = m.q.Expire(m.now, &m.out)
		m.carryOut()
		for len(m.reads) > 0 || m.puts || m.underway != nil {
			m.read()
			m.carryOut()
			m.collect()
			m.commit()
			m.carryOut()
		}
	}
	m.now = end
	for id, x := range m.messages {
		if !x.gone && x.due <= m.now.UnixMilli() {
			m.fail("%d was due at %d, it is %d", id, x.due, m.now.UnixMilli())
		}
	}
}

func (m *delayedModel) pageOut() { m.q.PageOut(int64(m.rng.Intn(100_000)), 0, &m.out) }

func (m *delayedModel) pending() (n int) {
	for _, x := range m.messages {
		if !x.gone {
			n++
		}
	}
	return n
}

func (m *delayedModel) purge() {
	want := m.pending()
	for _, x := range m.messages {
		x.gone = true
	}
	if n := m.q.Purge(m.now, &m.out); n != want {
		m.fail("purged %d, want %d", n, want)
	}
}

// restart throws away everything but the disk. What was confirmed and has not gone is there;
// what has gone may be there again.
func (m *delayedModel) restart() {
	var r Restored
	found := map[*delayedMessage]int64{}
	for level := range uint8(circles * bucketsPerCircle) {
		s := m.states[level]
		rl := RestoredLevel{Level: level, Head: max(s.Head, 1), Next: max(s.Next, 1)}
		var known acks
		for _, p := range m.pages[level] {
			rl.Pages = append(rl.Pages, p)
		}
		known.restore(rl.Head, rl.Pages)
		var seqs []uint64
		for p := range m.disk {
			if p.Level == level {
				rl.Next = max(rl.Next, p.Seq+1)
				if !known.has(p.Seq) {
					seqs = append(seqs, p.Seq)
				}
			}
		}
		slices.Sort(seqs)
		for _, seq := range seqs {
			p := m.disk[Position{Seq: seq, Level: level}]
			x := m.of(p.Message)
			if _, twice := found[x]; twice {
				m.fail("%s is on disk twice", p.Message.Body())
			}
			found[x] = p.Expiry
			run := Run{Range: Range{First: seq, Last: seq}, Count: 1, Bytes: int64(p.Message.BodyBytes()), MinExpiry: p.Expiry}
			if n := len(rl.Runs); n > 0 && m.rng.Intn(5) > 0 {
				if joined, ok := join(rl.Runs[n-1], run); ok {
					rl.Runs[n-1] = joined
					continue
				}
			}
			rl.Runs = append(rl.Runs, run)
		}
		if len(rl.Runs) > 0 || rl.Next > 1 {
			r.Levels = append(r.Levels, rl)
		}
	}
	for id, x := range m.messages {
		due, there := found[x]
		switch {
		case x.confirmed && !x.gone && !there:
			m.fail("%d was confirmed and is lost", id)
		case there && due != x.due:
			m.fail("%d is due at %d, want %d", id, due, x.due)
		}
		x.gone, x.letter = !there, nil
	}
	m.puts, m.underway, m.reads, m.out, m.timer = false, nil, nil, Effects{}, time.Time{}
	m.make()
	m.q.Restore(m.now, r, &m.out)
}

func (m *delayedModel) run(steps int) {
	ops := modelOps{
		{"delay", 30, m.delay},
		{"wait", 5, m.wait},
		{"collect", 20, m.collect},
		{"commit", 20, m.commit},
		{"read", 10, m.read},
		{"page out", 20, m.pageOut},
		{"letters", 10, m.arrive},
		{"purge", 1, m.purge},
		{"restart", 2, m.restart},
	}
	for m.step = range steps {
		ops.one(m.rng, &m.op)
		m.carryOut()
		if ready, _ := m.q.Counts(); ready != m.pending() {
			m.fail("%d are pending, want %d", ready, m.pending())
		}
		if len(m.messages) > 3000 {
			m.op = "end"
			m.waitUntil(m.now.Add(4 * 365 * 24 * time.Hour))
			for m.q.slots.used > 0 {
				m.arrive()
				m.carryOut()
				m.collect()
				m.commit()
			}
			if m.q.ram != 0 || m.q.wheel.loaded != 0 || m.q.leaving != 0 {
				m.fail("%d bytes are held for nothing, %d loaded, %d leaving", m.q.ram, m.q.wheel.loaded, m.q.leaving)
			}
			return
		}
	}
}

// EX-55, S-9, S-16
func TestDelayedMessagesAgreeWithANaiveModel(t *testing.T) {
	for seed := range *delayedSeeds {
		newDelayedModel(t, int64(seed)).run(800)
	}
}

// settleDisk has the disk do everything it was asked to.
func (m *delayedModel) settleDisk() {
	for len(m.reads) > 0 || m.puts || m.underway != nil {
		m.read()
		m.carryOut()
		m.collect()
		m.commit()
		m.carryOut()
	}
}

// The order of due times is kept to the millisecond, whatever has been on disk meanwhile.
func TestDelayedMessagesLeaveInTheOrderOfTheirDueTimes(t *testing.T) {
	m := newDelayedModel(t, 1)
	for range 2000 {
		m.delayFor(600_000 + m.rng.Int63n(5000))
		if m.rng.Intn(50) == 0 {
			m.settleDisk()
			m.q.PageOut(1<<20, 0, &m.out)
		}
	}
	m.settleDisk()
	m.q.PageOut(1<<20, 0, &m.out)
	m.carryOut()
	if m.q.ram != 0 {
		t.Errorf("%d bytes are in memory of what is due in ten minutes", m.q.ram)
	}
	var fired []int64
	for len(fired) < 2000 {
		m.now = m.timer
		m.timer = m.q.Expire(m.now, &m.out)
		letters, _ := m.q.TakeLetters(nil, false)
		for _, l := range letters {
			x := m.of(l.Message)
			if x.due != m.now.UnixMilli() {
				t.Fatalf("due at %d, left at %d", x.due, m.now.UnixMilli())
			}
			x.gone = true
			fired = append(fired, x.due)
			l.Transfer.Release(&m.out)
		}
		m.q.TakeLetters(nil, true)
		SettleTransfers(&m.out)
		m.carryOut()
		m.settleDisk()
	}
	if !slices.IsSorted(fired) {
		t.Error("not in order")
	}
	// Into a bucket of half a minute, and from there into one of a second.
	if m.writes != 2*2000 {
		t.Errorf("%d messages were written for 2000", m.writes)
	}
}

// S-9: what is on disk only has no deadline in memory, or for a short while, and what was
// there before keeps its order when the others are dropped.
func TestDeadlinesOfWhatIsOnDiskTakeNoMemory(t *testing.T) {
	m := newDelayedModel(t, 1)
	h := &m.q.deadlines
	for range 40 {
		for range 500 {
			m.delayFor(600_000 + m.rng.Int63n(5000))
		}
		m.settleDisk()
		m.q.PageOut(m.q.ram/4, 0, &m.out)
		if len(h.heap) > 2*h.live {
			t.Fatalf("got %d deadlines for %d messages in memory, want twice as many at most", len(h.heap), h.live)
		}
		for i := range h.heap {
			if i > 0 && h.heap[i].before(h.heap[(i-1)/2]) {
				t.Fatalf("deadline %d of %d is not in its place", i, len(h.heap))
			}
		}
	}
	m.q.PageOut(m.q.ram, 0, &m.out)
	if h.live != 0 || cap(h.heap) > 256 {
		t.Errorf("got %d deadlines and room for %d with nothing in memory, want none", h.live, cap(h.heap))
	}
}

// What is due at once does not come to memory at once (RAM is bounded by loadedBytes).
func TestMessagesThatWereDueWhileStoppedComeInPortions(t *testing.T) {
	m := newDelayedModel(t, 1)
	body := make([]byte, 64<<10)
	const n = 400
	for i := range n {
		msg, err := message.New(message.Content{Properties: []byte{0, 0}, Body: append(fmt.Appendf(nil, "%d ", i), body...)})
		if err != nil {
			t.Fatal(err)
		}
		m.messages = append(m.messages, &delayedMessage{due: m.now.UnixMilli() + 1000})
		c := message.NewConfirm(m, uint64(i))
		m.q.Delay(m.now, Put{Message: msg, Confirm: c}, 1000, &m.out)
		c.Release(&m.out.Wakes)
		m.settleDisk()
	}
	m.now = m.now.Add(time.Hour)
	m.restart()
	m.carryOut()
	most := int64(0)
	for range 10 * n {
		if m.timer.After(m.now) {
			m.now = m.timer
		}
		m.timer = m.q.Expire(m.now, &m.out)
		m.read()
		most = max(most, m.q.Memory())
		if m.pending() == 0 {
			break
		}
		m.carryOut()
		m.arrive()
		m.settleDisk()
	}
	if m.pending() > 0 || most > loadedBytes+2*RunBytes {
		t.Errorf("%d are left, there were %d bytes in memory", m.pending(), most)
	}
}

func TestDueTimesAreRoundedUpAndHaveAnEnd(t *testing.T) {
	f := func(nanos, millis, want int64) {
		t.Helper()
		if got := dueAfter(time.Unix(0, nanos), millis); got != want {
			t.Errorf("%d ms after %d ns: got %d, want %d", millis, nanos, got, want)
		}
	}
	f(1e9, 5, 1005)
	f(1e9+1, 5, 1006)
	f(1e9+999_999, 5, 1006)
	f(1e9, 1<<63-1, latestDue)
	f(1e9, latestDue-1000, latestDue)
}

// A bucket holds what is due within its width, and the circles pass on to one another.
func TestBucketsOfTheWheel(t *testing.T) {
	const now = 1_700_000_000_123
	width := int64(bucketMillis)
	for c := range circles {
		for d := int64(0); d < (bucketsPerCircle-2)*width; d += width/7 + 1 {
			b := bucket(now+d, now)
			if b/bucketsPerCircle > c {
				t.Fatalf("a delay of %d goes to circle %d", d, b/bucketsPerCircle)
			}
			// What is read of it before it is due goes to a finer one, or stays.
			if from := now + d - ahead(c) - width + 1; c > 0 && b/bucketsPerCircle == c {
				if to := bucket(now+d, max(from, now)); to/bucketsPerCircle >= c && from > now {
					t.Fatalf("a delay of %d moves from circle %d to %d", d, c, to/bucketsPerCircle)
				}
			}
		}
		width *= circleFactor
	}
	if b := bucket(latestDue, now); b/bucketsPerCircle != circles-1 {
		t.Errorf("the latest goes to circle %d", b/bucketsPerCircle)
	}
}
