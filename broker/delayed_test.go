package broker

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/message"
)

func delaying(as string) func(*exchange.Spec) {
	return func(s *exchange.Spec) { s.Arguments = s.Arguments.With("x-delayed-type", as) }
}

func delay(v any) amqp.Properties {
	return amqp.Properties{Headers: amqp.Table{{Name: "x-delay", Value: v}}}
}

// delayer is a node with a delayed exchange x of type direct, and a queue bound to it by k.
func delayer(t *testing.T) *node {
	n := newNode(t)
	n.exchange("x", "x-delayed-message", delaying("direct"))
	n.queue("q")
	n.bind("x", "queue", "q", "k")
	return n
}

// waiting is how many messages wait at an exchange.
func (n *node) waiting(exchange string) int {
	messages, _ := n.v.Delayed(exchange).Counts()
	return messages
}

// EX-55: what is no number, or not above zero, delays nothing.
func TestDelayIsAnyNumberAboveZero(t *testing.T) {
	f := func(v any, want int64) {
		t.Helper()
		n := delayer(t)
		n.publish("x", "k", "m", delay(v))
		if want == 0 {
			if got := n.bodies("q"); got != "m" {
				t.Errorf("%T %v: delayed", v, v)
			}
			return
		}
		// Not a millisecond early, and at once when it is due.
		if n.wait(time.Duration(want-1) * time.Millisecond); n.bodies("q") != "" {
			t.Errorf("%T %v: too early", v, v)
		}
		n.wait(time.Millisecond)
		got := n.take("q")
		if len(got) != 1 {
			t.Errorf("%T %v: not there after %d ms", v, v, want)
			return
		}
		h, err := got[0].Headers()
		if err != nil {
			t.Fatal(err)
		}
		// The sign tells whoever gets it that it was delayed, and keeps it from being delayed
		// again.
		if d, _ := h.Get("x-delay"); d != shortest(-want) {
			t.Errorf("%T %v: delivered with %T %v", v, v, d, d)
		}
	}
	f(int8(100), 100)
	f(uint8(200), 200)
	f(int16(1000), 1000)
	f(uint16(50_000), 50_000)
	f(int32(5000), 5000)
	f(uint32(4_000_000_000), 4_000_000_000)
	f(int64(5000), 5000)
	f(int64(90*24*3_600_000), 90*24*3_600_000) // the plugin's end is at 2^32-1
	f("1500", 1500)
	f(float32(2.5), 2)
	f(float64(1500.9), 1500)
	f(amqp.Decimal{Scale: 1, Value: 25}, 2)
	f(int32(0), 0)
	f(int32(-5), 0)
	f(float64(0.9), 0)
	f(math.NaN(), 0)
	f(math.Inf(-1), 0)
	f("soon", 0)
	f("", 0)
	f(nil, 0)
	f(true, 0)
	f(amqp.Timestamp(5), 0)
	f(amqp.Array{int32(5)}, 0)
}

func TestDelayWithoutEndIsKept(t *testing.T) {
	n := delayer(t)
	n.publish("x", "k", "m", delay(int64(math.MaxInt64)))
	n.publish("x", "k", "m", delay(math.Inf(1)))
	n.wait(50 * 365 * 24 * time.Hour)
	if got := n.waiting("x"); got != 2 {
		t.Errorf("%d are waiting", got)
	}
}

func TestMessagesWithoutDelayPassAtOnce(t *testing.T) {
	n := delayer(t)
	n.publish("x", "k", "a", amqp.Properties{})
	n.publish("x", "k", "b", amqp.Properties{Headers: amqp.Table{{Name: "other", Value: "1"}}})
	if got := n.bodies("q"); got != "a b" {
		t.Errorf("got %q", got)
	}
}

// EX-55: bindings are looked at when the time has come.
func TestRoutingIsDecidedWhenTheDelayEnds(t *testing.T) {
	n := delayer(t)
	n.publish("x", "k", "m", delay(int32(1000)))
	n.unbind("x", "queue", "q", "k")
	n.queue("late")
	n.bind("x", "queue", "late", "k")
	n.wait(time.Second)
	if got := n.bodies("q") + "|" + n.bodies("late"); got != "|m" {
		t.Errorf("got %q", got)
	}
	n.publish("x", "k", "lost", delay(int32(1000)))
	n.unbind("x", "queue", "late", "k")
	n.wait(time.Second)
	if got := n.b.Counters.DelayedDropped.Load(); got != 1 {
		t.Errorf("%d were dropped", got)
	}
}

// EX-12 for what has waited.
func TestDelayedMessageThatLeadsNowhereGoesToTheAlternateExchange(t *testing.T) {
	n := newNode(t)
	n.exchange("x", "x-delayed-message", delaying("direct"), alternate("amq.fanout"))
	n.queue("q")
	n.bind("amq.fanout", "queue", "q", "")
	n.publish("x", "k", "m", delay(int32(10)))
	if got := n.bodies("q"); got != "" {
		t.Errorf("%q passed by", got)
	}
	if n.wait(10 * time.Millisecond); n.bodies("q") != "m" {
		t.Error("it did not come")
	}
}

