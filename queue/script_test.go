package queue

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/message"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata")

// A script is commands to one queue and what they print:
//
//	declare durable max-length=2
//	publish a b c
//	----
//	dropped a
//
// Messages are named by their bodies. A blank line ends the answer.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			was, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(was))
			if got == string(was) {
				return
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			wantLines, gotLines := strings.Split(string(was), "\n"), strings.Split(got, "\n")
			for i := range max(len(wantLines), len(gotLines)) {
				w, g := lineAt(wantLines, i), lineAt(gotLines, i)
				if w != g {
					t.Fatalf("%s:%d: got %q, want %q", file, i+1, g, w)
				}
			}
		})
	}
}

func lineAt(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}

// runScript answers every block of commands afresh.
func runScript(t *testing.T, script string) string {
	t.Helper()
	s := &stage{t: t, now: time.UnixMilli(1_000_000)}
	var b strings.Builder
	answering := false
	for _, line := range strings.Split(strings.TrimRight(script, "\n"), "\n") {
		switch {
		case line == "----":
			b.WriteString("----\n")
			b.WriteString(strings.Join(s.printed, ""))
			s.printed = nil
			answering = true
		case line == "":
			answering = false
			b.WriteString("\n")
		case answering: // the old answer
		case strings.HasPrefix(line, "#"):
			b.WriteString(line + "\n")
		default:
			b.WriteString(line + "\n")
			s.command(strings.Fields(line))
		}
	}
	return b.String()
}

// stage is one queue with its consumers, its store and whoever carries out its effects.
type stage struct {
	t         *testing.T
	q         *Queue
	now       time.Time
	out       Effects
	timer     time.Time
	store     heldStore
	consumers map[string]*scriptConsumer
	got       map[string]Position // by body, of gets
	printed   []string
	seq       uint64
	names     map[uint64]string // publishes by confirm number
	batch     *Batch
	group     uint64
	carry     bool // letters reach a target that stores them only when told
	letters   map[string]Letter
}

func (s *stage) printf(format string, args ...any) {
	s.printed = append(s.printed, fmt.Sprintf(format, args...)+"\n")
}

// heldStore remembers who enlisted.
type heldStore struct {
	puts, settled int
	reads         []func()
	content       []RestoredMessage // in order
	spills        []func(error)
	copies        copies
}

func (h *heldStore) Enlist(Collector)               { h.puts++ }
func (h *heldStore) EnlistSettled(Collector)        { h.settled++ }
func (h *heldStore) Barrier(Collector, func(error)) {}
func (h *heldStore) Drop(ID)                        {}

func (h *heldStore) Read(_ ID, _ uint8, r Range, done func([]RestoredMessage, error)) {
	h.reads = append(h.reads, func() {
		var found []RestoredMessage
		for _, m := range h.content {
			if m.Seq >= r.First && m.Seq <= r.Last {
				found = append(found, m)
			}
		}
		done(h.copies.read(found, 0, r), nil)
	})
}

func (h *heldStore) Spill(_ ID, level uint8, c []Copy, done func(error)) {
	h.spills = append(h.spills, h.copies.spill(level, c, done))
}

func (h *heldStore) Forget(f Forgotten) { h.copies.forget(f) }

type scriptConsumer struct {
	s        *stage
	name     string
	prefetch int
	noAck    bool
	out      map[string]Position
}

func (c *scriptConsumer) Deliver(d Delivery, _ *Effects) bool {
	body := string(d.Message.Body())
	if !c.noAck && c.prefetch > 0 && len(c.out) >= c.prefetch {
		return false
	}
	if !c.noAck {
		c.out[body] = d.Position
	}
	c.s.printf("%s <- %s%s", c.name, body, marks(d))
	return true
}

func marks(d Delivery) string {
	m := ""
	if d.Redelivered {
		m += " redelivered"
	}
	if d.ShowCount && d.Count > 0 {
		m += fmt.Sprintf(" count=%d", d.Count)
	}
	return m
}

