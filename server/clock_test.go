package server

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/connection"
	"github.com/leveretmq/leveret/topology"
)

// inBubble runs f with a server without listeners, under a clock that goes on when everyone
// waits. connect gives the client's end of a connection.
func inBubble(t *testing.T, f func(connect func() net.Conn, log *lockedBuffer)) {
	t.Helper()
	withServer(t, func(_ *Server, connect func() net.Conn, log *lockedBuffer) { f(connect, log) })
}

func withServer(t *testing.T, f func(s *Server, connect func() net.Conn, log *lockedBuffer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store, log := newMemory(), new(lockedBuffer)
		b := broker.New(broker.DefaultOptions(), store, store, rand.Reader)
		check(t, b.Restore(time.Now(), topology.Catalog{}, nil))
		s, err := Start(b, Options{Listen: []string{Off}, Connection: connection.Options{Heartbeat: 60}, Log: zerolog.New(log)})
		check(t, err)
		f(s, func() net.Conn {
			ours, theirs := net.Pipe()
			s.take(loopback{ours}, false)
			return theirs
		}, log)
		s.Shutdown(context.Background())
		store.close()
	})
}

// loopback makes a pipe look like a connection from this machine.
type loopback struct{ net.Conn }

func (loopback) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// hello is the handshake of a client that wants heartbeats every so many seconds.
func hello(heartbeat uint16) []byte {
	b := []byte(amqp.ProtocolHeader)
	b = amqp.AppendMethod(b, 0, &amqp.ConnectionStartOk{Mechanism: "PLAIN", Response: "\x00guest\x00guest", Locale: "en_US"})
	b = amqp.AppendMethod(b, 0, &amqp.ConnectionTuneOk{ChannelMax: 10, FrameMax: 131072, Heartbeat: heartbeat})
	return amqp.AppendMethod(b, 0, &amqp.ConnectionOpen{VirtualHost: "/"})
}

// say writes to a pipe, which takes as long as the other end does. That it is closed
// meanwhile is what most tests here are about.
func say(c net.Conn, octets []byte) { _, _ = c.Write(octets) }

// readFrames calls f with each frame and when it came, until the connection is closed.
func readFrames(c net.Conn, f func(frame string, after time.Duration)) (ended time.Duration) {
	start := time.Now()
	in := bufio.NewReader(c)
	for {
		head, err := in.Peek(7)
		if err != nil {
			return time.Since(start)
		}
		octets := make([]byte, 8+int(head[3])<<24+int(head[4])<<16+int(head[5])<<8+int(head[6]))
		if _, err := io.ReadFull(in, octets); err != nil {
			return time.Since(start)
		}
		frame, _, err := amqp.ParseFrame(octets, 0)
		if err != nil {
			panic(err)
		}
		f(frame.String(), time.Since(start))
	}
}

// TestHeartbeatsGoOutEveryHalfInterval, and the client that sends none itself is given up
// after two to three intervals without a word (W-61, W-62).
func TestHeartbeatsGoOutEveryHalfInterval(t *testing.T) {
	inBubble(t, func(connect func() net.Conn, log *lockedBuffer) {
		c := connect()
		go say(c, hello(2))
		var beats []time.Duration
		ended := readFrames(c, func(frame string, after time.Duration) {
			if strings.Contains(frame, "HEARTBEAT") {
				beats = append(beats, after)
			}
		})
		if len(beats) < 5 || beats[0] != time.Second || beats[1] != 2*time.Second {
			t.Errorf("heartbeats came at %v, want every second", beats)
		}
		if ended < 4*time.Second || ended > 6*time.Second {
			t.Errorf("the silent client was given up after %v", ended)
		}
		synctest.Wait()
		if !strings.Contains(log.String(), "missed heartbeats") {
			t.Errorf("the log does not say why:\n%s", log)
		}
	})
}

func TestClientThatSaysNothingIsLeftAfterTenSeconds(t *testing.T) {
	inBubble(t, func(connect func() net.Conn, log *lockedBuffer) {
		for _, words := range []string{"", "AMQP", amqp.ProtocolHeader} {
			c := connect()
			go say(c, []byte(words))
			if ended := readFrames(c, func(string, time.Duration) {}); ended != 10*time.Second {
				t.Errorf("after %q it was left after %v, want 10 s", words, ended)
			}
		}
	})
}

