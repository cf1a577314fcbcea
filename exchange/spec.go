package exchange

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/leveretmq/leveret/amqp"
)

// Default is the name of the default exchange. Every queue is bound to it with its own
// name (EX-24).
const Default = ""

// alternate is the one argument that every exchange understands.
const alternate = "alternate-exchange"

// Spec is what an exchange was declared as: what a client asks for, what is compared on
// redeclaration, what is stored, listed and exported.
type Spec struct {
	VHost      string
	Name       string
	Type       string // "direct", "topic", …; kept as declared
	Durable    bool   // survives a restart (EX-11)
	AutoDelete bool   // goes when its last binding as source goes (EX-9)
	Internal   bool   // clients may not publish to it (EX-10)
	Arguments  amqp.Table
}

// Resource is how error texts name an exchange: "exchange 'x' in vhost '/'".
func Resource(name, vhost string) string {
	return "exchange '" + name + "' in vhost '" + vhost + "'"
}

// Resource is how error texts name the exchange.
func (s *Spec) Resource() string { return Resource(s.Name, s.VHost) }

// AlternateExchange returns the argument alternate-exchange, and whether there is one.
func (s *Spec) AlternateExchange() (name string, ok bool) { return s.text(alternate) }

// CheckAlternateExchange refuses an alternate-exchange that is not a string (ERR-10).
// The exchange it names need not exist (EX-12).
func (s *Spec) CheckAlternateExchange() error { return s.checkText(alternate) }

func (s *Spec) text(argument string) (value string, ok bool) {
	v, _ := s.Arguments.Get(argument)
	value, ok = v.(string)
	return value, ok
}

// checkText refuses an argument that is there and not a string.
func (s *Spec) checkText(argument string) error {
	v, there := s.Arguments.Get(argument)
	if _, ok := v.(string); there && !ok {
		return amqp.PreconditionFailed("invalid type '%s' for arg '%s' in %s", amqp.TypeName(v), argument, s.Resource())
	}
	return nil
}

// Equivalent reports whether declared may be declared again where s is, as nil, or else
// the first difference, with RabbitMQ's text (EX-6, ERR-3). Of the arguments only
// alternate-exchange is compared.
func (s *Spec) Equivalent(declared Spec) error {
	differ := func(what, received, current string) error {
		return amqp.PreconditionFailed("inequivalent arg '%s' for %s: received %s but current is %s",
			what, s.Resource(), received, current)
	}
	for _, f := range []struct{ what, received, current string }{
		{"type", declared.Type, s.Type},
		{"durable", strconv.FormatBool(declared.Durable), strconv.FormatBool(s.Durable)},
		{"auto_delete", strconv.FormatBool(declared.AutoDelete), strconv.FormatBool(s.AutoDelete)},
		{"internal", strconv.FormatBool(declared.Internal), strconv.FormatBool(s.Internal)},
	} {
		if f.received != f.current {
			return differ(f.what, "'"+f.received+"'", "'"+f.current+"'")
		}
	}
	received, inReceived := declared.Arguments.Get(alternate)
	current, inCurrent := s.Arguments.Get(alternate)
	switch {
	case inReceived && inCurrent:
		// What is there was checked when it was made, so it is a string, and nothing but
		// the same string is equivalent.
		if received != current {
			return differ(alternate, "'"+text(received)+"'", "'"+text(current)+"'")
		}
	case inReceived:
		return differ(alternate, typed(received), "none")
	case inCurrent:
		return differ(alternate, "none", typed(current))
	}
	return nil
}

// typed is how ERR-3 writes a value that only one of the two sides has.
func typed(v any) string {
	return fmt.Sprintf("the value '%s' of type '%s'", text(v), amqp.TypeName(v))
}

func text(v any) string {
	if b, ok := v.([]byte); ok {
		return string(b)
	}
	return fmt.Sprint(v)
}

// Predeclared returns the exchanges that every virtual host has from the start (EX-1).
func Predeclared(vhost string) []Spec {
	of := func(name, typ string) Spec {
		return Spec{VHost: vhost, Name: name, Type: typ, Durable: true}
	}
	trace := of("amq.rabbitmq.trace", "topic")
	trace.Internal = true
	return []Spec{
		of(Default, "direct"),
		of("amq.direct", "direct"),
		of("amq.fanout", "fanout"),
		of("amq.headers", "headers"),
		of("amq.match", "headers"),
		trace,
		of("amq.topic", "topic"),
	}
}

// CheckNotDefault refuses to declare, delete, bind or unbind the default exchange (ERR-6).
func CheckNotDefault(name string) error {
	if name == Default {
		return amqp.AccessRefused("operation not permitted on the default exchange")
	}
	return nil
}

// CheckNewName refuses to make an exchange with a reserved name (EX-3, ERR-5).
func CheckNewName(name string) error {
	if reserved(name) {
		return amqp.AccessRefused("exchange name '%s' contains reserved prefix 'amq.*'", name)
	}
	return nil
}

// CheckDelete refuses to delete the exchanges that a virtual host always has, and names
// like theirs even where there is no such exchange (EX-8, ERR-6, ERR-7).
func CheckDelete(name, vhost string) error {
	if reserved(name) {
		return amqp.AccessRefused("deletion of system %s not allowed", Resource(name, vhost))
	}
	return CheckNotDefault(name)
}

// InUse is the refusal to delete, if unused, an exchange that has bindings (ERR-13).
func InUse(name, vhost string) error {
	return amqp.PreconditionFailed("%s in use", Resource(name, vhost))
}

func reserved(name string) bool { return strings.HasPrefix(name, "amq.") }
