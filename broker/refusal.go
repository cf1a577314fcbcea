package broker

import (
	"fmt"

	"github.com/leveretmq/leveret/amqp"
)

// Refusal is why something that an operator asked for was not done. Its text is the reason
// that RabbitMQ's HTTP API gives. What clients ask for is refused with an *amqp.Error.
type Refusal struct {
	Kind   RefusalKind
	Reason string
}

// RefusalKind tells what kind of answer a Refusal is.
type RefusalKind uint8

// The kinds of refusals, and the status that an HTTP API answers.
const (
	NotFound  RefusalKind = iota // what it is about is not there: 404
	Invalid                      // what was asked for cannot be: 400
	Protected                    // it is not to be done while something else holds: 412
)

func (r *Refusal) Error() string { return r.Reason }

func refuse(kind RefusalKind, format string, args ...any) error {
	return &Refusal{Kind: kind, Reason: fmt.Sprintf(format, args...)}
}

func noVHost() error { return refuse(NotFound, "vhost_not_found") }

// spare refuses to make something new when memory is exhausted.
func (b *Broker) spare(what, name string) error {
	if !b.Alarms().Refuse() {
		return nil
	}
	b.Counters.RefusedForMemory.Add(1)
	return amqp.PreconditionFailed("cannot %s '%s': memory is exhausted", what, name)
}
