package broker

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

func argument(name string, value any) func(*exchange.Spec) {
	return func(s *exchange.Spec) { s.Arguments = s.Arguments.With(name, value) }
}

func onDisk(s *exchange.Spec) { argument("x-cache-persistence", "disk")(s) }

// deduplicating makes an exchange d with the queue q behind it.
func (n *node) deduplicating(size int, more ...func(*exchange.Spec)) {
	n.Helper()
	n.exchange("d", "x-message-deduplication", append(more, argument("x-cache-size", int64(size)))...)
	n.queue("q")
	n.bind("d", "queue", "q", "")
}

func value(v any) amqp.Properties {
	return amqp.Properties{Headers: amqp.Table{{Name: "x-deduplication-header", Value: v}}}
}

// answered notes what it was answered.
type answered struct{ all []answer }

type answer struct {
	sequence uint64
	ok       bool
}

func (p *answered) Confirmed(sequence uint64, ok bool, _ *message.Wakes) {
	p.all = append(p.all, answer{sequence, ok})
}

// take is what it was answered since, in the order of the publishes.
func (p *answered) take() string {
	slices.SortFunc(p.all, func(a, b answer) int { return cmp.Compare(a.sequence, b.sequence) })
	var all []string
	for _, a := range p.all {
		all = append(all, fmt.Sprint(a.sequence, map[bool]string{true: "+", false: "-"}[a.ok]))
	}
	p.all = nil
	return strings.Join(all, " ")
}

// EX-56
func TestValueThatWasSeenGoesNowhere(t *testing.T) {
	n := newNode(t)
	n.deduplicating(100, alternate("rest"))
	n.exchange("rest", "fanout")
	n.queue("duplicates")
	n.bind("rest", "queue", "duplicates", "")
	f := func(v any, seen bool) {
		t.Helper()
		n.publish("d", "k", "m", value(v))
		passed, kept := n.bodies("q") == "m", n.bodies("duplicates") == "m"
		if passed == seen || kept != seen {
			t.Errorf("%v: passed %v and went to the alternate exchange %v, want %v and %v", v, passed, kept, !seen, seen)
		}
	}
	f("a", false)
	f("a", true)
	f("b", false)
	f([]byte("a"), true) // strings of both kinds
	f(int32(42), false)
	f(int64(42), true) // integers of all widths
	f(amqp.Timestamp(42), true)
	f("42", false)
	f(42.0, false)
	f(float32(42), true)
	f(true, false)
	f(false, false)
	f(true, true)
	f(nil, false)
	f(nil, true)
	f("", false)
	f(amqp.Array{int32(1)}, false)
	f(amqp.Array{int32(1)}, true)
	f(amqp.Array{int32(2)}, false)
	for range 2 {
		n.publish("d", "k", "without", amqp.Properties{})
		if got := n.bodies("q"); got != "without" {
			t.Errorf("without a value: got %q", got)
		}
	}
	x := n.v.exchanges.find("d").x
	if in, out := x.PublishedIn.Load(), x.PublishedOut.Load(); in != 21 || out != 13 {
		t.Errorf("counted %d in and %d out, want 21 and 13", in, out)
	}
}

// EX-56
func TestValueIsForgottenInTimeOrForRoom(t *testing.T) {
	n := newNode(t)
	n.deduplicating(2, argument("x-cache-ttl", "1000"))
	f := func(after time.Duration, v string, ttl any, seen bool) {
		t.Helper()
		n.now = n.now.Add(after)
		p := value(v)
		if ttl != nil {
			p.Headers = p.Headers.With("x-cache-ttl", ttl)
		}
		n.publish("d", "k", "m", p)
		if got := n.bodies("q") == ""; got != seen {
			t.Errorf("%s: seen %v, want %v", v, got, seen)
		}
	}
	f(0, "a", nil, false)
	f(999*time.Millisecond, "a", nil, true) // which does not prolong it
	f(time.Millisecond, "a", nil, false)
	f(0, "long", int32(5000), false)
	f(1000*time.Millisecond, "a", nil, false)
	f(3999*time.Millisecond, "long", nil, true)
	f(time.Millisecond, "long", "5000", false) // digits do as well
	f(0, "no time", int32(0), false)
	f(0, "no time", int32(0), false)
	f(0, "b", nil, false)
	f(0, "long", nil, true)
	f(0, "c", nil, false) // long is the oldest of more than two
	f(0, "long", nil, false)
	f(0, "c", nil, true)
	f(0, "b", nil, false)
}

