package amqp

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// everyMethod calls f with each method there is.
func everyMethod(t testing.TB, f func(m Method)) {
	t.Helper()
	methods := 0
	for class := range uint16(256) {
		for id := range uint16(256) {
			if m := NewMethod(class, id); m != nil {
				methods++
				f(m)
			}
		}
	}
	if methods != 66 {
		t.Fatalf("got %d methods, want 66", methods)
	}
}

// fill gives every argument of m a random value that can be written.
func fill(r *rand.Rand, m Method) {
	fields := reflect.ValueOf(m).Elem()
	for i := range fields.NumField() {
		switch f := fields.Field(i); f.Kind() {
		case reflect.Bool:
			f.SetBool(r.IntN(2) == 0)
		case reflect.String:
			f.SetString(randomName(r))
		case reflect.Slice:
			f.Set(reflect.ValueOf(randomTable(r, 3)))
		default:
			f.SetUint(r.Uint64() >> r.IntN(64) & (1<<f.Type().Bits() - 1))
		}
	}
}

func randomName(r *rand.Rand) string {
	if r.IntN(8) == 0 {
		return strings.Repeat("x", maxShortstr)
	}
	var b strings.Builder
	for range r.IntN(20) {
		b.WriteRune([]rune("abc.*#/ éλ€🐇")[r.IntN(12)])
	}
	return b.String()
}

func TestAMethodDecodesToWhatWasAppended(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 1))
	everyMethod(t, func(m Method) {
		for range 50 {
			fill(r, m)
			payload := m.Append(nil)
			got := NewMethod(m.ID())
			fill(r, got) // what was there before must not show
			if err := got.Decode(payload[4:]); err != nil {
				t.Fatalf("%s: %v", m.Name(), err)
			}
			if again := got.Append(nil); !bytes.Equal(again, payload) {
				t.Fatalf("%s: got\n%x, want\n%x", m.Name(), again, payload)
			}
			if class, id := m.ID(); MethodName(class, id) != m.Name() || payload[1] != byte(class) || payload[3] != byte(id) {
				t.Fatalf("%s: got name %q and payload %x for its ids", m.Name(), MethodName(class, id), payload[:4])
			}
		}
	})
}

// W-24.
func TestMissingOrSurplusOctetsAreAFrameErrorOnTheMethod(t *testing.T) {
	f := func(m Method, args []byte) {
		t.Helper()
		err := NewMethod(m.ID()).Decode(args)
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("%s of %d octets: got err=%v, want an *Error", m.Name(), len(args), err)
		}
		class, id := m.ID()
		if e.ClassID != class || e.MethodID != id || !e.Hard {
			t.Errorf("%s of %d octets: got hard=%t on %d.%d", m.Name(), len(args), e.Hard, e.ClassID, e.MethodID)
		}
		// A cut inside a table is the table's fault.
		if e.Code == ReplySyntaxError && strings.HasPrefix(e.Text, "SYNTAX_ERROR - field table announces") {
			return
		}
		if e.Code != ReplyFrameError || !strings.HasPrefix(e.Text, "FRAME_ERROR - cannot decode <<") {
			t.Errorf("%s of %d octets: got %d %s, want 501 cannot decode", m.Name(), len(args), e.Code, e.Text)
		}
	}
	r := rand.New(rand.NewPCG(9, 2))
	everyMethod(t, func(m Method) {
		fill(r, m)
		args := m.Append(nil)[4:]
		for n := range args {
			f(m, args[:n])
		}
		f(m, append(args[:len(args):len(args)], 0))
	})
}

// W-28: names are checked, and nothing is to blame.
func TestANameThatIsNotUTF8IsRefused(t *testing.T) {
	f := func(m Method) {
		t.Helper()
		for _, bad := range []string{"\xff", "abc\xc3", "long enough for words \xe2\x82"} {
			fields := reflect.ValueOf(m).Elem()
			for i := range fields.NumField() {
				if fields.Field(i).Kind() != reflect.String {
					continue
				}
				fields.Field(i).SetString(bad)
				args := m.Append(nil)[4:]
				fields.Field(i).SetString("")
				var e *Error
				if err := m.Decode(args); !errors.As(err, &e) {
					t.Fatalf("%s: got err=%v for %q in %s", m.Name(), err, bad, fields.Type().Field(i).Name)
				}
				if e.On(50, 10); e.Code != ReplyFrameError || !e.Hard || e.ClassID != 0 || e.MethodID != 0 ||
					e.Text != "FRAME_ERROR - Malformed UTF-8 in shortstr" {
					t.Errorf("%s: got %+v", m.Name(), e)
				}
			}
		}
	}
	f(&QueueDeclare{})
	f(&QueueBind{})
	f(&ExchangeDeclare{})
	f(&BasicConsume{})
	f(&ConnectionOpen{})
}

