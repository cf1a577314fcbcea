package exchange

import "github.com/leveretmq/leveret/amqp"

// delayedMessage is the type whose exchanges keep a message for as long as its x-delay header
// says, and then route it as the type in delayedType does (EX-55).
const (
	delayedMessage = "x-delayed-message"
	delayedType    = "x-delayed-type"
)

// Delays tells whether the exchange was declared to keep messages until they are due. It
// only routes: the keeping is done by whoever follows messages.
func (x *Exchange) Delays() bool { return x.spec.Type == delayedMessage }

// routing is the type that decides where messages go.
func (s *Spec) routing() (typeEntry, error) {
	if s.Type != delayedMessage {
		return typeNamed(s.Type)
	}
	v, _ := s.Arguments.Get(delayedType)
	if name, ok := v.(string); ok && name != delayedMessage {
		if t, err := typeNamed(name); err == nil {
			return t, nil
		}
	}
	return typeEntry{}, amqp.PreconditionFailed("Invalid argument, '%s' must be an existing exchange type", delayedType)
}
