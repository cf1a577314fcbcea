package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/pattern"
)

// Policy is a policy or an operator policy as it was set: what is stored, listed and
// exported (POL-1).
type Policy struct {
	VHost string
	Name  string
	// Pattern is a regular expression that finds the names it applies to. It is not
	// anchored. A name that takes it too long it does not apply to; see pattern.Pattern.
	Pattern  string
	ApplyTo  ApplyTo // empty stands for All
	Priority int     // the matching policy with the highest one applies
	// Definition is the settings, by key and in that order. Numbers are any integer type of
	// AMQP.
	Definition amqp.Table
}

// ApplyTo is the kind of things that a policy applies to (POL-2).
type ApplyTo string

// The kinds that policies apply to. There are no streams yet, so a policy for them applies
// to nothing.
const (
	All           ApplyTo = "all"
	Queues        ApplyTo = "queues"
	ClassicQueues ApplyTo = "classic_queues"
	QuorumQueues  ApplyTo = "quorum_queues"
	Streams       ApplyTo = "streams"
	Exchanges     ApplyTo = "exchanges"
)

// Kind is what something is that a policy may apply to.
type Kind uint8

// The kinds there are.
const (
	Exchange Kind = iota
	ClassicQueue
	QuorumQueue

	kindCount = iota
)

// covers tells whether a policy for a applies to things of kind k.
func (a ApplyTo) covers(k Kind) bool {
	switch a {
	case All:
		return true
	case Queues:
		return k != Exchange
	case Exchanges:
		return k == Exchange
	case ClassicQueues:
		return k == ClassicQueue
	case QuorumQueues:
		return k == QuorumQueue
	}
	return false
}

// Check returns p as it is stored: what was left out is filled in, and the definition is
// sorted. Its error has RabbitMQ's text, with every reason on a line of its own (POL-4).
func Check(p Policy) (Policy, error) { return check(p, userKeys) }

// CheckOperator is Check for an operator policy, which may hold fewer keys (POL-5).
func CheckOperator(p Policy) (Policy, error) { return check(p, operatorKeys) }

func check(p Policy, allowed func(key) bool) (Policy, error) {
	if p.ApplyTo == "" {
		p.ApplyTo = All
	}
	p.Definition = slices.Clone(p.Definition)
	slices.SortStableFunc(p.Definition, func(a, b amqp.Field) int { return strings.Compare(a.Name, b.Name) })
	var reasons []string
	if _, err := pattern.Compile(p.Pattern); err != nil {
		reasons = append(reasons, "pattern should be regular expression but is invalid: "+err.Error())
	}
	switch p.ApplyTo {
	case All, Queues, ClassicQueues, QuorumQueues, Streams, Exchanges:
	default:
		// The two spaces are RabbitMQ's.
		reasons = append(reasons, fmt.Sprintf("apply-to '%s' unrecognised; should be one of: 'queues', 'classic_queues',  "+
			"'quorum_queues', 'streams', 'exchanges', or 'all'", p.ApplyTo))
	}
	if reason := checkDefinition(p.Definition, allowed); reason != "" {
		reasons = append(reasons, reason)
	}
	if reasons != nil {
		return p, errors.New("Validation failed\n\n" + strings.Join(reasons, "\n") + "\n")
	}
	return p, nil
}

// checkDefinition returns what is wrong with a definition: a value that its key cannot
// have, or else the keys that there are none of.
func checkDefinition(d amqp.Table, allowed func(key) bool) (reason string) {
	if len(d) == 0 {
		return "no policy provided"
	}
	var unknown []string
	for i, f := range d {
		if i > 0 && d[i-1].Name == f.Name {
			return fmt.Sprintf("[%s] duplicate keys not allowed", term(f.Name))
		}
		k, ok := keys[f.Name]
		if !ok || !allowed(k) {
			unknown = append(unknown, "{"+term(f.Name)+","+term(f.Value)+"}")
			continue
		}
		if k.valid != nil && !k.valid(f.Value) {
			return term(f.Value) + k.refusal
		}
	}
	if unknown != nil {
		return "[" + strings.Join(unknown, ",") + "] are not recognised policy settings"
	}
	return ""
}
