package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/connection"
)

const (
	smallRead = 2 << 10  // a connection's buffer while little comes
	largeRead = 64 << 10 // and while much does
	// lingering is how long a client has to close its end after everything was said, so
	// that a reset does not overtake the last words.
	lingering = 2 * time.Second
)

// conn is one socket with its two goroutines.
type conn struct {
	s      *Server
	socket net.Conn
	nc     net.Conn        // what is read and written: the socket, or TLS over it
	tls    *broker.TLSInfo // nil without it
	core   *connection.Connection
	out    *connection.Outbound
	log    zerolog.Logger

	ready  chan struct{}   // the core may be fed again
	wake   chan struct{}   // the writer has something to look at
	quit   context.Context // ends when the socket is of no use any more
	end    func()
	finish atomic.Bool // what there is to write is the last; the writer was woken for it
	quick  quick       // nc, for the reader, and for whoever has the writer's turn
	writer writer
	crowd  crowd

	cutOnce   sync.Once
	asked     atomic.Pointer[error] // why the connection is to end, once somebody wants it to
	failure   atomic.Pointer[error] // why the socket was cut
	listening atomic.Bool           // the reader waits for the socket and for ready
	due       atomic.Bool           // the core is to look at the clock
	heartbeat atomic.Int64          // what the writer keeps to, in nanoseconds; 0 for none

	// Of the reader.
	buf      []byte
	have     int
	deadline time.Time // set on the socket
	idleAt   time.Time // when a large buffer is looked at next
	opened   bool      // the log knows who it is
	told     bool      // shutdown was passed on to the core
	newcomer bool      // it is counted among those who have not logged in
}

// init makes the conversation of a connection that was accepted at now.
func (c *conn) init(now time.Time) {
	s := c.s
	c.ready, c.wake = make(chan struct{}, 1), make(chan struct{}, 1)
	c.quit, c.end = context.WithCancel(context.Background())
	remote, local := c.socket.RemoteAddr(), c.socket.LocalAddr()
	name := nameOf(c.socket)
	c.log = s.log.With().Str("conn", name).Logger()
	c.out = connection.NewOutbound(s.opts.HighWater, func() { poke(c.wake) })
	c.quick.init(c.nc)
	c.writer.init(c)
	c.writeAtOnce()
	o := s.opts.Connection
	o.Ready = c.resume
	o.Stop = c.ask
	o.Attend = c.attend
	o.Fail = c.fail
	peer := connection.Peer{Name: name, Loopback: isLoopback(remote), Remote: addrPort(remote), Local: addrPort(local), TLS: c.tls}
	c.core = connection.New(now, s.b, c.out, peer, o)
}

// settle has the connection counted no longer as one that has not logged in.
func (c *conn) settle() {
	if c.newcomer {
		c.newcomer = false
		c.s.settle(c.socket)
	}
}

func isLoopback(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}

// addrPort is a as the address it is, not valid if it is none of TCP.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// run serves the connection until it is over.
func (c *conn) run() {
	var writer sync.WaitGroup
	writer.Go(c.write)
	err := c.read()
	if errors.Is(err, connection.ErrEnded) {
		// What was said last has to reach the client.
		c.finish.Store(true)
		poke(c.wake)
		writer.Wait()
		c.over(nil)
		linger(c.nc, c.socket)
		c.cut()
		return
	}
	c.cut()
	c.over(err)
	writer.Wait()
}

// over gives back what the client held, and says so.
func (c *conn) over(err error) {
	if f := c.failure.Load(); f != nil {
		err = *f
	}
	c.core.Close(c.s.opts.Clock(), err)
	reason := c.core.Reason()
	var unheard *broker.TooManyLogins
	switch {
	case errors.As(reason, &unheard) && !unheard.First:
		c.log.Debug().AnErr("reason", reason).Msg("connection closed")
	case c.newcomer && errors.Is(err, net.ErrClosed):
		// It had to give way, like many others, and the log was told of all together.
		c.log.Debug().Msg("connection closed before it had logged in")
	case !c.core.Spoke():
		c.log.Debug().Msg("connection closed before anything was said")
	case reason != nil:
		c.log.Warn().AnErr("reason", reason).Msg("connection closed")
	default:
		c.log.Info().Msg("connection closed")
	}
}

// ask wants the connection ended for reason. It may be called from any goroutine.
func (c *conn) ask(reason error) {
	c.asked.CompareAndSwap(nil, &reason)
	poke(c.ready)
	// The reader sets its deadline and then looks whether it was asked, so one of the two
	// is seen.
	if err := c.nc.SetReadDeadline(passed); err != nil {
		c.cut()
	}
}

