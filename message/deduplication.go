package message

import (
	"crypto/sha256"
	"encoding/binary"
	"math"

	"github.com/leveretmq/leveret/amqp"
)

// DeduplicationKey stands for the value of a message's header x-deduplication-header: it is
// the same for two messages exactly when the values are equal (EX-56), short of a collision
// that nobody can bring about on purpose.
type DeduplicationKey [16]byte

// Deduplication returns the key of m, whether it has one, and the header x-cache-ttl, which
// is nil when there is none. Integers are equal across their widths, as are floats, and
// strings of both kinds; an integer and a float are not equal.
func (m *Message) Deduplication() (key DeduplicationKey, ok bool, ttl any) {
	// The properties were found well formed when the message was made.
	view, _ := amqp.ScanProperties(m.Properties())
	tag, value, ok := amqp.FindHeader(view.Headers, "x-deduplication-header")
	if !ok {
		return key, false, nil
	}
	if tag, value, ok := amqp.FindHeader(view.Headers, "x-cache-ttl"); ok {
		ttl = amqp.DecodeValue(tag, value)
	}
	var room [72]byte
	sum := sha256.Sum256(appendCanonical(room[:0], tag, value))
	return DeduplicationKey(sum[:16]), true, ttl
}

// appendCanonical appends the same octets for values that count as equal. Arrays, tables and
// what else there is are taken as they stand.
func appendCanonical(b []byte, tag byte, value []byte) []byte {
	switch tag {
	case 'S', 'x':
		return append(append(b, 'S'), value...)
	case 'F', 'A', 'D', 't', 'V':
		return append(append(b, tag), value...)
	}
	switch v := amqp.DecodeValue(tag, value).(type) {
	case float32:
		return binary.BigEndian.AppendUint64(append(b, 'd'), math.Float64bits(float64(v)))
	case float64:
		return binary.BigEndian.AppendUint64(append(b, 'd'), math.Float64bits(v))
	case amqp.Timestamp:
		return binary.BigEndian.AppendUint64(append(b, 'l'), uint64(v))
	default:
		if n, ok := amqp.AsInt64(v); ok {
			return binary.BigEndian.AppendUint64(append(b, 'l'), uint64(n))
		}
	}
	return append(append(b, tag), value...)
}
