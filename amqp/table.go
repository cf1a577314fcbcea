package amqp

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Table is a field table in wire order. Names may repeat; look-ups take the first.
//
// A value's Go type says which tag it is written with:
//
//	bool t   int8 b   uint8 B   int16 s   uint16 u   int32 I   uint32 i   int64 l
//	float32 f   float64 d   Decimal D   string S   []byte x   Array A
//	Timestamp T   Table F   nil V
//
// The tag L, which some clients send, is read as int64 and written back as l.
type Table []Field

// Field is one entry of a Table. Its name has at most 255 octets.
type Field struct {
	Name  string
	Value any
}

// Array is a field array: values of the types a Table may hold.
type Array []any

// Decimal is a number of Value divided by ten to the power of Scale.
type Decimal struct {
	Scale uint8
	Value uint32
}

// Timestamp is a moment in whole seconds since 1970, as the wire carries it.
type Timestamp uint64

// Get returns the first value named name, and whether there is one.
func (t Table) Get(name string) (any, bool) {
	for i := range t {
		if t[i].Name == name {
			return t[i].Value, true
		}
	}
	return nil, false
}

// With returns a copy of t in which name has value: in the place of the first entry of
// that name, or else at the end. Further entries of that name stay.
func (t Table) With(name string, value any) Table {
	out := make(Table, len(t), len(t)+1)
	copy(out, t)
	for i := range out {
		if out[i].Name == name {
			out[i].Value = value
			return out
		}
	}
	return append(out, Field{Name: name, Value: value})
}

// Without returns a copy of t that has no entry of that name.
func (t Table) Without(name string) Table {
	out := make(Table, 0, len(t))
	for _, f := range t {
		if f.Name != name {
			out = append(out, f)
		}
	}
	return out
}

// Sorted returns a copy of t ordered by name; entries of one name keep their order.
func (t Table) Sorted() Table {
	out := slices.Clone(t)
	slices.SortStableFunc(out, func(a, b Field) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Equal reports whether t and o have the same entries in the same order, of the same
// types, with floating point numbers compared bit by bit: whether they are written alike.
func (t Table) Equal(o Table) bool {
	return slices.EqualFunc(t, o, func(a, b Field) bool {
		return a.Name == b.Name && equalValues(a.Value, b.Value)
	})
}

func equalValues(a, b any) bool {
	switch a := a.(type) {
	case float32:
		b, ok := b.(float32)
		return ok && math.Float32bits(a) == math.Float32bits(b)
	case float64:
		b, ok := b.(float64)
		return ok && math.Float64bits(a) == math.Float64bits(b)
	case []byte:
		b, ok := b.([]byte)
		return ok && bytes.Equal(a, b)
	case Array:
		b, ok := b.(Array)
		return ok && slices.EqualFunc(a, b, equalValues)
	case Table:
		b, ok := b.(Table)
		return ok && a.Equal(b)
	}
	switch b.(type) {
	case []byte, Array, Table: // not comparable, and not of a's type
		return false
	}
	return a == b
}

// TypeName returns RabbitMQ's name for the type of a table's value, the one its error
// texts use (ERR-8).
func TypeName(v any) string {
	switch v.(type) {
	case nil:
		return "void"
	case bool:
		return "bool"
	case int8:
		return "byte"
	case uint8:
		return "unsignedbyte"
	case int16:
		return "short"
	case uint16:
		return "unsignedshort"
	case int32:
		return "signedint"
	case uint32:
		return "unsignedint"
	case int64:
		return "long"
	case float32:
		return "float"
	case float64:
		return "double"
	case Decimal:
		return "decimal"
	case string:
		return "longstr"
	case []byte:
		return "binary"
	case Timestamp:
		return "timestamp"
	case Array:
		return "array"
	case Table:
		return "table"
	}
	panic(notAFieldValue(v))
}

// AsInt64 returns the value of any of the integer types, and whether v is of one. A
// Timestamp is not an integer.
func AsInt64(v any) (int64, bool) {
	switch v := v.(type) {
	case int8:
		return int64(v), true
	case uint8:
		return int64(v), true
	case int16:
		return int64(v), true
	case uint16:
		return int64(v), true
	case int32:
		return int64(v), true
	case uint32:
		return int64(v), true
	case int64:
		return v, true
	}
	return 0, false
}

func notAFieldValue(v any) string { return fmt.Sprintf("amqp: a field table cannot hold %T", v) }
