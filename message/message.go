package message

import (
	"unsafe"

	"github.com/leveretmq/leveret/amqp"
)

// NoExpiration is the Expiration of a message that has none of its own.
const NoExpiration = -1

// Message is one published message. It is immutable from the moment it is published
// and shared by every queue it reached; what differs from queue to queue (position,
// redelivered, delivery count, deadline) is kept by the queue.
type Message struct {
	// Exchange is where it was published, or the dead-letter exchange it came through.
	Exchange string
	// RoutingKey is the primary key; it points into the message's own bytes.
	RoutingKey string
	// Expiration is the expiration property in milliseconds, or NoExpiration. Queues
	// count it from the moment they take the message (TTL-1).
	Expiration int64
	// More are the further routing keys of the CC and BCC headers, nil for most.
	More *MoreKeys

	data       []byte // routing key, property flags and list, body
	properties uint32 // where the properties begin in data
	body       uint32 // where the body begins in data

	// Persistent is true for delivery mode 2.
	Persistent bool
	// Dead is true when the broker has dead-lettered the message before, so that its
	// x-death header is not only what a client wrote (DLX-12).
	Dead bool
	// Priority is the priority property, 0 when there is none (PRI-1).
	Priority uint8
}

// MoreKeys are routing keys beside the primary one (PUB-10).
type MoreKeys struct {
	CC  []string
	BCC []string
}

// Content is what New makes a Message of.
type Content struct {
	Exchange   string
	RoutingKey string
	Properties []byte // property flags and list, as they follow the body size in a content header
	Body       []byte
	Dead       bool
	More       *MoreKeys
}

// New copies c's bytes into a message of its own and reads the properties that routing
// and queues ask about. It fails when the properties cannot be read or the expiration
// is not a number of milliseconds (ERR-15).
func New(c Content) (*Message, error) {
	b := NewBuilder(c.Exchange, c.RoutingKey, c.Properties, len(c.Body))
	b.Append(c.Body)
	m, err := b.Message()
	if err != nil {
		return nil, err
	}
	m.Dead, m.More = c.Dead, c.More
	return m, nil
}

// Properties returns the property flags and list in wire form, as received unless the
// broker had to change them. It must not be modified.
func (m *Message) Properties() []byte { return m.data[m.properties:m.body:m.body] }

// Body returns the payload. It must not be modified.
func (m *Message) Body() []byte { return m.data[m.body:] }

// BodyBytes is the length of the payload, which is what length limits count (LEN-1).
func (m *Message) BodyBytes() int { return len(m.data) - int(m.body) }

// Size is what the message takes in memory, in bytes, near enough for accounting.
func (m *Message) Size() int { return cap(m.data) + int(unsafe.Sizeof(Message{})) }

// Headers decodes the headers property; nil when there is none.
func (m *Message) Headers() (amqp.Table, error) {
	var p amqp.Properties
	if err := p.Decode(m.Properties()); err != nil {
		return nil, err
	}
	return p.Headers, nil
}
