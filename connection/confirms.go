package connection

import (
	"github.com/leveretmq/leveret/amqp"
)

// confirms turns publish numbers that are settled in any order into as few basic.ack
// and basic.nack as say it (CONF-2). Each number is answered exactly once.
//
// It is a ring of one octet per number, from the lowest that is not settled and sent to
// the last one given out.
type confirms struct {
	ring  []confirmState // a power of two long; number n is at n & (len-1)
	first uint64         // every number below is answered
	next  uint64         // the next number to give out; the first one is 1
	ready int            // settled and not answered yet

	given, confirmed, refused uint64 // numbers given out, and answered, ever
}

type confirmState uint8

const (
	unsettled confirmState = iota
	settledOK
	settledRefused
	answered
)

// start makes 1 the next number.
func (c *confirms) start() { c.first, c.next = 1, 1 }

// add gives out the next number.
func (c *confirms) add() uint64 {
	if int(c.next-c.first) == len(c.ring) {
		c.grow()
	}
	n := c.next
	c.next++
	c.given++
	*c.at(n) = unsettled
	return n
}

// settle notes that number n, which is outstanding, was taken or refused.
func (c *confirms) settle(n uint64, ok bool) {
	s := settledOK
	if !ok {
		s = settledRefused
	}
	*c.at(n) = s
	c.ready++
}

// outstanding is how many numbers are not answered.
func (c *confirms) outstanding() int64 { return int64(c.given - c.confirmed - c.refused) }

// append appends the answers to everything settled since the last time. A multiple is
// used for a run that reaches up from the lowest number not answered, because a client
// takes it for every number below; beyond the first outstanding number each is
// answered for itself.
func (c *confirms) append(dst []byte, channel uint16) []byte {
	if c.ready == 0 {
		return dst
	}
	n := c.first
	for n < c.next {
		kind := *c.at(n)
		if kind == answered {
			n++
			continue
		}
		if kind == unsettled {
			break
		}
		last, size := n, 1
		for m := n + 1; m < c.next; m++ {
			if s := *c.at(m); s == kind {
				last = m
				size++
			} else if s != answered {
				break
			}
		}
		dst = appendConfirm(dst, channel, last, size > 1, kind)
		c.count(kind, size)
		n = last + 1
	}
	c.first = n
	for m := n; c.ready > 0; m++ {
		if s := *c.at(m); s == settledOK || s == settledRefused {
			dst = appendConfirm(dst, channel, m, false, s)
			*c.at(m) = answered
			c.count(s, 1)
		}
	}
	return dst
}

// count notes that n numbers were answered.
func (c *confirms) count(kind confirmState, n int) {
	c.ready -= n
	if kind == settledOK {
		c.confirmed += uint64(n)
	} else {
		c.refused += uint64(n)
	}
}

func appendConfirm(dst []byte, channel uint16, n uint64, multiple bool, kind confirmState) []byte {
	start := len(dst)
	dst = amqp.BeginFrame(dst, amqp.FrameMethod, channel)
	if kind == settledOK {
		ack := amqp.BasicAck{DeliveryTag: n, Multiple: multiple}
		dst = ack.Append(dst)
	} else {
		// RabbitMQ sets the requeue bit here, and clients have learnt to ignore it (CONF-4).
		nack := amqp.BasicNack{DeliveryTag: n, Multiple: multiple, Requeue: true}
		dst = nack.Append(dst)
	}
	return amqp.EndFrame(dst, start)
}

func (c *confirms) at(n uint64) *confirmState { return &c.ring[n&uint64(len(c.ring)-1)] }

func (c *confirms) grow() {
	old := *c
	c.ring = make([]confirmState, max(16, 2*len(old.ring)))
	for n := old.first; n < old.next; n++ {
		*c.at(n) = *old.at(n)
	}
}
