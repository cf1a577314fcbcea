package queue

import (
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// Resolve is ParseArguments for a queue to which policies apply. definition is what they
// come to, of which keys that a queue does not act on are passed over; its values were
// checked when the policies were set. Of two limits the smaller holds; elsewhere the
// argument wins, except that quorum queues let a policy's overflow win (LEN-7). Keys that
// are on one side only are combined, so that an argument's dead-letter exchange may have a
// policy's routing key.
func Resolve(s Spec, definition amqp.Table) (Options, error) {
	if len(definition) == 0 {
		return ParseArguments(s)
	}
	o, err := s.parse()
	if err != nil {
		return o, err
	}
	p := policied{s: s, definition: definition}
	p.limit("message-ttl", func(n int64) { o.MessageTTL = time.Duration(stricter(int64(o.MessageTTL), int64(atMostLongest(n)))) })
	p.limit("expires", func(n int64) { o.Expires = time.Duration(stricter(int64(o.Expires), int64(atMostLongest(n)))) })
	p.limit("max-length", func(n int64) { o.MaxLength = stricter(o.MaxLength, n) })
	p.limit("max-length-bytes", func(n int64) { o.MaxLengthBytes = stricter(o.MaxLengthBytes, n) })
	p.limit("delivery-limit", func(n int64) {
		if p.argument("x-delivery-limit") {
			n = stricter(o.DeliveryLimit, n)
		}
		o.DeliveryLimit = max(n, None)
	})
	p.limit("consumer-timeout", func(n int64) { o.ConsumerTimeout = sooner(o.ConsumerTimeout, atMostLongest(n)) })
	p.text("dead-letter-exchange", func(name string) {
		if !p.argument("x-dead-letter-exchange") {
			o.DeadLetter, o.DeadLetterExchange = true, name
		}
	})
	p.text("dead-letter-routing-key", func(key string) {
		if !p.argument("x-dead-letter-routing-key") {
			o.HasDeadLetterKey, o.DeadLetterRoutingKey = true, key
		}
	})
	p.text("dead-letter-strategy", func(word string) {
		if !p.argument("x-dead-letter-strategy") {
			deadLetterStrategy(word, nil, &o)
		}
	})
	p.text("overflow", func(word string) {
		if o.Type == Quorum || !p.argument("x-overflow") {
			overflow(word, nil, &o)
		}
	})
	o.settle()
	p.retry(&o)
	return o, nil
}

// policied is a declaration under policies.
type policied struct {
	s          Spec
	definition amqp.Table
}

func (p policied) argument(name string) bool {
	_, ok := p.s.Arguments.Get(name)
	return ok
}

// retry is where each argument wins over the policy's key of its name (QQ-6).
func (p policied) retry(o *Options) {
	said := p.argument("x-delayed-retry-type")
	p.text("delayed-retry-type", func(word string) {
		if !said {
			said = true
			retryType(word, nil, o)
		}
	})
	number := func(name string, set func(int64)) {
		if !p.argument("x-" + name) {
			p.limit(name, set)
		}
	}
	number("delayed-retry-min", func(n int64) { o.Retry.Min = atMostLongest(n) })
	number("delayed-retry-max", func(n int64) { o.Retry.Max = atMostLongest(n) })
	number("delayed-retry-multiplier", func(n int64) { o.Retry.Multiplier = n })
	o.retry(said)
}

func (p policied) limit(key string, set func(int64)) {
	v, _ := p.definition.Get(key)
	if n, ok := amqp.AsInt64(v); ok {
		set(n)
	}
}

func (p policied) text(key string, set func(string)) {
	v, _ := p.definition.Get(key)
	if s, ok := v.(string); ok {
		set(s)
	}
}

// stricter is the smaller of two limits of which a negative one is none.
func stricter(a, b int64) int64 {
	if a < 0 || b >= 0 && b < a {
		return b
	}
	return a
}

// sooner is the smaller of two acknowledgement timeouts, of which 0 is for ever and None
// says nothing.
func sooner(a, b time.Duration) time.Duration {
	if a <= 0 || b > 0 && b < a {
		return b
	}
	return a
}

// atMostLongest is a time that may be any: beyond ten years it is ten years.
func atMostLongest(n int64) time.Duration { return millis(min(n, longest)) }

// SetOptions replaces the options, as when a policy came or went. Limits act at once, a
// thousand messages in a turn; a new time to live applies to messages that come later
// (TTL-6); a queue that is to expire has all of the new time to be used in. The number of
// priority levels and single active consumer cannot change (POL-8).
func (q *Queue) SetOptions(now time.Time, o Options, out *Effects) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return
	}
	if o.Expires != q.options.Expires {
		q.lastUse = now.UnixMilli()
	}
	o.MaxPriority, o.SingleActiveConsumer = q.options.MaxPriority, q.options.SingleActiveConsumer
	if o.ConsumerTimeout != q.ConsumerTimeout() {
		q.consumerTimeout.Store(int64(o.ConsumerTimeout))
		for _, x := range q.consumersInOrder() {
			out.Retimed = append(out.Retimed, x.who)
		}
	}
	q.options = o.kept()
	if q.contents != nil {
		q.deduplicate(o.Deduplicate)
		q.retryNow(now)
		q.limit(now, out)
	}
	q.askTimer(out)
}
