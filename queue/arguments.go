package queue

import (
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// arguments are the x-… arguments of queue.declare that mean something to a queue, in
// the order in which they are checked. A rule's type limits it to queues of that type.
var arguments = []argument{
	{name: "x-expires", check: integer(1, longest, func(o *Options, n int64) { o.Expires = millis(n) })},
	{name: "x-message-ttl", check: integer(0, longest, func(o *Options, n int64) { o.MessageTTL = millis(n) })},
	{name: "x-dead-letter-exchange", check: text(func(o *Options, s string) { o.DeadLetter, o.DeadLetterExchange = true, s })},
	{name: "x-dead-letter-routing-key", check: deadLetterKey},
	{name: "x-dead-letter-strategy", only: quorumOnly, check: deadLetterStrategy},
	{name: "x-max-length", check: integer(0, unlimited, func(o *Options, n int64) { o.MaxLength = n })},
	{name: "x-max-length-bytes", check: integer(0, unlimited, func(o *Options, n int64) { o.MaxLengthBytes = n })},
	{name: "x-max-priority", only: classicOnly, check: maxPriority},
	{name: "x-overflow", check: overflow},
	{name: "x-single-active-consumer", check: boolean(func(o *Options, b bool) { o.SingleActiveConsumer = b })},
	{name: "x-delivery-limit", check: deliveryLimit},
	{name: "x-delayed-retry-type", check: retryType},
	{name: "x-delayed-retry-min", check: integer(1, longest, func(o *Options, n int64) { o.Retry.Min = millis(n) })},
	{name: "x-delayed-retry-max", check: integer(1, longest, func(o *Options, n int64) { o.Retry.Max = millis(n) })},
	{name: "x-delayed-retry-multiplier", check: integer(1, unlimited, func(o *Options, n int64) { o.Retry.Multiplier = n })},
	{name: "x-message-deduplication", check: deduplication},
	{name: "x-consumer-timeout", check: integer(0, unlimited, func(o *Options, n int64) { o.ConsumerTimeout = atMostLongest(n) })},
	// How much of a quorum queue is held in memory is no longer up to its declaration.
	{name: "x-max-in-memory-length", only: quorumOnly, check: integer(0, unlimited, func(*Options, int64) {})},
	{name: "x-max-in-memory-bytes", only: quorumOnly, check: integer(0, unlimited, func(*Options, int64) {})},
	{name: "x-max-age", only: streamOnly},
	{name: "x-stream-max-segment-size-bytes", only: streamOnly},
	{name: "x-stream-filter-size-bytes", only: streamOnly},
}

const (
	longest   = 315_360_000_000 // ten years in milliseconds
	unlimited = 1<<63 - 1

	// quorumDeliveryLimit is how often a quorum queue returns a message unless told
	// otherwise (QQ-3).
	quorumDeliveryLimit = 20
)

type argument struct {
	name  string
	only  func(Type) bool // nil for every type
	check func(v any, all amqp.Table, o *Options) (detail string)
}

func classicOnly(t Type) bool { return t == Classic }
func quorumOnly(t Type) bool  { return t == Quorum }
func streamOnly(Type) bool    { return false }

// ParseArguments turns a declaration's arguments into what the queue acts on, or says
// what is wrong with them in RabbitMQ's words (ERR-8 to ERR-12, Q-20 to Q-47).
func ParseArguments(s Spec) (Options, error) {
	o, err := s.parse()
	_, said := s.Arguments.Get("x-delayed-retry-type")
	o.retry(said)
	return o, err
}

func (s Spec) parse() (Options, error) {
	o := plain
	if v, ok := s.Arguments.Get("x-dead-letter-exchange"); ok {
		if _, ok := v.(string); !ok {
			return o, amqp.PreconditionFailed("invalid type '%s' for arg '%s' in %s",
				amqp.TypeName(v), "x-dead-letter-exchange", s.resource())
		}
	}
	if err := s.parseType(&o); err != nil {
		return o, err
	}
	for _, a := range arguments {
		v, ok := s.Arguments.Get(a.name)
		if !ok {
			continue
		}
		if a.only != nil && !a.only(o.Type) {
			return o, amqp.PreconditionFailed("invalid arg '%s' for %s of queue type rabbit_%s_queue",
				a.name, s.resource(), o.Type)
		}
		if detail := a.check(v, s.Arguments, &o); detail != "" {
			return o, s.invalid(a.name, detail)
		}
	}
	o.settle()
	return o, nil
}

func (s Spec) invalid(name, detail string) error {
	return amqp.PreconditionFailed("invalid arg '%s' for %s: %s", name, s.resource(), detail)
}

// parseType reads x-queue-type and checks what quorum queues cannot be.
func (s Spec) parseType(o *Options) error {
	v, ok := s.Arguments.Get("x-queue-type")
	if !ok {
		return nil
	}
	name, ok := v.(string)
	if !ok {
		return s.invalid("x-queue-type", unacceptable(v))
	}
	switch name {
	case "classic":
		return nil
	case "stream":
		return amqp.NotImplemented("queue type 'stream' is not supported: %s", s.resource())
	case "quorum":
	default:
		return s.invalid("x-queue-type", fmt.Sprintf("\"unsupported queue type '%s'\"", name))
	}
	o.Type = Quorum
	o.DeliveryLimit = quorumDeliveryLimit
	var property string
	switch {
	case s.AutoDelete:
		property = "auto-delete"
	case s.Exclusive:
		property = "exclusive-owner"
	case !s.Durable:
		property = "non-durable"
	default:
		return nil
	}
	return amqp.PreconditionFailed("invalid property '%s' for %s", property, s.resource())
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

func unacceptable(v any) string { return "{unacceptable_type," + amqp.TypeName(v) + "}" }

// integer checks for a whole number from least (0 or 1) to most.
func integer(least, most int64, set func(*Options, int64)) func(any, amqp.Table, *Options) string {
	return func(v any, _ amqp.Table, o *Options) string {
		n, ok := amqp.AsInt64(v)
		switch {
		case !ok:
			return fmt.Sprintf("\"expected integer, got %s\"", amqp.TypeName(v))
		case n < 0:
			return fmt.Sprintf("{value_negative,%d}", n)
		case n < least:
			return "{value_zero,0}"
		case n > most:
			return fmt.Sprintf("{value_too_large,%d}", n)
		}
		set(o, n)
		return ""
	}
}

// ParseConsumerTimeout reads x-consumer-timeout of a consumer, as that of a queue is read;
// detail says in RabbitMQ's words what is wrong with it (ERR-8).
func ParseConsumerTimeout(v any) (timeout time.Duration, detail string) {
	var o Options
	detail = integer(0, unlimited, func(o *Options, n int64) { o.ConsumerTimeout = atMostLongest(n) })(v, nil, &o)
	return o.ConsumerTimeout, detail
}

func text(set func(*Options, string)) func(any, amqp.Table, *Options) string {
	return func(v any, _ amqp.Table, o *Options) string {
		s, ok := v.(string)
		if !ok {
			return unacceptable(v)
		}
		set(o, s)
		return ""
	}
}

func boolean(set func(*Options, bool)) func(any, amqp.Table, *Options) string {
	return func(v any, _ amqp.Table, o *Options) string {
		b, ok := v.(bool)
		if !ok {
			return unacceptable(v)
		}
		set(o, b)
		return ""
	}
}

func deadLetterStrategy(v any, _ amqp.Table, o *Options) string {
	switch s, ok := v.(string); {
	case !ok:
		return unacceptable(v)
	case s == "at-most-once":
		o.askedAtLeastOnce = false
	case s == "at-least-once":
		o.askedAtLeastOnce = true
	default:
		return "invalid_dlx_strategy"
	}
	return ""
}

func deadLetterKey(v any, all amqp.Table, o *Options) string {
	s, ok := v.(string)
	if !ok {
		return unacceptable(v)
	}
	if _, ok := all.Get("x-dead-letter-exchange"); !ok {
		return "routing_key_but_no_dlx_defined"
	}
	o.DeadLetterRoutingKey, o.HasDeadLetterKey = s, true
	return ""
}

func maxPriority(v any, all amqp.Table, o *Options) string {
	detail := integer(0, unlimited, func(o *Options, n int64) { o.MaxPriority = uint8(min(max(n, 1), 255)) })(v, all, o)
	if n, ok := amqp.AsInt64(v); detail == "" && ok && n > 255 {
		return fmt.Sprintf("{max_value_exceeded,%d}", n)
	}
	return detail
}

func overflow(v any, _ amqp.Table, o *Options) string {
	s, ok := v.(string)
	if !ok {
		return unacceptable(v)
	}
	switch s {
	case "drop-head":
		o.Overflow = DropHead
	case "reject-publish":
		o.Overflow = RejectPublish
	case "reject-publish-dlx":
		o.Overflow = RejectPublishDLX
	default:
		return "invalid_overflow"
	}
	return ""
}

// deliveryLimit takes any whole number; a negative one means no limit.
func deliveryLimit(v any, _ amqp.Table, o *Options) string {
	n, ok := amqp.AsInt64(v)
	if !ok {
		return fmt.Sprintf("\"expected integer, got %s\"", amqp.TypeName(v))
	}
	o.DeliveryLimit = max(n, None)
	return ""
}

// deduplication takes true and "true" and refuses nothing, like the plugin.
func deduplication(v any, _ amqp.Table, o *Options) string {
	o.Deduplicate = v == true || v == "true"
	return ""
}

// compared are the arguments that have to be equal on redeclaration; all others may
// differ.
var compared = []string{
	"x-queue-type", "x-expires", "x-message-ttl", "x-dead-letter-exchange", "x-dead-letter-routing-key",
	"x-dead-letter-strategy", "x-max-length", "x-max-length-bytes", "x-max-priority", "x-overflow",
	"x-queue-mode", "x-queue-version", "x-single-active-consumer", "x-delivery-limit", "x-consumer-timeout",
	"x-delayed-retry-type", "x-delayed-retry-min", "x-delayed-retry-max", "x-delayed-retry-multiplier",
}

// Equivalent reports why a declaration of asked does not match s, the queue that is
// there: the first difference, in RabbitMQ's words (Q-6, ERR-3). Who owns an exclusive
// queue is not looked at here.
func (s Spec) Equivalent(asked Spec) error {
	if !s.Exclusive && asked.Durable != s.Durable {
		return s.inequivalent("durable", quoted(strconv.FormatBool(asked.Durable)), quoted(strconv.FormatBool(s.Durable)))
	}
	if asked.AutoDelete != s.AutoDelete {
		return s.inequivalent("auto_delete", quoted(strconv.FormatBool(asked.AutoDelete)), quoted(strconv.FormatBool(s.AutoDelete)))
	}
	for _, name := range compared {
		is, hasIs := s.argument(name)
		want, hasWant := asked.argument(name)
		switch {
		case !hasIs && !hasWant || hasIs && hasWant && sameArgument(is, want):
		case hasIs && hasWant:
			return s.inequivalent(name, quoted(shown(want)), quoted(shown(is)))
		case hasWant:
			return s.inequivalent(name, described(want), "none")
		default:
			return s.inequivalent(name, "none", described(is))
		}
	}
	return nil
}

func (s Spec) inequivalent(name, received, current string) error {
	return amqp.PreconditionFailed("inequivalent arg '%s' for %s: received %s but current is %s",
		name, s.resource(), received, current)
}

// argument looks an argument up; every queue has a type, if only the classic one.
func (s Spec) argument(name string) (any, bool) {
	v, ok := s.Arguments.Get(name)
	if !ok && name == "x-queue-type" {
		return "classic", true
	}
	return v, ok
}

// sameArgument compares integers across their widths and everything else as it is.
func sameArgument(a, b any) bool {
	if x, ok := amqp.AsInt64(a); ok {
		y, ok := amqp.AsInt64(b)
		return ok && x == y
	}
	return reflect.DeepEqual(a, b)
}

func quoted(s string) string { return "'" + s + "'" }

func described(v any) string {
	return fmt.Sprintf("the value '%s' of type '%s'", shown(v), amqp.TypeName(v))
}

func shown(v any) string { return fmt.Sprint(v) }
