package exchange

import (
	"encoding/binary"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/message"
)

// consistentHash routes to one destination, which a hash of the message picks in proportion
// to the weights of the bindings (EX-50).
type consistentHash struct {
	to binding.Weighted
	on hashOn
}

// hashOn is what of a message is hashed: a header, a property, or else the routing key.
type hashOn struct{ header, property string }

const (
	hashHeader   = "hash-header"
	hashProperty = "hash-property"
)

func newConsistentHash(s *Spec) *consistentHash {
	var on hashOn
	on.header, _ = s.text(hashHeader)
	on.property, _ = s.text(hashProperty)
	return &consistentHash{on: on}
}

// checkConsistentHash refuses arguments that do not say what to hash, mostly with the texts
// of RabbitMQ, which breaks at one that is not a string.
func checkConsistentHash(s *Spec) error {
	for _, name := range []string{hashHeader, hashProperty} {
		if err := s.checkText(name); err != nil {
			return err
		}
	}
	_, byHeader := s.text(hashHeader)
	property, byProperty := s.text(hashProperty)
	switch {
	case byHeader && byProperty:
		return amqp.PreconditionFailed("hash-header and hash-property are mutually exclusive")
	case !byProperty:
		return nil
	}
	switch property {
	case "correlation_id", "message_id", "timestamp":
		return nil
	}
	return amqp.PreconditionFailed("Unsupported property: %s", property)
}

// hashesKey tells whether the exchange hashes the routing key.
func hashesKey(s *Spec) bool { return newConsistentHash(s).on == hashOn{} }

func (t *consistentHash) ValidateBinding(b binding.Binding) error {
	_, err := binding.ParseWeight(b.RoutingKey)
	return err
}

func (t *consistentHash) Bind(b binding.Binding, d *binding.Destination) { t.to.Add(b, d) }

func (t *consistentHash) Unbind(b binding.Binding, d *binding.Destination) { t.to.Remove(b, d) }

func (t *consistentHash) Route(m *message.Message, key string, dst []*binding.Destination) []*binding.Destination {
	return t.to.Match(dst, t.on.hash(m, key))
}

// hash is the same for messages that have the same value. All messages without one are
// alike, and unlike those with an empty one.
func (o *hashOn) hash(m *message.Message, key string) uint64 {
	h := binding.NewHash()
	if *o == (hashOn{}) {
		return h.String(key).Sum()
	}
	// The properties were found well formed when the message was made.
	view, _ := amqp.ScanProperties(m.Properties())
	switch {
	case o.header != "":
		if tag, value, ok := amqp.FindHeader(view.Headers, o.header); ok {
			h = h.Octet(tag).Bytes(value)
		}
	case o.property == "correlation_id" && view.Has(amqp.FlagCorrelationID):
		h = h.Octet(1).String(view.CorrelationID)
	case o.property == "message_id" && view.Has(amqp.FlagMessageID):
		h = h.Octet(1).String(view.MessageID)
	case o.property == "timestamp" && view.Has(amqp.FlagTimestamp):
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], view.Timestamp)
		h = h.Octet(1).Bytes(b[:])
	}
	return h.Sum()
}
