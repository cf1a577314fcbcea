package persistence

import (
	"bytes"
	"encoding/binary"

	"github.com/leveretmq/leveret/message"
)

// Tags of a message's meta. A tag that is not known is skipped.
const (
	metaExchange   = 1
	metaRoutingKey = 2
	metaProperties = 3
	metaFlags      = 4
	metaCC         = 5 // once for each key
	metaBCC        = 6 // once for each key
)

const (
	metaDead       = 1 << 0
	metaPersistent = 1 << 1
)

// appendMeta appends everything about m but its payload.
func appendMeta(b []byte, m *message.Message) []byte {
	b = appendTag(b, metaExchange, m.Exchange)
	b = appendTag(b, metaRoutingKey, m.RoutingKey)
	b = appendTag(b, metaProperties, m.Properties())
	flags := byte(0)
	if m.Dead {
		flags |= metaDead
	}
	if m.Persistent {
		flags |= metaPersistent
	}
	b = append(b, metaFlags, 1, flags)
	if m.More != nil {
		for _, k := range m.More.CC {
			b = appendTag(b, metaCC, k)
		}
		for _, k := range m.More.BCC {
			b = appendTag(b, metaBCC, k)
		}
	}
	return b
}

// metaEqual tells whether appendMeta appends the same for both.
func metaEqual(a, b *message.Message) bool {
	return a.Exchange == b.Exchange && a.RoutingKey == b.RoutingKey && a.Dead == b.Dead && a.Persistent == b.Persistent &&
		a.More == nil && b.More == nil && bytes.Equal(a.Properties(), b.Properties())
}

// metaBytes is how much appendMeta appends.
func metaBytes(m *message.Message) int {
	n := tagBytes(len(m.Exchange)) + tagBytes(len(m.RoutingKey)) + tagBytes(len(m.Properties())) + 3
	if m.More != nil {
		for _, k := range m.More.CC {
			n += tagBytes(len(k))
		}
		for _, k := range m.More.BCC {
			n += tagBytes(len(k))
		}
	}
	return n
}

func appendTag[T ~string | ~[]byte](b []byte, tag uint64, value T) []byte {
	b = binary.AppendUvarint(b, tag)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

// tagBytes is how much appendTag appends for one of the tags above and a value of n bytes.
func tagBytes(n int) int { return 1 + uvarintBytes(uint64(n)) + n }

func uvarintBytes(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

// decodeMessage makes a message of its own out of what body returned. intern gives the
// exchange's name, so that a million messages share one.
func decodeMessage(meta, payload []byte, intern func([]byte) string) (*message.Message, error) {
	var content message.Content
	var more message.MoreKeys
	c := cursor{b: meta}
	for len(c.b) > 0 && !c.failed {
		tag := c.uvarint()
		v := c.bytes(c.uvarint())
		switch tag {
		case metaExchange:
			content.Exchange = intern(v)
		case metaRoutingKey:
			content.RoutingKey = string(v)
		case metaProperties:
			content.Properties = v
		case metaFlags:
			content.Dead = len(v) > 0 && v[0]&metaDead != 0
		case metaCC:
			more.CC = append(more.CC, string(v))
		case metaBCC:
			more.BCC = append(more.BCC, string(v))
		}
	}
	if c.failed {
		return nil, damaged("meta cannot be read")
	}
	if more.CC != nil || more.BCC != nil {
		content.More = &more
	}
	content.Body = payload
	m, err := message.New(content)
	if err != nil {
		return nil, damaged("properties cannot be read: %v", err)
	}
	return m, nil
}
