package amqp

// ProtocolHeader is what a client sends first, and what a server answers before it
// closes when the client sent something else (W-2, W-4 to W-7).
const ProtocolHeader = "AMQP\x00\x00\x09\x01"

// earlierProtocolHeader is how clients of 0-9 greet. They are understood (W-3).
const earlierProtocolHeader = "AMQP\x01\x01\x00\x09"

// ParseProtocolHeader looks at the first octets a client sent. n is 0 while there are
// fewer than eight (W-8); accepted says whether they ask for a protocol spoken here.
func ParseProtocolHeader(b []byte) (accepted bool, n int) {
	if len(b) < len(ProtocolHeader) {
		return false, 0
	}
	n = len(ProtocolHeader)
	greeting := string(b[:n])
	return greeting == ProtocolHeader || greeting == earlierProtocolHeader, n
}
