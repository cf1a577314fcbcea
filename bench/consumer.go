package bench

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"

	"github.com/leveretmq/leveret/amqp"
)

// sink is what has arrived from a queue, at all its consumers.
type sink struct {
	mu      sync.Mutex
	streams []sequence // by stream
}

// consumer takes a queue's messages on a connection of its own.
type consumer struct {
	*conn
	run   *run
	queue int // or the first of several
	step  int // how far the next is, 0 when there is one only
	sink  *sink

	prefetch int
	ackEvery int
	timed    bool // how long messages took says something

	deliveries deliveries
	highest    []uint64 // by stream; one more than the highest sequence seen
	acked      uint64   // the highest tag acknowledged
	acks       []byte
	latency    *latency
	now        int64 // when the batch was read, once something asked
	counts     counts

	distinct atomic.Int64 // received, without what came twice
	received atomic.Int64
}

// counts is what a consumer has seen.
type counts struct {
	received   int64
	distinct   int64
	duplicated int64 // came before, whether flagged as redelivered or not
	reordered  int64 // came after one that was published later
	misrouted  int64 // should not have come to this queue
	early      int64 // came before they were due
	damaged    int64 // not of this run, or not of its size
	bodyBytes  int64

	first, last uint64 // sequence numbers, of what came first and last
}

// setUp starts consuming. Deliveries may be in the buffer when it returns.
func (c *consumer) setUp(queues []string) error {
	if c.prefetch > 0 {
		if err := c.call(&amqp.BasicQos{PrefetchCount: uint16(c.prefetch)}, &amqp.BasicQosOk{}); err != nil {
			return err
		}
	}
	for _, queue := range queues {
		if err := c.call(&amqp.BasicConsume{Queue: queue, NoAck: c.ackEvery == 0}, &amqp.BasicConsumeOk{}); err != nil {
			return err
		}
	}
	return nil
}

// consume goes on until the socket's deadline says that it is enough, and then
// acknowledges what it has.
func (c *consumer) consume() error {
	for {
		if err := c.batch(); err != nil {
			return err
		}
		err := c.fill()
		if errors.Is(err, os.ErrDeadlineExceeded) && c.run.ended() {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// batch takes all that is in the buffer.
func (c *consumer) batch() error {
	if c.r == c.w {
		return nil
	}
	before := c.counts
	c.now = 0
	c.sink.mu.Lock()
	used, err := c.deliveries.scan(c.buf[c.r:c.w], c.message)
	c.sink.mu.Unlock()
	c.r += used
	if err != nil {
		return err
	}
	if len(c.acks) > 0 {
		if _, err := c.socket.Write(c.acks); err != nil {
			return err
		}
		c.acks = c.acks[:0]
	}
	if n := c.counts.received - before.received; n > 0 {
		c.received.Store(c.counts.received)
		c.distinct.Store(c.counts.distinct)
		c.run.gate.give(int(n))
	}
	return nil
}

// message counts one that was delivered.
func (c *consumer) message(bodyBytes uint64, start []byte) {
	n := &c.counts
	n.received++
	n.bodyBytes += int64(bodyBytes)
	c.settle()
	if bodyBytes != c.run.bodyBytes {
		n.damaged++
		return
	}
	s, ok := readStamp(start)
	if !ok {
		if bodyBytes >= stampBytes {
			n.damaged++
		} else {
			n.distinct++ // as far as can be told
		}
		return
	}
	if s.run != c.run.id || int(s.stream) >= len(c.highest) {
		n.damaged++
		return
	}
	if !c.run.reaches(int(s.stream), c) {
		n.misrouted++
		return
	}
	if s.sequence < c.highest[s.stream] {
		if !c.sink.streams[s.stream].see(s.sequence) {
			n.duplicated++
			return
		}
		if c.run.scenario.Delay == 0 {
			n.reordered++
		}
	} else {
		c.highest[s.stream] = s.sequence + 1
		if !c.sink.streams[s.stream].see(s.sequence) {
			n.duplicated++ // another consumer of the queue had it
			return
		}
	}
	if n.distinct == 0 {
		n.first = s.sequence
	}
	n.last = s.sequence
	n.distinct++
	if c.timed && s.sent != 0 {
		if c.now == 0 {
			c.now = int64(c.run.elapsed())
		}
		if c.now < s.sent {
			n.early++
		}
		c.latency.record(c.now - s.sent)
	}
}

// settle adds an acknowledgement where one is due.
func (c *consumer) settle() {
	if c.ackEvery == 0 || c.deliveries.tag-c.acked < uint64(c.ackEvery) {
		return
	}
	c.ack()
}

func (c *consumer) ack() {
	c.acked = c.deliveries.tag
	start := len(c.acks)
	c.acks = amqp.BeginFrame(c.acks, amqp.FrameMethod, channel)
	ack := amqp.BasicAck{DeliveryTag: c.acked, Multiple: true}
	c.acks = amqp.EndFrame(ack.Append(c.acks), start)
}

// finish acknowledges what is left. The socket's deadline has to be lifted before.
func (c *consumer) finish() error {
	if c.ackEvery == 0 || c.deliveries.tag == c.acked {
		return nil
	}
	c.ack()
	_, err := c.socket.Write(c.acks)
	return err
}
