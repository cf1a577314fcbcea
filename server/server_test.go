package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/connection"
	"github.com/leveretmq/leveret/topology"
)

// running is a server on a port of its own.
type running struct {
	t     testing.TB
	s     *Server
	store *memory
	b     *broker.Broker
	log   *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t testing.TB, adjust ...func(*Options)) *running {
	t.Helper()
	r := &running{t: t, store: newMemory(), log: new(lockedBuffer)}
	r.b = broker.New(broker.DefaultOptions(), r.store, r.store, rand.Reader)
	if err := r.b.Restore(time.Now(), topology.Catalog{}, nil); err != nil {
		t.Fatal(err)
	}
	o := Options{
		Listen:     []string{"127.0.0.1:0", Off},
		Connection: connection.Options{Heartbeat: 60},
		Log:        zerolog.New(r.log),
		CloseWait:  2 * time.Second,
	}
	for _, f := range adjust {
		f(&o)
	}
	s, err := Start(r.b, o)
	if err != nil {
		t.Fatal(err)
	}
	r.s = s
	t.Cleanup(r.stop)
	return r
}

func (r *running) stop() {
	if r.store == nil {
		return
	}
	r.s.Shutdown(context.Background())
	r.store.close()
	r.store = nil
}

func (r *running) address() string { return r.s.Addresses()[0].String() }

func (r *running) dial() *amqp091.Connection {
	r.t.Helper()
	k, err := amqp091.Dial("amqp://guest:guest@" + r.address() + "/")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { k.Close() })
	return k
}

func (r *running) channel() *amqp091.Channel {
	r.t.Helper()
	ch, err := r.dial().Channel()
	if err != nil {
		r.t.Fatal(err)
	}
	return ch
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestClientPublishesConfirmsAndConsumes(t *testing.T) {
	ch := start(t).channel()
	_, err := ch.QueueDeclare("q", true, false, false, false, nil)
	check(t, err)
	check(t, ch.Confirm(false))
	const n = 500
	confirms := ch.NotifyPublish(make(chan amqp091.Confirmation, n))
	deliveries, err := ch.Consume("q", "", false, false, false, false, nil)
	check(t, err)
	for i := range n {
		body := bytes.Repeat([]byte{byte(i)}, i*100) // up to 50 kB: copied, referenced and cut
		check(t, ch.PublishWithContext(context.Background(), "", "q", false, false,
			amqp091.Publishing{DeliveryMode: 2, Body: body, MessageId: fmt.Sprint(i)}))
	}
	for i := range n {
		d := <-deliveries
		if d.MessageId != fmt.Sprint(i) || !bytes.Equal(d.Body, bytes.Repeat([]byte{byte(i)}, i*100)) {
			t.Fatalf("delivery %d is %s with %d bytes", i, d.MessageId, len(d.Body))
		}
		check(t, d.Ack(i%7 == 6 || i == n-1))
	}
	for range n {
		if c := <-confirms; !c.Ack {
			t.Fatalf("publish %d was refused", c.DeliveryTag)
		}
	}
	q, err := ch.QueueDeclarePassive("q", true, false, false, false, nil)
	check(t, err)
	if q.Messages != 0 {
		t.Errorf("got %d messages left, want 0", q.Messages)
	}
}

func TestMessageOfSeveralMegabytesComesBackWhole(t *testing.T) {
	ch := start(t).channel()
	_, err := ch.QueueDeclare("q", false, true, false, false, nil)
	check(t, err)
	body := make([]byte, 5<<20)
	rand.Read(body)
	check(t, ch.PublishWithContext(context.Background(), "", "q", false, false, amqp091.Publishing{Body: body}))
	d, ok, err := ch.Get("q", true)
	check(t, err)
	if !ok || !bytes.Equal(d.Body, body) {
		t.Errorf("got %d bytes back, want %d", len(d.Body), len(body))
	}
}

func TestConsumerThatDoesNotReadHoldsNobodyUp(t *testing.T) {
	r := start(t)
	ch := r.channel()
	_, err := ch.QueueDeclare("q", false, false, false, false, nil)
	check(t, err)
	slow, err := net.Dial("tcp", r.address())
	check(t, err)
	defer slow.Close()
	_, err = slow.Write(lazyConsumer())
	check(t, err)
	waitFor(t, func() bool {
		q, err := ch.QueueDeclarePassive("q", false, false, false, false, nil)
		check(t, err)
		return q.Consumers == 1
	})
	body := make([]byte, 64<<10)
	const n = 400
	for range n {
		check(t, ch.PublishWithContext(context.Background(), "", "q", false, false, amqp091.Publishing{Body: body}))
	}
	q, err := ch.QueueDeclarePassive("q", false, false, false, false, nil)
	check(t, err)
	if q.Messages == 0 {
		t.Error("everything was handed to a consumer that does not read")
	}
	// Somebody else gets what the slow one did not.
	deliveries, err := ch.Consume("q", "", true, false, false, false, nil)
	check(t, err)
	for range q.Messages {
		<-deliveries
	}
	// And when it reads at last, it has lost nothing of its own.
	got, err := countBodies(slow, n-q.Messages, len(body))
	check(t, err)
	if got != n-q.Messages {
		t.Errorf("the slow consumer got %d messages, want %d", got, n-q.Messages)
	}
}

func TestShutdownConfirmsAndSaysGoodbye(t *testing.T) {
	r := start(t)
	ch := r.channel()
	_, err := ch.QueueDeclare("q", true, false, false, false, nil)
	check(t, err)
	check(t, ch.Confirm(false))
	_, err = ch.QueueDeclarePassive("q", true, false, false, false, nil)
	check(t, err)
	closed := ch.NotifyClose(make(chan *amqp091.Error, 1))
	r.store.hold(true)
	confirm, err := ch.PublishWithDeferredConfirm("", "q", false, false, amqp091.Publishing{DeliveryMode: 2, Body: []byte("m")})
	check(t, err)
	waitFor(t, func() bool { return r.b.Counters.MessagesReceived.Load() == 1 })
	done := make(chan struct{})
	go func() {
		r.stop()
		close(done)
	}()
	select {
	case e := <-closed:
		t.Fatalf("told %v before the confirm", e)
	case <-time.After(20 * time.Millisecond):
	}
	r.store.hold(false)
	if e := <-closed; e == nil || e.Code != 320 || e.Reason != "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'" {
		t.Errorf("got %v as the reason", e)
	}
	if ok, err := confirm.WaitContext(context.Background()); err != nil || !ok {
		t.Errorf("publish was not confirmed before the end: %v %v", ok, err)
	}
	<-done
	if _, err := net.Dial("tcp", r.s.Addresses()[0].String()); err == nil {
		t.Error("the port still accepts")
	}
}

func TestWrongPasswordIsToldAsAccessRefused(t *testing.T) {
	r := start(t)
	_, err := amqp091.Dial("amqp://guest:wrong@" + r.address() + "/")
	var e *amqp091.Error
	if !errors.As(err, &e) || e.Code != 403 {
		t.Errorf("got %v, want 403", err)
	}
}

func TestOtherProtocolIsAnsweredWithOurHeader(t *testing.T) {
	r := start(t)
	k, err := net.Dial("tcp", r.address())
	check(t, err)
	defer k.Close()
	_, err = io.WriteString(k, "GET / HTTP/1.1\r\n\r\n")
	check(t, err)
	check(t, k.(*net.TCPConn).CloseWrite())
	got, err := io.ReadAll(k)
	if string(got) != "AMQP\x00\x00\x09\x01" {
		t.Errorf("got %q and %v", got, err)
	}
}

func TestLostConnectionReturnsItsMessages(t *testing.T) {
	r := start(t)
	ch := r.channel()
	_, err := ch.QueueDeclare("q", false, false, false, false, nil)
	check(t, err)
	check(t, ch.PublishWithContext(context.Background(), "", "q", false, false, amqp091.Publishing{Body: []byte("m")}))
	lost, err := net.Dial("tcp", r.address())
	check(t, err)
	_, err = lost.Write(lazyConsumer())
	check(t, err)
	waitFor(t, func() bool {
		q, err := ch.QueueDeclarePassive("q", false, false, false, false, nil)
		check(t, err)
		return q.Messages == 0
	})
	check(t, lost.(*net.TCPConn).SetLinger(0))
	lost.Close()
	waitFor(t, func() bool {
		d, ok, err := ch.Get("q", true)
		check(t, err)
		return ok && d.Redelivered
	})
}

func TestLogSaysWhoCameAndWhyTheyLeft(t *testing.T) {
	r := start(t)
	k := r.dial()
	check(t, k.Close())
	waitFor(t, func() bool { return strings.Contains(r.log.String(), "connection closed") })
	for _, want := range []string{`"user":"guest"`, `"vhost":"/"`, `"message":"connection opened"`} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("no %s in the log:\n%s", want, r.log)
		}
	}
}

