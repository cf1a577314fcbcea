package queue

import (
	"reflect"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/message"
)

func fields(pairs ...any) amqp.Table {
	var t amqp.Table
	for i := 0; i < len(pairs); i += 2 {
		t = append(t, amqp.Field{Name: pairs[i].(string), Value: pairs[i+1]})
	}
	return t
}

// LEN-7, DLX-2, POL-6
func TestArgumentsAndPoliciesCombine(t *testing.T) {
	f := func(arguments, definition amqp.Table, want func(*Options)) {
		t.Helper()
		s := Spec{Name: "q", Durable: true, Arguments: arguments}
		o, err := ParseArguments(Spec{Name: "q", Durable: true, Arguments: amqp.Table{}})
		if quorum, _ := arguments.Get("x-queue-type"); quorum != nil {
			o, err = ParseArguments(Spec{Name: "q", Durable: true, Arguments: fields("x-queue-type", quorum)})
		}
		if err != nil {
			t.Fatal(err)
		}
		want(&o)
		if got, err := Resolve(s, definition); err != nil || !reflect.DeepEqual(got, o) {
			t.Errorf("%v under %v: got %+v, %v, want %+v", arguments, definition, got, err, o)
		}
	}
	// Of limits the smaller.
	f(nil, fields("message-ttl", int64(5)), func(o *Options) { o.MessageTTL = 5 * time.Millisecond })
	f(fields("x-message-ttl", int32(3)), fields("message-ttl", int64(5)), func(o *Options) { o.MessageTTL = 3 * time.Millisecond })
	f(fields("x-message-ttl", int32(7)), fields("message-ttl", int64(0)), func(o *Options) { o.MessageTTL = 0 })
	f(fields("x-expires", int32(7)), fields("expires", int64(5)), func(o *Options) { o.Expires = 5 * time.Millisecond })
	f(fields("x-max-length", int32(7)), fields("max-length", int64(0)), func(o *Options) { o.MaxLength = 0 })
	f(fields("x-max-length", int32(7)), fields("max-length-bytes", int64(9)), func(o *Options) { o.MaxLength, o.MaxLengthBytes = 7, 9 })
	f(nil, fields("message-ttl", int64(1<<62)), func(o *Options) { o.MessageTTL = longest * time.Millisecond })
	// Elsewhere the argument, and each key by itself.
	f(fields("x-overflow", "reject-publish"), fields("overflow", "drop-head"), func(o *Options) { o.Overflow = RejectPublish })
	f(nil, fields("overflow", "reject-publish-dlx"), func(o *Options) { o.Overflow = RejectPublishDLX })
	f(fields("x-dead-letter-exchange", "a"), fields("dead-letter-exchange", "b", "dead-letter-routing-key", "k"), func(o *Options) {
		o.DeadLetter, o.DeadLetterExchange, o.HasDeadLetterKey, o.DeadLetterRoutingKey = true, "a", true, "k"
	})
	f(nil, fields("dead-letter-exchange", ""), func(o *Options) { o.DeadLetter = true })
	f(nil, fields("queue-mode", "lazy", "ha-mode", "all", "alternate-exchange", "x"), func(*Options) {})
	// Delivery limits: a negative one is none.
	f(fields("x-delivery-limit", int32(7)), fields("delivery-limit", int64(5)), func(o *Options) { o.DeliveryLimit = 5 })
	f(fields("x-delivery-limit", int32(7)), fields("delivery-limit", int64(-1)), func(o *Options) { o.DeliveryLimit = 7 })
	f(fields("x-delivery-limit", int32(-5)), fields("delivery-limit", int64(2)), func(o *Options) { o.DeliveryLimit = 2 })
	quorum := func(pairs ...any) amqp.Table { return fields(append([]any{"x-queue-type", "quorum"}, pairs...)...) }
	f(quorum(), fields("delivery-limit", int64(50)), func(o *Options) { o.DeliveryLimit = 50 }) // more than the default of 20
	f(quorum(), fields("delivery-limit", int64(-7)), func(o *Options) { o.DeliveryLimit = None })
	f(quorum("x-overflow", "reject-publish"), fields("overflow", "drop-head"), func(o *Options) { o.Overflow = DropHead })
	f(quorum(), fields("overflow", "reject-publish-dlx"), func(o *Options) { o.Overflow = DropHead })
	// Acknowledgement timeouts: the smaller, of which 0 is none (CTO-1, CTO-2).
	timeout := func(ms int64) func(o *Options) {
		return func(o *Options) { o.ConsumerTimeout = time.Duration(ms) * time.Millisecond }
	}
	f(fields("x-consumer-timeout", int32(7)), fields("consumer-timeout", int64(5)), timeout(5))
	f(fields("x-consumer-timeout", int32(5)), fields("consumer-timeout", int64(7)), timeout(5))
	f(fields("x-consumer-timeout", int32(0)), fields("consumer-timeout", int64(7)), timeout(7))
	f(fields("x-consumer-timeout", int32(7)), fields("consumer-timeout", int64(0)), timeout(7))
	f(nil, fields("consumer-timeout", int64(0)), timeout(0))
	// DLX-14: whatever the keys of at least once come from, all of them are needed.
	at := func(asked bool) func(o *Options) {
		return func(o *Options) {
			o.Overflow, o.DeadLetter, o.DeadLetterExchange = RejectPublish, true, "x"
			o.AtLeastOnce, o.askedAtLeastOnce = asked, asked
		}
	}
	f(quorum("x-dead-letter-strategy", "at-least-once", "x-overflow", "reject-publish"), fields("dead-letter-exchange", "x"), at(true))
	f(quorum("x-dead-letter-exchange", "x"), fields("dead-letter-strategy", "at-least-once", "overflow", "reject-publish"), at(true))
	f(quorum("x-dead-letter-exchange", "x", "x-dead-letter-strategy", "at-most-once"),
		fields("dead-letter-strategy", "at-least-once", "overflow", "reject-publish"), at(false))
	f(quorum("x-dead-letter-exchange", "x", "x-dead-letter-strategy", "at-least-once", "x-overflow", "reject-publish"),
		fields("overflow", "drop-head"), func(o *Options) {
			o.DeadLetter, o.DeadLetterExchange, o.askedAtLeastOnce = true, "x", true
		})
}

