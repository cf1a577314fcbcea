package server

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/broker"
)

// helloOf is hello of a client that wants to hear of alarms, and publishes on channel 1.
func helloOf(heartbeat uint16) []byte {
	b := []byte(amqp.ProtocolHeader)
	b = amqp.AppendMethod(b, 0, &amqp.ConnectionStartOk{
		ClientProperties: amqp.Table{{Name: "capabilities", Value: amqp.Table{{Name: "connection.blocked", Value: true}}}},
		Mechanism:        "PLAIN", Response: "\x00guest\x00guest", Locale: "en_US",
	})
	b = amqp.AppendMethod(b, 0, &amqp.ConnectionTuneOk{ChannelMax: 10, FrameMax: 131072, Heartbeat: heartbeat})
	b = amqp.AppendMethod(b, 0, &amqp.ConnectionOpen{VirtualHost: "/"})
	b = amqp.AppendMethod(b, 1, &amqp.ChannelOpen{})
	b = amqp.AppendMethod(b, 1, &amqp.BasicPublish{RoutingKey: "nowhere"})
	return amqp.AppendHeader(b, 1, 0, []byte{0, 0})
}

// heard is what a client reads, with the time.
type heard struct {
	what []string
	when []time.Duration
}

func (h *heard) frame(frame string, after time.Duration) {
	h.what, h.when = append(h.what, frame), append(h.when, after)
}

// at is when the nth frame with text came, or -1.
func (h *heard) at(text string) time.Duration {
	if i := slices.IndexFunc(h.what, func(s string) bool { return strings.Contains(s, text) }); i >= 0 {
		return h.when[i]
	}
	return -1
}

// TestBlockedPublisherStaysAlive: it gets its heartbeats, and its own are not missed (W-63, RES-4).
func TestBlockedPublisherStaysAlive(t *testing.T) {
	withServer(t, func(s *Server, connect func() net.Conn, log *lockedBuffer) {
		s.b.SetAlarm(broker.DiskAlarm, true)
		c := connect()
		go say(c, helloOf(2))
		var h heard
		go func() {
			time.Sleep(time.Minute)
			s.b.SetAlarm(broker.DiskAlarm, false)
		}()
		ended := readFrames(c, h.frame)
		if got := h.at("connection.blocked{"); got != 0 {
			t.Errorf("connection.blocked came at %v, want 0 s", got)
		}
		if got := h.at("connection.unblocked"); got != time.Minute {
			t.Errorf("connection.unblocked came at %v, want after the minute", got)
		}
		beats := 0
		for i, w := range h.what {
			if strings.Contains(w, "HEARTBEAT") && h.when[i] <= time.Minute {
				beats++
			}
		}
		if beats < 59 {
			t.Errorf("got %d heartbeats in the minute, want one each second", beats)
		}
		// From then on it is held against the client that it says nothing.
		if ended < time.Minute+4*time.Second || ended > time.Minute+6*time.Second {
			t.Errorf("the silent client was given up after %v", ended)
		}
	})
}

func TestShutdownDoesNotWaitForAnAlarm(t *testing.T) {
	withServer(t, func(s *Server, connect func() net.Conn, log *lockedBuffer) {
		s.b.SetAlarm(broker.MemoryAlarm, true)
		// One client answers, one has said much more that nobody reads, and one goes.
		octets := helloOf(0)
		for range 100 {
			octets = amqp.AppendMethod(octets, 1, &amqp.QueueDeclare{Queue: strings.Repeat("q", 200)})
		}
		var hs [3]heard
		var ends [3]time.Duration
		done := make(chan int)
		clients := []net.Conn{connect(), connect(), connect()}
		for i, c := range clients {
			go func() {
				switch i {
				case 0:
					say(c, helloOf(0))
				default:
					say(c, octets)
				}
			}()
			go func() {
				ends[i] = readFrames(c, func(frame string, after time.Duration) {
					hs[i].frame(frame, after)
					if i == 0 && strings.Contains(frame, "connection.close{") {
						go say(c, amqp.AppendMethod(nil, 0, &amqp.ConnectionCloseOk{}))
					}
				})
				done <- i
			}()
		}
		synctest.Wait()
		check(t, clients[2].Close())
		<-done
		start := time.Now()
		s.Shutdown(context.Background())
		<-done
		<-done
		if took := time.Since(start); took > 11*time.Second {
			t.Errorf("shutdown took %v", took)
		}
		for i := range 2 {
			if hs[i].at("connection.blocked{") != 0 || hs[i].at("connection.close{reply_code=320") < 0 || hs[i].at("connection.unblocked") >= 0 {
				t.Errorf("client %d heard %q", i, hs[i].what)
			}
		}
		if ends[0] > 2*time.Second {
			t.Errorf("the client that answered was let go after %v", ends[0])
		}
		if queues := s.b.VHost("/").Queues(); len(queues) != 0 {
			t.Errorf("got %d queues of what came after the message, want none", len(queues))
		}
	})
}

// TestBlockedConnectionCanBeEnded by the broker, at once.
func TestBlockedConnectionCanBeEnded(t *testing.T) {
	withServer(t, func(s *Server, connect func() net.Conn, log *lockedBuffer) {
		s.b.SetAlarm(broker.MemoryAlarm, true)
		c := connect()
		go say(c, helloOf(0))
		var h heard
		go func() {
			synctest.Wait()
			for _, session := range s.b.Sessions() {
				session.Close(amqp.ConnectionForced("closed by an operator"))
			}
		}()
		readFrames(c, func(frame string, after time.Duration) {
			h.frame(frame, after)
			if strings.Contains(frame, "connection.close{") {
				go say(c, amqp.AppendMethod(nil, 0, &amqp.ConnectionCloseOk{}))
			}
		})
		if h.at("closed by an operator") != 0 {
			t.Errorf("got %q", h.what)
		}
	})
}