// PUB-6: a publisher who wants to know is told at once.
func TestMandatoryDelayedMessageHasToHaveSomewhereToGoNow(t *testing.T) {
	n := delayer(t)
	n.router.Mandatory = true
	if n.publish("x", "nowhere", "m", delay(int32(10))) {
		t.Error("nobody was told that it goes nowhere")
	}
	if !n.publish("x", "k", "m", delay(int32(10))) {
		t.Error("returned")
	}
	n.router.Mandatory = false
	if !n.publish("x", "nowhere", "m", delay(int32(10))) {
		t.Error("an ordinary publish counts as unroutable")
	}
	if got := n.waiting("x"); got != 2 {
		t.Errorf("%d are waiting, want 2", got)
	}
}

// EX-55, CONF-2
func TestDelayedMessageIsConfirmedWhenItIsStored(t *testing.T) {
	n := delayer(t)
	c := new(confirmer)
	p := delay(int32(10_000))
	m := n.message("x", "k", "m", p)
	n.publishConfirmed("x", m, message.NewConfirm(c, 1))
	if fmt.Sprint(c.answers) != "[]" {
		t.Errorf("answered %v before it was stored", c.answers)
	}
	n.disk.commit()
	if len(c.answers) != 1 {
		t.Errorf("answered %v after it was stored", c.answers)
	}
}

// It survives a crash, waits for the rest of its time, and comes once.
func TestDelayedMessagesAreThereAfterARestart(t *testing.T) {
	n := delayer(t)
	n.publish("x", "k", "hour", delay(int32(3_600_000)))
	n.publish("x", "k", "second", delay(int32(1000)))
	transientMessage := n.message("x", "k", "transient", delay(int32(60_000)))
	n.publishConfirmed("x", transientMessage, nil)
	n.disk.commit()
	n = restart(t, n.disk)
	if got := n.waiting("x"); got != 3 {
		t.Fatalf("%d are waiting, want 3", got)
	}
	for _, want := range []struct {
		after time.Duration
		came  string
	}{{999 * time.Millisecond, ""}, {time.Millisecond, "second"}, {59 * time.Second, "transient"}, {time.Hour - time.Minute, "hour"}} {
		n.waitReading(want.after)
		if got := n.bodies("q"); got != want.came {
			t.Errorf("after %v more: got %q, want %q", want.after, got, want.came)
		}
	}
	n.disk.commit()
	n.disk.commitSettled()
	n = restart(t, n.disk)
	if got := n.waiting("x"); got != 0 {
		t.Errorf("%d are waiting again", got)
	}
}

// waitReading is wait with a disk that answers.
func (n *node) waitReading(d time.Duration) {
	n.Helper()
	until := n.now.Add(d)
	for range 10_000 {
		n.b.Tick(n.now, &n.out)
		n.answerReads()
		n.disk.commit()
		n.b.Flush(n.now, &n.out)
		next := n.b.timers.wait()
		if next.IsZero() || next.After(until) {
			n.now = until
			return
		}
		if next.After(n.now) {
			n.now = next
		}
	}
	n.Fatal("something is always due at once")
}

// S-9: a message is settled where it waited no earlier than it is stored where it went.
func TestFiredMessageIsInOnePlaceAtLeast(t *testing.T) {
	n := delayer(t)
	n.publish("x", "k", "m", delay(int32(1000)))
	n.disk.commit()
	n.wait(time.Second)
	n.disk.commitSettled()
	n = restart(t, n.disk)
	if got := n.waiting("x"); got != 1 {
		t.Fatalf("%d wait after a crash in between, want 1", got)
	}
	n.waitReading(time.Second)
	n.disk.commit()
	n = restart(t, n.disk)
	if got := n.waiting("x"); got != 0 || n.bodies("q") != "m" {
		t.Errorf("%d still wait", got)
	}
}

// EX-8: what waits goes with its exchange, and its publishers hear that it was taken.
func TestDeletedExchangeTakesItsDelayedMessagesAlong(t *testing.T) {
	n := delayer(t)
	c := new(confirmer)
	n.publish("x", "k", "stored", delay(int32(1000)))
	n.disk.commit()
	n.publishConfirmed("x", n.message("x", "k", "unstored", delay(int32(1000))), message.NewConfirm(c, 1))
	if _, err := n.v.DeleteExchange("x", false, nil); err != nil {
		t.Fatal(err)
	}
	n.b.Flush(n.now, &n.out)
	if len(c.answers) != 1 {
		t.Errorf("answered %v", c.answers)
	}
	if n.wait(time.Hour); n.bodies("q") != "" {
		t.Error("it came nevertheless")
	}
	if len(n.disk.dropped) != 1 {
		t.Errorf("dropped %v", n.disk.dropped)
	}
	if used, _ := n.b.QueueMemory(); used != 0 {
		t.Errorf("%d bytes are in memory", used)
	}
	n.exchange("x", "x-delayed-message", delaying("direct"))
	if got := n.waiting("x"); got != 0 {
		t.Errorf("its successor has %d", got)
	}
}