func (s *stage) Confirmed(seq uint64, ok bool, _ *message.Wakes) {
	if ok {
		s.printf("confirmed %s", s.names[seq])
	} else {
		s.printf("refused %s", s.names[seq])
	}
}

func (s *stage) command(words []string) {
	s.t.Helper()
	name, args := words[0], words[1:]
	switch name {
	case "declare":
		s.declare(args)
	case "publish":
		for _, a := range args {
			s.publish(a, false)
		}
	case "publish-confirm":
		for _, a := range args {
			s.publish(a, true)
		}
	case "consume":
		s.consume(args)
	case "cancel":
		s.q.Cancel(s.now, s.consumers[args[0]], &s.out)
	case "resume":
		s.q.Resume(s.now, s.consumers[args[0]], &s.out)
	case "ack":
		s.q.Ack(s.now, s.positions(args), &s.out)
	case "nack", "reject":
		s.q.Reject(s.now, s.positions(args), name == "nack", &s.out)
	case "return":
		s.q.Return(s.now, s.positions(args), &s.out)
	case "get":
		s.get(len(args) > 0 && args[0] == "no-ack")
	case "wait":
		d, err := time.ParseDuration(args[0])
		s.check(err)
		s.wait(d)
	case "purge":
		s.printf("purged %d", s.q.Purge(s.now, &s.out))
	case "delete":
		s.remove(args)
	case "touch":
		s.q.Touch(s.now, &s.out)
	case "stats":
		st := s.q.Stats()
		retained := ""
		if st.Retained > 0 {
			retained = fmt.Sprintf(", retained %d", st.Retained)
		}
		s.printf("ready %d (%d bytes), unacknowledged %d (%d bytes), consumers %d%s",
			st.Ready, st.ReadyBytes, st.Unacknowledged, st.UnacknowledgedBytes, st.Consumers, retained)
		if st.Delayed > 0 {
			s.printf("delayed %d (%d bytes)", st.Delayed, st.DelayedBytes)
		}
	case "collect":
		s.collect(args)
	case "stored":
		var w message.Wakes
		s.q.Stored(s.batch.Group, &w)
	case "state":
		s.state()
	case "restart":
		s.restart(args)
	case "page-out":
		freed, _ := s.q.PageOut(1<<40, 0, &s.out)
		s.printf("freed %v", freed > 0)
	case "read":
		reads := s.store.reads
		s.store.reads = nil
		for _, r := range reads {
			r()
		}
	case "spilled", "not-spilled":
		spills := s.store.spills
		s.store.spills = nil
		s.printf("%d copies", s.store.copies.written())
		for _, done := range spills {
			if name == "spilled" {
				done(nil)
			} else {
				done(errors.New("no room"))
			}
		}
	case "copies":
		s.printf("%d copies", s.store.copies.written())
	case "hold-letters":
		s.carry = true
	case "letter-refused":
		l := s.letters[args[0]]
		delete(s.letters, args[0])
		s.q.Retain(s.now, &l, []ID{7}, &s.out)
	case "letter-stored", "letter-consumed":
		l := s.letters[args[0]]
		delete(s.letters, args[0])
		l.Confirm.Release(&s.out.Wakes)
		l.Transfer.Release(&s.out)
	default:
		s.t.Fatalf("no such command: %s", name)
	}
	s.carryOut()
}

func (s *stage) attach() {
	s.q.Attach(func(f func(time.Time, *Effects)) { f(s.now, &s.out) })
}

func (s *stage) check(err error) {
	if err != nil {
		s.t.Helper()
		s.t.Fatal(err)
	}
}

// scriptArguments are the short names a script may use.
func scriptArguments(args []string) (spec Spec) {
	spec = Spec{VHost: "/", Name: "q"}
	for _, a := range args {
		k, v, has := strings.Cut(a, "=")
		switch {
		case a == "durable":
			spec.Durable = true
		case a == "auto-delete":
			spec.AutoDelete = true
		case a == "exclusive":
			spec.Exclusive = true
		case has:
			var value any = v
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				value = n
			} else if v == "true" || v == "false" {
				value = v == "true"
			}
			spec.Arguments = append(spec.Arguments, amqp.Field{Name: "x-" + k, Value: value})
		}
	}
	return spec
}

