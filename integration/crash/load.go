package crash

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/integration/crash/history"
	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	producers   = 4
	window      = 64 // messages a producer has out without a confirm
	prefetch    = 50 // of each consumer
	maxBodySize = 256 << 10
)

// The queues of the load. All but the last are fed by name, some also by a fanout exchange.
// Those with one consumer each have their order judged. What is rejected from queueDying or
// expires there goes to queueDead, and nothing is consumed from queuePurged. queueTx is
// consumed in transactions. queueLong is consumed in every other life only, so that it is
// longer than what the broker keeps in memory.
const (
	queueA = iota
	queueB
	queueC
	queueBoth
	queueLevels // of priority
	queueLong
	queueTx
	queueDying
	queuePurged
	queueDead
	queues
	fed = queueDead // the number of those that messages are published to
)

// levels is how many priorities queueLevels has beside 0.
const levels = 5

// arguments are those that a queue is declared with.
func (w *load) arguments(queue int) amqp.Table {
	switch queue {
	case queueDying:
		return amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": w.queue(queueDead)}
	case queueLevels:
		return amqp.Table{"x-max-priority": int32(levels)}
	}
	return nil
}

// A load is what producers and consumers do to one set of queues over the broker's lives.
type load struct {
	prefix  string
	history *history.History
	numbers [queues]history.Queue
	filler  []byte // random bytes that bodies are cut from

	seq [producers + 1]uint32 // the youngest message of each writer; owned by it while it runs

	longest int          // queue that was found after a start, in messages
	large   atomic.Int64 // bodies of at least 64 KiB that were sent to several queues
}

func newLoad(prefix string, random *rand.Rand) *load {
	w := &load{prefix: prefix, history: history.New(time.Now()), filler: make([]byte, 2*maxBodySize)}
	for i := range w.numbers {
		w.numbers[i] = w.history.Queue(w.queue(i), i == queueBoth || i == queueLevels || i == queueDead)
	}
	w.history.DeadLetters(w.numbers[queueDying], w.numbers[queueDead])
	for i := 0; i < len(w.filler); i += 8 {
		binary.LittleEndian.PutUint64(w.filler[i:], random.Uint64())
	}
	return w
}

func (w *load) queue(i int) string { return fmt.Sprintf("%s.queue-%c", w.prefix, 'a'+i) }
func (w *load) fanout() string     { return w.prefix + ".fanout" }

// fanned are the queues that the fanout exchange feeds.
var fanned = []int{queueB, queueC, queueLong, queuePurged}

// declare declares the load's topology, all of it durable; it is the same in every life.
func (w *load) declare(ch *amqp.Channel) error {
	for i := range queues {
		q, err := ch.QueueDeclare(w.queue(i), true, false, false, false, w.arguments(i))
		if err != nil {
			return err
		}
		w.longest = max(w.longest, q.Messages)
	}
	if err := ch.ExchangeDeclare(w.fanout(), "fanout", true, false, false, false, nil); err != nil {
		return err
	}
	for _, i := range fanned {
		if err := ch.QueueBind(w.queue(i), "", w.fanout(), false, nil); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes the load's topology.
func (w *load) remove(ch *amqp.Channel) error {
	for i := range queues {
		if _, err := ch.QueueDelete(w.queue(i), false, false, false); err != nil {
			return err
		}
	}
	return ch.ExchangeDelete(w.fanout(), false, false)
}

// A crew is the clients of one life.
type crew struct {
	conns []*client
	stop  chan struct{} // closed when producers and consumers should come to an end
	dark  atomic.Bool   // the power is cut, so that what they hear from now on does not count
	done  sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	failed error      // what went wrong that is not the end of a connection
}

func (c *crew) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = err
	}
}

// connect opens a connection and a channel for one of the crew. That the broker dies is what
// they wait for; that it closes one of them with a reason is a failure.
func (c *crew) connect(url string) (*amqp.Channel, error) {
	conn, err := dial(url, &c.dark)
	if err != nil {
		return nil, err
	}
	c.conns = append(c.conns, conn)
	c.watch(conn.NotifyClose(make(chan *amqp.Error, 1)))
	return c.channel(conn)
}

func (c *crew) channel(conn *client) (*amqp.Channel, error) {
	ch, err := conn.Channel()
	if err == nil {
		c.watch(ch.NotifyClose(make(chan *amqp.Error, 1)))
	}
	return ch, err
}

func (c *crew) watch(closed <-chan *amqp.Error) {
	c.done.Go(func() {
		for err := range closed {
			// 320 is how a broker that stops says goodbye.
			if err.Server && err.Code != amqp.ConnectionForced {
				c.fail(fmt.Errorf("the broker closed a client's channel or connection: %w", err))
			}
		}
	})
}

// err is what went wrong, once the crew is done. That one of them was blocked is a failure: the
// alarm may never end, and the harness does not wait for it.
func (c *crew) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	failed := c.failed
	for _, conn := range c.conns {
		failed = conn.explain(failed)
	}
	return failed
}

