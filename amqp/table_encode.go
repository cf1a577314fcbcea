package amqp

import (
	"encoding/binary"
	"math"
)

// AppendTable appends t with its length to dst. It panics when t holds a value of a type
// no tag stands for, and cuts names longer than 255 octets.
func AppendTable(dst []byte, t Table) []byte {
	start := len(dst)
	dst = appendBareTable(append(dst, 0, 0, 0, 0), t)
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

func appendBareTable(dst []byte, t Table) []byte {
	for i := range t {
		dst = appendShortstr(dst, t[i].Name)
		dst = appendValue(dst, t[i].Value)
	}
	return dst
}

// appendValue appends v's tag and v.
func appendValue(dst []byte, v any) []byte {
	dst = append(dst, tagOf(v))
	switch v := v.(type) {
	case bool:
		return append(dst, bit(v))
	case int8:
		return append(dst, byte(v))
	case uint8:
		return append(dst, v)
	case int16:
		return binary.BigEndian.AppendUint16(dst, uint16(v))
	case uint16:
		return binary.BigEndian.AppendUint16(dst, v)
	case int32:
		return binary.BigEndian.AppendUint32(dst, uint32(v))
	case uint32:
		return binary.BigEndian.AppendUint32(dst, v)
	case int64:
		return binary.BigEndian.AppendUint64(dst, uint64(v))
	case float32:
		return binary.BigEndian.AppendUint32(dst, math.Float32bits(v))
	case float64:
		return binary.BigEndian.AppendUint64(dst, math.Float64bits(v))
	case Decimal:
		return binary.BigEndian.AppendUint32(append(dst, v.Scale), v.Value)
	case string:
		return appendLongstr(dst, v)
	case []byte:
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(v)))
		return append(dst, v...)
	case Timestamp:
		return binary.BigEndian.AppendUint64(dst, uint64(v))
	case Array:
		return appendArray(dst, v)
	case Table:
		return AppendTable(dst, v)
	}
	return dst // nil, which is all tag
}

func appendArray(dst []byte, a Array) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	for _, v := range a {
		dst = appendValue(dst, v)
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

// tagOf returns the tag a value is written with.
func tagOf(v any) byte {
	switch v.(type) {
	case nil:
		return 'V'
	case bool:
		return 't'
	case int8:
		return 'b'
	case uint8:
		return 'B'
	case int16:
		return 's'
	case uint16:
		return 'u'
	case int32:
		return 'I'
	case uint32:
		return 'i'
	case int64:
		return 'l'
	case float32:
		return 'f'
	case float64:
		return 'd'
	case Decimal:
		return 'D'
	case string:
		return 'S'
	case []byte:
		return 'x'
	case Timestamp:
		return 'T'
	case Array:
		return 'A'
	case Table:
		return 'F'
	}
	panic(notAFieldValue(v))
}