// W-28: a publish is the exception, as it is in RabbitMQ.
func TestAPublishedRoutingKeyNeedNotBeUTF8(t *testing.T) {
	sent := BasicPublish{Exchange: "caf\xe9", RoutingKey: "\xff"}
	var m BasicPublish
	if err := m.Decode(sent.Append(nil)[4:]); err != nil || m != sent {
		t.Errorf("got %+v, err=%v", m, err)
	}
}

func TestALongStringIsOpaque(t *testing.T) {
	args := (&ConnectionSecureOk{Response: "\x00\xff\xfe"}).Append(nil)[4:]
	var m ConnectionSecureOk
	if err := m.Decode(args); err != nil || m.Response != "\x00\xff\xfe" {
		t.Errorf("got %q, err=%v", m.Response, err)
	}
}

// W-30.
func TestBitsArePackedFromTheLowest(t *testing.T) {
	f := func(m Method, at int, want byte) {
		t.Helper()
		if got := m.Append(nil)[at]; got != want {
			t.Errorf("%s: got bits %#x, want %#x", m.Name(), got, want)
		}
	}
	f(&QueueDeclare{Passive: true}, 7, 1)
	f(&QueueDeclare{Durable: true}, 7, 2)
	f(&QueueDeclare{Exclusive: true}, 7, 4)
	f(&QueueDeclare{AutoDelete: true}, 7, 8)
	f(&QueueDeclare{NoWait: true}, 7, 16)
	f(&ExchangeDeclare{AutoDelete: true}, 8, 4)
	f(&ExchangeDeclare{Internal: true}, 8, 8)
	f(&ExchangeDeclare{NoWait: true}, 8, 16)
	f(&BasicNack{Requeue: true}, 12, 2)
}

// Only basic.publish borrows; it is allowed to because it is said.
func TestOnlyPublishAliasesItsInput(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 3))
	everyMethod(t, func(m Method) {
		fill(r, m)
		payload := m.Append(nil)
		args := bytes.Clone(payload[4:])
		got := NewMethod(m.ID())
		if err := got.Decode(args); err != nil {
			t.Fatal(err)
		}
		for i := range args {
			args[i] ^= 0xff
		}
		changed := !bytes.Equal(got.Append(nil), payload)
		if _, publish := got.(*BasicPublish); changed != publish {
			t.Errorf("%s: changed with its input: %t", m.Name(), changed)
		}
	})
}

func TestTheMethodsOfEveryMessageDoNotAllocate(t *testing.T) {
	f := func(name string, run func()) {
		t.Helper()
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s: got %v allocations, want none", name, n)
		}
	}
	var failed error
	decode := func(args []byte, decode func([]byte) error) func() {
		return func() {
			if err := decode(args); err != nil {
				failed = err
			}
		}
	}
	f("publish", decode((&BasicPublish{Exchange: "amq.topic", RoutingKey: "a.β"}).Append(nil)[4:], new(BasicPublish).Decode))
	f("ack", decode((&BasicAck{DeliveryTag: 7}).Append(nil)[4:], new(BasicAck).Decode))
	f("nack", decode((&BasicNack{DeliveryTag: 7}).Append(nil)[4:], new(BasicNack).Decode))
	f("reject", decode((&BasicReject{DeliveryTag: 7}).Append(nil)[4:], new(BasicReject).Decode))
	if failed != nil {
		t.Fatal(failed)
	}

	dst := make([]byte, 0, 1024)
	f("append", func() {
		dst = dst[:0]
		dst = BeginFrame(dst, FrameMethod, 1)
		deliver := BasicDeliver{ConsumerTag: "c", DeliveryTag: 7, Exchange: "x", RoutingKey: "k"}
		dst = EndFrame(deliver.Append(dst), 0)
		dst = (&BasicAck{DeliveryTag: 7}).Append(dst)
		dst = (&BasicGetOk{DeliveryTag: 7, Exchange: "x", RoutingKey: "k"}).Append(dst)
		dst = (&BasicReturn{ReplyCode: 312, ReplyText: "NO_ROUTE", Exchange: "x", RoutingKey: "k"}).Append(dst)
		dst = AppendHeader(dst, 1, 5, []byte{0, 0})
		dst = AppendBody(dst, 1, []byte("hello"), 4096)
	})
	frame := AppendHeartbeat(nil)
	f("parse", func() {
		if _, n, err := ParseFrame(frame, 4096); n == 0 || err != nil {
			t.Fatalf("got n=%d err=%v", n, err)
		}
	})
}

