package brokertest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/config"
)

func channel(t *testing.T, url string) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// keep declares a durable queue with a confirmed persistent message in it.
func keep(t *testing.T, url string) {
	t.Helper()
	ch := channel(t, url)
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("kept", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	c, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), "", "kept", false, false,
		amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("hello")})
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := c.WaitContext(t.Context()); err != nil || !ok {
		t.Fatalf("got confirm %v, %v; want an ack", ok, err)
	}
}

func TestMessagesSurviveRestart(t *testing.T) {
	s := Start(t)
	url := s.URL()
	keep(t, url)
	s.Restart()
	if s.URL() != url {
		t.Errorf("got %s after the restart, want %s as before", s.URL(), url)
	}
	d, ok, err := channel(t, url).Get("kept", true)
	if err != nil || !ok || string(d.Body) != "hello" {
		t.Errorf("got %q, %v, %v; want hello", d.Body, ok, err)
	}
}

func TestNothingInMemorySurvivesRestart(t *testing.T) {
	s := Start(t, InMemory())
	keep(t, s.URL())
	s.Restart()
	_, err := channel(t, s.URL()).QueueDeclarePassive("kept", true, false, false, false, nil)
	if e, ok := err.(*amqp.Error); !ok || e.Code != amqp.NotFound {
		t.Errorf("got %v, want 404: the queue was in memory only", err)
	}
}

func TestTopologyIsThereFromTheStart(t *testing.T) {
	s := Start(t, WithTopology(`
users:
  - name: shop
    password: secret
    permissions:
      - {vhost: /, configure: "", write: ".*", read: ".*"}
exchanges:
  - {name: events, type: topic}
queues:
  - name: orders
    arguments: {x-max-length: 2}
bindings:
  - {exchange: events, queue: orders, routing_key: "order.#"}
`))
	for range 2 { // declared again after the restart, it is still the same
		ch := channel(t, "amqp://shop:secret@"+s.Addr()+"/")
		if err := ch.PublishWithContext(t.Context(), "events", "order.created", true, false, amqp.Publishing{Body: []byte("o")}); err != nil {
			t.Fatal(err)
		}
		if _, err := ch.QueueDeclarePassive("orders", true, false, false, false, nil); err != nil {
			t.Error(err)
		}
		if d, ok, err := ch.Get("orders", true); !ok || err != nil || d.RoutingKey != "order.created" {
			t.Errorf("got %q, %v, %v; want the event", d.RoutingKey, ok, err)
		}
		s.Restart()
	}
}

func TestConfigurationCanBeChanged(t *testing.T) {
	s := Start(t, WithConfig(func(c *config.Config) {
		c.DefaultUser, c.DefaultPass, c.DefaultVHost = "admin", "p/w", "a/b"
		c.AMQP.ChannelMax = 3
	}))
	conn, err := amqp.Dial(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if conn.Config.Vhost != "a/b" || conn.Config.ChannelMax != 3 {
		t.Errorf("got %q and %d channels, want a/b and 3", conn.Config.Vhost, conn.Config.ChannelMax)
	}
}

func TestServersDoNotShareAnything(t *testing.T) {
	a, b := Start(t), Start(t)
	keep(t, a.URL())
	if _, err := channel(t, b.URL()).QueueDeclarePassive("kept", true, false, false, false, nil); err == nil {
		t.Error("got a's queue in b, want 404")
	}
}

// failing is a test that must not go on; what is asked of it is written down.
type failing struct {
	testing.TB
	message string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestBrokerThatCannotStartFailsTheTest(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f := func(want string, opts ...Option) {
		t.Helper()
		fake := &failing{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			Start(fake, opts...)
		}()
		<-done
		if !strings.Contains(fake.message, want) {
			t.Errorf("got %q, want it to say %q", fake.message, want)
		}
	}
	taken := l.Addr().String()
	f("address already in use", WithConfig(func(c *config.Config) { c.Listen = []string{taken} }))
	f("address already in use", WithConfig(func(c *config.Config) { c.MetricsListen = []string{taken} }))
	f("frame_max", WithConfig(func(c *config.Config) { c.AMQP.FrameMax = 1 }))
	f("durabel", WithTopology("queues:\n  - {name: q, durabel: true}"))
	f("no vhost 'shop'", WithTopology("queues:\n  - {name: q, vhost: shop}"))
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	var log bytes.Buffer
	s := Start(t, WithLogger(zerolog.New(zerolog.SyncWriter(&log))))
	conn, err := amqp.Dial(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	keep(t, s.URL())
	s.Close()
	s.Close()
	if e := <-closed; e == nil || e.Code != amqp.ConnectionForced {
		t.Errorf("got %v, want 320", e)
	}
	if _, err := net.Dial("tcp", s.Addr()); err == nil {
		t.Error("got a connection to a broker that is closed")
	}
	if !strings.Contains(log.String(), "listening for AMQP") {
		t.Errorf("got the log %q, want to be told where it listens", &log)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for left := ours(); left != ""; left = ours() {
		if ctx.Err() != nil {
			t.Fatalf("got these goroutines after Close:\n%s", left)
		}
		runtime.Gosched() // they have said they are done, and have their last steps to go
	}
}

// ours are the goroutines of the broker and of its store.
func ours() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var left []string
	for _, g := range strings.Split(string(buf), "\n\n") {
		for _, of := range []string{"leveret/server", "leveret/persistence", "leveret/node", "badger", "net/http"} {
			if strings.Contains(g, of) {
				left = append(left, g)
				break
			}
		}
	}
	return strings.Join(left, "\n\n")
}
