package exchange

import (
	"errors"
	"testing"

	"github.com/leveretmq/leveret/amqp"
)

// refused checks that err closes the channel with this code and text.
func refused(t *testing.T, err error, code uint16, want string) {
	t.Helper()
	var e *amqp.Error
	if !errors.As(err, &e) || e.Code != code || e.Hard || e.Text != want {
		t.Errorf("got %v, want a soft %d %s", err, code, want)
	}
}

// EX-6, ERR-3
func TestRedeclaringComparesInOrder(t *testing.T) {
	current := Spec{VHost: "/", Name: "x", Type: "direct", Durable: true}
	declare := func(change func(*Spec)) Spec {
		s := current
		change(&s)
		return s
	}
	f := func(current, declared Spec, want string) {
		t.Helper()
		refused(t, current.Equivalent(declared), 406,
			"PRECONDITION_FAILED - inequivalent arg "+want)
	}
	argument := func(v any) amqp.Table { return amqp.Table{{Name: "alternate-exchange", Value: v}} }

	if err := current.Equivalent(current); err != nil {
		t.Errorf("the same again: got %v, want nil", err)
	}
	all := declare(func(s *Spec) {
		s.Type, s.Durable, s.AutoDelete, s.Internal, s.Arguments = "fanout", false, true, true, argument("ae")
	})
	f(current, all, "'type' for exchange 'x' in vhost '/': received 'fanout' but current is 'direct'")
	all.Type = "direct"
	f(current, all, "'durable' for exchange 'x' in vhost '/': received 'false' but current is 'true'")
	all.Durable = true
	f(current, all, "'auto_delete' for exchange 'x' in vhost '/': received 'true' but current is 'false'")
	all.AutoDelete = false
	f(current, all, "'internal' for exchange 'x' in vhost '/': received 'true' but current is 'false'")
	all.Internal = false
	f(current, all, "'alternate-exchange' for exchange 'x' in vhost '/': received the value 'ae' of type 'longstr' but current is none")
	f(all, current, "'alternate-exchange' for exchange 'x' in vhost '/': received none but current is the value 'ae' of type 'longstr'")
	other := declare(func(s *Spec) { s.Arguments = argument("other") })
	f(all, other, "'alternate-exchange' for exchange 'x' in vhost '/': received 'other' but current is 'ae'")
	f(all, declare(func(s *Spec) { s.Arguments = argument(int32(5)) }),
		"'alternate-exchange' for exchange 'x' in vhost '/': received '5' but current is 'ae'")
	f(all, declare(func(s *Spec) { s.Arguments = argument([]byte("ae")) }),
		"'alternate-exchange' for exchange 'x' in vhost '/': received 'ae' but current is 'ae'")

	// Unknown arguments may differ.
	if err := current.Equivalent(declare(func(s *Spec) {
		s.Arguments = amqp.Table{{Name: "x-whatever", Value: int32(1)}}
	})); err != nil {
		t.Errorf("an unknown argument: got %v, want nil", err)
	}
}

// EX-12, ERR-10
func TestAlternateExchangeHasToBeAString(t *testing.T) {
	f := func(v any, want string) {
		t.Helper()
		s := Spec{VHost: "/", Name: "x", Arguments: amqp.Table{{Name: "alternate-exchange", Value: v}}}
		refused(t, s.CheckAlternateExchange(), 406,
			"PRECONDITION_FAILED - invalid type '"+want+"' for arg 'alternate-exchange' in exchange 'x' in vhost '/'")
		if name, ok := s.AlternateExchange(); ok {
			t.Errorf("alternate exchange: got %q, want none", name)
		}
	}
	f(int32(1), "signedint")
	f([]byte("ae"), "binary")
	f(nil, "void")

	for _, name := range []string{"ae", ""} {
		s := Spec{Arguments: amqp.Table{{Name: "alternate-exchange", Value: name}}}
		if got, ok := s.AlternateExchange(); !ok || got != name || s.CheckAlternateExchange() != nil {
			t.Errorf("got %q, %v, %v, want %q", got, ok, s.CheckAlternateExchange(), name)
		}
	}
	var s Spec
	if got, ok := s.AlternateExchange(); ok || s.CheckAlternateExchange() != nil {
		t.Errorf("without the argument: got %q, %v, want none", got, s.CheckAlternateExchange())
	}
}

// EX-3, EX-4, EX-8
func TestReservedNamesAreRefused(t *testing.T) {
	refused(t, CheckNewName("amq.mine"), 403,
		"ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'") // ERR-5
	refused(t, CheckNotDefault(""), 403,
		"ACCESS_REFUSED - operation not permitted on the default exchange") // ERR-6
	refused(t, CheckDelete("", "/"), 403,
		"ACCESS_REFUSED - operation not permitted on the default exchange")
	refused(t, CheckDelete("amq.none", "v"), 403,
		"ACCESS_REFUSED - deletion of system exchange 'amq.none' in vhost 'v' not allowed") // ERR-7
	refused(t, InUse("x", "/"), 406,
		"PRECONDITION_FAILED - exchange 'x' in vhost '/' in use") // ERR-13
	for _, name := range []string{"amq", "amqp.x", "AMQ.x", "x"} {
		if err := errors.Join(CheckNewName(name), CheckNotDefault(name), CheckDelete(name, "/")); err != nil {
			t.Errorf("name %q: got %v, want it allowed", name, err)
		}
	}
}

// EX-1
func TestEveryVirtualHostHasItsExchanges(t *testing.T) {
	want := map[string]string{
		"": "direct", "amq.direct": "direct", "amq.fanout": "fanout", "amq.topic": "topic",
		"amq.headers": "headers", "amq.match": "headers", "amq.rabbitmq.trace": "topic",
	}
	got := Predeclared("v")
	if len(got) != len(want) {
		t.Errorf("got %d exchanges, want %d", len(got), len(want))
	}
	for _, s := range got {
		if s.Type != want[s.Name] || s.VHost != "v" || !s.Durable || s.AutoDelete {
			t.Errorf("got %+v, want a durable %q", s, want[s.Name])
		}
		if s.Internal != (s.Name == "amq.rabbitmq.trace") {
			t.Errorf("%q: got internal %v", s.Name, s.Internal)
		}
		if _, err := New(s, seed); err != nil {
			t.Errorf("%q cannot be made: %v", s.Name, err)
		}
	}
}
