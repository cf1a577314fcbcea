package bench

import (
	"bytes"
	"encoding/binary"

	"github.com/leveretmq/leveret/amqp"
)

const headerDelay = "x-delay"

// ring is a producer's messages, encoded once and one after the other. To publish some is
// to patch their stamps and to write the bytes they have in common, all in one go.
type ring struct {
	bytes []byte
	slots []slot
	pos   int // the slot that is sent next
}

// slot is one message in a ring: bytes[start:end], its body's beginning at body.
type slot struct {
	start, end int
	body       int
	delay      int // where its x-delay is, if it has one
	stampBytes int
	stream     int
}

// newRing encodes at least batchBytes of messages, and all routes as often as each other,
// so that the end of the ring meets its beginning.
func newRing(s Scenario, exchange string, routes []route, frameMax uint32, batchBytes int) *ring {
	r := &ring{}
	properties := amqp.Properties{}
	if s.Durable {
		properties = amqp.Properties{DeliveryMode: 2, Flags: amqp.FlagDeliveryMode}
	}
	delayAt := 0
	if s.Delay > 0 {
		properties.Flags |= amqp.FlagHeaders
		properties.Headers = amqp.Table{{Name: headerDelay, Value: int64(0)}}
	}
	header := properties.Append(nil)
	if s.Delay > 0 {
		delayAt = len(header) - bytes.Index(header, []byte(headerDelay)) - len(headerDelay) - 1
	}
	body := make([]byte, s.BodyBytes)
	for i := range body {
		body[i] = byte('a' + i%26)
	}
	for len(r.bytes) < batchBytes {
		for _, to := range routes {
			at := slot{start: len(r.bytes), stream: to.stream, stampBytes: min(len(body), timedBytes)}
			r.bytes = amqp.AppendMethod(r.bytes, channel, &amqp.BasicPublish{Exchange: exchange, RoutingKey: to.key})
			r.bytes = amqp.AppendHeader(r.bytes, channel, uint64(len(body)), header)
			at.delay = len(r.bytes) - 1 - delayAt // before the frame's end
			at.body = len(r.bytes) + frameHeaderBytes
			r.bytes = amqp.AppendBody(r.bytes, channel, body, frameMax)
			at.end = len(r.bytes)
			r.slots = append(r.slots, at)
		}
	}
	return r
}

// next returns the bytes of up to n messages that follow each other in the ring, with
// batchBytes at most unless one message has more, and how many they are. stamp is asked
// for each one's stamp.
func (r *ring) next(n, batchBytes int, stamp func(stream int) stamp) (b []byte, count int) {
	first := r.slots[r.pos]
	end := first.start
	for count < n && r.pos < len(r.slots) {
		at := r.slots[r.pos]
		if count > 0 && at.end-first.start > batchBytes {
			break
		}
		if at.stampBytes >= stampBytes {
			m := stamp(at.stream)
			m.put(r.bytes[at.body : at.body+at.stampBytes])
			if m.delay != 0 {
				binary.BigEndian.PutUint64(r.bytes[at.delay:], uint64(m.delay))
			}
		} else {
			stamp(at.stream) // it is counted all the same
		}
		end = at.end
		count++
		r.pos++
	}
	if r.pos == len(r.slots) {
		r.pos = 0
	}
	return r.bytes[first.start:end], count
}
