package binding

import (
	"encoding/binary"

	"github.com/leveretmq/leveret/amqp"
)

// Kind says what a binding leads to.
type Kind uint8

const (
	// Queue is the kind of a binding made by queue.bind.
	Queue Kind = iota
	// Exchange is the kind of a binding made by exchange.bind.
	Exchange
)

// String returns "queue" or "exchange", as the management API and definitions say it.
func (k Kind) String() string {
	if k == Exchange {
		return "exchange"
	}
	return "queue"
}

// Destination is where bindings lead to. There is one value for each queue and each
// exchange, made by its owner and shared by all bindings that lead to it, so that equal
// pointers mean the same destination.
type Destination struct {
	Name string
	Kind Kind
	// Target is the queue or the exchange. It belongs to the owner; this package never
	// looks at it.
	Target any
}

// Binding is one binding, as a client made it.
type Binding struct {
	Source      string // the exchange that messages come from
	Destination string // the queue or exchange they go to
	Kind        Kind   // which of the two Destination is
	RoutingKey  string
	Arguments   amqp.Table
	// By is the user who made it, for whom it counts (C25); "" when it is nobody's. It makes
	// no difference to which binding it is.
	By string
}

// Key returns a string that is the same for two bindings exactly when they are the same
// binding: alike in source, destination, kind, routing key and arguments, the types of
// the arguments included, their order not (EX-20). It is octets, not text, and will not
// change between versions.
func (b *Binding) Key() string {
	k := make([]byte, 0, len(b.Source)+len(b.Destination)+len(b.RoutingKey)+7)
	k = appendPrefixed(k, b.Source)
	k = append(k, byte(b.Kind))
	k = appendPrefixed(k, b.Destination)
	k = appendPrefixed(k, b.RoutingKey)
	k = append(k, argumentsKey(b.Arguments)...)
	return string(k)
}

func appendPrefixed(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// argumentsKey is the arguments as they would be on the wire, ordered by name. RabbitMQ
// sorts them too, so a client that fills its table from a map can take back what it bound.
func argumentsKey(t amqp.Table) string {
	if len(t) == 0 {
		return ""
	}
	return string(amqp.AppendTable(nil, t.Sorted()))
}

// identity is what Key puts into one string, as a map's key that shares the strings of
// the binding. A million bindings are kept by it.
type identity struct {
	source, destination, routingKey, arguments string
	kind                                       Kind
}

func (b *Binding) identity() identity {
	return identity{
		source:      b.Source,
		destination: b.Destination,
		routingKey:  b.RoutingKey,
		arguments:   argumentsKey(b.Arguments),
		kind:        b.Kind,
	}
}
