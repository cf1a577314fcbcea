package bench

import "encoding/binary"

// A message's stamp is the beginning of its body, in big-endian integers:
//
//	0     4        8          16       24
//	+-----+--------+----------+--------+
//	| run | stream | sequence | sent   |
//	+-----+--------+----------+--------+
//
// A body of 16 octets has all but the last, and a shorter one has none. sent is in
// nanoseconds since the run began.
const (
	stampBytes = 16
	timedBytes = 24
)

type stamp struct {
	run      uint32
	stream   uint32
	sequence uint64 // from 0 in its stream
	sent     int64  // 0 where there is no room for it; when it is due, if it is delayed
	delay    int64  // milliseconds until then, 0 for none; not part of the body
}

// put writes s to the beginning of body, as much of it as there is room for.
func (s stamp) put(body []byte) {
	if len(body) < stampBytes {
		return
	}
	binary.BigEndian.PutUint32(body, s.run)
	binary.BigEndian.PutUint32(body[4:], s.stream)
	binary.BigEndian.PutUint64(body[8:], s.sequence)
	if len(body) >= timedBytes {
		binary.BigEndian.PutUint64(body[16:], uint64(s.sent))
	}
}

// readStamp reads the stamp a body begins with, and reports whether it has one.
func readStamp(body []byte) (s stamp, ok bool) {
	if len(body) < stampBytes {
		return stamp{}, false
	}
	s = stamp{
		run:      binary.BigEndian.Uint32(body),
		stream:   binary.BigEndian.Uint32(body[4:]),
		sequence: binary.BigEndian.Uint64(body[8:]),
	}
	if len(body) >= timedBytes {
		s.sent = int64(binary.BigEndian.Uint64(body[16:]))
	}
	return s, true
}
