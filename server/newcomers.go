package server

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/leveretmq/leveret/broker"
)

// newcomers are the connections that have not logged in. They are few, and few from any
// address, so that nobody who cannot log in keeps out those who can (A22).
type newcomers struct {
	mu      sync.Mutex // guards the fields below
	all     int
	of      map[netip.Addr]int // by broker.Neighbourhood; nobody is in it with none
	refused int                // since the log was told
	told    time.Time
}

// refusal is why a newcomer is refused.
type refusal uint8

const (
	welcome refusal = iota
	tooMany
	tooManyNeighbours
)

// enter lets one in, or says why not.
func (n *newcomers) enter(from netip.Addr, most, mostOf int) refusal {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := broker.Neighbourhood(from)
	switch {
	case most > 0 && n.all >= most:
		return tooMany
	case mostOf > 0 && n.of[at] >= mostOf:
		return tooManyNeighbours
	}
	if n.of == nil {
		n.of = make(map[netip.Addr]int)
	}
	n.all++
	n.of[at]++
	return welcome
}

// leave is for one that has logged in, or is gone.
func (n *newcomers) leave(from netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := broker.Neighbourhood(from)
	n.all--
	if n.of[at]--; n.of[at] <= 0 {
		delete(n.of, at)
	}
}

// tell counts one that was refused, and returns how many were when the log has not heard of
// any for a second; 0 otherwise. Whoever floods the listener is not to flood the log as well.
func (n *newcomers) tell(now time.Time) (refused int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refused++
	if d := now.Sub(n.told); d >= 0 && d < time.Second {
		return 0
	}
	refused, n.refused, n.told = n.refused, 0, now
	return refused
}

// admit lets a connection in that was accepted, or closes it.
func (s *Server) admit(now time.Time, nc net.Conn) bool {
	from := addrPort(nc.RemoteAddr()).Addr()
	why := s.newcomers.enter(from, s.opts.MaxNewcomers, s.opts.MaxNewcomersPerAddress)
	text := "too many connections have not logged in, more are refused"
	switch why {
	case welcome:
		s.b.Counters.Newcomers.Add(1)
		return true
	case tooMany:
		s.b.Counters.NewcomersRefused.Add(1)
	case tooManyNeighbours:
		s.b.Counters.NeighboursRefused.Add(1)
		text = "too many connections from one address have not logged in, more are refused"
	}
	nc.Close()
	if n := s.newcomers.tell(now); n > 0 {
		s.log.Warn().Stringer("peer", from).Int("refused", n).Msg(text)
	}
	return false
}

// settle is for a connection that admit has let in, and that is a newcomer no longer.
func (s *Server) settle(nc net.Conn) {
	s.b.Counters.Newcomers.Add(-1)
	s.newcomers.leave(addrPort(nc.RemoteAddr()).Addr())
}