// W-29.
func TestAReplyTextIsCutBetweenCharacters(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := Truncate(text); got != want {
			t.Errorf("got %q (%d octets), want %q (%d)", got, len(got), want, len(want))
		}
		var m ChannelClose
		if err := m.Decode((&ChannelClose{ReplyCode: 404, ReplyText: text}).Append(nil)[4:]); err != nil || m.ReplyText != want {
			t.Errorf("sent: got %q, err=%v, want %q", m.ReplyText, err, want)
		}
	}
	a := func(n int) string { return strings.Repeat("a", n) }
	f("", "")
	f(a(255), a(255))
	f(a(256), a(255))
	f(a(254)+"é", a(254))
	f(a(253)+"é", a(253)+"é")
	f(a(252)+"🐇", a(252))
	f(a(251)+"🐇x", a(251)+"🐇")
	if got := Truncate(strings.Repeat("\x80", 300)); len(got) < 250 || len(got) > 255 {
		t.Errorf("of octets that are no text, got %d", len(got))
	}
}

func TestAnErrorKeepsTheFirstMethodItIsGiven(t *testing.T) {
	e := NotFound("no queue '%s' in vhost '/'", "q").On(50, 10).On(60, 40)
	if e.ClassID != 50 || e.MethodID != 10 {
		t.Errorf("got %d.%d, want 50.10", e.ClassID, e.MethodID)
	}
	e = NotAllowed("limit").OnNone().On(20, 10)
	if e.ClassID != 0 || e.MethodID != 0 {
		t.Errorf("got %d.%d, want none", e.ClassID, e.MethodID)
	}
}

// The constructors were written by hand; the specification names the codes.
func TestEveryErrorHasTheNameOfItsCode(t *testing.T) {
	f := func(e *Error, hard bool) {
		t.Helper()
		name := ReplyName(e.Code)
		if name == "" || e.Error() != name+" - x" || e.Hard != hard {
			t.Errorf("got %+v, want %s, hard=%t", e, name, hard)
		}
	}
	f(AccessRefused("x"), false)
	f(NotFound("x"), false)
	f(ResourceLocked("x"), false)
	f(PreconditionFailed("x"), false)
	f(ConnectionForced("x"), true)
	f(FrameError("x"), true)
	f(SyntaxError("x"), true)
	f(CommandInvalid("x"), true)
	f(ChannelError("x"), true)
	f(UnexpectedFrame("x"), true)
	f(ResourceError("x"), true)
	f(NotAllowed("x"), true)
	f(NotImplemented("x"), true)
	f(InternalError("x"), true)
	if ReplyName(ReplyNoRoute) != "NO_ROUTE" || ReplyName(1) != "" {
		t.Errorf("got %q and %q", ReplyName(ReplyNoRoute), ReplyName(1))
	}
}

func TestAFrameDoesNotShowPasswords(t *testing.T) {
	f := func(m Method) {
		t.Helper()
		frame, _, _ := ParseFrame(AppendMethod(nil, 0, m), 0)
		if text := frame.String(); strings.Contains(text, "sesame") || !strings.Contains(text, "=(6 octets)") {
			t.Errorf("got %s", text)
		}
	}
	f(&ConnectionStartOk{Mechanism: "PLAIN", Response: "sesame"})
	f(&ConnectionSecureOk{Response: "sesame"})
	f(&ConnectionUpdateSecret{NewSecret: "sesame"})
}

func TestAFrameThatCannotBeReadStillPrints(t *testing.T) {
	f := func(frame Frame, want string) {
		t.Helper()
		if got := frame.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(Frame{Type: FrameMethod, Channel: 1, Payload: []byte{0, 60, 0, 99, 1}}, "ch=1 method 60.99 <<1>>")
	f(Frame{Type: FrameMethod, Channel: 1, Payload: []byte{0, 60, 0, 80, 1}}, "ch=1 basic.ack{undecodable <<1>>}")
	f(Frame{Type: FrameMethod, Payload: []byte{0}}, "ch=0 type 1 <<0>>")
	f(Frame{Type: 9}, "ch=0 type 9 <<>>")
	f(Frame{Type: FrameHeartbeat}, "ch=0 HEARTBEAT")
	f(Frame{Type: FrameHeader, Payload: make([]byte, 12)}, "ch=0 HEADER class=0 weight=0 size=0 undecodable <<>>")
}

func TestReplyTextIsUTF8WhateverItRepeats(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := ReplyText(text); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f("no queue 'q'", "no queue 'q'")
	f("unsupported queue type '\xff\xfe'", "unsupported queue type '\uFFFD'")
	f(strings.Repeat("x", 254)+"\xff", strings.Repeat("x", 254))
}
