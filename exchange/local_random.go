package exchange

import (
	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/binding"
)

const typeLocalRandom = "x-local-random"

// localRandom routes each message to one of the queues of this node, whichever (EX-52). All
// queues are of this node, so what sets it apart from random is what may be bound: classic
// queues alone, and without a key, because no other exchange and no queue with replicas could
// be said to be near the publisher.
type localRandom struct{ random }

func newLocalRandom(seed uint64) *localRandom {
	t := new(localRandom)
	t.state.Store(seed)
	return t
}

// ValidateBinding refuses with RabbitMQ's texts, in its order; the type of the queue is for
// Exchange.ValidateQueue.
func (t *localRandom) ValidateBinding(b binding.Binding) error {
	switch {
	case b.RoutingKey != "":
		return amqp.PreconditionFailed("Non empty binding '%s' key not permitted", b.RoutingKey)
	case b.Kind != binding.Queue:
		return amqp.PreconditionFailed("Destination not found")
	}
	return nil
}

// ValidateQueue says why a queue of that type, classic or quorum, may not be bound, as an
// *amqp.Error (EX-52), or nil. It comes after ValidateBinding.
func (x *Exchange) ValidateQueue(typ string) error {
	if _, ok := x.typ.(*localRandom); !ok || typ == "classic" {
		return nil
	}
	return amqp.PreconditionFailed("Queue type rabbit_%s_queue not valid for this exchange type", typ)
}
