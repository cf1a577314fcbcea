package policy

import (
	"reflect"
	"testing"

	"github.com/leveretmq/leveret/amqp"
)

func define(pairs ...any) amqp.Table {
	var t amqp.Table
	for i := 0; i < len(pairs); i += 2 {
		t = append(t, amqp.Field{Name: pairs[i].(string), Value: pairs[i+1]})
	}
	return t
}

// POL-2 to POL-4. The texts are those RabbitMQ 3.10.8 answered, save for the list of
// apply-to, which has grown since.
func TestWrongPoliciesAreRefusedInRabbitMQsWords(t *testing.T) {
	one := define("max-length", int64(1))
	f := func(p Policy, want string) {
		t.Helper()
		_, err := Check(p)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if want != "" {
			want = "Validation failed\n\n" + want + "\n"
		}
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	value := func(key string, v any, want string) {
		t.Helper()
		f(Policy{Pattern: "^p", Definition: define(key, v)}, want)
	}
	value("alternate-exchange", int64(1), "1 is not a valid alternate exchange name")
	value("alternate-exchange", "", "")
	value("dead-letter-exchange", nil, "null is not a valid dead letter exchange name")
	value("dead-letter-exchange", true, "true is not a valid dead letter exchange name")
	value("dead-letter-exchange", amqp.Array{"a"}, `[<<"a">>] is not a valid dead letter exchange name`)
	value("dead-letter-exchange", define("a", int64(1)), `#{<<"a">> => 1} is not a valid dead letter exchange name`)
	value("dead-letter-exchange", 1.5, "1.5 is not a valid dead letter exchange name")
	value("dead-letter-routing-key", int64(1), "1 is not a valid dead letter routing key")
	value("dead-letter-strategy", "x", `<<"x">> is not a valid dead letter strategy`)
	value("dead-letter-strategy", "at-least-once", "")
	value("message-ttl", int64(-1), "-1 is not a valid message TTL")
	value("message-ttl", int64(0), "")
	value("message-ttl", "1", `<<"1">> is not a valid message TTL`)
	value("message-ttl", 1.5, "1.5 is not a valid message TTL")
	value("message-ttl", int64(315_360_000_001), "")
	value("expires", int64(0), "0 is not a valid queue expiry")
	value("expires", int64(1), "")
	value("max-length", int64(-1), "-1 is not a valid maximum length")
	value("max-length-bytes", int64(-1), "-1 is not a valid maximum length in bytes")
	value("max-in-memory-length", int64(-1), "-1 is not a valid maximum memory in bytes")
	value("overflow", "x", `<<"x">> is not a valid overflow value`)
	value("overflow", int64(1), "1 is not a valid overflow value")
	value("delivery-limit", "x", `<<"x">> is not a valid delivery limit`)
	value("delivery-limit", int64(-1), "") // since 4.0
	value("queue-mode", "x", `<<"x">> is not a valid queue-mode value`)
	value("queue-mode", "lazy", "")
	value("queue-version", int64(3), "3 is not a valid queue-version value")
	value("queue-version", int64(1), "")
	value("stream-max-segment-size-bytes", int64(-1), "-1 is not a valid segment size")
	value("queue-leader-locator", "x", `<<"x">> is not a valid queue leader locator value`)
	value("initial-cluster-size", int64(-1), "-1 is not a valid cluster size")
	value("queue-master-locator", "x", `<<"x">> invalid queue-master-locator value`)
	value("max-age", "x", `<<"x">> is not a valid max age`)
	value("max-age", "0D", `<<"0D">> is not a valid max age`)
	value("max-age", "7D", "")
	value("consumer-timeout", int64(-1), "-1 is not a valid consumer timeout")
	value("ha-mode", "all", "")
	value("foo", "a", `[{<<"foo">>,<<"a">>}] are not recognised policy settings`)
	value("foo", amqp.Array{`a"b\`, 1.0, ""}, `[{<<"foo">>,[<<"a\"b\\">>,1.0,<<>>]}] are not recognised policy settings`)
	for _, k := range []string{"max-priority", "single-active-consumer", "queue-type", "exclusive", "durable"} { // POL-8
		value(k, int64(1), `[{<<"`+k+`">>,1}] are not recognised policy settings`)
	}

	f(Policy{Definition: define("foo", int64(1), "bar", "x")}, `[{<<"bar">>,<<"x">>},{<<"foo">>,1}] are not recognised policy settings`)
	f(Policy{Definition: define("foo", int64(1), "max-length", int64(-1))}, "-1 is not a valid maximum length")
	f(Policy{Definition: define("message-ttl", int64(-2), "max-length", int64(-1))}, "-1 is not a valid maximum length")
	f(Policy{Definition: append(one, one...)}, `[<<"max-length">>] duplicate keys not allowed`)
	f(Policy{}, "no policy provided")
	f(Policy{ApplyTo: "foo", Definition: one}, "apply-to 'foo' unrecognised; should be one of: 'queues', 'classic_queues',  "+
		"'quorum_queues', 'streams', 'exchanges', or 'all'")
	f(Policy{Pattern: "[", ApplyTo: "queues"}, "pattern should be regular expression but is invalid: missing closing ]: [\nno policy provided")
}

// POL-4
func TestPatternThatIsNoneIsNamed(t *testing.T) {
	f := func(pattern, want string) {
		t.Helper()
		_, err := Check(Policy{Pattern: pattern, Definition: define("max-length", int64(1))})
		if want = "Validation failed\n\npattern should be regular expression but is invalid: " + want + "\n"; err == nil || err.Error() != want {
			t.Errorf("%q: got %q, want %q", pattern, err, want)
		}
	}
	f("(?!amq", "invalid or unsupported Perl syntax: (?!")
	f("a**", "invalid nested repetition operator: **")
	f(`(?!a)\h`, `invalid escape sequence: \h`)
}

// POL-5
func TestOperatorPoliciesHoldLimitsOnly(t *testing.T) {
	for _, k := range []string{"expires", "message-ttl", "max-length", "max-length-bytes", "max-in-memory-length",
		"max-in-memory-bytes", "delivery-limit", "queue-version", "target-group-size"} {
		if _, err := CheckOperator(Policy{Definition: define(k, int64(1))}); err != nil {
			t.Errorf("%s: %v", k, err)
		}
	}
	if _, err := CheckOperator(Policy{Definition: define("overflow", "reject-publish")}); err != nil {
		t.Errorf("overflow: %v", err)
	}
	for k := range keys {
		_, err := CheckOperator(Policy{Definition: define(k, "drop-head")})
		if operator := keys[k].operator; !operator && (err == nil ||
			err.Error() != "Validation failed\n\n[{<<\""+k+"\">>,<<\"drop-head\">>}] are not recognised policy settings\n") {
			t.Errorf("%s: got %v", k, err)
		}
		if keys[k].operator != (keys[k].merge != nil) {
			t.Errorf("%s: an operator policy's key has to be merged, and no other", k)
		}
	}
}

func TestCheckedPolicyIsComplete(t *testing.T) {
	d := define("overflow", "drop-head", "max-length", int64(1))
	got, err := Check(Policy{Name: "p", Pattern: "a", Definition: d})
	want := Policy{Name: "p", Pattern: "a", ApplyTo: All, Definition: define("max-length", int64(1), "overflow", "drop-head")}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if d[0].Name != "overflow" {
		t.Error("the caller's definition was sorted")
	}
	if got := Mirroring(define("ha-mode", "all", "max-length", int64(1), "ha-params", int64(2))); !reflect.DeepEqual(got, []string{"ha-mode", "ha-params"}) {
		t.Errorf("mirroring: got %v", got)
	}
}
