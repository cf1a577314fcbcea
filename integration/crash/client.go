package crash

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A client is a connection of the harness that publishes. The broker does not read from those
// that publish while an alarm is on, and everything that waits for an answer then waits for
// the alarm to end, which may be never. So a client that is blocked is cut off, and says why.
type client struct {
	*amqp.Connection
	reason atomic.Pointer[string] // why it was blocked, if it was
}

// dial connects a client. What it is told once dark is true does not count; dark may be nil.
func dial(url string, dark *atomic.Bool) (*client, error) {
	var wire net.Conn
	conn, err := amqp.DialConfig(url, amqp.Config{
		Locale: "en_US",
		Dial: func(network, addr string) (c net.Conn, err error) {
			c, err = amqp.DefaultDial(30*time.Second)(network, addr)
			wire = c
			return c, err
		},
	})
	if err != nil {
		return nil, err
	}
	c := &client{Connection: conn}
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking, 1))
	go func() {
		for b := range blocked {
			if b.Active && (dark == nil || !dark.Load()) {
				c.reason.Store(&b.Reason)
				_ = wire.Close() // whoever waits hears of that
			}
		}
	}()
	return c, nil
}

// explain is err, or that the client was blocked.
func (c *client) explain(err error) error {
	if reason := c.reason.Load(); reason != nil {
		return fmt.Errorf("the broker blocked a publisher: %s", *reason)
	}
	return err
}