func TestWrongArgumentsAreRefusedWhateverThePolicy(t *testing.T) {
	_, err := Resolve(Spec{Name: "q", VHost: "/", Arguments: fields("x-max-length", "1")}, fields("max-length", int64(1)))
	if err == nil {
		t.Error("taken")
	}
}

func fill(t *testing.T, q *Queue, now time.Time, n int, out *Effects) {
	t.Helper()
	for range n {
		m, err := message.New(message.Content{Body: []byte("x"), Properties: []byte{0, 0}})
		if err != nil {
			t.Fatal(err)
		}
		q.Publish(now, Put{Message: m}, out)
	}
}

// POL-1: a limit by policy acts at once, and a long queue is cut in turns.
func TestLowerLimitDropsTheHeadInTurns(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	q := New(1, Spec{Name: "q"}, Options{MessageTTL: None, Expires: None, MaxLength: None, MaxLengthBytes: None, DeliveryLimit: None}, nil)
	var out Effects
	fill(t, q, now, 2*dropAtOnce+500, &out)
	o := q.Options()
	o.MaxLength = 3
	q.SetOptions(now, o, &out)
	if ready, _ := q.Counts(); ready != dropAtOnce+500 {
		t.Errorf("after one turn: got %d ready", ready)
	}
	if len(out.Timers) != 1 || !out.Timers[0].At.Equal(now) {
		t.Fatalf("timers: got %v, want one at once", out.Timers)
	}
	turns := 0
	for next := now; !next.IsZero(); turns++ {
		next = q.Expire(now, &out)
	}
	if ready, _ := q.Counts(); ready != 3 || turns != 2 {
		t.Errorf("got %d ready after %d turns, want 3 after 2", ready, turns)
	}
	if got := q.Stats().Dropped[MaxLength]; got != 2*dropAtOnce+497 {
		t.Errorf("dropped: got %d", got)
	}
}

// TTL-9: RabbitMQ starts the period anew when a policy changes it.
func TestNewExpiryGivesTheWholePeriod(t *testing.T) {
	start := time.UnixMilli(1_000_000)
	q := New(1, Spec{Name: "q"}, Options{MessageTTL: None, Expires: None, MaxLength: None, MaxLengthBytes: None, DeliveryLimit: None}, nil)
	var out Effects
	q.Touch(start, &out)
	later := start.Add(time.Hour)
	o := q.Options()
	o.Expires = time.Minute
	q.SetOptions(later, o, &out)
	q.Expire(later, &out)
	if len(out.Unused) != 0 {
		t.Error("it went for not having been used before it had to be")
	}
	q.SetOptions(later.Add(50*time.Second), o, &out) // nothing changes
	q.Expire(later.Add(time.Minute), &out)
	if len(out.Unused) != 1 {
		t.Error("it stays without being used")
	}
}

// TTL-6
func TestNewTimeToLiveIsForLaterMessages(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	q := New(1, Spec{Name: "q"}, Options{MessageTTL: None, Expires: None, MaxLength: None, MaxLengthBytes: None, DeliveryLimit: None}, nil)
	var out Effects
	fill(t, q, now, 2, &out)
	o := q.Options()
	o.MessageTTL = time.Second
	q.SetOptions(now, o, &out)
	fill(t, q, now, 3, &out)
	q.Expire(now.Add(time.Second), &out)
	if ready, _ := q.Counts(); ready != 2 {
		t.Errorf("got %d ready, want the two that were there before", ready)
	}
}

// POL-8: whatever a policy comes to, the number of priority levels and single active consumer
// stay what the queue was declared with.
func TestPoliciesSetNeitherPrioritiesNorSingleActiveConsumer(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	for _, declared := range []Options{
		{MaxLength: None, MaxPriority: 3, SingleActiveConsumer: true},
		{MaxLength: None},
	} {
		q := New(1, Spec{Name: "q"}, declared, nil)
		var out Effects
		o := declared
		o.MaxLength, o.MaxPriority, o.SingleActiveConsumer = 5, 3-declared.MaxPriority, !declared.SingleActiveConsumer
		q.SetOptions(now, o, &out)
		got := q.Options()
		if got.MaxLength != 5 || got.MaxPriority != declared.MaxPriority || got.SingleActiveConsumer != declared.SingleActiveConsumer {
			t.Errorf("got %+v, want the length and what was declared: %+v", got, declared)
		}
	}
}