// TestClientThatDoesNotReadIsGivenUp: its socket takes nothing for half a minute (D1).
func TestClientThatDoesNotReadIsGivenUp(t *testing.T) {
	inBubble(t, func(connect func() net.Conn, log *lockedBuffer) {
		c := connect()
		go say(c, hello(0))
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if strings.Contains(log.String(), "connection closed") {
			t.Error("it was given up too early")
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if !strings.Contains(log.String(), "connection closed") {
			t.Errorf("it was not given up:\n%s", log)
		}
	})
}

// exhausted is a listener that has no descriptors left.
type exhausted struct {
	net.Listener
	tries []time.Time
}

func (l *exhausted) Accept() (net.Conn, error) {
	l.tries = append(l.tries, time.Now())
	if len(l.tries) > 12 {
		return nil, net.ErrClosed
	}
	return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
}

func TestAcceptingPausesWhileThereAreNoDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var alarms []bool
		s := &Server{stop: make(chan struct{}), log: zerolog.Nop(), seats: seats{alarm: func(on bool) { alarms = append(alarms, on) }}}
		l := new(exhausted)
		s.accept(listener{Listener: l})
		last := time.Duration(0)
		for i := 1; i < len(l.tries); i++ {
			pause := l.tries[i].Sub(l.tries[i-1])
			if pause < last || pause > mostAcceptPause || i == 1 && pause != leastAcceptPause {
				t.Errorf("pause %d is %v after %v", i, pause, last)
			}
			last = pause
		}
		if last != mostAcceptPause {
			t.Errorf("the pauses end at %v, want %v", last, mostAcceptPause)
		}
		if !slices.Equal(alarms, []bool{true}) {
			t.Errorf("got alarms %v, want one that stays", alarms)
		}
	})
}

func TestAddressThatIsTakenIsAnError(t *testing.T) {
	r := start(t)
	_, err := Start(r.b, Options{Listen: []string{"127.0.0.1:0", r.address()}})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), r.address()) {
		t.Errorf("got %v", err)
	}
}

// TestReadBufferIsGivenBackWhenNothingComes, heartbeats or not.
func TestReadBufferIsGivenBackWhenNothingComes(t *testing.T) {
	withServer(t, func(s *Server, connect func() net.Conn, _ *lockedBuffer) {
		c := connect()
		// Everyone in the bubble waits when this is asked, the reader too.
		buffer := func() int {
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			for c := range s.conns {
				return len(c.buf)
			}
			return 0
		}
		octets := amqp.AppendMethod(hello(0), 1, &amqp.ChannelOpen{})
		for range 4 {
			octets = amqp.AppendMethod(octets, 1, &amqp.BasicPublish{RoutingKey: "nowhere"})
			octets = amqp.AppendHeader(octets, 1, 100_000, []byte{0, 0})
			octets = amqp.AppendBody(octets, 1, make([]byte, 100_000), 131072)
		}
		go say(c, octets)
		go readFrames(c, func(string, time.Duration) {})
		grown := buffer()
		say(c, amqp.AppendHeartbeat(nil)) // the reader goes on after the look at its buffer
		time.Sleep(3 * idleTime)
		if left := buffer(); grown < 100_000 || left != smallRead {
			t.Errorf("the buffer had %d bytes and has %d, want %d", grown, left, smallRead)
		}
		check(t, c.Close())
	})
}

// CTO-1, CTO-2: a client that cannot be told of the end of a consumer has its channel closed,
// although nothing comes from it and no heartbeat is due.
func TestSilentClientIsToldThatItsDeliveryTimedOut(t *testing.T) {
	inBubble(t, func(connect func() net.Conn, _ *lockedBuffer) {
		c := connect()
		b := amqp.AppendMethod(hello(0), 1, &amqp.ChannelOpen{})
		b = amqp.AppendMethod(b, 1, &amqp.QueueDeclare{Queue: "q"})
		b = amqp.AppendMethod(b, 1, &amqp.BasicPublish{RoutingKey: "q"})
		b = amqp.AppendHeader(b, 1, 0, []byte{0, 0})
		b = amqp.AppendMethod(b, 1, &amqp.BasicConsume{Queue: "q", ConsumerTag: "c",
			Arguments: amqp.Table{{Name: "x-consumer-timeout", Value: int64(90_000)}}})
		go say(c, b)
		var delivered, closed time.Duration
		readFrames(c, func(frame string, after time.Duration) {
			switch {
			case strings.Contains(frame, "basic.deliver"):
				delivered = after
			case strings.Contains(frame, "channel.close"):
				closed = after
				if !strings.Contains(frame, "channel 1 timed out. Timeout value used: 90000 ms") {
					t.Errorf("got %s", frame)
				}
				c.Close()
			}
		})
		if took := closed - delivered; took < 90*time.Second || took > 90*time.Second+20*time.Millisecond {
			t.Errorf("closed after %v, want 90 s", took)
		}
	})
}