// begin connects producers and consumers and sets them to work. They end when the broker
// dies or when their crew is told to.
func (w *load) begin(url string, life int, seed uint64) (*crew, error) {
	c := &crew{stop: make(chan struct{})}
	ch, err := c.connect(url)
	if err != nil {
		return nil, err
	}
	if err := w.declare(ch); err != nil {
		return nil, err
	}

	// Two consumers, each with a channel for each of its queues. In every other life some are
	// left out, so that a kill finds messages that wait or expire, and not only some that are
	// on their way.
	work := [][]int{{queueA, queueBoth, queueC, queueLevels}, {queueB, queueBoth, queueDead, queueDying, queueLong}}
	if life%2 == 0 {
		work[0], work[1] = work[0][:2], work[1][:3]
	}
	for i, consumed := range work {
		ch, err := c.connect(url)
		if err != nil {
			return nil, err
		}
		conn := c.conns[len(c.conns)-1]
		for n, q := range consumed {
			if n > 0 {
				if ch, err = c.channel(conn); err != nil {
					return nil, err
				}
			}
			consumer := &consumer{
				load: w, crew: c, ch: ch, queue: q,
				log:    w.history.Log(fmt.Sprintf("life %d consumer %d", life, i)),
				random: rand.New(rand.NewPCG(seed, uint64(100+10*i+q))),
			}
			if err := consumer.begin(); err != nil {
				return nil, err
			}
		}
	}
	if ch, err = c.connect(url); err != nil {
		return nil, err
	}
	purger := &purger{
		load: w, crew: c, ch: ch,
		log:    w.history.Log(fmt.Sprintf("life %d purger", life)),
		random: rand.New(rand.NewPCG(seed, 50)),
	}
	purger.begin()
	if ch, err = c.connect(url); err != nil {
		return nil, err
	}
	transactor := &transactor{
		load: w, crew: c, ch: ch,
		sent:     w.history.Log(fmt.Sprintf("life %d transactor", life)),
		received: w.history.Log(fmt.Sprintf("life %d transactor's get", life)),
		random:   rand.New(rand.NewPCG(seed, 51)),
	}
	if err := transactor.begin(); err != nil {
		return nil, err
	}
	for i := range producers {
		ch, err := c.connect(url)
		if err != nil {
			return nil, err
		}
		producer := &producer{
			load: w, crew: c, ch: ch, writer: i,
			sent:     w.history.Log(fmt.Sprintf("life %d producer %d", life, i)),
			outcomes: w.history.Log(fmt.Sprintf("life %d outcomes %d", life, i)),
			random:   rand.New(rand.NewPCG(seed, uint64(i))),
		}
		if err := producer.begin(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// end waits until everyone noticed that the broker is dead, or stops them while it lives.
func (c *crew) end() error {
	close(c.stop)
	for _, conn := range c.conns {
		_ = conn.Close() // usually the broker has closed it, the hard way
	}
	c.done.Wait()
	return c.err()
}

// digest is over everything of a message that must arrive as it was sent.
func digest(m amqp.Publishing) uint64 {
	h := fnv.New64a()
	for _, s := range []string{m.MessageId, m.ContentType, m.CorrelationId} {
		_, _ = h.Write([]byte(s)) // a hash takes everything
		_, _ = h.Write([]byte{0})
	}
	_, _ = h.Write([]byte{m.DeliveryMode, m.Priority})
	_, _ = h.Write(m.Body)
	return h.Sum64()
}

// longestTTL is that of the messages that expire, in milliseconds.
const longestTTL = 300

// message is a message with the given name for a queue.
// One for queueDying may be given a time to live, one for queueLevels a priority. Most bodies
// are small, one in thirty is up to 256 KiB; none is below 16 bytes. One in eight is transient.
func (w *load) message(id history.ID, random *rand.Rand, queue int) amqp.Publishing {
	most := 2048
	if random.IntN(30) == 0 {
		most = maxBodySize
	}
	size := 16 + random.IntN(most-15)
	from := random.IntN(len(w.filler) - size)
	m := amqp.Publishing{
		MessageId:     id.String(),
		CorrelationId: fmt.Sprint(random.Uint32()),
		ContentType:   "application/octet-stream",
		DeliveryMode:  amqp.Persistent,
		Body:          w.filler[from : from+size],
	}
	if random.IntN(8) == 0 {
		m.DeliveryMode = amqp.Transient
	}
	switch {
	case queue == queueDying && random.IntN(2) == 0:
		m.Expiration = fmt.Sprint(1 + random.IntN(longestTTL))
	case queue == queueLevels:
		m.Priority = uint8(random.IntN(levels + 3)) // above the queue's highest counts as that
	}
	return m
}

// described is what the rules ask about a message.
func described(m amqp.Publishing) history.Message {
	return history.Message{Digest: digest(m), Transient: m.DeliveryMode == amqp.Transient, Expires: m.Expiration != ""}
}

// published is what a delivery says was published, as far as digest looks.
func published(d amqp.Delivery) amqp.Publishing {
	return amqp.Publishing{
		MessageId:     d.MessageId,
		CorrelationId: d.CorrelationId,
		ContentType:   d.ContentType,
		DeliveryMode:  d.DeliveryMode,
		Priority:      d.Priority,
		Body:          d.Body,
	}
}
