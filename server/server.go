package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/connection"
)

// Off is the listen address that stands for no listener.
const Off = "off"

// Gate holds publishers back while the disk is behind (S-25).
type Gate interface {
	// WaitRoom returns nil when there is room for more. Its error, the context's or the
	// disk's, ends the connection.
	WaitRoom(ctx context.Context) error
}

// Options are the settings of a Server.
type Options struct {
	// Listen are TCP addresses; Off among them is passed over.
	Listen []string
	// TLSListen are those where TLS is spoken, as TLS says, which is not nil then.
	TLSListen []string
	TLS       *tls.Config
	// TLSHandshakeTimeout is how long a client may take to agree on TLS (B1); 5 s when 0. It
	// is part of the time it has to open its connection.
	TLSHandshakeTimeout time.Duration
	// MaxNewcomers is how many connections may not have logged in, and MaxNewcomersPerAddress
	// how many of one address. Whoever is one too many of its address is closed at once, and
	// the oldest of all gives way to one too many of all (A22). 0 is any number.
	MaxNewcomers, MaxNewcomersPerAddress int
	// Connection is what every connection is made with; its callbacks are the server's.
	Connection connection.Options
	// Clock is the time for everything that is decided; time.Now when nil. Its times have the
	// system's monotonic reading, because the deadlines of sockets are made of them.
	Clock func() time.Time
	// Gate may be nil.
	Gate Gate
	Log  zerolog.Logger
	// WriteTimeout is how long a client may take to read what is written to it at once
	// (D1); 30 s when 0.
	WriteTimeout time.Duration
	// HighWater is how many bytes may wait for a client to read them before its consumers are
	// given no more; connection.HighWater when 0.
	HighWater int
	// MaxSockets is how many sockets of clients there may be, because of the descriptors that
	// the rest of the process needs; no more are accepted then (D11). 0 is any number.
	MaxSockets int
	// MaxBuffered is how many bytes may be read, over all connections, of frames that are not
	// complete and larger than most; 0 is any number.
	MaxBuffered int64
	// CloseWait is how long Shutdown waits for clients to answer; 3 s when 0.
	CloseWait time.Duration
}

// Server accepts connections to a broker.
type Server struct {
	b    *broker.Broker
	opts Options
	log  zerolog.Logger

	listeners []listener
	newcomers newcomers
	shaking   context.Context // ends when nobody is to agree on TLS any more
	endShakes func()
	accepting sync.WaitGroup
	serving   sync.WaitGroup
	ticking   sync.WaitGroup
	earlier   chan struct{} // something is due earlier than the ticker knows
	stop      chan struct{} // closed to end the ticker

	buffered      atomic.Int64  // bytes of read buffers beyond what every connection has
	stopAccepting chan struct{} // closed first of all
	seats         seats

	mu       sync.Mutex // guards the fields below
	conns    map[*conn]struct{}
	stopping bool
	stopped  bool
}

// listener is where connections come from.
type listener struct {
	net.Listener
	secure bool // TLS is spoken there
}

// Start listens on every address and accepts from then on. When one address cannot be
// had, none is.
func Start(b *broker.Broker, o Options) (*Server, error) {
	if o.WriteTimeout == 0 {
		o.WriteTimeout = 30 * time.Second
	}
	if o.CloseWait == 0 {
		o.CloseWait = 3 * time.Second
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Connection.Replies == nil {
		o.Connection.Replies = new(connection.ReplyConsumers)
	}
	if o.TLSHandshakeTimeout == 0 {
		o.TLSHandshakeTimeout = 5 * time.Second
	}
	s := &Server{
		b:       b,
		opts:    o,
		log:     o.Log,
		earlier: make(chan struct{}, 1),
		stop:    make(chan struct{}),
		conns:   make(map[*conn]struct{}),

		stopAccepting: make(chan struct{}),
		seats:         seats{limit: o.MaxSockets, high: o.MaxSockets - o.MaxSockets/5},
	}
	s.seats.alarm = s.descriptorAlarm
	s.shaking, s.endShakes = context.WithCancel(context.Background())
	if err := s.listen(o.Listen, false); err != nil {
		return nil, err
	}
	if err := s.listen(o.TLSListen, true); err != nil {
		return nil, err
	}
	b.OnEarlierTimer(func() { poke(s.earlier) })
	s.ticking.Go(s.tick)
	for _, l := range s.listeners {
		s.accepting.Go(func() { s.accept(l) })
	}
	return s, nil
}

// listen adds listeners. When it cannot, it takes all there are away.
func (s *Server) listen(addresses []string, secure bool) error {
	what := "listening for AMQP"
	if secure {
		what = "listening for AMQP with TLS"
	}
	for _, address := range addresses {
		if address == Off {
			continue
		}
		l, err := listen(address)
		if err != nil {
			s.closeListeners()
			s.endShakes()
			return fmt.Errorf("listen on %s: %w", address, err)
		}
		s.listeners = append(s.listeners, listener{l, secure})
		s.log.Info().Str("address", l.Addr().String()).Msg(what)
	}
	return nil
}

// listen has peers that vanish without a word found out within a minute (D5), for the
// sake of clients without heartbeats.
func listen(address string) (net.Listener, error) {
	c := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable:   true,
		Idle:     30 * time.Second,
		Interval: 10 * time.Second,
		Count:    3,
	}}
	return c.Listen(context.Background(), "tcp", address)
}