// waitFor asks again until it is so: what it waits for happens on another connection.
func waitFor(t testing.TB, f func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen in time")
		}
	}
}

// closedGate lets nobody pass until it is opened.
type closedGate struct {
	waiting chan struct{}
	open    chan struct{}
}

func (g *closedGate) WaitRoom(ctx context.Context) error {
	poke(g.waiting)
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestOnlyPublishersWaitForTheDisk: they have been answered by then (S-25). Whoever publishes
// what is never stored does not wait (P8).
func TestOnlyPublishersWaitForTheDisk(t *testing.T) {
	gate := &closedGate{waiting: make(chan struct{}, 1), open: make(chan struct{})}
	r := start(t, func(o *Options) { o.Gate = gate })
	publisher, other, transient := r.channel(), r.channel(), r.channel()
	_, err := publisher.QueueDeclare("q", true, false, false, false, nil)
	check(t, err)
	check(t, publisher.Confirm(false))
	c, err := publisher.PublishWithDeferredConfirm("", "q", false, false, amqp091.Publishing{Body: []byte("m"), DeliveryMode: amqp091.Persistent})
	check(t, err)
	if ok, err := c.WaitContext(context.Background()); err != nil || !ok {
		t.Errorf("not confirmed: %v", err)
	}
	check(t, transient.Publish("", "q", false, false, amqp091.Publishing{Body: []byte("n")}))
	_, err = transient.QueueDeclarePassive("q", true, false, false, false, nil)
	check(t, err)
	<-gate.waiting
	declared := make(chan error, 1)
	go func() {
		_, err := publisher.QueueDeclarePassive("q", true, false, false, false, nil)
		declared <- err
	}()
	_, ok, err := other.Get("q", true)
	if err != nil || !ok {
		t.Errorf("the other connection got nothing: %v", err)
	}
	select {
	case err := <-declared:
		t.Errorf("the publisher was read while the gate was closed: %v", err)
	default:
	}
	close(gate.open)
	check(t, <-declared)
}
