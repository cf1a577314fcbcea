package bench

import (
	"encoding/binary"
	"errors"

	"github.com/leveretmq/leveret/amqp"
)

const (
	frameHeaderBytes   = 7
	frameOverhead      = frameHeaderBytes + 1
	contentHeaderBytes = 12
)

// The methods that come in numbers, by their ids as the four octets a payload begins with.
const (
	idDeliver = uint32(amqp.ClassBasic)<<16 | uint32(amqp.MethodBasicDeliver)
	idAck     = uint32(amqp.ClassBasic)<<16 | uint32(amqp.MethodBasicAck)
	idNack    = uint32(amqp.ClassBasic)<<16 | uint32(amqp.MethodBasicNack)
)

var (
	errFrameEnd  = errors.New("the broker sent a frame that does not end with 0xCE")
	errFrameType = errors.New("the broker sent a frame of an unknown type")
	errShort     = errors.New("the broker sent a frame too short for what it says it is")
	errContent   = errors.New("the broker sent content where none was due, or none where it was")
)

// frameBytes returns the length of the whole frame b begins with, 0 while it is not all
// there, and -1 when it does not end as a frame does. It is amqp.ParseFrame without what
// a generator can do without, and small enough to be inlined.
func frameBytes(b []byte) int {
	if len(b) < frameOverhead {
		return 0
	}
	n := int(binary.BigEndian.Uint32(b[3:])) + frameOverhead
	if n > len(b) {
		return 0
	}
	if b[n-1] != amqp.FrameEnd {
		return -1
	}
	return n
}

// deliveries is what a consumer's scan of the broker's bytes has come to. Between two
// scans it may be in the middle of a message.
type deliveries struct {
	tag         uint64 // of the last basic.deliver
	redelivered uint64 // how many had that flag

	state     contentState
	body      uint64 // announced octets of the body
	remaining uint64 // octets of it still to come
	first     bool   // the next body frame is the body's first
}

type contentState uint8

const (
	wantMethod contentState = iota
	wantHeader
	wantBody
)

// scan goes through the whole frames of b and returns how many octets they took. message
// is called for every delivered message with the octets its body has and the first of
// them, as many as its first frame has. They are valid during the call.
func (d *deliveries) scan(b []byte, message func(bodyBytes uint64, start []byte)) (used int, err error) {
	for {
		n := frameBytes(b[used:])
		if n <= 0 {
			if n < 0 {
				err = errFrameEnd
			}
			return used, err
		}
		typ, payload := b[used], b[used+frameHeaderBytes:used+n-1]
		used += n
		switch typ {
		case amqp.FrameMethod:
			if len(payload) < 4 {
				return used, errShort
			}
			if binary.BigEndian.Uint32(payload) != idDeliver {
				if err := unasked(payload); err != nil {
					return used, err
				}
				continue
			}
			if d.state != wantMethod {
				return used, errContent
			}
			// class and method, the consumer tag, the delivery tag, redelivered
			at := 4
			if len(payload) > at {
				at += 1 + int(payload[at])
			}
			if len(payload) < at+9 {
				return used, errShort
			}
			d.tag = binary.BigEndian.Uint64(payload[at:])
			d.redelivered += uint64(payload[at+8] & 1)
			d.state = wantHeader
		case amqp.FrameHeader:
			if d.state != wantHeader {
				return used, errContent
			}
			if len(payload) < contentHeaderBytes {
				return used, errShort
			}
			d.body = binary.BigEndian.Uint64(payload[4:])
			d.remaining, d.first, d.state = d.body, true, wantBody
			if d.body == 0 {
				d.state = wantMethod
				message(0, nil)
			}
		case amqp.FrameBody:
			if d.state != wantBody || uint64(len(payload)) > d.remaining {
				return used, errContent
			}
			d.remaining -= uint64(len(payload))
			// The stamp is in the first frame, so the message is counted by it; that the
			// rest comes is seen by the message after it.
			if d.first {
				d.first = false
				message(d.body, payload)
			}
			if d.remaining == 0 {
				d.state = wantMethod
			}
		case amqp.FrameHeartbeat:
		default:
			return used, errFrameType
		}
	}
}

// scanConfirms goes through the whole frames of b and calls confirm for each basic.ack
// and basic.nack. It returns how many octets they took.
func scanConfirms(b []byte, confirm func(tag uint64, multiple, nack bool)) (used int, err error) {
	for {
		n := frameBytes(b[used:])
		if n <= 0 {
			if n < 0 {
				err = errFrameEnd
			}
			return used, err
		}
		typ, payload := b[used], b[used+frameHeaderBytes:used+n-1]
		used += n
		switch typ {
		case amqp.FrameMethod:
			if len(payload) < 4 {
				return used, errShort
			}
			id := binary.BigEndian.Uint32(payload)
			if id != idAck && id != idNack {
				if err := unasked(payload); err != nil {
					return used, err
				}
				continue
			}
			if len(payload) < 13 {
				return used, errShort
			}
			confirm(binary.BigEndian.Uint64(payload[4:]), payload[12]&1 != 0, id == idNack)
		case amqp.FrameHeartbeat:
		case amqp.FrameHeader, amqp.FrameBody:
			return used, errContent
		default:
			return used, errFrameType
		}
	}
}