// Addresses are where the server listens without TLS.
func (s *Server) Addresses() []net.Addr { return s.addresses(false) }

// TLSAddresses are where it listens with TLS.
func (s *Server) TLSAddresses() []net.Addr { return s.addresses(true) }

func (s *Server) addresses(secure bool) []net.Addr {
	var all []net.Addr
	for _, l := range s.listeners {
		if l.secure == secure {
			all = append(all, l.Addr())
		}
	}
	return all
}

const (
	leastAcceptPause = 5 * time.Millisecond
	mostAcceptPause  = time.Second
)

// accept goes on until the listener is closed. When there are no descriptors left it
// pauses, longer each time, instead of turning in circles (D11).
func (s *Server) accept(l listener) {
	pause := time.Duration(0)
	for {
		s.seats.await(s.stopAccepting)
		nc, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			if outOfDescriptors(err) {
				s.seats.starve(true)
			}
			pause = min(max(2*pause, leastAcceptPause), mostAcceptPause)
			s.log.Error().Err(err).Dur("pause", pause).Msg("cannot accept a connection")
			select {
			case <-time.After(pause):
			case <-s.stopAccepting:
			}
			continue
		}
		if pause > 0 {
			s.seats.starve(false)
		}
		pause = 0
		s.take(nc, l.secure)
	}
}

// take has a connection served that was just accepted, unless there are too many already.
func (s *Server) take(nc net.Conn, secure bool) {
	now := s.opts.Clock()
	s.seats.take()
	if s.spare(now, nc) && s.admit(now, nc) {
		// Shutdown waits for those who accept before it waits for those who serve.
		s.serving.Go(func() { s.serve(now, nc, secure) })
	} else {
		s.seats.giveBack()
	}
}

// serve serves a connection that was accepted at now, unless the server is on its way out.
func (s *Server) serve(now time.Time, nc net.Conn, secure bool) {
	c := &conn{s: s, socket: nc, nc: nc, newcomer: true}
	defer s.seats.giveBack()
	defer c.settle()
	if secure {
		t, err := s.shake(nc)
		if err != nil {
			s.unshaken(nc, err)
			return
		}
		c.nc, c.tls = t, describeTLS(t.ConnectionState())
	}
	c.init(now)
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		nc.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	c.run()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// tick has the broker do what is due by the clock.
func (s *Server) tick() {
	turn := connection.Ticker(s.b)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.earlier:
		case <-s.stop:
			return
		}
		now := s.opts.Clock()
		if next := turn(now); !next.IsZero() {
			timer.Reset(max(0, next.Sub(s.opts.Clock()))) // the turn has taken its time
		}
	}
}

// errShutdown is what clients are told (C-33).
var errShutdown = errors.New("broker forced connection closure with reason 'shutdown'")

// Shutdown ends everything in good order: nothing is accepted and nothing read any more;
// confirms of what was read go out; every client is told to go and has some time to
// answer; what it had not acknowledged goes back. Then nobody uses the broker any more and
// its store can be closed. It ends sooner, and less politely, when ctx does.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return
	}
	s.stopping, s.stopped = true, true
	close(s.stopAccepting)
	s.closeListeners()
	s.endShakes()
	for c := range s.conns {
		c.ask(errShutdown)
	}
	s.mu.Unlock()
	s.accepting.Wait()

	gone := make(chan struct{})
	go func() {
		s.serving.Wait()
		close(gone)
	}()
	wait := time.NewTimer(s.opts.CloseWait)
	defer wait.Stop()
	select {
	case <-gone:
	case <-wait.C:
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.cut()
	}
	s.mu.Unlock()
	<-gone
	close(s.stop)
	s.ticking.Wait()
}

func (s *Server) closeListeners() {
	for _, l := range s.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			s.log.Error().Err(err).Msg("cannot close a listener")
		}
	}
}

// poke leaves word for a goroutine that waits, or is about to.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
