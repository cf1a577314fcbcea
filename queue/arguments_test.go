package queue

import (
	"errors"
	"testing"

	"github.com/leveretmq/leveret/amqp"
)

func TestArgumentsAreCheckedInRabbitMQsWords(t *testing.T) {
	f := func(s Spec, code uint16, want string) {
		t.Helper()
		s.VHost, s.Name = "/", "q"
		_, err := ParseArguments(s)
		var e *amqp.Error
		switch {
		case want == "" && err != nil:
			t.Errorf("got %v, want no error", err)
		case want == "":
		case !errors.As(err, &e) || e.Text != want || e.Code != code:
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	arg := func(name string, v any) Spec {
		return Spec{Durable: true, Arguments: amqp.Table{{Name: name, Value: v}}}
	}
	quorum := func(name string, v any) Spec {
		s := arg(name, v)
		s.Arguments = append(s.Arguments, amqp.Field{Name: "x-queue-type", Value: "quorum"})
		return s
	}
	const invalid = "PRECONDITION_FAILED - invalid arg "
	const of = " for queue 'q' in vhost '/'"

	// ERR-8
	f(arg("x-message-ttl", int32(0)), 0, "")
	f(arg("x-message-ttl", int64(315360000000)), 0, "")
	f(arg("x-message-ttl", int64(315360000001)), 406, invalid+"'x-message-ttl'"+of+": {value_too_large,315360000001}")
	f(arg("x-message-ttl", int64(-1)), 406, invalid+"'x-message-ttl'"+of+": {value_negative,-1}")
	f(arg("x-message-ttl", "5"), 406, invalid+"'x-message-ttl'"+of+`: "expected integer, got longstr"`)
	f(arg("x-expires", int64(0)), 406, invalid+"'x-expires'"+of+": {value_zero,0}")
	f(arg("x-expires", uint16(1)), 0, "")
	//
	f(arg("x-max-length", int64(-1)), 406, invalid+"'x-max-length'"+of+": {value_negative,-1}")
	f(arg("x-max-length-bytes", 1.5), 406, invalid+"'x-max-length-bytes'"+of+`: "expected integer, got double"`)
	f(arg("x-overflow", "reject-publish-dlx"), 0, "")
	f(arg("x-overflow", "drop-tail"), 406, invalid+"'x-overflow'"+of+": invalid_overflow")
	f(arg("x-overflow", int64(1)), 406, invalid+"'x-overflow'"+of+": {unacceptable_type,long}")
	//
	f(arg("x-dead-letter-exchange", ""), 0, "")
	f(arg("x-dead-letter-exchange", int64(1)), 406,
		"PRECONDITION_FAILED - invalid type 'long' for arg 'x-dead-letter-exchange' in queue 'q' in vhost '/'")
	f(arg("x-dead-letter-routing-key", "k"), 406, invalid+"'x-dead-letter-routing-key'"+of+": routing_key_but_no_dlx_defined")
	//
	f(quorum("x-dead-letter-strategy", "at-least-once"), 0, "")
	f(quorum("x-dead-letter-strategy", "never"), 406, invalid+"'x-dead-letter-strategy'"+of+": invalid_dlx_strategy")
	f(arg("x-dead-letter-strategy", "at-most-once"), 406, invalid+"'x-dead-letter-strategy'"+of+" of queue type rabbit_classic_queue")
	f(arg("x-max-priority", uint8(255)), 0, "")
	f(arg("x-max-priority", int64(256)), 406, invalid+"'x-max-priority'"+of+": {max_value_exceeded,256}")
	f(quorum("x-max-priority", int64(5)), 406, invalid+"'x-max-priority'"+of+" of queue type rabbit_quorum_queue")
	f(arg("x-single-active-consumer", "yes"), 406, invalid+"'x-single-active-consumer'"+of+": {unacceptable_type,longstr}")
	//
	f(quorum("x-max-in-memory-length", int64(0)), 0, "")
	f(quorum("x-max-in-memory-bytes", int64(-1)), 406, invalid+"'x-max-in-memory-bytes'"+of+": {value_negative,-1}")
	f(arg("x-max-in-memory-length", int64(1)), 406, invalid+"'x-max-in-memory-length'"+of+" of queue type rabbit_classic_queue")
	f(arg("x-max-priority", int32(0)), 0, "")
	f(arg("x-max-priority", int8(-1)), 406, invalid+"'x-max-priority'"+of+": {value_negative,-1}")
	f(arg("x-max-priority", "9"), 406, invalid+"'x-max-priority'"+of+`: "expected integer, got longstr"`)
	f(quorum("x-overflow", "reject-publish-dlx"), 0, "") // logged by RabbitMQ, and taken for drop-head
	f(arg("x-dead-letter-routing-key", int64(1)), 406, invalid+"'x-dead-letter-routing-key'"+of+": {unacceptable_type,long}")
	f(quorum("x-dead-letter-strategy", true), 406, invalid+"'x-dead-letter-strategy'"+of+": {unacceptable_type,bool}")
	// as decided: on every type.
	f(arg("x-delivery-limit", int64(-1)), 0, "")
	f(quorum("x-delivery-limit", int16(3)), 0, "")
	f(arg("x-delivery-limit", "3"), 406, invalid+"'x-delivery-limit'"+of+`: "expected integer, got longstr"`)
	f(arg("x-consumer-timeout", int64(0)), 0, "")
	f(quorum("x-consumer-timeout", int64(1)), 0, "")
	f(arg("x-consumer-timeout", int64(-1)), 406, invalid+"'x-consumer-timeout'"+of+": {value_negative,-1}")
	// those of streams are for streams.
	f(quorum("x-stream-max-segment-size-bytes", int64(5)), 406, invalid+"'x-stream-max-segment-size-bytes'"+of+" of queue type rabbit_quorum_queue")
	f(arg("x-stream-filter-size-bytes", int64(16)), 406, invalid+"'x-stream-filter-size-bytes'"+of+" of queue type rabbit_classic_queue")
	//
	f(arg("x-queue-type", int64(1)), 406, invalid+"'x-queue-type'"+of+": {unacceptable_type,long}")
	f(arg("x-quorum-initial-group-size", int64(3)), 0, "") // Q-35, as decided
	f(arg("x-queue-type", "classic"), 0, "")
	f(arg("x-queue-type", "stream"), 540, "NOT_IMPLEMENTED - queue type 'stream' is not supported: queue 'q' in vhost '/'")
	f(arg("x-queue-type", "foo"), 406, invalid+"'x-queue-type'"+of+`: "unsupported queue type 'foo'"`)
	f(arg("x-queue-mode", "lazy"), 0, "")
	f(arg("x-ha-policy", "all"), 0, "")
	f(arg("x-max-age", "1D"), 406, invalid+"'x-max-age'"+of+" of queue type rabbit_classic_queue")
	s := quorum("app", nil)
	s.Durable = false
	f(s, 406, "PRECONDITION_FAILED - invalid property 'non-durable' for queue 'q' in vhost '/'")
	s = quorum("app", nil)
	s.AutoDelete, s.Exclusive = true, true
	f(s, 406, "PRECONDITION_FAILED - invalid property 'auto-delete' for queue 'q' in vhost '/'")
}

// ERR-3
func TestRedeclarationHasToBeEquivalent(t *testing.T) {
	f := func(is, asked Spec, want string) {
		t.Helper()
		is.VHost, is.Name = "/", "q"
		err := is.Equivalent(asked)
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != "PRECONDITION_FAILED - inequivalent arg "+want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	with := func(name string, v any) Spec {
		return Spec{Durable: true, Arguments: amqp.Table{{Name: name, Value: v}}}
	}
	durable := Spec{Durable: true}
	const in = " for queue 'q' in vhost '/': "
	f(durable, Spec{}, "'durable'"+in+"received 'false' but current is 'true'")
	f(Spec{Exclusive: true}, durable, "")
	f(Spec{}, Spec{AutoDelete: true}, "'auto_delete'"+in+"received 'true' but current is 'false'")
	f(with("x-message-ttl", int32(1000)), with("x-message-ttl", int64(1000)), "")
	f(with("x-message-ttl", int64(1000)), with("x-message-ttl", int64(1001)), "'x-message-ttl'"+in+"received '1001' but current is '1000'")
	f(with("x-message-ttl", int64(1000)), durable, "'x-message-ttl'"+in+"received none but current is the value '1000' of type 'long'")
	f(durable, with("x-dead-letter-exchange", "q"), "'x-dead-letter-exchange'"+in+"received the value 'q' of type 'longstr' but current is none")
	f(durable, with("app-key", "x"), "")
	f(with("app-key", "y"), with("app-key", "x"), "")
	f(with("x-message-ttl", int64(1000)), with("x-message-ttl", "1000"), "'x-message-ttl'"+in+"received '1000' but current is '1000'")
	f(with("x-single-active-consumer", true), with("x-single-active-consumer", "true"), "'x-single-active-consumer'"+in+"received 'true' but current is 'true'")
	f(with("x-dead-letter-exchange", "a"), with("x-dead-letter-exchange", "b"), "'x-dead-letter-exchange'"+in+"received 'b' but current is 'a'")
	for _, name := range []string{"x-expires", "x-message-ttl", "x-max-length", "x-max-length-bytes", "x-max-priority",
		"x-queue-version", "x-delivery-limit", "x-consumer-timeout"} {
		for _, one := range []any{int8(1), uint8(1), int16(1), uint16(1), int32(1), uint32(1), int64(1)} {
			f(with(name, int64(1)), with(name, one), "")
			f(with(name, one), with(name, int64(2)), "'"+name+"'"+in+"received '2' but current is '1'")
		}
	}
	for _, name := range []string{"x-overflow", "x-dead-letter-strategy", "x-dead-letter-routing-key", "x-queue-mode"} {
		f(durable, with(name, "v"), "'"+name+"'"+in+"received the value 'v' of type 'longstr' but current is none")
		f(with(name, "v"), durable, "'"+name+"'"+in+"received none but current is the value 'v' of type 'longstr'")
	}
	// The owner comes first, then durable, auto_delete and the arguments, of which the type is first.
	f(Spec{Durable: true, AutoDelete: true}, Spec{}, "'durable'"+in+"received 'false' but current is 'true'")
	f(Spec{Durable: true, AutoDelete: true}, with("x-expires", int64(1)), "'auto_delete'"+in+"received 'false' but current is 'true'")
	both := with("x-expires", int64(1))
	both.Arguments = both.Arguments.With("x-queue-type", "quorum")
	f(durable, both, "'x-queue-type'"+in+"received 'quorum' but current is 'classic'")
	f(with("x-queue-type", "classic"), durable, "")
	f(durable, with("x-queue-type", "quorum"), "'x-queue-type'"+in+"received 'quorum' but current is 'classic'")
	f(with("x-overflow", amqp.Table{}), with("x-overflow", amqp.Table{}), "")
}
