package policy

import (
	"slices"
	"strconv"
	"strings"

	"github.com/leveretmq/leveret/amqp"
)

// key is what is known of a setting.
type key struct {
	valid   func(v any) bool // nil when any value is taken
	refusal string           // what follows a value that is not valid, in RabbitMQ's words
	// operator policies may hold it (POL-5).
	operator bool
	// without are the kinds that cannot use it: a policy that has it does not apply to them
	// (POL-7).
	without []Kind
	// merge is what a policy's value and an operator policy's come to; nil for a key that
	// operator policies do not hold.
	merge func(user, operator any) any
}

func userKeys(key) bool       { return true }
func operatorKeys(k key) bool { return k.operator }

var (
	classic   = []Kind{ClassicQueue}
	quorum    = []Kind{QuorumQueue}
	allQueues = []Kind{ClassicQueue, QuorumQueue}
)

// keys are the settings policies can have (POL-3). Those that queues and exchanges here do
// not act on are there because policies of a RabbitMQ have them.
var keys = map[string]key{
	"alternate-exchange":       {valid: isText, refusal: " is not a valid alternate exchange name"},
	"dead-letter-exchange":     {valid: isText, refusal: " is not a valid dead letter exchange name"},
	"dead-letter-routing-key":  {valid: isText, refusal: " is not a valid dead letter routing key"},
	"dead-letter-strategy":     {valid: oneOf("at-most-once", "at-least-once"), refusal: " is not a valid dead letter strategy", without: classic},
	"message-ttl":              {valid: atLeast(0), refusal: " is not a valid message TTL", operator: true, merge: smaller},
	"expires":                  {valid: atLeast(1), refusal: " is not a valid queue expiry", operator: true, merge: smaller},
	"max-length":               {valid: atLeast(0), refusal: " is not a valid maximum length", operator: true, merge: smaller},
	"max-length-bytes":         {valid: atLeast(0), refusal: " is not a valid maximum length in bytes", operator: true, merge: smaller},
	"max-in-memory-length":     {valid: atLeast(0), refusal: " is not a valid maximum memory in bytes", operator: true, merge: smaller},
	"max-in-memory-bytes":      {valid: atLeast(0), refusal: " is not a valid maximum memory in bytes", operator: true, merge: smaller},
	"overflow":                 {valid: oneOf("drop-head", "reject-publish", "reject-publish-dlx"), refusal: " is not a valid overflow value", operator: true, merge: operators},
	"delivery-limit":           {valid: isInteger, refusal: " is not a valid delivery limit", operator: true, merge: stricter, without: classic},
	"delayed-retry-type":       {valid: oneOf("disabled", "all", "failed", "returned"), refusal: " is not a valid delayed retry type", without: classic},
	"delayed-retry-min":        {valid: atLeast(1), refusal: " is not a valid delayed retry minimum", without: classic},
	"delayed-retry-max":        {valid: atLeast(1), refusal: " is not a valid delayed retry maximum", without: classic},
	"delayed-retry-multiplier": {valid: atLeast(1), refusal: " is not a valid delayed retry multiplier", without: classic},
	"consumer-timeout":         {valid: atLeast(0), refusal: " is not a valid consumer timeout"},

	"queue-mode":                    {valid: oneOf("default", "lazy"), refusal: " is not a valid queue-mode value", without: quorum},
	"queue-version":                 {valid: between(1, 2), refusal: " is not a valid queue-version value", operator: true, merge: operators},
	"queue-leader-locator":          {valid: oneOf("client-local", "balanced", "random", "least-leaders"), refusal: " is not a valid queue leader locator value"},
	"queue-master-locator":          {valid: oneOf("client-local", "random", "min-masters"), refusal: " invalid queue-master-locator value", without: quorum},
	"initial-cluster-size":          {valid: atLeast(0), refusal: " is not a valid cluster size", without: allQueues},
	"target-group-size":             {valid: atLeast(0), refusal: " is not a valid target group size", operator: true, merge: smaller},
	"max-age":                       {valid: isAge, refusal: " is not a valid max age", without: allQueues},
	"stream-max-segment-size-bytes": {valid: atLeast(0), refusal: " is not a valid segment size", without: allQueues},
	"stream-filter-size-bytes":      {valid: between(16, 255), refusal: " is not a valid filter size. Valid range is 16-255", without: allQueues},

	"federation-upstream":     {valid: isText, refusal: " is not a valid federation upstream name"},
	"federation-upstream-set": {valid: isText, refusal: " is not a valid federation upstream set name"},

	// Mirroring ended with RabbitMQ 4.0, and what asked for it is still in definitions.
	"ha-mode":                {without: quorum},
	"ha-params":              {without: quorum},
	"ha-sync-mode":           {without: quorum},
	"ha-sync-batch-size":     {},
	"ha-promote-on-shutdown": {without: quorum},
	"ha-promote-on-failure":  {without: quorum},
}

// Mirroring returns the keys of d that asked RabbitMQ to mirror queues and mean nothing
// any more (POL-3), so that whoever sets them can be warned.
func Mirroring(d amqp.Table) []string {
	var names []string
	for _, f := range d {
		if strings.HasPrefix(f.Name, "ha-") {
			names = append(names, f.Name)
		}
	}
	return names
}

// forQuorum are the settings that classic queues could use as well, here.
var forQuorum = []string{"delivery-limit", "delayed-retry-type", "delayed-retry-min", "delayed-retry-max", "delayed-retry-multiplier"}

// applicable tells whether things of kind k can use every setting of p (POL-7). A limit of
// deliveries, and retries, are for quorum queues, as in RabbitMQ, because a policy for all
// queues must not begin to end the messages of classic ones; a policy that names classic
// queues means it.
func applicable(p *Policy, k Kind) bool {
	for _, f := range p.Definition {
		if p.ApplyTo == ClassicQueues && slices.Contains(forQuorum, f.Name) {
			continue
		}
		if slices.Contains(keys[f.Name].without, k) {
			return false
		}
	}
	return true
}

func isText(v any) bool {
	_, ok := v.(string)
	return ok
}

func isInteger(v any) bool {
	_, ok := amqp.AsInt64(v)
	return ok
}

func atLeast(least int64) func(any) bool { return between(least, 1<<63-1) }

func between(least, most int64) func(any) bool {
	return func(v any) bool {
		n, ok := amqp.AsInt64(v)
		return ok && n >= least && n <= most
	}
}

func oneOf(words ...string) func(any) bool {
	return func(v any) bool {
		s, ok := v.(string)
		return ok && slices.Contains(words, s)
	}
}

// isAge tells whether v is a number and a unit from years to seconds.
func isAge(v any) bool {
	s, ok := v.(string)
	if !ok || len(s) < 2 || !strings.Contains("YMDhms", s[len(s)-1:]) {
		return false
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	return err == nil && n > 0
}