func (s *stage) declare(args []string) {
	spec := scriptArguments(args)
	o, err := ParseArguments(spec)
	if err != nil {
		s.printf("%v", err)
		return
	}
	s.store = heldStore{}
	s.q = New(1, spec, o, &s.store)
	s.attach()
	s.q.Touch(s.now, &s.out)
	s.consumers, s.got = map[string]*scriptConsumer{}, map[string]Position{}
	s.names, s.letters = map[uint64]string{}, map[string]Letter{}
}

// publish takes body[:ttl=ms,priority=n,transient,key=value], key for x-deduplication-header.
func (s *stage) publish(word string, confirm bool) {
	body, rest, _ := strings.Cut(word, ":")
	p := amqp.Properties{DeliveryMode: 2, Flags: amqp.FlagDeliveryMode}
	for _, o := range strings.Split(rest, ",") {
		k, v, _ := strings.Cut(o, "=")
		switch k {
		case "ttl":
			p.Expiration, p.Flags = v, p.Flags|amqp.FlagExpiration
		case "priority":
			n, err := strconv.Atoi(v)
			s.check(err)
			p.Priority, p.Flags = uint8(n), p.Flags|amqp.FlagPriority
		case "transient":
			p.DeliveryMode = 1
		case "key":
			p.Headers, p.Flags = amqp.Table{{Name: "x-deduplication-header", Value: v}}, p.Flags|amqp.FlagHeaders
		}
	}
	m, err := message.New(message.Content{RoutingKey: "q", Properties: p.Append(nil), Body: []byte(body)})
	s.check(err)
	var c *message.Confirm
	if confirm {
		s.seq++
		s.names[s.seq] = body
		c = message.NewConfirm(s, s.seq)
	}
	if !s.q.Publish(s.now, Put{Message: m, Confirm: c}, &s.out) {
		s.printf("not taken %s", body)
	}
	c.Release(&s.out.Wakes)
}

func (s *stage) consume(args []string) {
	c := &scriptConsumer{s: s, name: args[0], out: map[string]Position{}}
	o := ConsumeOptions{}
	for _, a := range args[1:] {
		k, v, _ := strings.Cut(a, "=")
		n, _ := strconv.Atoi(v)
		switch k {
		case "prefetch":
			c.prefetch = n
		case "no-ack":
			c.noAck, o.NoAck = true, true
		case "exclusive":
			o.Exclusive = true
		case "priority":
			o.Priority = int32(n)
		}
	}
	if err := s.q.Consume(s.now, c, o, &s.out); err != nil {
		s.printf("%v", err)
		return
	}
	s.consumers[c.name] = c
}

// positions takes a consumer's name and bodies, or get and bodies.
func (s *stage) positions(args []string) []Position {
	from := s.got
	if args[0] != "get" {
		from = s.consumers[args[0]].out
	}
	var ps []Position
	for _, body := range args[1:] {
		p, ok := from[body]
		if !ok {
			s.t.Fatalf("%s does not have %s", args[0], body)
		}
		ps = append(ps, p)
		delete(from, body)
	}
	return ps
}

func (s *stage) get(noAck bool) {
	d, left, got := s.q.Get(s.now, noAck, &s.out)
	switch got {
	case GotNothing:
		s.printf("empty")
		return
	case GotLater:
		s.printf("later")
		s.q.WhenRead(func(error) { s.printf("try again") })
		return
	}
	body := string(d.Message.Body())
	if !noAck {
		s.got[body] = d.Position
	}
	s.printf("got %s%s, %d left", body, marks(d), left)
}

// wait lets time pass, calling Expire whenever it was asked for.
func (s *stage) wait(d time.Duration) {
	end := s.now.Add(d)
	for !s.timer.IsZero() && !s.timer.After(end) {
		if s.timer.After(s.now) {
			s.now = s.timer
		}
		s.timer = s.q.Expire(s.now, &s.out)
		s.carryOut()
	}
	s.now = end
}

