package integration

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	wire "github.com/leveretmq/leveret/amqp"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/brokertest"
	"github.com/leveretmq/leveret/config"
)

// logged is a broker without TLS whose log a test reads.
func logged(t *testing.T, change func(*config.Config)) *secure {
	t.Helper()
	s := &secure{t: t, log: new(lines)}
	s.Server = brokertest.Start(t, brokertest.InMemory(), brokertest.WithLogger(zerolog.New(s.log)), brokertest.WithConfig(change))
	return s
}

// from connects from an address of this machine.
func from(t *testing.T, local, address string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
	c, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Skipf("this machine cannot connect from %s: %v", local, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// cutOff tells whether a connection is closed at once.
func cutOff(t *testing.T, c net.Conn, within time.Duration) bool {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	_, err := c.Read(make([]byte, 1))
	return err != nil && !errors.Is(err, timeoutError(err))
}

func (s *secure) unauthenticated(n int) func() bool {
	return func() bool {
		return strings.Contains(s.metrics(), fmt.Sprintf("leveret_connections_unauthenticated %d\n", n))
	}
}

// TestWhoDoesNotLogInKeepsNobodyOut is row A22.
func TestWhoDoesNotLogInKeepsNobodyOut(t *testing.T) {
	t.Parallel()
	s := startSecure(t, func(c *config.Config) { c.AMQP.MaxUnauthenticatedPerAddress = 5 })
	idle := []net.Conn{from(t, "127.0.0.2", s.Addr()), from(t, "127.0.0.2", s.Addr()), from(t, "127.0.0.2", s.Addr()),
		from(t, "127.0.0.2", s.TLSAddr()), from(t, "127.0.0.2", s.TLSAddr())} // a handshake that stalls counts
	waitFor(t, s.unauthenticated(5))
	for range 3 {
		if !cutOff(t, from(t, "127.0.0.2", s.Addr()), patience) || !cutOff(t, from(t, "127.0.0.2", s.TLSAddr()), patience) {
			t.Error("got one more than five from an address")
		}
	}
	if want := `leveret_connections_refused_total{reason="unauthenticated_of_address"} 6`; !strings.Contains(s.metrics(), want+"\n") {
		t.Errorf("got no %s among the metrics", want)
	}
	if found := s.log.with("too many connections from one address"); len(found) != 1 || !strings.Contains(found[0], "127.0.0.2") {
		t.Errorf("got %q, want one line for all", found)
	}
	for range 10 { // those that have logged in do not count
		conn, err := amqp.Dial(s.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	for _, c := range idle {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	waitFor(t, s.unauthenticated(0))
	again := from(t, "127.0.0.2", s.Addr())
	if _, err := io.WriteString(again, wire.ProtocolHeader); err != nil {
		t.Fatal(err)
	}
	if cutOff(t, again, patience) {
		t.Error("got nobody in after there was room again")
	}
}

// TestFewMayNotHaveLoggedIn is row A22: a quarter of the connections there may be.
func TestFewMayNotHaveLoggedIn(t *testing.T) {
	t.Parallel()
	s := logged(t, func(c *config.Config) { c.AMQP.MaxConnections = 8 })
	in, err := amqp.Dial(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	idle := from(t, "127.0.0.2", s.Addr())
	from(t, "127.0.0.3", s.Addr())
	waitFor(t, s.unauthenticated(2))
	newest := from(t, "127.0.0.4", s.Addr())
	if !cutOff(t, idle, patience) {
		t.Error("got three of eight connections that have not logged in")
	}
	if _, err := io.WriteString(newest, wire.ProtocolHeader); err != nil {
		t.Fatal(err)
	}
	if cutOff(t, newest, patience) {
		t.Error("got the newest closed, want the oldest to give way")
	}
	if want := `leveret_connections_refused_total{reason="unauthenticated"} 1`; !strings.Contains(s.metrics(), want+"\n") {
		t.Errorf("got no %s among the metrics", want)
	}
	if found := s.log.with("connection closed\""); len(found) != 0 {
		t.Errorf("got %q of one that gave way, want one line for all", found)
	}
	waitFor(t, s.unauthenticated(2))
	for range 7 { // who logs in is let in
		conn, err := amqp.Dial(s.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	var no *amqp.Error
	if _, err := amqp.Dial(s.URL()); !errors.As(err, &no) || no.Code != 530 { // C-16
		t.Errorf("got %v for a ninth connection", err)
	}
}

// TestManyWrongLoginsAreNotLookedAt is row A16, over AMQP and HTTP.
func TestManyWrongLoginsAreNotLookedAt(t *testing.T) {
	t.Parallel()
	s := logged(t, func(c *config.Config) { c.AMQP.MaxWrongLogins = 4 })
	var unheard atomic.Int64
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := amqp.Dial("amqp://guest:wrong@" + s.Addr() + "/"); !errors.Is(err, amqp.ErrCredentials) {
				t.Errorf("got %v", err)
			}
		})
		all.Go(func() {
			if s.status("wrong") == 429 {
				unheard.Add(1)
			}
		})
	}
	all.Wait()
	if unheard.Load() == 0 {
		t.Error("got every wrong password looked at")
	}
	metrics := s.metrics()
	if strings.Contains(metrics, "leveret_logins_unheard_total 0\n") || !strings.Contains(metrics, "leveret_logins_unheard_total ") {
		t.Errorf("got none counted among the metrics")
	}
	if told, wrong := len(s.log.with("too many wrong logins")), len(s.log.with("wrong password")); told == 0 || told+wrong >= 40 {
		t.Errorf("got %d lines about wrong passwords and %d about too many of them", wrong, told)
	}
	// That second is over: each of those who were refused has waited for three.
	conn, err := amqp.Dial(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// TestConnectionsThatAreResetLeaveNothing is row A23.
func TestConnectionsThatAreResetLeaveNothing(t *testing.T) {
	s := startSecure(t, nil)
	settled := func() int {
		waitFor(t, s.unauthenticated(0))
		return runtime.NumGoroutine()
	}
	before := settled()
	for i := range 1000 {
		address, first := s.Addr(), wire.ProtocolHeader
		if i%2 == 1 {
			address, first = s.TLSAddr(), "\x16\x03\x01\x02\x00"
		}
		nc, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(nc, first); err != nil {
			t.Fatal(err)
		}
		if c, ok := nc.(*net.TCPConn); ok && c.SetLinger(0) != nil { // Close resets it
			t.Fatal("cannot have it reset")
		}
		if err := nc.Close(); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, func() bool { return settled() <= before+5 })
}

// status is what the management API answers to guest with a password.
func (s *secure) status(password string) int {
	a, err := s.ask("/api/whoami", password)
	if err != nil {
		s.t.Error(err)
		return 0
	}
	if err := a.Body.Close(); err != nil {
		s.t.Error(err)
	}
	return a.StatusCode
}
