package broker

import (
	"encoding/hex"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// recordedHeaders returns the content headers, flags and properties, that a recorded
// conversation has in one direction ("C>S" or "S>C"), in order.
func recordedHeaders(t *testing.T, file, direction string) (all [][]byte) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		text, ok := strings.CutPrefix(strings.TrimSpace(line), direction+" frame ")
		if !ok {
			continue
		}
		frame, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if frame[0] == 2 { // a content header: class, weight and body size come first
			all = append(all, frame[7+12:len(frame)-1])
		}
	}
	return all
}

// unordered is a table without what DLX-8 leaves open: the order of fields, and the time.
func unordered(v any) any {
	switch v := v.(type) {
	case amqp.Table:
		out := make(map[string]any)
		for _, f := range v {
			if f.Name != "time" {
				out[f.Name] = unordered(f.Value)
			}
		}
		return out
	case amqp.Array:
		var out []any
		for _, e := range v {
			out = append(out, unordered(e))
		}
		return out
	}
	return v
}

// DLX-4 to DLX-6, DLX-9
func TestTwoDeathsLookAsRabbitMQRecordedThem(t *testing.T) {
	const file = "../amqp/testdata/wire/x-death-two-hops.txt"
	published := recordedHeaders(t, file, "C>S")[0]
	delivered := recordedHeaders(t, file, "S>C")
	var want amqp.Properties
	if err := want.Decode(delivered[len(delivered)-1]); err != nil {
		t.Fatal(err)
	}

	n := newNode(t)
	n.queue("vecsrc", deadLetter(""), deadLetterKey("vecmid"))
	n.queue("vecmid", with("x-message-ttl", int32(100)), deadLetter(""), deadLetterKey("vecdl"))
	n.queue("vecdl")
	m, err := message.New(message.Content{RoutingKey: "vecsrc", Properties: published, Body: []byte("hop")})
	if err != nil {
		t.Fatal(err)
	}
	n.publishConfirmed("", m, nil)
	n.reject("vecsrc")
	n.wait(time.Second)
	got := n.take("vecdl")
	if len(got) != 1 {
		t.Fatalf("%d messages, want one", len(got))
	}
	if got[0].Exchange != "" || got[0].RoutingKey != "vecdl" || string(got[0].Body()) != "hop" {
		t.Errorf("exchange %q, key %q, body %q", got[0].Exchange, got[0].RoutingKey, got[0].Body())
	}
	var p amqp.Properties
	if err := p.Decode(got[0].Properties()); err != nil {
		t.Fatal(err)
	}
	last := map[string]any{}
	for _, name := range []string{"reason", "queue", "exchange"} {
		last[name], _ = p.Headers.Get("x-last-death-" + name)
		p.Headers = p.Headers.Without("x-last-death-" + name) // 3.10 has none
	}
	if w := (map[string]any{"reason": "expired", "queue": "vecmid", "exchange": ""}); !reflect.DeepEqual(last, w) {
		t.Errorf("last death: got %v, want %v", last, w)
	}
	if g, w := unordered(p.Headers), unordered(want.Headers); !reflect.DeepEqual(g, w) {
		t.Errorf("headers:\ngot  %v\nwant %v", g, w)
	}
	p.Headers, want.Headers = nil, nil
	if !reflect.DeepEqual(p, want) {
		t.Errorf("other properties:\ngot  %+v\nwant %+v", p, want)
	}
}

// history renders x-death, one entry after another.
func history(t *testing.T, m *message.Message) string {
	t.Helper()
	h, err := m.Headers()
	if err != nil {
		t.Fatal(err)
	}
	v, _ := h.Get("x-death")
	list, _ := v.(amqp.Array)
	var all []string
	for _, e := range list {
		e := e.(amqp.Table)
		get := func(name string) any { v, _ := e.Get(name); return v }
		at := time.Unix(int64(get("time").(amqp.Timestamp)), 0).Sub(start)
		all = append(all, fmt.Sprintf("%v*%v %v from %q%v at %v", get("count"), get("queue"), get("reason"),
			get("exchange"), get("routing-keys"), at))
	}
	return strings.Join(all, ", ")
}