func (s *stage) remove(args []string) {
	o := DeleteOptions{}
	for _, a := range args {
		o.IfEmpty = o.IfEmpty || a == "if-empty"
		o.IfUnused = o.IfUnused || a == "if-unused"
	}
	n, err := s.q.Delete(s.now, o, &s.out)
	if err != nil {
		s.printf("%v", err)
		return
	}
	s.printf("deleted with %d", n)
}

func (s *stage) collect(args []string) {
	s.group++
	s.batch = &Batch{Group: s.group}
	if len(args) > 0 {
		n, err := strconv.Atoi(args[0])
		s.check(err)
		s.batch.MaxPuts = n
	}
	more := s.q.Collect(s.batch)
	for _, p := range s.batch.Puts {
		s.store.content = append(s.store.content, RestoredMessage{Seq: p.Seq, Expiry: p.Expiry, Message: p.Message})
	}
	var bodies []string
	for _, p := range s.batch.Puts {
		bodies = append(bodies, string(p.Message.Body()))
	}
	s.printf("collected [%s] more=%v", strings.Join(bodies, " "), more)
}

func (s *stage) state() {
	b := &Batch{}
	s.q.CollectSettled(b, nil)
	for _, st := range b.States {
		s.printf("level %d head %d next %d delivered to %d pages %d settled %v",
			st.Level, st.Head, st.Next, st.DeliveredTo, len(st.Pages), st.Settled)
	}
}

// restart makes a new queue of bodies that are on disk: seq=body words.
func (s *stage) restart(args []string) {
	lv := RestoredLevel{Head: 1}
	s.store.content = nil
	for _, a := range args {
		k, v, _ := strings.Cut(a, "=")
		n, err := strconv.ParseUint(k, 10, 64)
		if err != nil {
			n, err = strconv.ParseUint(v, 10, 64)
			s.check(err)
			switch k {
			case "head":
				lv.Head = n
			case "next":
				lv.Next = n
			case "delivered":
				lv.DeliveredTo = n
			}
			continue
		}
		m, err := message.New(message.Content{RoutingKey: "q", Properties: []byte{0, 0}, Body: []byte(v)})
		s.check(err)
		s.store.content = append(s.store.content, RestoredMessage{Seq: n, Message: m})
		lv.Runs = append(lv.Runs, Run{Range: Range{First: n, Last: n}, Count: 1, Bytes: int64(len(v))})
	}
	s.q = New(2, s.q.Spec(), s.q.Options(), &s.store)
	s.attach()
	s.q.Restore(s.now, Restored{Levels: []RestoredLevel{lv}}, &s.out)
	s.consumers, s.got = map[string]*scriptConsumer{}, map[string]Position{}
}

func (s *stage) carryOut() {
	for len(s.out.Letters) > 0 || len(s.out.Transfers) > 0 {
		s.out.Letters = nil
		for letters, ok := s.q.TakeLetters(nil, false); ok; letters, ok = s.q.TakeLetters(nil, true) {
			for _, l := range letters {
				s.letter(l)
			}
		}
		SettleTransfers(&s.out)
	}
	for _, c := range s.out.Cancelled {
		s.printf("%s cancelled", c.(*scriptConsumer).name)
	}
	for range s.out.Unused {
		s.printf("unused")
	}
	for _, tm := range s.out.Timers {
		if s.timer.IsZero() || tm.At.Before(s.timer) {
			s.timer = tm.At
		}
	}
	s.out = Effects{}
}

func (s *stage) letter(l Letter) {
	key := ""
	if l.HasRoutingKey {
		key = " key " + l.RoutingKey
	}
	body := string(l.Message.Body())
	if len(l.Reached) > 0 {
		key += fmt.Sprintf(" but not to %v", l.Reached)
	}
	s.printf("letter %s %v -> '%s'%s", body, l.Reason, l.Exchange, key)
	if s.carry {
		s.letters[body] = l
		return
	}
	l.Confirm.Release(&s.out.Wakes)
	l.Transfer.Release(&s.out)
}
