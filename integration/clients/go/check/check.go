package check

import (
	"fmt"
	"os"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	limit = 20 * time.Second // for a whole program
	wait  = 10 * time.Second // for one thing to arrive
)

// A Program is one run of a client program. Its methods may be called from any goroutine.
type Program struct {
	url    string
	suffix string

	mu    sync.Mutex // guards the fields below
	names []string
	ended bool
}

// Start begins a program, which fails by itself when it is not done within 20 seconds.
func Start() *Program {
	p := &Program{url: os.Getenv("AMQP_URL"), suffix: fmt.Sprintf("%d-%d", os.Getpid(), time.Now().UnixNano())}
	if p.url == "" {
		p.url = "amqp://guest:guest@localhost:5672/"
	}
	time.AfterFunc(limit, func() { p.Fail("not done after %v", limit) })
	return p
}

// URL is the broker's address, from $AMQP_URL.
func (p *Program) URL() string { return p.url }

// Connect opens a connection, and a channel on it.
func (p *Program) Connect() (*amqp.Connection, *amqp.Channel) {
	conn, err := amqp.Dial(p.url)
	p.NoError(err, "connect")
	return conn, p.Channel(conn)
}

// Channel opens a channel.
func (p *Program) Channel(conn *amqp.Connection) *amqp.Channel {
	ch, err := conn.Channel()
	p.NoError(err, "open a channel")
	return ch
}

// Name makes a name for a queue or an exchange that no other run has. What is declared
// under it is deleted when the program ends, however it ends.
func (p *Program) Name(what string) string {
	name := fmt.Sprintf("clients.go.%s.%s", what, p.suffix)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.names = append(p.names, name)
	return name
}

// Publish publishes a persistent text with the given routing key and waits for its confirm.
// The channel must be in confirm mode.
func (p *Program) Publish(ch *amqp.Channel, exchange, key, body string) {
	p.PublishMessage(ch, exchange, key, amqp.Publishing{
		ContentType:  "text/plain",
		DeliveryMode: amqp.Persistent,
		Body:         []byte(body),
	})
}

// PublishMessage publishes msg and waits for its confirm.
func (p *Program) PublishMessage(ch *amqp.Channel, exchange, key string, msg amqp.Publishing) {
	confirm, err := ch.PublishWithDeferredConfirm(exchange, key, false, false, msg)
	p.NoError(err, "publish")
	select {
	case <-confirm.Done():
		p.That(confirm.Acked(), "the broker refused %q", msg.Body)
	case <-time.After(wait):
		p.Fail("no confirm for %q within %v", msg.Body, wait)
	}
}

// Next is the next delivery; a program that waits longer than ten seconds fails.
func (p *Program) Next(deliveries <-chan amqp.Delivery) amqp.Delivery {
	select {
	case d, open := <-deliveries:
		p.That(open, "the broker ended the consumer")
		return d
	case <-time.After(wait):
		p.Fail("no delivery within %v", wait)
	}
	panic("unreachable")
}

// Until collects the bodies of deliveries up to, and without, the one that is last.
func (p *Program) Until(last string, deliveries <-chan amqp.Delivery) []string {
	var bodies []string
	for {
		body := string(p.Next(deliveries).Body)
		if body == last {
			return bodies
		}
		bodies = append(bodies, body)
	}
}

// That fails the program unless ok.
func (p *Program) That(ok bool, format string, args ...any) {
	if !ok {
		p.Fail(format, args...)
	}
}

// NoError fails the program if what was being done went wrong.
func (p *Program) NoError(err error, doing string) {
	if err != nil {
		p.Fail("%s: %v", doing, err)
	}
}

// Fail says what went wrong, cleans up and ends the program with status 1.
func (p *Program) Fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	if err := p.end(); err != nil {
		fmt.Fprintf(os.Stderr, "cleaning up: %v\n", err)
	}
	os.Exit(1)
}

// Done cleans up; a program that comes to its Done has passed.
func (p *Program) Done() {
	if err := p.end(); err != nil {
		fmt.Fprintln(os.Stderr, "clean up:", err)
		os.Exit(1)
	}
}

// end deletes what was declared. It uses a connection of its own, because the program's
// may be what failed, and it does its work once.
func (p *Program) end() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended || len(p.names) == 0 {
		return nil
	}
	p.ended = true
	conn, err := amqp.Dial(p.url)
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	// Deleting what does not exist is not an error, so nobody has to remember which is what.
	for _, name := range p.names {
		if _, err := ch.QueueDelete(name, false, false, false); err != nil {
			return err
		}
		if err := ch.ExchangeDelete(name, false, false); err != nil {
			return err
		}
	}
	return nil
}