// S-12, CONF-4
func TestDuplicateIsConfirmedWhenTheOriginalIsStored(t *testing.T) {
	n := newNode(t)
	n.deduplicating(100)
	var c answered
	sequence := uint64(0)
	send := func(v string) {
		t.Helper()
		sequence++
		n.publishConfirmed("d", n.message("d", "k", "m", value(v)), message.NewConfirm(&c, sequence))
	}
	f := func(what, want string) {
		t.Helper()
		if got := c.take(); got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	send("a")
	send("a")
	f("before the commit", "")
	n.disk.commit()
	f("after the commit", "1+ 2+")
	send("a")
	f("a late duplicate", "3+")
	send("b")
	send("b")
	n.take("q")
	n.b.Flush(n.now, &n.out)
	f("when the original was consumed before it was stored", "4+ 5+")

	// A queue that refuses the original is asked again.
	n.queue("full", with("x-max-length", int64(0)), with("x-overflow", "reject-publish"))
	n.bind("d", "queue", "full", "")
	send("c")
	f("refused, before the commit", "")
	send("c")
	n.disk.commit()
	f("refused", "6- 7-")
	if got := n.bodies("q"); got != "m m" {
		t.Errorf("got %q, want what was refused elsewhere twice", got)
	}
}

// S-12: after a crash the value and its message are there, or neither is, or the publisher
// was told nothing.
func TestWindowOnDiskIsStoredWithItsMessages(t *testing.T) {
	n := newNode(t)
	n.deduplicating(100, onDisk)
	var c answered
	sequence := uint64(0)
	send := func(v string, want bool) {
		t.Helper()
		sequence++
		if got := n.publishConfirmed("d", n.message("d", "k", v, value(v)), message.NewConfirm(&c, sequence)); got != want {
			t.Errorf("%s: passed %v, want %v", v, got, want)
		}
	}
	send("stored", true)
	n.disk.commit()
	if got := len(n.disk.kept.windows); got != 1 {
		t.Errorf("got %d records after the commit of the message, want 1", got)
	}
	send("lost", true)
	n = restart(t, n.disk)
	send("stored", false)
	send("lost", true)
	if got := c.take(); got != "1+ 3+" {
		t.Errorf("got confirms %q, want the first and its duplicate", got)
	}
	n.disk.commit()

	// What no queue stores is written for itself, and the publisher waits for that.
	n.queue("transient", transientQueue)
	n.exchange("x", "x-message-deduplication", onDisk, argument("x-cache-size", int64(3)))
	n.bind("x", "queue", "transient", "")
	c.take()
	n.publishConfirmed("x", n.message("x", "k", "m", value("v")), message.NewConfirm(&c, 10))
	n.publishConfirmed("x", n.message("x", "k", "m", value("v")), message.NewConfirm(&c, 11))
	if got := c.take(); got != "" {
		t.Errorf("got confirms %q before the value is stored, want none", got)
	}
	n.disk.commit()
	if got := c.take(); got != "10+ 11+" {
		t.Errorf("got confirms %q, want both", got)
	}
	n = restart(t, n.disk)
	if n.publish("x", "k", "m", value("v")) {
		t.Error("a value on disk was not seen after the restart")
	}

	// It goes with the exchange.
	if _, err := n.v.DeleteExchange("x", false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := n.v.DeleteExchange("d", false, nil); err != nil {
		t.Fatal(err)
	}
	n.disk.commit()
	if got := len(n.disk.kept.windows); got != 0 {
		t.Errorf("got %d records of exchanges that are gone, want none", got)
	}
}

// S-12
func TestRecordDiesWithItsLastValue(t *testing.T) {
	n := newNode(t)
	n.deduplicating(3, onDisk, argument("x-cache-ttl", int64(60_000)))
	send := func(values ...string) {
		t.Helper()
		for _, v := range values {
			n.publish("d", "k", "m", value(v))
		}
		n.disk.commit() // what has died
		n.disk.commit()
	}
	f := func(records, values int) {
		t.Helper()
		got := 0
		for _, w := range n.disk.kept.windows {
			got += len(w.Seen)
		}
		if len(n.disk.kept.windows) != records || got != values {
			t.Errorf("got %d records with %d values, want %d with %d", len(n.disk.kept.windows), got, records, values)
		}
	}
	send("a", "b")
	f(1, 2)
	send("c", "d") // a has gone, b has not
	f(2, 4)
	send("e")
	f(2, 3)
	n = restart(t, n.disk)
	n.disk.commit()
	f(2, 3)
	n.now = n.now.Add(time.Minute)
	send("f")
	f(1, 1)
	n.now = n.now.Add(time.Minute)
	n.disk.t = t
	later := n.now
	n = restart(t, n.disk)
	n.now = later
	send("g")
	f(1, 1)
}

// DLX-6, EX-26
func TestEveryWindowOnTheWayIsTold(t *testing.T) {
	n := newNode(t)
	n.deduplicating(10, onDisk)
	n.exchange("first", "x-message-deduplication", onDisk, argument("x-cache-size", int64(10)))
	n.bind("first", "exchange", "d", "")
	n.queue("source", deadLetter("first"))
	f := func(records int) {
		t.Helper()
		n.disk.commit()
		n.disk.commit()
		if got := len(n.disk.kept.windows); got != records {
			t.Errorf("got %d records, want %d", got, records)
		}
		for _, name := range []string{"d", "first"} {
			if w := n.v.exchanges.find(name).window; len(w.flights) != 0 {
				t.Errorf("%s: got %d flights that did not end", name, len(w.flights))
			}
		}
	}
	n.publish("first", "k", "m", value("a"))
	f(2)
	if n.publish("d", "k", "m", value("a")) {
		t.Error("the second window did not see it")
	}
	n.publish("", "source", "m", value("b"))
	n.disk.commit()
	n.reject("source")
	f(4)
	if got := n.bodies("q"); got != "m m" {
		t.Errorf("got %q, want both", got)
	}
	n.publish("", "source", "m", value("b"))
	n.reject("source")
	f(4)
	if stats := n.v.queues.find("source").q.Stats(); stats.Ready+stats.Unacknowledged != 0 || n.bodies("q") != "" {
		t.Errorf("a letter that is a duplicate: got %+v, want it gone", stats)
	}
}

// The naive twin is a slice of values, oldest first. A restart makes room of what has expired,
// wherever it is; and it may bring back what had to make room for others and has not expired,
// where its record was kept for the sake of its neighbours.
func TestWindowAgreesWithASliceOfValues(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	type known struct {
		value  int
		expiry time.Time
	}
	for _, size := range []int{1, 2, 7, 40} {
		n := newNode(t)
		n.deduplicating(size, onDisk, argument("x-cache-ttl", int64(5000)))
		var naive []known
		evicted := make(map[int]time.Time) // what had to make room, and when it would have expired
		var back map[int]time.Time         // what of that the last restart may have brought back
		for step := range 600 {
			n.now = n.now.Add(time.Duration(r.IntN(400)) * time.Millisecond)
			if r.IntN(5) == 0 {
				n.disk.commit()
			}
			if r.IntN(100) == 0 {
				n.disk.commit()
				n = restartAt(t, n.disk, n.now, DefaultOptions())
				naive = slices.DeleteFunc(naive, func(k known) bool { return !k.expiry.After(n.now) })
				back = maps.Clone(evicted)
			}
			v, ttl := r.IntN(2*size+2), time.Duration(r.IntN(8))*time.Second
			p := value(int64(v))
			p.Headers = p.Headers.With("x-cache-ttl", ttl.Milliseconds())
			passed := n.publish("d", "k", fmt.Sprint(v), p)

			i := slices.IndexFunc(naive, func(k known) bool { return k.value == v })
			seen := i >= 0 && naive[i].expiry.After(n.now)
			if i < 0 && !passed && back[v].After(n.now) {
				continue
			}
			if passed == seen {
				t.Fatalf("seed %d, size %d, step %d: value %d passed %v, want %v", seed, size, step, v, passed, !seen)
			}
			if seen {
				continue
			}
			delete(back, v)
			if i >= 0 {
				naive = slices.Delete(naive, i, i+1)
			}
			if ttl == 0 {
				continue
			}
			for len(naive) > 0 && (len(naive) == size || !naive[0].expiry.After(n.now)) {
				if oldest := naive[0]; oldest.expiry.After(evicted[oldest.value]) {
					evicted[oldest.value] = oldest.expiry
				}
				naive = naive[1:]
			}
			naive = append(naive, known{v, n.now.Add(ttl)})
		}
	}
}

// EX-56, S-12. Without confirms nothing is promised; with one, after a crash, a message is
// stored or was consumed, and its value is known.
func TestCrashLosesNoConfirmedOriginal(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	n := newNode(t)
	n.deduplicating(1000, onDisk)
	n.queue("r")
	n.bind("d", "queue", "r", "")
	n.disk.commit()
	var c answered
	values := make(map[uint64]string) // by sequence number
	confirmed := make(map[string]bool)
	note := func() {
		for _, s := range c.all {
			if !s.ok {
				t.Fatalf("seed %d: %s was refused", seed, values[s.sequence])
			}
			confirmed[values[s.sequence]] = true
		}
		c.all = nil
	}
	for sequence := uint64(1); sequence < 600; sequence++ {
		v := fmt.Sprint(r.IntN(300))
		values[sequence] = v
		n.publishConfirmed("d", n.message("d", "k", v, value(v)), message.NewConfirm(&c, sequence))
		switch r.IntN(8) {
		case 0:
			n.disk.commit()
		case 1:
			note()
			n = restart(t, n.disk)
			c.all = nil
			for v := range confirmed {
				if n.publish("d", "k", v, value(v)) {
					t.Fatalf("seed %d: %s was confirmed, and passed again after a crash", seed, v)
				}
				if !stores(n, "q", v) || !stores(n, "r", v) {
					t.Fatalf("seed %d: %s was confirmed and is lost", seed, v)
				}
			}
		}
	}
	if len(confirmed) < 50 {
		t.Errorf("got %d values confirmed, want more to be tested", len(confirmed))
	}
}

// stores tells whether a message with that body is on disk for a queue.
func stores(n *node, name, body string) bool {
	q := n.queue(name)
	for _, p := range n.disk.stored[q.ID()] {
		if string(p.Message.Body()) == body {
			return true
		}
	}
	return false
}

var _ queue.Source = (*window)(nil)

func BenchmarkAdmit(b *testing.B) {
	for _, size := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			w := newWindow(1, exchange.Deduplication{Size: size}, nil)
			var messages []*message.Message
			for i := range 4096 {
				p := value(fmt.Sprintf("order-%08d", i))
				p.Flags = amqp.FlagHeaders
				m, err := message.New(message.Content{Properties: p.Append(nil)})
				if err != nil {
					b.Fatal(err)
				}
				messages = append(messages, m)
			}
			var out queue.Effects
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if number, pass := w.admit(start, messages[i%len(messages)], nil); pass {
					w.Arrived(queue.Position{Seq: number}, &out)
				}
			}
			if len(w.seen.index) == 0 {
				b.Fatal("nothing was seen")
			}
		})
	}
}