// TestClientThatLeavesWhileBlocked is let go when it says so, and missed when it does not.
func TestClientThatLeavesWhileBlocked(t *testing.T) {
	withServer(t, func(s *Server, connect func() net.Conn, log *lockedBuffer) {
		s.b.SetAlarm(broker.DiskAlarm, true)
		polite, rude := connect(), connect()
		go say(polite, helloOf(0))
		go say(rude, helloOf(0))
		var h heard
		blocked := make(chan struct{})
		go readFrames(rude, func(string, time.Duration) {})
		go func() {
			<-blocked
			say(polite, amqp.AppendMethod(nil, 0, &amqp.ConnectionClose{ReplyCode: 200}))
		}()
		readFrames(polite, func(frame string, after time.Duration) {
			h.frame(frame, after)
			switch {
			case strings.Contains(frame, "connection.blocked{"):
				close(blocked)
			case strings.Contains(frame, "connection.close-ok"):
				check(t, polite.Close())
			}
		})
		if h.at("connection.close-ok") != 0 {
			t.Errorf("got %q, want close-ok at once", h.what)
		}
		synctest.Wait() // so that nothing is being written to it
		check(t, rude.Close())
		synctest.Wait()
		if !strings.Contains(log.String(), "client closed the socket") || len(s.b.Sessions()) != 0 {
			t.Errorf("got %d connections left, and in the log\n%s", len(s.b.Sessions()), log)
		}
	})
}

// TestBlockedPublisherIsReadNoFurtherThanItsBuffer however much it has to say.
func TestBlockedPublisherIsReadNoFurtherThanItsBuffer(t *testing.T) {
	withServer(t, func(s *Server, connect func() net.Conn, log *lockedBuffer) {
		s.b.SetAlarm(broker.DiskAlarm, true)
		c := connect()
		go readFrames(c, func(string, time.Duration) {})
		check(t, c.SetWriteDeadline(time.Now().Add(time.Hour)))
		octets := helloOf(0)
		hello := len(octets)
		for range 10_000 {
			octets = amqp.AppendMethod(octets, 1, &amqp.BasicAck{DeliveryTag: 1})
		}
		n, err := c.Write(octets) // a pipe holds nothing
		if err == nil || n > hello+2*smallRead {
			t.Errorf("got %d bytes taken and %v, want no more than fit into the buffer", n-hello, err)
		}
		check(t, c.Close())
	})
}

// slowDisk lets nobody pass for as long as it takes.
type slowDisk struct{ takes time.Duration }

func (d slowDisk) WaitRoom(ctx context.Context) error {
	select {
	case <-time.After(d.takes):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// RES-5: without an alarm, a publisher that is too fast for the disk is not read for a while,
// and told nothing: there is no channel.flow and no connection.blocked. Who does not publish
// is read as ever, and heartbeats go on.
func TestFastPublisherIsNotReadForAWhile(t *testing.T) {
	withServer(t, func(s *Server, connect func() net.Conn, log *lockedBuffer) {
		s.opts.Gate = slowDisk{10 * time.Second}
		publisher, other := connect(), connect()
		var h heard
		done := make(chan struct{})
		go func() {
			readFrames(publisher, h.frame)
			close(done)
		}()
		check(t, publisher.SetWriteDeadline(time.Now().Add(time.Hour)))
		octets := helloOf(2)
		octets = amqp.AppendMethod(octets, 1, &amqp.QueueDeclare{Queue: "kept", Durable: true})
		octets = amqp.AppendMethod(octets, 1, &amqp.BasicPublish{RoutingKey: "kept"})
		octets = amqp.AppendHeader(octets, 1, 0, (&amqp.Properties{Flags: amqp.FlagDeliveryMode, DeliveryMode: 2}).Append(nil))
		say(publisher, octets)
		synctest.Wait()
		wrote := make(chan time.Duration)
		go func() {
			start := time.Now()
			say(publisher, amqp.AppendMethod(nil, 1, &amqp.QueueDeclare{Queue: "late"}))
			wrote <- time.Since(start)
		}()
		go say(other, append(hello(0), amqp.AppendMethod(amqp.AppendMethod(nil, 1, &amqp.ChannelOpen{}), 1, &amqp.QueueDeclare{Queue: "q"})...))
		var others heard
		go readFrames(other, others.frame)
		time.Sleep(time.Second)
		synctest.Wait()
		if at := others.at("queue.declare-ok"); at != 0 {
			t.Errorf("the other client's declare was answered after %v, want at once", at)
		}
		<-wrote
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if at := h.at(`queue.declare-ok{queue="late"`); at < 10*time.Second || at > 11*time.Second {
			t.Errorf("the publisher was answered after %v, want once the disk had room", at)
		}
		beats := 0
		for i, w := range h.what {
			if strings.Contains(w, "channel.flow") || strings.Contains(w, "connection.blocked{") {
				t.Errorf("the publisher was told %s", w)
			}
			if strings.Contains(w, "HEARTBEAT") && h.when[i] <= 10*time.Second {
				beats++
			}
		}
		if beats < 9 {
			t.Errorf("got %d heartbeats while the publisher was held back, want one each second", beats)
		}
		check(t, other.Close())
		check(t, publisher.Close())
		<-done
	})
}
