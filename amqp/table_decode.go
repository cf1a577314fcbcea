package amqp

import (
	"bytes"
	"encoding/binary"
	"math"
)

// maxTableDepth is how deep tables and arrays may lie in one another, the outermost
// table being 1. RabbitMQ has no such limit; ours keeps the stack of a decoder bounded.
const maxTableDepth = 32

// DecodeTable reads a field table with its length from the start of b and returns how
// many octets it took. What is returned owns its memory. The error is a hard 502 when
// the table cannot be read: an unknown tag, nesting deeper than 32, a length beyond the
// end.
func DecodeTable(b []byte) (t Table, n int, err error) {
	d := decoder{b: b}
	t = d.table()
	switch d.fail {
	case intact:
		return t, len(b) - len(d.b), nil
	case badTable:
		return nil, 0, d.err
	}
	return nil, 0, SyntaxError("field table has no length")
}

// ParseBareTable reads a field table that is all of b, without a length before it. The
// response of the mechanism AMQPLAIN is one (W-54).
func ParseBareTable(b []byte) (Table, error) {
	if err := scanTable(b, 1); err != nil {
		return nil, err
	}
	return buildTable(own(b)), nil
}

// A table is decoded in two passes. The first checks all of it and allocates nothing,
// so that broken input costs no memory; the second cannot fail, knows how many entries
// there are, and takes every string from one copy of the input.

// scanTable checks the entries of a table at the given depth.
func scanTable(b []byte, depth int) *Error {
	if depth > maxTableDepth {
		return SyntaxError("field table nested deeper than %d", maxTableDepth)
	}
	for len(b) > 0 {
		n := 1 + int(b[0])
		if len(b) <= n {
			return SyntaxError("field table ends within an entry")
		}
		tag, value, rest, err := splitValue(b[n:])
		if err == nil {
			err = scanNested(tag, value, depth)
		}
		if err != nil {
			return err
		}
		b = rest
	}
	return nil
}

// scanArray checks the elements of an array at the given depth.
func scanArray(b []byte, depth int) *Error {
	if depth > maxTableDepth {
		return SyntaxError("field array nested deeper than %d", maxTableDepth)
	}
	for len(b) > 0 {
		tag, value, rest, err := splitValue(b)
		if err == nil {
			err = scanNested(tag, value, depth)
		}
		if err != nil {
			return err
		}
		b = rest
	}
	return nil
}

// scanNested checks what lies inside a value at the given depth.
func scanNested(tag byte, value []byte, depth int) *Error {
	switch tag {
	case 'F':
		return scanTable(value, depth+1)
	case 'A':
		return scanArray(value, depth+1)
	}
	return nil
}

// lengthPrefixed is what fixedSize answers for S, x, A and F.
const lengthPrefixed = -1

// fixedSize returns how many octets follow a tag.
func fixedSize(tag byte) (n int, known bool) {
	switch tag {
	case 'V':
		return 0, true
	case 't', 'b', 'B':
		return 1, true
	case 's', 'u':
		return 2, true
	case 'I', 'i', 'f':
		return 4, true
	case 'D':
		return 5, true
	case 'l', 'L', 'd', 'T':
		return 8, true
	case 'S', 'x', 'A', 'F':
		return lengthPrefixed, true
	}
	return 0, false
}

// splitValue cuts the tag and the value off the start of b, which is not empty. The value
// is without the length that S, x, A and F have before them.
func splitValue(b []byte) (tag byte, value, rest []byte, err *Error) {
	tag, b = b[0], b[1:]
	n, known := fixedSize(tag)
	if !known {
		return 0, nil, nil, SyntaxError("unknown field type %q in table", tag)
	}
	if n == lengthPrefixed {
		if len(b) < 4 {
			return 0, nil, nil, SyntaxError("field table ends within an entry")
		}
		long := binary.BigEndian.Uint32(b)
		if b = b[4:]; uint64(long) > uint64(len(b)) {
			return 0, nil, nil, tableTooLong(long, len(b))
		}
		n = int(long)
	}
	if len(b) < n {
		return 0, nil, nil, SyntaxError("field table ends within an entry")
	}
	return tag, b[:n], b[n:], nil
}

func tableTooLong(claimed uint32, left int) *Error {
	return SyntaxError("field table announces %d octets where %d are left", claimed, left)
}

// owned is a copy of a checked table that nobody writes to again, so that strings may
// be cut out of it without copying them once more.
type owned []byte

func own(b []byte) owned { return owned(bytes.Clone(b)) }

func buildTable(b owned) Table {
	t := make(Table, countEntries(b))
	for i := range t {
		n := 1 + int(b[0])
		t[i].Name = borrow(b[1:n])
		tag, value, rest, _ := splitValue(b[n:])
		t[i].Value = buildValue(tag, value)
		b = rest
	}
	return t
}

func countEntries(b []byte) int {
	n := 0
	for ; len(b) > 0; n++ {
		_, _, b, _ = splitValue(b[1+int(b[0]):])
	}
	return n
}

func buildArray(b owned) Array {
	a := make(Array, countElements(b))
	for i := range a {
		tag, value, rest, _ := splitValue(b)
		a[i] = buildValue(tag, value)
		b = rest
	}
	return a
}

func countElements(b []byte) int {
	n := 0
	for ; len(b) > 0; n++ {
		_, _, b, _ = splitValue(b)
	}
	return n
}

func buildValue(tag byte, value owned) any {
	switch tag {
	case 't':
		return value[0] != 0
	case 'b':
		return int8(value[0])
	case 'B':
		return value[0]
	case 's':
		return int16(binary.BigEndian.Uint16(value))
	case 'u':
		return binary.BigEndian.Uint16(value)
	case 'I':
		return int32(binary.BigEndian.Uint32(value))
	case 'i':
		return binary.BigEndian.Uint32(value)
	case 'l', 'L':
		return int64(binary.BigEndian.Uint64(value))
	case 'f':
		return math.Float32frombits(binary.BigEndian.Uint32(value))
	case 'd':
		return math.Float64frombits(binary.BigEndian.Uint64(value))
	case 'D':
		return Decimal{Scale: value[0], Value: binary.BigEndian.Uint32(value[1:])}
	case 'S':
		return borrow(value)
	case 'x':
		return bytes.Clone(value) // a slice can be written to, so it gets its own memory
	case 'T':
		return Timestamp(binary.BigEndian.Uint64(value))
	case 'A':
		return buildArray(value)
	case 'F':
		return buildTable(value)
	}
	return nil // V
}
