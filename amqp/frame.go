package amqp

import (
	"encoding/binary"
	"fmt"
	"strconv"
)

// Frame is one frame. Its payload aliases the bytes it was parsed from.
type Frame struct {
	Type    uint8
	Channel uint16
	Payload []byte
}

const (
	frameHeaderSize   = 7 // type, channel, payload size
	frameOverhead     = frameHeaderSize + 1
	contentHeaderSize = 12 // class, weight, body size; the properties follow
)

// MaxBodySize is the largest content of any message, in octets (W-22), and so the
// largest payload of a frame when no frame size was agreed on.
const MaxBodySize = 512 << 20

// ParseFrame returns the first frame in b and how many bytes it took. n is 0 when b does
// not hold a whole frame yet. The payload aliases b.
//
// The payload may have maxSize octets, eight more than a frame_max of maxSize leaves for
// it, as RabbitMQ allows (W-13); 0 is no limit but MaxBodySize. The limit is applied to
// the announced size, before the payload has come.
//
// A frame that cannot be is a hard *Error on no method (W-10 to W-13), after which
// nothing more can be read from that connection. A method frame that is returned has at
// least its ids, a header frame at least class, weight and body size.
func ParseFrame(b []byte, maxSize uint32) (f Frame, n int, err error) {
	if len(b) < frameHeaderSize {
		return Frame{}, 0, nil
	}
	f = Frame{Type: b[0], Channel: binary.BigEndian.Uint16(b[1:])}
	size := binary.BigEndian.Uint32(b[3:])
	if maxSize == 0 {
		maxSize = MaxBodySize
	}
	if size > maxSize {
		return Frame{}, 0, frameTooLarge(f.Type, size, maxSize)
	}
	n = frameHeaderSize + int(size)
	if len(b) <= n {
		return Frame{}, 0, nil
	}
	f.Payload = b[frameHeaderSize:n:n]
	if end := b[n]; end != FrameEnd {
		return Frame{}, 0, f.broken("{invalid_frame_end_marker," + strconv.Itoa(int(end)) + "}")
	}
	if err := f.check(); err != nil {
		return Frame{}, 0, err
	}
	return f, n + 1, nil
}

func frameTooLarge(typ uint8, size, maxSize uint32) *Error {
	return FrameError("type %d, all octets = <<>>: {frame_too_large,%d,%d}", typ, size, int64(maxSize)-frameOverhead).OnNone()
}

// check refuses types that are none and payloads too short for their type.
func (f *Frame) check() error {
	switch f.Type {
	case FrameBody:
		return nil
	case FrameMethod:
		if len(f.Payload) >= 4 {
			return nil
		}
	case FrameHeader:
		if len(f.Payload) >= contentHeaderSize {
			return nil
		}
	case FrameHeartbeat:
		switch {
		case len(f.Payload) != 0:
		case f.Channel != 0:
			return f.Unexpected()
		default:
			return nil
		}
	}
	return f.broken("unknown_frame")
}

// broken is the error for a frame that cannot be read, in the words RabbitMQ has for it.
func (f *Frame) broken(why string) *Error {
	return FrameError("%s: %s", f.snippet(), why).OnNone()
}

// Unexpected is the hard 505 for a frame that has no place where it came, in the words
// RabbitMQ has for it: a heartbeat on a channel (W-12), a frame of a channel before the
// connection is open (W-27).
func (f *Frame) Unexpected() *Error { return UnexpectedFrame("%s", f.snippet()).OnNone() }

// snippet describes a frame by its type and the beginning of its payload.
func (f *Frame) snippet() string {
	const most = 16
	which, octets := "all", f.Payload
	if len(octets) > most {
		which, octets = "first 16", octets[:most]
	}
	return fmt.Sprintf("type %d, %s octets = %s", f.Type, which, dump(octets, most))
}

// MethodID returns the ids of a method frame that ParseFrame returned. The arguments
// are Payload[4:].
func (f Frame) MethodID() (class, method uint16) {
	return binary.BigEndian.Uint16(f.Payload), binary.BigEndian.Uint16(f.Payload[2:])
}

// ContentHeader is the payload of a header frame.
type ContentHeader struct {
	Class      uint16
	Weight     uint16
	BodySize   uint64
	Properties []byte // flags and list as received; aliases the frame
}

// ContentHeader returns the fields of a header frame that ParseFrame returned.
func (f Frame) ContentHeader() ContentHeader {
	return ContentHeader{
		Class:      binary.BigEndian.Uint16(f.Payload),
		Weight:     binary.BigEndian.Uint16(f.Payload[2:]),
		BodySize:   binary.BigEndian.Uint64(f.Payload[4:]),
		Properties: f.Payload[contentHeaderSize:],
	}
}

// AppendFrame appends a whole frame to dst.
func AppendFrame(dst []byte, f Frame) []byte {
	dst = AppendFrameHeader(dst, f.Type, f.Channel, uint32(len(f.Payload)))
	dst = append(dst, f.Payload...)
	return append(dst, FrameEnd)
}

// AppendFrameHeader appends the seven octets before a payload of size octets. The
// payload and FrameEnd have to follow.
func AppendFrameHeader(dst []byte, typ uint8, channel uint16, size uint32) []byte {
	return append(dst, typ, byte(channel>>8), byte(channel), byte(size>>24), byte(size>>16), byte(size>>8), byte(size))
}

// BeginFrame appends the start of a frame whose payload is appended next. EndFrame is
// then given the length dst had before:
//
//	start := len(dst)
//	dst = amqp.BeginFrame(dst, amqp.FrameMethod, channel)
//	dst = ack.Append(dst)
//	dst = amqp.EndFrame(dst, start)
func BeginFrame(dst []byte, typ uint8, channel uint16) []byte {
	return AppendFrameHeader(dst, typ, channel, 0)
}

// EndFrame completes the frame that begins at start: it fills in its size and appends
// FrameEnd.
func EndFrame(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start+3:], uint32(len(dst)-start-frameHeaderSize))
	return append(dst, FrameEnd)
}

// AppendMethod appends a method frame. Where a method is sent for every message,
// BeginFrame and EndFrame around its Append spare it from the heap.
func AppendMethod(dst []byte, channel uint16, m Method) []byte {
	start := len(dst)
	return EndFrame(m.Append(BeginFrame(dst, FrameMethod, channel)), start)
}

// AppendHeader appends the header frame of a message's content. properties are flags
// and list as they were received, or as Properties.Append makes them.
func AppendHeader(dst []byte, channel uint16, bodySize uint64, properties []byte) []byte {
	dst = AppendFrameHeader(dst, FrameHeader, channel, uint32(contentHeaderSize+len(properties)))
	dst = append(dst, 0, byte(ClassBasic), 0, 0)
	dst = binary.BigEndian.AppendUint64(dst, bodySize)
	dst = append(dst, properties...)
	return append(dst, FrameEnd)
}

// AppendBody appends body in frames of at most frameMax octets altogether (W-15); with
// frameMax 0 in one. An empty body has no frame.
func AppendBody(dst []byte, channel uint16, body []byte, frameMax uint32) []byte {
	piece := len(body)
	if frameMax > frameOverhead {
		piece = min(piece, int(frameMax-frameOverhead))
	}
	for len(body) > 0 {
		n := min(piece, len(body))
		dst = AppendFrame(dst, Frame{Type: FrameBody, Channel: channel, Payload: body[:n]})
		body = body[n:]
	}
	return dst
}

// AppendHeartbeat appends a heartbeat frame.
func AppendHeartbeat(dst []byte) []byte {
	return AppendFrame(dst, Frame{Type: FrameHeartbeat})
}
