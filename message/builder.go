package message

import (
	"strconv"
	"unsafe"

	"github.com/leveretmq/leveret/amqp"
)

// eagerBytes is how long a body may be for room to be made for all of it before any has come.
// It takes a client some forty octets to announce one, on each of its channels: for longer
// bodies room is made as they come, and most come in one piece.
const eagerBytes = 4 << 10

// Builder gathers a message while its body arrives. Routing key, properties and body
// end up in one allocation when the body is small; a large body grows as it comes, so
// that memory follows what was sent and not what was announced.
type Builder struct {
	m        *Message
	expected int // bytes of body still to come
}

// NewBuilder starts a message; it copies routingKey and properties. bodyBytes is the
// announced length of the body.
func NewBuilder(exchange, routingKey string, properties []byte, bodyBytes int) Builder {
	head := len(routingKey) + len(properties)
	room := head
	if bodyBytes <= eagerBytes {
		room += bodyBytes
	}
	data := make([]byte, 0, room)
	data = append(data, routingKey...)
	data = append(data, properties...)
	m := &Message{
		Exchange:   exchange,
		Expiration: NoExpiration,
		data:       data,
		properties: uint32(len(routingKey)),
		body:       uint32(head),
	}
	return Builder{m: m, expected: bodyBytes}
}

// Append adds a piece of the body.
func (b *Builder) Append(piece []byte) {
	m := b.m
	if need := len(m.data) + len(piece); need > cap(m.data) {
		// Double, but never past the announced length: the last growth is exact.
		whole := len(m.data) + b.expected
		grown := make([]byte, len(m.data), max(need, min(2*need, whole)))
		copy(grown, m.data)
		m.data = grown
	}
	m.data = append(m.data, piece...)
	b.expected -= len(piece)
}

// Size is what the message takes in memory so far, in bytes.
func (b *Builder) Size() int { return cap(b.m.data) }

// Missing is how many bytes of the body have not come yet.
func (b *Builder) Missing() int { return b.expected }

// Message finishes the message and reads the properties that routing and queues ask
// about. It fails when the properties cannot be read (an *amqp.Error that closes the
// connection) or the expiration is refused (ERR-15).
func (b *Builder) Message() (*Message, error) {
	m := b.m
	if m.properties > 0 {
		m.RoutingKey = unsafe.String(&m.data[0], int(m.properties))
	}
	view, err := amqp.ScanProperties(m.Properties())
	if err != nil {
		return nil, err
	}
	m.Persistent = view.DeliveryMode == 2
	m.Priority = view.Priority
	if view.Has(amqp.FlagExpiration) {
		if m.Expiration, err = ParseExpiration(view.Expiration); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// MaxExpiration is the longest time to live, ten years in milliseconds (PUB-8, Q-20).
const MaxExpiration = 315_360_000_000

// ParseExpiration reads an expiration property: decimal milliseconds, a leading plus
// allowed (PUB-8). Its errors are RabbitMQ's (ERR-15).
func ParseExpiration(s string) (int64, error) {
	digits := 0
	if len(s) > 0 && (s[0] == '+' || s[0] == '-') {
		digits = 1
	}
	end := digits
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	switch {
	case end == digits:
		return 0, amqp.PreconditionFailed("invalid expiration '%s': no_integer", s)
	case end < len(s):
		return 0, amqp.PreconditionFailed("invalid expiration '%s': {leftover_string,\"%s\"}", s, s[end:])
	}
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil && s[0] == '-', err == nil && n < 0:
		return 0, amqp.PreconditionFailed("invalid expiration '%s': {value_negative,%s}", s, s)
	case err != nil || n > MaxExpiration:
		return 0, amqp.PreconditionFailed("invalid expiration '%s': {value_too_large,%s}", s, trimPlus(s))
	}
	return n, nil
}

func trimPlus(s string) string {
	if len(s) > 0 && s[0] == '+' {
		return s[1:]
	}
	return s
}