// S-9: what has left a deleted exchange is nowhere else until it is stored in its queue.
func TestDeletedExchangeStaysOnDiskUntilWhatLeftItIsSafe(t *testing.T) {
	n := delayer(t)
	n.publish("x", "k", "m", delay(int32(1000)))
	n.disk.commit()
	n.wait(time.Second)
	if _, err := n.v.DeleteExchange("x", false, nil); err != nil {
		t.Fatal(err)
	}
	n.b.Flush(n.now, &n.out)
	deletes := func() bool {
		return slices.ContainsFunc(n.disk.units, func(u unit) bool { return len(u.Deletes) > 0 && recordKey(u.Deletes[0])[:10] == "exchange /" })
	}
	if len(n.disk.dropped) != 0 || deletes() {
		t.Error("it goes before what left it is stored")
	}
	for range 2 { // with the queue's copy, or after it
		n.disk.commit()
	}
	if n.disk.has("exchange / x") || len(n.disk.dropped) != 1 {
		t.Errorf("it stays, dropped %v", n.disk.dropped)
	}
	if got := n.bodies("q"); got != "m" {
		t.Errorf("got %q", got)
	}
}

func TestPurgedExchangeHasNothingThatWaits(t *testing.T) {
	n := delayer(t)
	for range 3 {
		n.publish("x", "k", "m", delay(int32(1000)))
	}
	if got := n.b.DelayedMessages(); got != 3 {
		t.Errorf("%d wait in all, want 3", got)
	}
	if got := n.v.Delayed("x").Purge(n.now, &n.out); got != 3 {
		t.Errorf("purged %d", got)
	}
	if n.wait(time.Hour); n.bodies("q") != "" {
		t.Error("something came")
	}
	if n.v.Delayed("amq.direct") != nil || n.v.Delayed("missing") != nil {
		t.Error("messages wait where none can")
	}
}

// EX-55: the header's sign is turned, so the next exchange on the way does not delay again.
func TestMessageIsDelayedOnceOnItsWay(t *testing.T) {
	n := delayer(t)
	n.exchange("y", "x-delayed-message", delaying("fanout"))
	n.bind("y", "exchange", "x", "")
	n.publish("y", "k", "m", delay(int32(1000)))
	if n.wait(time.Second); n.bodies("q") != "m" {
		t.Error("it did not come through both in a second")
	}
	// Behind an ordinary exchange it waits where it is to.
	n.bind("amq.fanout", "exchange", "x", "")
	n.queue("now")
	n.bind("amq.fanout", "queue", "now", "")
	n.publish("amq.fanout", "k", "m", delay(int32(1000)))
	if got := n.bodies("now") + "|" + n.bodies("q"); got != "m|" {
		t.Errorf("got %q", got)
	}
	if n.wait(time.Second); n.bodies("q") != "m" {
		t.Error("it did not come")
	}
}

// A dead letter with a delay waits as well: the retry that people build of the two.
func TestDeadLetterWaitsAtADelayedExchange(t *testing.T) {
	n := delayer(t)
	n.queue("work", deadLetter("x"), deadLetterKey("k"))
	n.publish("", "work", "m", delay(int32(1000)))
	n.disk.commit()
	n.reject("work")
	if got := n.waiting("x"); got != 1 || n.bodies("q") != "" {
		t.Errorf("%d wait", got)
	}
	n.disk.commit()
	n.wait(time.Second)
	got := n.take("q")
	if len(got) != 1 || history(t, got[0]) == "" {
		t.Errorf("got %d", len(got))
	}
}

func TestDefaultExchangeDelaysWhenToldTo(t *testing.T) {
	n := newNode(t)
	n.queue("q")
	n.publish("", "q", "m", delay(int32(1000)))
	if n.bodies("q") != "m" {
		t.Error("it delays without being told to")
	}
	if n.v.Delayed("") != nil {
		t.Error("there is a place for messages to wait")
	}

	n.disk.commit()
	o := DefaultOptions()
	o.DelayedDefaultExchange = true
	n = restartAt(t, n.disk, start, o)
	n.publish("", "q", "now", amqp.Properties{})
	n.publish("", "q", "later", delay(int32(1000)))
	n.publish("", "q", "now", amqp.Properties{})
	if got := n.bodies("q"); got != "now now" {
		t.Errorf("got %q", got)
	}
	n.disk.commit()

	// What waits comes even when nothing more is to wait.
	n = restart(t, n.disk)
	n.publish("", "q", "now", delay(int32(1000)))
	if got := n.bodies("q"); got != "now" {
		t.Errorf("got %q", got)
	}
	if n.waitReading(time.Second); n.bodies("q") != "later" {
		t.Error("it did not come")
	}
	n = restartAt(t, n.disk, start, o)
	if len(n.v.Exchanges()) != len(exchange.Predeclared("/")) {
		t.Error("there are two default exchanges")
	}
	if n.b.DeleteVHost(n.now, "/", &n.out); n.out.Timers != nil {
		t.Error("timers are left")
	}
	n.b.Flush(n.now, &n.out)
	n.disk.commit()
	if n.disk.has("exchange") {
		t.Error("an exchange is left on disk")
	}
}