// attend has the core look at the clock soon. It may be called from any goroutine.
func (c *conn) attend() {
	c.due.Store(true)
	// The reader sets its deadline and then looks whether there is something due.
	if err := c.nc.SetReadDeadline(passed); err != nil {
		c.cut()
	}
}

// fail cuts the connection because the disk failed under it.
func (c *conn) fail(err error) {
	err = fmt.Errorf("the store failed: %w", err)
	c.failure.CompareAndSwap(nil, &err)
	c.cut()
}

// cut closes the socket. It may be called from any goroutine, more than once. TLS has a last
// word too, but that could wait for a client that does not read.
func (c *conn) cut() {
	c.cutOnce.Do(func() {
		c.end()
		poke(c.wake)
		c.socket.Close()
	})
}

// linger says that nothing more comes, over nc and its socket, and waits until the client has
// closed its end, or long enough.
func linger(nc, socket net.Conn) {
	until := time.Now().Add(lingering)
	if socket.SetDeadline(until) != nil {
		return
	}
	for _, c := range []net.Conn{nc, socket} {
		if t, ok := c.(interface{ CloseWrite() error }); ok && t.CloseWrite() != nil {
			return
		}
	}
	// The error is that it has closed, or has not in time: both are what is waited for. What
	// it sends is of no interest, so that it need not be made out.
	_, _ = io.Copy(io.Discard, socket)
}

// read is the reader's loop. It returns connection.ErrEnded when the conversation came to
// its end, and what is wrong with the socket otherwise.
func (c *conn) read() (err error) {
	defer func() {
		if p := recover(); p != nil {
			if !c.core.Decoding() {
				panic(p) // the broker is unsure of its own state
			}
			c.log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("cannot read what a client sent")
			err = fmt.Errorf("panic while reading what the client sent: %v", p)
		}
	}()
	c.buf = make([]byte, smallRead)
	defer func() { c.s.buffered.Add(int64(smallRead - len(c.buf))) }()
	quiet := false
	for {
		now := c.s.opts.Clock()
		if err := c.tick(now); err != nil {
			return err
		}
		if c.due.Swap(false) {
			c.deadline = passed // to be set anew
			continue
		}
		if reason := c.asked.Load(); reason != nil && !c.told {
			if err := c.shutdown(*reason); err != nil {
				return err
			}
			// A connection that was blocked has its close-ok among what was read already.
			if err := c.feed(); err != nil {
				return err
			}
			continue
		}
		n, err := c.quick.read(c.buf[c.have:])
		if n > 0 {
			quiet = false
			c.have += n
			filled := c.have == len(c.buf)
			if err := c.feed(); err != nil {
				return err
			}
			if err := c.size(filled); err != nil {
				return err
			}
		}
		var timeout net.Error
		switch {
		case err == nil:
		case errors.As(err, &timeout) && timeout.Timeout():
			if quiet && c.have == 0 && len(c.buf) > smallRead {
				c.resize(smallRead)
			}
			quiet = true
			c.deadline = passed // to be set anew
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // the latter without TLS's goodbye
			return errGone
		default:
			return err
		}
	}
}

// tick has the core look at the clock and sets the socket's deadline to what it says.
func (c *conn) tick(now time.Time) error {
	next, err := c.core.Tick(now)
	if err != nil {
		return errTimeUp
	}
	if len(c.buf) > smallRead {
		next = c.untilIdle(now, next)
	}
	if next.Equal(c.deadline) {
		return nil
	}
	c.deadline = next
	return c.nc.SetReadDeadline(next)
}

// untilIdle is next, or the sooner moment at which to see whether a large buffer is still
// needed.
func (c *conn) untilIdle(now, next time.Time) time.Time {
	if !c.idleAt.After(now) {
		c.idleAt = now.Add(idleTime)
	}
	if next.IsZero() || c.idleAt.Before(next) {
		return c.idleAt
	}
	return next
}

// errTimeUp stands for what the core has to say about it.
var errTimeUp = errors.New("time is up")

// errGone is what is wrong when a client ends without goodbye.
var errGone = errors.New("client closed the socket")

// passed is a deadline that makes a read return at once.
var passed = time.Unix(1, 0)

