package crash

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// drainLimit is how long one queue may take to be emptied.
const drainLimit = 2 * time.Minute

// A witness publishes numbered messages to one durable queue, one after the other or many at
// a time, and remembers which of them were confirmed. Whatever happens to the broker between,
// look says whether they are there. It belongs to one goroutine.
type witness struct {
	published uint32
	confirmed map[uint32]bool
}

const witnessed = "witnessed"

func newWitness() *witness { return &witness{confirmed: make(map[uint32]bool)} }

// body is that of message n: the first of every three goes to the value log, the others stay
// inline.
func body(n uint32) []byte {
	size := 100 + int(n%7)*300
	if n%3 == 0 {
		size += 8 << 10
	}
	b := make([]byte, 0, size+8)
	for random := rand.NewPCG(uint64(n), 0); len(b) < size; {
		b = binary.BigEndian.AppendUint64(b, random.Uint64())
	}
	return b
}

// A witnessing is a connection of the witness.
type witnessing struct {
	*witness
	conn *amqp.Connection
	ch   *amqp.Channel
}

func (w *witness) connect(url string) (*witnessing, error) {
	conn, err := amqp.Dial(url)
	if err != nil {
		return nil, err
	}
	c := &witnessing{witness: w, conn: conn}
	if c.ch, err = conn.Channel(); err == nil {
		if err = c.ch.Confirm(false); err == nil {
			_, err = c.ch.QueueDeclare(witnessed, true, false, false, false, nil)
		}
	}
	if err != nil {
		_ = conn.Close() // the first error counts
		return nil, err
	}
	return c, nil
}

func (c *witnessing) close() { _ = c.conn.Close() } // the broker may be gone, which is not of interest

// publish publishes n messages and waits for their confirms. What was confirmed before an
// error counts.
func (c *witnessing) publish(n int, limit time.Duration) error {
	const atOnce = 64
	late := time.After(limit)
	for n > 0 {
		size := min(n, atOnce)
		n -= size
		first := c.published + 1
		var confirms []*amqp.DeferredConfirmation
		var failed error
		for i := 0; i < size && failed == nil; i++ {
			c.published++
			var confirm *amqp.DeferredConfirmation
			if confirm, failed = c.ch.PublishWithDeferredConfirm("", witnessed, false, false, c.message(c.published)); failed == nil {
				confirms = append(confirms, confirm)
			}
		}
		for i, confirm := range confirms {
			select {
			case <-confirm.Done():
				if !confirm.Acked() {
					failed = errors.Join(failed, fmt.Errorf("message %d is not confirmed", first+uint32(i)))
					continue
				}
				c.confirmed[first+uint32(i)] = true
			case <-late:
				return fmt.Errorf("no confirm of message %d after %v", first+uint32(i), limit)
			}
		}
		if failed != nil {
			return failed
		}
	}
	return nil
}

// publishSingly publishes n messages one by one. Each makes a group of its own that stays in
// the memtable, of which some 7000 fill one; many at once go to the value log.
func (c *witnessing) publishSingly(n int) (err error) {
	for ; n > 0 && err == nil; n-- {
		err = c.publish(1, 20*time.Second)
	}
	return err
}

func (c *witnessing) message(n uint32) amqp.Publishing {
	return amqp.Publishing{MessageId: strconv.Itoa(int(n)), DeliveryMode: amqp.Persistent, Body: body(n)}
}

// look consumes the queue to its end and returns how many of the confirmed messages it did not
// find. What it finds stays where it is. A message that was never published, or that is not as
// it was published, is an error.
func (w *witness) look(url string) (missing []uint32, err error) {
	c, err := w.connect(url)
	if err != nil {
		return nil, err
	}
	defer c.close()
	const last = "last"
	confirm, err := c.ch.PublishWithDeferredConfirm("", witnessed, false, false, amqp.Publishing{MessageId: last})
	if err != nil {
		return nil, err
	}
	deliveries, err := c.ch.Consume(witnessed, "", false, false, false, false, nil)
	if err != nil {
		return nil, err
	}
	found := make(map[uint32]bool)
	late := time.After(drainLimit)
	for {
		select {
		case d, open := <-deliveries:
			if !open {
				return nil, errors.New("the broker ended the consumer")
			}
			if d.MessageId == last {
				<-confirm.Done()
				if err := d.Ack(false); err != nil {
					return nil, err
				}
				for n := uint32(1); n <= w.published; n++ {
					if w.confirmed[n] && !found[n] {
						missing = append(missing, n)
					}
				}
				return missing, nil
			}
			n, err := strconv.ParseUint(d.MessageId, 10, 32)
			if err != nil || n == 0 || uint32(n) > w.published {
				return nil, fmt.Errorf("message %q was never published", d.MessageId)
			}
			if !bytes.Equal(d.Body, body(uint32(n))) {
				return nil, fmt.Errorf("message %d is not as it was published", n)
			}
			found[uint32(n)] = true
		case <-late:
			return nil, fmt.Errorf("the end of the queue is not reached after %v", drainLimit)
		}
	}
}