// DLX-7, DLX-12: a rejected message may go round for ever.
func TestDeathsOfOneKindAreCountedInOneEntry(t *testing.T) {
	n := newNode(t)
	n.queue("work", deadLetter(""), deadLetterKey("wait"))
	n.queue("wait", with("x-message-ttl", int32(1000)), deadLetter("amq.direct"), deadLetterKey("back"))
	n.bind("amq.direct", "queue", "work", "back")
	n.publish("", "work", "m", amqp.Properties{})
	for range 3 {
		n.reject("work")
		n.wait(1500 * time.Millisecond)
	}
	got := n.take("work")
	if len(got) != 1 {
		t.Fatalf("%d messages, want one", len(got))
	}
	want := `3*wait expired from ""[wait] at 1s, 3*work rejected from ""[work] at 0s`
	if got := history(t, got[0]); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	h, _ := got[0].Headers()
	for _, f := range []struct{ name, want string }{
		{"x-first-death-queue", "work"}, {"x-first-death-reason", "rejected"}, {"x-first-death-exchange", ""},
		{"x-last-death-queue", "wait"}, {"x-last-death-reason", "expired"}, {"x-last-death-exchange", ""},
	} {
		if v, ok := h.Get(f.name); !ok || v != f.want {
			t.Errorf("%s: got %v, want %q", f.name, v, f.want)
		}
	}
	if got[0].Exchange != "amq.direct" || got[0].RoutingKey != "back" {
		t.Errorf("came through %q with key %q", got[0].Exchange, got[0].RoutingKey)
	}
}

// DLX-12
func TestMessageThatWouldGoRoundWithoutARejectionIsDropped(t *testing.T) {
	n := newNode(t)
	n.exchange("round", "fanout")
	n.queue("a", with("x-message-ttl", int32(10)), deadLetter("round"))
	n.queue("b", with("x-message-ttl", int32(10)), deadLetter(""), deadLetterKey("a"))
	n.queue("end")
	n.bind("round", "queue", "a", "")
	n.bind("round", "queue", "b", "")
	n.bind("round", "queue", "end", "")
	n.publish("", "a", "m", amqp.Properties{})
	n.wait(time.Minute)
	// From a it comes to b and end, but not to a; from b it would come to a again.
	got := n.take("end")
	if len(got) != 1 || n.bodies("a") != "" || n.bodies("b") != "" {
		t.Fatalf("got %d at the end, want one and nothing elsewhere", len(got))
	}
	if got := n.b.Counters.DeadLettersDropped.Load(); got != 1 {
		t.Errorf("dropped %d, want 1", got)
	}

	// A queue that dead-letters to itself loses the message at once.
	n.queue("self", with("x-message-ttl", int32(10)), deadLetter(""))
	n.publish("", "self", "m", amqp.Properties{})
	n.wait(time.Minute)
	if got := n.bodies("self"); got != "" {
		t.Errorf("self has %q", got)
	}
}

func TestCycleLooksAtWhatHappenedSinceTheTarget(t *testing.T) {
	d := func(all ...string) (out deaths) {
		for _, s := range all {
			queue, reason, _ := strings.Cut(s, " ")
			out = append(out, amqp.Table{{Name: "queue", Value: queue}, {Name: "reason", Value: reason}})
		}
		return out
	}
	f := func(d deaths, target string, want bool) {
		t.Helper()
		if got := d.cycle(target); got != want {
			t.Errorf("%v to %s: got %v, want %v", d, target, got, want)
		}
	}
	f(d("a expired"), "a", true)
	f(d("a maxlen"), "a", true)
	f(d("a expired"), "b", false)
	f(d("b expired", "a expired"), "a", true)
	f(d("b expired", "a rejected"), "a", false)
	f(d("b rejected", "a expired"), "a", false)
	f(d("c expired", "a expired", "b rejected"), "a", true)
	f(d("a expired", "a rejected"), "a", true)
	f(nil, "a", false)
}

