package amqp

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
