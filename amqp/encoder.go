package amqp

import (
	"encoding/binary"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxShortstr is how many octets a short string can have.
const maxShortstr = 255

// Truncate cuts s to the 255 octets of a short string, between two characters.
// RabbitMQ cuts its reply texts too (W-29).
func Truncate(s string) string {
	if len(s) <= maxShortstr {
		return s
	}
	n := maxShortstr
	for n > maxShortstr-utf8.UTFMax+1 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// ReplyText is s as the text of a close may be: what a text repeats of a client's octets may
// be anything, and clients take it for UTF-8. It is cut as Truncate does.
func ReplyText(s string) string { return Truncate(strings.ToValidUTF8(s, "\uFFFD")) }

func appendShortstr(dst []byte, s string) []byte {
	if len(s) > maxShortstr {
		s = Truncate(s)
	}
	dst = append(dst, byte(len(s)))
	return append(dst, s...)
}

func appendLongstr(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s)))
	return append(dst, s...)
}

// bit is 1 for true.
func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// maxDump keeps a dump within what a reply text can hold.
const maxDump = 64

// dump writes b as Erlang does, <<1,2,3>>, up to limit octets, because that is what
// RabbitMQ's texts contain.
func dump(b []byte, limit int) string {
	out := []byte("<<")
	for i, v := range b {
		if i > 0 {
			out = append(out, ',')
		}
		if i == limit {
			out = append(out, "..."...)
			break
		}
		out = strconv.AppendUint(out, uint64(v), 10)
	}
	return string(append(out, ">>"...))
}
