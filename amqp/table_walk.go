package amqp

import "iter"

// FindHeader looks name up in the entries of a table that ScanProperties has found well
// formed, without decoding it, and takes the first. The value is as on the wire, without
// the length that S, x, A and F have before them, and aliases rawTable.
func FindHeader(rawTable []byte, name string) (tag byte, value []byte, ok bool) {
	for b := rawTable; ; {
		entry, tag, value, rest, ok := NextEntry(b)
		if !ok {
			return 0, nil, false
		}
		if string(entry) == name {
			return tag, value, true
		}
		b = rest
	}
}

// Elements goes through the elements of an array found by FindHeader: their tags and
// their values, as FindHeader returns them.
func Elements(rawArray []byte) iter.Seq2[byte, []byte] {
	return func(yield func(byte, []byte) bool) {
		for b := rawArray; len(b) > 0; {
			tag, value, rest, err := splitValue(b)
			if err != nil || !yield(tag, value) {
				return
			}
			b = rest
		}
	}
}

// DecodeValue returns the value FindHeader or Elements found, owning its memory.
func DecodeValue(tag byte, value []byte) any {
	return buildValue(tag, own(value))
}

// NextEntry cuts the first entry off the entries of a table that ScanProperties has found
// well formed, without decoding it: its name, and tag and value as FindHeader returns
// them. All of them alias rawTable. ok is false at the end.
func NextEntry(rawTable []byte) (name []byte, tag byte, value, rest []byte, ok bool) {
	if len(rawTable) == 0 {
		return nil, 0, nil, nil, false
	}
	n := 1 + int(rawTable[0])
	if n >= len(rawTable) {
		return nil, 0, nil, nil, false
	}
	tag, value, rest, err := splitValue(rawTable[n:])
	if err != nil {
		return nil, 0, nil, nil, false
	}
	return rawTable[1:n], tag, value, rest, true
}
