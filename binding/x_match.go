package binding

import (
	"fmt"
	"strings"

	"github.com/leveretmq/leveret/amqp"
)

// XMatch is what the argument x-match of a binding to a headers exchange says (EX-33).
type XMatch struct {
	// Any is true when one header is enough; otherwise all have to match.
	Any bool
	// WithX is true when arguments whose names begin with "x-" count too.
	WithX bool
}

// ParseXMatch reads the argument x-match, which is all when it is absent. Its errors are
// RabbitMQ's (ERR-24).
func ParseXMatch(arguments amqp.Table) (XMatch, error) {
	v, there := arguments.Get("x-match")
	if !there {
		return XMatch{}, nil
	}
	s, ok := v.(string)
	if !ok {
		return XMatch{}, amqp.PreconditionFailed(
			"Invalid x-match field type %s (value %s); expected longstr", amqp.TypeName(v), ErlangTerm(v))
	}
	switch s {
	case "all":
		return XMatch{}, nil
	case "any":
		return XMatch{Any: true}, nil
	case "all-with-x":
		return XMatch{WithX: true}, nil
	case "any-with-x":
		return XMatch{Any: true, WithX: true}, nil
	}
	return XMatch{}, amqp.PreconditionFailed(
		"Invalid x-match field value %s; expected all, any, all-with-x, or any-with-x", ErlangTerm(s))
}

// counts reports whether the argument of that name says something about a header.
func (x XMatch) counts(name string) bool {
	if x.WithX {
		return name != "x-match"
	}
	return !strings.HasPrefix(name, "x-")
}

// ErlangTerm writes v as RabbitMQ's error texts show it. Nested values, which no client
// sends here by accident, are written as Go would.
func ErlangTerm(v any) string {
	switch v := v.(type) {
	case nil:
		return "undefined"
	case string:
		return erlangBinary(v)
	case []byte:
		return erlangBinary(string(v))
	}
	return fmt.Sprint(v)
}

func erlangBinary(s string) string {
	for i := range len(s) {
		// What Latin-1 can print is printed, and then read as UTF-8 again.
		if s[i] < ' ' || s[i] > '~' && s[i] < 0xA0 {
			octets := strings.Trim(fmt.Sprint([]byte(s)), "[]")
			return "<<" + strings.ReplaceAll(octets, " ", ",") + ">>"
		}
	}
	if s == "" {
		return "<<>>"
	}
	return `<<"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `">>`
}
