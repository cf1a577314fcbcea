package amqp

import (
	"encoding/binary"
	"unicode/utf8"
	"unsafe"
)

// decoder is a cursor over the arguments of a method or the properties of a header.
// Reading past a failure yields zero values, so callers ask once, at the end.
type decoder struct {
	b    []byte // what is still to be read
	fail failure
	err  *Error // why, when fail is badTable
}

type failure uint8

const (
	intact failure = iota
	truncated
	malformedName // a shortstr that is not UTF-8
	badTable
	continued // property flags that go on in a second word
)

func (d *decoder) failed(f failure) {
	if d.fail == intact {
		d.fail = f
	}
	d.b = nil
}

func (d *decoder) octet() uint8 {
	if len(d.b) < 1 {
		d.failed(truncated)
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) short() uint16 {
	if len(d.b) < 2 {
		d.failed(truncated)
		return 0
	}
	v := binary.BigEndian.Uint16(d.b)
	d.b = d.b[2:]
	return v
}

func (d *decoder) long() uint32 {
	if len(d.b) < 4 {
		d.failed(truncated)
		return 0
	}
	v := binary.BigEndian.Uint32(d.b)
	d.b = d.b[4:]
	return v
}

func (d *decoder) longlong() uint64 {
	if len(d.b) < 8 {
		d.failed(truncated)
		return 0
	}
	v := binary.BigEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

func (d *decoder) timestamp() Timestamp { return Timestamp(d.longlong()) }

// skipShortstr passes over a short string without looking at it, and returns its
// octets, which alias the input.
func (d *decoder) skipShortstr() []byte {
	if len(d.b) < 1 || len(d.b) < 1+int(d.b[0]) {
		d.failed(truncated)
		return nil
	}
	n := 1 + int(d.b[0])
	v := d.b[1:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) skipLongstr() []byte {
	n := d.long()
	if uint64(n) > uint64(len(d.b)) {
		d.failed(truncated)
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) shortstr() string { return string(d.skipShortstr()) }

func (d *decoder) longstr() string { return string(d.skipLongstr()) }

// name is a short string that names something and has to be UTF-8 (W-28).
func (d *decoder) name() string {
	v := d.skipShortstr()
	if !validName(v) {
		d.failed(malformedName)
	}
	return string(v)
}

// borrowedShortstr is shortstr without the copy: the string aliases the input.
func (d *decoder) borrowedShortstr() string { return borrow(d.skipShortstr()) }

// validName reports whether b is UTF-8. Names are nearly always short and ASCII, which is
// seen eight octets at a time, the last eight again where they do not come out even.
func validName(b []byte) bool {
	const beyondASCII = 0x8080808080808080
	if len(b) < 8 {
		var all byte
		for _, c := range b {
			all |= c
		}
		return all < utf8.RuneSelf || utf8.Valid(b)
	}
	all := binary.LittleEndian.Uint64(b[len(b)-8:])
	for rest := b; len(rest) > 8; rest = rest[8:] {
		all |= binary.LittleEndian.Uint64(rest)
	}
	return all&beyondASCII == 0 || utf8.Valid(b)
}

// table reads a field table. A length that goes beyond the input is the table's fault.
func (d *decoder) table() Table {
	body := d.tableBody()
	if len(body) == 0 {
		return nil
	}
	return buildTable(own(body))
}

// tableBody checks a field table and returns what follows its length, which aliases
// the input.
func (d *decoder) tableBody() []byte {
	n := d.long()
	if d.fail != intact {
		return nil
	}
	if uint64(n) > uint64(len(d.b)) {
		d.err = tableTooLong(n, len(d.b))
		d.failed(badTable)
		return nil
	}
	body := d.b[:n]
	if d.err = scanTable(body, 1); d.err != nil {
		d.failed(badTable)
		return nil
	}
	d.b = d.b[n:]
	return body
}

// flags reads the property flags. Bit 1 means nothing and is dropped; bit 0 would
// announce a second word, of which basic has none (W-41).
func (d *decoder) flags() uint16 {
	v := d.short()
	if v&1 != 0 {
		d.failed(continued)
	}
	return v & knownFlags
}

// end reports whether the arguments, which were all of args, have been read exactly.
func (d *decoder) end(args []byte, class, method uint16) error {
	if d.fail == intact && len(d.b) == 0 {
		return nil
	}
	return d.failedOn(args, class, method)
}

func (d *decoder) failedOn(args []byte, class, method uint16) error {
	return d.failure(args).On(class, method)
}

// endProperties is end for the properties of a content header. The caller knows the
// method they belong to.
func (d *decoder) endProperties(list []byte) error {
	if d.fail == intact && len(d.b) == 0 {
		return nil
	}
	return d.failure(list)
}

func (d *decoder) failure(input []byte) *Error {
	switch d.fail {
	case malformedName:
		return FrameError("Malformed UTF-8 in shortstr").OnNone()
	case badTable:
		return d.err
	case continued:
		return FrameError("cannot decode %s: property flags continue", dump(input, maxDump))
	}
	return FrameError("cannot decode %s", dump(input, maxDump))
}

// borrow returns b as a string without copying it.
func borrow(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
