package crash

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A churn declares and deletes durable queues with bindings while the broker is killed, and
// looks after each restart whether each is there as a whole or not at all. It belongs to
// whoever works or looks.
type churn struct {
	prefix string
	items  []*item // not known to be gone
	gone   []*item // the latest that are
	next   int
}

const (
	bindings = 3 // keys that lead to each queue
	most     = 8 // queues at a time, and as many that are gone
)

// An item is a durable queue with its bindings, as far as the broker has answered.
type item struct {
	number   int
	declared bool // the declaration was answered
	bound    int  // so many bindings were answered
	deleting bool // the deletion was asked for
	deleted  bool // and answered
}

func (c *churn) exchange() string { return c.prefix + ".churn" }

func (c *churn) queue(i *item) string { return fmt.Sprintf("%s.churn-%d", c.prefix, i.number) }

func (c *churn) key(i *item, binding int) string { return fmt.Sprintf("%d.%d", i.number, binding) }

// begin sets the churn to work as one of the crew, until the broker is dead or the crew stops.
func (c *churn) begin(url string, crew *crew, random *rand.Rand) error {
	ch, err := crew.connect(url)
	if err != nil {
		return err
	}
	if err := ch.ExchangeDeclare(c.exchange(), "direct", true, false, false, false, nil); err != nil {
		return err
	}
	crew.done.Go(func() {
		for c.step(ch, random, &crew.dark) == nil {
			select {
			case <-crew.stop:
				return
			default:
			}
		}
	})
	return nil
}

var errDark = errors.New("the power is cut")

// step declares or deletes one queue. Answers that come in the dark do not count.
func (c *churn) step(ch *amqp.Channel, random *rand.Rand, dark *atomic.Bool) error {
	if len(c.items) >= most || len(c.items) > 0 && random.IntN(2) == 0 {
		at := random.IntN(len(c.items))
		i := c.items[at]
		i.deleting = true
		if _, err := ch.QueueDelete(c.queue(i), false, false, false); err != nil {
			return err
		}
		if dark.Load() {
			return errDark
		}
		i.deleted = true
		c.items = slices.Delete(c.items, at, at+1)
		c.gone = append(c.gone, i)
		if len(c.gone) > most {
			c.gone = c.gone[1:]
		}
		return nil
	}
	i := &item{number: c.next}
	c.next++
	c.items = append(c.items, i)
	if _, err := ch.QueueDeclare(c.queue(i), true, false, false, false, nil); err != nil {
		return err
	}
	if dark.Load() {
		return errDark
	}
	i.declared = true
	for b := range bindings {
		if err := ch.QueueBind(c.queue(i), c.key(i, b), c.exchange(), false, nil); err != nil {
			return err
		}
		if dark.Load() {
			return errDark
		}
		i.bound++
	}
	return nil
}

// look compares what is there with what was answered, and deletes it all.
func (c *churn) look(url string) error {
	conn, err := dial(url, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, i := range append(c.items, c.gone...) {
		if err := conn.explain(c.lookAt(conn.Connection, i)); err != nil {
			return fmt.Errorf("%s: %+v: %w", c.queue(i), *i, err)
		}
	}
	c.items, c.gone = nil, nil
	return nil
}

func (c *churn) lookAt(conn *amqp.Connection, i *item) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	if err := ch.Confirm(false); err != nil {
		return err
	}
	returns := ch.NotifyReturn(make(chan amqp.Return, 1))
	var routes [bindings]bool
	routed := 0
	for b := range bindings {
		if routes[b], err = c.leads(ch, returns, c.key(i, b)); err != nil {
			return err
		}
		if routes[b] {
			routed++
		}
	}

	q, err := ch.QueueDeclarePassive(c.queue(i), true, false, false, false, nil)
	if refusal := new(amqp.Error); errors.As(err, &refusal) && refusal.Code == amqp.NotFound {
		switch {
		case i.declared && !i.deleting:
			return errors.New("it is not there any more")
		case routed > 0:
			return fmt.Errorf("it is not there, but keys lead to it: %v", routes)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if i.deleted {
		return errors.New("it is there again")
	}
	for b, leads := range routes {
		// The one after the last that was answered may have been under way.
		if b < i.bound && !leads || b > i.bound && leads {
			return fmt.Errorf("which keys lead to it: %v", routes)
		}
	}
	if q.Messages != routed {
		return fmt.Errorf("it has %d messages, but %d were routed to it", q.Messages, routed)
	}
	_, err = ch.QueueDelete(c.queue(i), false, false, false)
	return err
}

// leads says whether a message with this key comes to a queue. If it does not it is returned,
// and that before its confirm.
func (c *churn) leads(ch *amqp.Channel, returns <-chan amqp.Return, key string) (bool, error) {
	confirm, err := ch.PublishWithDeferredConfirm(c.exchange(), key, true, false, amqp.Publishing{Body: []byte(key)})
	if err != nil {
		return false, err
	}
	select {
	case <-confirm.Done():
	case <-time.After(10 * time.Second):
		return false, errors.New("no confirm after 10 seconds")
	}
	if !confirm.Acked() {
		return false, errors.New("the message was refused")
	}
	select {
	case <-returns:
		return false, nil
	default:
		return true, nil
	}
}

// remove deletes what the churn left.
func (c *churn) remove(ch *amqp.Channel) error {
	for _, i := range c.items {
		if _, err := ch.QueueDelete(c.queue(i), false, false, false); err != nil {
			return err
		}
	}
	return ch.ExchangeDelete(c.exchange(), false, false)
}