// DLX-10, as up to 3.13: a consumer that publishes what came back to it counts its attempts so.
func TestDeathsThatAClientWroteAreContinued(t *testing.T) {
	n := newNode(t)
	n.queue("work", deadLetter(""), deadLetterKey("dead"))
	n.queue("dead")
	f := func(count any, want string) {
		t.Helper()
		written := amqp.Table{
			{Name: "x-death", Value: amqp.Array{amqp.Table{
				{Name: "count", Value: count}, {Name: "reason", Value: "rejected"}, {Name: "queue", Value: "work"},
				{Name: "time", Value: amqp.Timestamp(n.now.Unix())}, {Name: "exchange", Value: "x"}, {Name: "routing-keys", Value: amqp.Array{"k"}},
			}}},
			{Name: "x-first-death-queue", Value: "elsewhere"},
			{Name: "mine", Value: "stays"},
		}
		n.publish("", "work", "m", amqp.Properties{Headers: written})
		q, _, _ := n.v.Queue("me", "work")
		d, _ := n.get(q, false)
		if h, _ := d.Message.Headers(); !h.Equal(written) {
			t.Errorf("before its first death: got %v, want it as sent", h)
		}
		q.Reject(n.now, []queue.Position{d.Position}, false, &n.out)
		n.b.Flush(n.now, &n.out)
		m := n.take("dead")[0]
		h, _ := m.Headers()
		v, _ := h.Get("x-death")
		entry, _ := v.(amqp.Array)[0].(amqp.Table)
		if got, _ := entry.Get("count"); len(v.(amqp.Array)) != 1 || got != integer(count)+1 {
			t.Errorf("got %v, want one entry with the count after %v", v, count)
		}
		for name, want := range map[string]string{"x-first-death-queue": "elsewhere", "x-last-death-queue": "work", "mine": "stays"} {
			if v, _ := h.Get(name); v != want {
				t.Errorf("%s: got %v, want %s", name, v, want)
			}
		}
		if got := history(t, m); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(int64(7), `8*work rejected from "x"[k] at 0s`)
	f(int32(1), `2*work rejected from "x"[k] at 0s`)
	f("many", `1*work rejected from "x"[k] at 0s`)
}

// DLX-12: what a client wrote does not make its message vanish as one that goes round.
func TestDeathsThatAClientWroteMakeNoCycle(t *testing.T) {
	n := newNode(t)
	n.queue("work", deadLetter(""), deadLetterKey("dead"), with("x-message-ttl", int32(10)))
	n.queue("dead")
	n.publish("", "work", "m", amqp.Properties{Headers: amqp.Table{{Name: "x-death", Value: amqp.Array{amqp.Table{
		{Name: "count", Value: int64(1)}, {Name: "reason", Value: "expired"}, {Name: "queue", Value: "dead"},
	}}}}})
	n.pass(time.Second)
	if got := len(n.take("dead")); got != 1 {
		t.Errorf("%d messages, want the one", got)
	}
}

// DLX-3, DLX-6, DLX-11
func TestRoutingKeysOfADeadLetter(t *testing.T) {
	n := newNode(t)
	n.exchange("dlx", "topic")
	n.queue("all")
	n.bind("dlx", "queue", "all", "#")
	for _, q := range []string{"cc", "bcc", "new"} {
		n.queue("to-" + q)
		n.bind("dlx", "queue", "to-"+q, q)
	}
	copies := amqp.Table{{Name: "CC", Value: amqp.Array{"cc"}}}
	hidden := append(slices.Clone(copies), amqp.Field{Name: "BCC", Value: amqp.Array{"bcc"}})
	f := func(source string, h amqp.Table, key, deaths string, cc bool, reached string, more ...func(*queue.Spec)) {
		t.Helper()
		n.queue(source, append(more, deadLetter("dlx"))...)
		m := n.message("", source, "m", amqp.Properties{Headers: copies})
		m.More = moreKeys(h)
		n.publishConfirmed("", m, nil)
		n.reject(source)
		got := n.take("all")
		if len(got) != 1 {
			t.Fatalf("%s: %d messages", source, len(got))
		}
		if got[0].RoutingKey != key {
			t.Errorf("%s: key %q, want %q", source, got[0].RoutingKey, key)
		}
		if got := history(t, got[0]); got != deaths {
			t.Errorf("%s: got %s, want %s", source, got, deaths)
		}
		headers, _ := got[0].Headers()
		if _, has := headers.Get("CC"); has != cc {
			t.Errorf("%s: has CC %v, want %v", source, has, cc)
		}
		var to []string
		for _, q := range []string{"cc", "bcc", "new"} {
			if n.bodies("to-"+q) != "" {
				to = append(to, q)
			}
		}
		if got := strings.Join(to, " "); got != reached {
			t.Errorf("%s: reached %q, want %q", source, got, reached)
		}
	}
	f("kept", hidden, "kept", `1*kept rejected from ""[kept cc] at 0s`, true, "cc bcc")
	f("replaced", hidden, "new", `1*replaced rejected from ""[replaced cc] at 0s`, false, "new", deadLetterKey("new"))
}

// DLX-15
func TestDeadLettersLeaveInTheOrderTheyDied(t *testing.T) {
	n := newNode(t)
	n.queue("q", with("x-max-length", int32(2)), deadLetter(""), deadLetterKey("dead"))
	n.queue("dead")
	for i := range 6 {
		n.publish("", "q", fmt.Sprint(i), amqp.Properties{})
	}
	q, _, _ := n.v.Queue("me", "q")
	q.SetOptions(n.now, func() queue.Options { o := q.Options(); o.MaxLength = 0; return o }(), &n.out)
	n.b.Flush(n.now, &n.out)
	if got, want := n.bodies("dead"), "0 1 2 3 4 5"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// DLX-2, DLX-13, LEN-4
func TestDeadLetterWithoutAPlaceToGoIsDropped(t *testing.T) {
	n := newNode(t)
	n.exchange("dlx", "direct")
	n.queue("missing", deadLetter("nowhere"))
	n.queue("unroutable", deadLetter("dlx"))
	var c confirmer
	for i, q := range []string{"missing", "unroutable"} {
		n.publishConfirmed("", n.message("", q, "m", amqp.Properties{}), message.NewConfirm(&c, uint64(i)))
		n.reject(q)
	}
	n.disk.commit()
	if got := n.b.Counters.DeadLettersDropped.Load(); got != 2 {
		t.Errorf("dropped %d, want 2", got)
	}
	if got := fmt.Sprint(c.answers); got != "[0:true 1:true]" {
		t.Errorf("answers: got %s", got)
	}
	n.disk.commit()
	for id, left := range n.disk.stored {
		if len(left) != 0 {
			t.Errorf("queue %d still has %d messages on disk", id, len(left))
		}
	}
	// It may be made later, and its alternate exchange applies.
	n.exchange("nowhere", "direct", alternate("amq.fanout"))
	n.queue("rest")
	n.bind("amq.fanout", "queue", "rest", "")
	n.publish("", "missing", "late", amqp.Properties{})
	n.reject("missing")
	if got := n.bodies("rest"); got != "late" {
		t.Errorf("got %q, want late", got)
	}
}

// S-9, CONF-5: what is on its way from one durable queue to another is always on disk in
// one of them, and its publisher is answered when it is.
func TestDeadLetterIsNeverBetweenTwoQueues(t *testing.T) {
	n := newNode(t)
	source := n.queue("source", with("x-message-ttl", int32(100)), deadLetter(""), deadLetterKey("target"))
	target := n.queue("target")
	var c confirmer
	n.publishConfirmed("", n.message("", "source", "m", amqp.Properties{}), message.NewConfirm(&c, 1))
	onDisk := func(s, d int) {
		t.Helper()
		if gs, gd := len(n.disk.stored[source.ID()]), len(n.disk.stored[target.ID()]); gs != s || gd != d {
			t.Errorf("on disk: source %d, target %d; want %d and %d", gs, gd, s, d)
		}
	}
	n.disk.commit()
	onDisk(1, 0)
	n.wait(time.Second)
	n.disk.commitSettled()
	onDisk(1, 0) // it died, and its letter is in the target's memory alone
	n.disk.commit()
	onDisk(0, 1)

	// A message that dies before it was stored takes its publisher along.
	n.publishConfirmed("", n.message("", "source", "m", amqp.Properties{}), message.NewConfirm(&c, 2))
	n.wait(time.Second)
	if got := fmt.Sprint(c.answers); got != "[1:true]" {
		t.Errorf("before the commit: %s, want [1:true]", got)
	}
	n.disk.commit()
	onDisk(0, 2)
	if got := fmt.Sprint(c.answers); got != "[1:true 2:true]" {
		t.Errorf("after the commit: %s, want [1:true 2:true]", got)
	}
}

// DLX-16, LEN-4: a chain of queues that each pass on what they cannot keep.
func TestLettersOfLettersAreCarriedToo(t *testing.T) {
	n := newNode(t)
	const hops = 200
	for i := range hops {
		n.queue(fmt.Sprint("q", i), with("x-max-length", int32(0)), with("x-overflow", "reject-publish-dlx"),
			deadLetter(""), deadLetterKey(fmt.Sprint("q", i+1)))
	}
	n.queue(fmt.Sprint("q", hops))
	n.publish("", "q0", "m", amqp.Properties{})
	got := n.take(fmt.Sprint("q", hops))
	if len(got) != 1 {
		t.Fatalf("%d messages came through", len(got))
	}
	h, _ := got[0].Headers()
	v, _ := h.Get("x-death")
	if len(v.(amqp.Array)) != hops {
		t.Errorf("%d deaths, want %d", len(v.(amqp.Array)), hops)
	}
}

// DUR-2: after a restart the account of a message goes on.
func TestDeathsAreContinuedAfterARestart(t *testing.T) {
	n := newNode(t)
	n.queue("a", deadLetter(""), deadLetterKey("b"))
	n.queue("b", deadLetter(""), deadLetterKey("a"))
	n.publish("", "a", "m", amqp.Properties{})
	n.reject("a")
	n.disk.commit()
	n = restart(t, n.disk)
	n.reject("b")
	n.reject("a")
	got := n.take("b")
	if len(got) != 1 {
		t.Fatalf("%d messages, want one", len(got))
	}
	if got, want := history(t, got[0]), `2*a rejected from ""[a] at 0s, 1*b rejected from ""[b] at 0s`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// S-9: a queue that is deleted while its letter is on the way keeps its record until the
// letter is safe, and takes nothing back.
func TestQueueIsDeletedWhileItsLetterIsOnTheWay(t *testing.T) {
	n := newNode(t)
	source := n.queue("source", deadLetter(""), deadLetterKey("target"))
	target := n.queue("target")
	n.bind("amq.direct", "queue", "source", "k")
	n.publish("", "source", "m", amqp.Properties{})
	n.disk.commit()
	n.reject("source")
	_, c, err := n.v.DeleteQueue(n.now, "me", "source", queue.DeleteOptions{}, nil, &n.out)
	if err != nil {
		t.Fatal(err)
	}
	deleted := false
	if !c.Then(func(err error) { deleted = err == nil }) {
		t.Fatal("the delete was answered at once")
	}
	n.b.Flush(n.now, &n.out)

	// The declarations and acknowledgements of now reach the disk, the letter does not.
	enlisted := n.disk.enlisted
	n.disk.enlisted = nil
	n.disk.commit()
	if deleted || !n.disk.has("queue / source") || n.disk.has("binding") || len(n.disk.dropped) > 0 {
		t.Errorf("before the letter is safe: deleted %v, dropped %v, on disk %v", deleted, n.disk.dropped, n.disk.records)
	}
	if got := len(n.disk.stored[source.ID()]) + len(n.disk.stored[target.ID()]); got != 1 {
		t.Errorf("%d messages on disk, want 1 in the queue it died in", got)
	}

	n.disk.enlisted = enlisted
	n.disk.commit()
	n.disk.commit()
	if !deleted || n.disk.has("queue / source") || len(n.disk.dropped) != 1 {
		t.Errorf("when the letter is safe: deleted %v, dropped %v, on disk %v", deleted, n.disk.dropped, n.disk.records)
	}
	if got := len(n.disk.stored[target.ID()]); got != 1 {
		t.Errorf("%d messages stored in the target, want 1", got)
	}
	if got := n.bodies("target"); got != "m" {
		t.Errorf("target has %q, want m", got)
	}
}

// S-9: when the broker dies before, the queue is back with the message, unless there is
// another one of its name by then.
func TestLetterOfADeletedQueueSurvivesACrash(t *testing.T) {
	for _, again := range []bool{false, true} {
		n := newNode(t)
		n.queue("source", deadLetter(""), deadLetterKey("target"))
		n.queue("target")
		n.publish("", "source", "m", amqp.Properties{})
		n.disk.commit()
		n.reject("source")
		if _, _, err := n.v.DeleteQueue(n.now, "me", "source", queue.DeleteOptions{}, nil, &n.out); err != nil {
			t.Fatal(err)
		}
		n.b.Flush(n.now, &n.out)
		want := "m"
		if again {
			n.queue("source")
			want = ""
		}
		n.disk.enlisted = nil
		n.disk.commit()
		n = restart(t, n.disk)
		n.answerReads()
		if got := n.bodies("source"); got != want {
			t.Errorf("declared again %v: source has %q, want %q", again, got, want)
		}
		n.disk.commit()
		if got := len(n.v.Queues()); got != 2 {
			t.Errorf("declared again %v: got %d queues, want 2", again, got)
		}
		if again && (n.v.Queues()[0].Spec().Arguments != nil || len(n.disk.dropped) != 1) {
			t.Error("the queue that was deleted is the one that came back")
		}
		kept := 0
		for _, r := range n.disk.records {
			if _, ok := r.(topology.Queue); ok {
				kept++
			}
		}
		if kept != 2 {
			t.Errorf("declared again %v: %d records of queues, want 2", again, kept)
		}
	}
}

// TTL-10, DUR-4: deadlines are moments, and pass while the broker is down.
func TestMessagesThatExpiredWhileDownAreDeadLettered(t *testing.T) {
	n := newNode(t)
	n.queue("q", with("x-message-ttl", int32(1000)), deadLetter(""), deadLetterKey("dead"))
	n.queue("dead")
	n.publish("", "q", "early", amqp.Properties{})
	n.now = n.now.Add(900 * time.Millisecond)
	n.publish("", "q", "late", amqp.Properties{})
	n.disk.commit()
	n = restart(t, n.disk)
	n.wait(1500 * time.Millisecond)
	n.answerReads() // its body was on disk
	if got := n.bodies("dead"); got != "early" {
		t.Errorf("dead has %q, want early", got)
	}
	if got := n.bodies("q"); got != "late" {
		t.Errorf("q has %q, want late", got)
	}
}

// CONF-5: that the queue for the dead is full does not concern the publisher.
func TestPublisherIsAckedWhenTheDeadLetterIsRefused(t *testing.T) {
	n := newNode(t)
	n.queue("q", with("x-message-ttl", int32(0)), deadLetter(""), deadLetterKey("full"))
	n.queue("full", with("x-max-length", int32(0)), with("x-overflow", "reject-publish"))
	var c confirmer
	n.publishConfirmed("", n.message("", "q", "m", amqp.Properties{}), message.NewConfirm(&c, 1))
	n.disk.commit()
	if got := fmt.Sprint(c.answers); got != "[1:true]" {
		t.Errorf("got %s, want [1:true]", got)
	}
}