// feed has the core take what was read, and waits where it has to be waited.
func (c *conn) feed() error {
	published := false
	for {
		now := c.s.opts.Clock()
		n, err := c.core.Feed(now, c.buf[:c.have])
		published = c.core.Flush(now) || published
		c.have = copy(c.buf, c.buf[n:c.have])
		c.introduce()
		switch {
		case errors.Is(err, connection.ErrSuspended):
			if c.core.Blocked() {
				if c.asked.Load() != nil {
					return nil // to be shut down; an alarm may last
				}
				if err := c.waitBlocked(); err != nil {
					return err
				}
				c.core.Waited()
				continue
			}
			select {
			case <-c.ready:
			case <-c.quit.Done():
				return net.ErrClosed
			}
			c.core.Waited()
			continue
		case err != nil:
			return err
		}
		break
	}
	if published && c.s.opts.Gate != nil {
		if err := c.s.opts.Gate.WaitRoom(c.quit); err != nil {
			return err
		}
		c.core.Waited()
	}
	return nil
}

// waitBlocked waits until the core may go on, or has more to look at. As long as there is
// room in the buffer what the client says is read, though not done, because it may be
// goodbye; and a client that goes without a word is noticed.
func (c *conn) waitBlocked() error {
	if c.have == len(c.buf) {
		return c.waitFull()
	}
	c.listening.Store(true)
	defer c.listening.Store(false)
	c.deadline = passed // to be set anew
	if err := c.nc.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	// Whoever pokes from here on makes the deadline pass.
	select {
	case <-c.ready:
		return nil
	default:
	}
	n, err := c.nc.Read(c.buf[c.have:])
	c.have += n
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errGone
	}
	return err
}

// waitFull is waitBlocked when there is no room to read. A client that goes has to be noticed
// all the same: what it holds may be what the alarm is about.
func (c *conn) waitFull() error {
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	for {
		select {
		case <-c.ready:
			return nil
		case <-c.quit.Done():
			return net.ErrClosed
		case <-look.C:
			if gone(c.socket) {
				return errGone
			}
		}
	}
}

// lookAgain is how often a client that is not read is looked at.
const lookAgain = time.Second

// resume lets a core that is suspended be fed again. It may be called from any goroutine.
func (c *conn) resume() {
	poke(c.ready)
	if c.listening.Load() && c.nc.SetReadDeadline(passed) != nil {
		c.cut()
	}
}

// size makes the buffer larger: when a frame does not fit, whose length was checked
// against the limit when its head was read, and up to a point when much comes at once. When
// all connections together have buffered too much of frames that are not complete, only
// frames of usual size are waited for.
func (c *conn) size(filled bool) error {
	full := c.have == len(c.buf)
	scarce := len(c.buf) > smallRead && c.s.short()
	if !full && (!filled || len(c.buf) >= largeRead) {
		if scarce && c.have == 0 {
			c.resize(smallRead)
		}
		return nil
	}
	if full && (scarce && len(c.buf) >= usualRead || c.s.b.Alarms().Refuse()) {
		c.s.b.Counters.RefusedForMemory.Add(1)
		return errNoRoom
	}
	if full || !scarce {
		c.resize(2 * len(c.buf))
	}
	return nil
}

// usualRead is how long a frame may always be.
const usualRead = 16 << 10

// errNoRoom is why a connection is cut that sends a large frame when there is no memory for it.
var errNoRoom = errors.New("no memory is left for a frame of this size")

// short tells whether too much is buffered of frames that are not complete.
func (s *Server) short() bool {
	return s.opts.MaxBuffered > 0 && s.buffered.Load() > s.opts.MaxBuffered
}

// resize makes the buffer n bytes long and keeps what is in it.
func (c *conn) resize(n int) {
	other := make([]byte, n)
	copy(other, c.buf[:c.have])
	c.s.buffered.Add(int64(n - len(c.buf)))
	c.buf = other
}

// introduce logs who the client is, once it is known, and tells the writer how often it
// wants a sign of life.
func (c *conn) introduce() {
	if c.opened {
		return
	}
	if c.core.LoggedIn() {
		c.settle()
	}
	user, vhost, open := c.core.Identity()
	if !open {
		return
	}
	c.opened = true
	c.log = c.log.With().Str("user", user).Str("vhost", vhost).Logger()
	c.log.Info().Msg("connection opened")
	if h := c.core.Heartbeat(); h > 0 {
		c.heartbeat.Store(int64(h))
		poke(c.wake)
	}
}

// shutdown passes on that the connection is to end. When it is the server that ends,
// what was read before is confirmed first.
func (c *conn) shutdown(reason error) error {
	c.told = true
	if errors.Is(reason, errShutdown) {
		limit := time.NewTimer(c.s.opts.CloseWait / 2)
		defer limit.Stop()
		for waited := false; !waited && !c.core.Settled(); {
			select {
			case <-c.ready:
			case <-limit.C:
				waited = true
			case <-c.quit.Done():
				return net.ErrClosed
			}
		}
	}
	now := c.s.opts.Clock()
	c.core.Shutdown(now, reason)
	c.core.Flush(now)
	return nil
}
