package amqp

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
