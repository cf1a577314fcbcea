package binding

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/leveretmq/leveret/amqp"
)

// value is a header's value in the form in which equal means equal for a headers
// exchange (EX-36):
//
//   - numbers are equal when they stand for the same number, be they integers of any
//     width, timestamps or floating point numbers. RabbitMQ compared so until 3.10, and
//     what relied on it goes on working here.
//   - a string and a byte array are equal when their octets are.
//   - tables, and arrays, are equal when they would be written alike: entries, their
//     order and the types within.
//   - everything else is equal to its like only.
type value struct {
	kind valueKind
	bits uint64 // of a boolean, decimal or number
	text string // of a string, table or array
}

type valueKind uint8

const (
	boolean  valueKind = iota
	integer            // any number without a fraction that an int64 can hold
	unsigned           // one too large for it that a uint64 can hold
	float              // any other number
	decimal
	octets
	table
	array
)

func (v value) nested() bool { return v.kind == table || v.kind == array }

// valueOf returns the value of a binding's argument, which is not void.
func valueOf(argument any) value {
	wire := amqp.AppendTable(nil, amqp.Table{{Value: argument}})
	_, tag, raw, _, _ := amqp.NextEntry(wire[4:])
	v, _ := rawValue(tag, raw, true)
	return v
}

// rawValue returns the value of a header as it is on the wire. ok is false when nothing
// can be equal to it, as with void. The value may alias raw: it is for looking up. Tables
// and arrays are read only when nested says that one of them is looked for.
func rawValue(tag byte, raw []byte, nested bool) (v value, ok bool) {
	switch tag {
	case 't':
		if raw[0] != 0 {
			return value{kind: boolean, bits: 1}, true
		}
		return value{kind: boolean}, true
	case 'b':
		return integerValue(int64(int8(raw[0]))), true
	case 'B':
		return integerValue(int64(raw[0])), true
	case 's':
		return integerValue(int64(int16(binary.BigEndian.Uint16(raw)))), true
	case 'u':
		return integerValue(int64(binary.BigEndian.Uint16(raw))), true
	case 'I':
		return integerValue(int64(int32(binary.BigEndian.Uint32(raw)))), true
	case 'i':
		return integerValue(int64(binary.BigEndian.Uint32(raw))), true
	case 'l', 'L':
		return integerValue(int64(binary.BigEndian.Uint64(raw))), true
	case 'T':
		return unsignedValue(binary.BigEndian.Uint64(raw)), true
	case 'f':
		return floatValue(float64(math.Float32frombits(binary.BigEndian.Uint32(raw)))), true
	case 'd':
		return floatValue(math.Float64frombits(binary.BigEndian.Uint64(raw))), true
	case 'D':
		return value{kind: decimal, bits: uint64(raw[0])<<32 | uint64(binary.BigEndian.Uint32(raw[1:]))}, true
	case 'S', 'x':
		return value{kind: octets, text: unsafe.String(unsafe.SliceData(raw), len(raw))}, true
	case 'F':
		return nestedValue(table, tag, raw, nested)
	case 'A':
		return nestedValue(array, tag, raw, nested)
	}
	return value{}, false
}

func integerValue(n int64) value { return value{kind: integer, bits: uint64(n)} }

func unsignedValue(n uint64) value {
	if n > math.MaxInt64 {
		return value{kind: unsigned, bits: n}
	}
	return value{kind: integer, bits: n}
}

func floatValue(f float64) value {
	switch whole := f == math.Trunc(f); {
	case whole && f >= -1<<63 && f < 1<<63:
		return integerValue(int64(f))
	case whole && f >= 1<<63 && f < 1<<64:
		return unsignedValue(uint64(f))
	}
	return value{kind: float, bits: math.Float64bits(f)}
}

// nestedValue decodes and writes anew what a client may have written in several ways: L
// for l, any octet but zero for true.
func nestedValue(k valueKind, tag byte, raw []byte, wanted bool) (value, bool) {
	if !wanted {
		return value{}, false
	}
	wire := amqp.AppendTable(nil, amqp.Table{{Value: amqp.DecodeValue(tag, raw)}})
	return value{kind: k, text: unsafe.String(unsafe.SliceData(wire), len(wire))}, true
}
