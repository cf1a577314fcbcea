package server

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/leveretmq/leveret/broker"
)

// newcomers are the connections that have not logged in. They are few, and few from any
// address, so that nobody who cannot log in keeps out those who can (A22). When there are as
// many as may be, the one that has had the most time gives way: whoever means to log in does so
// in a moment, and a crowd that does not, of whatever many addresses, would take all places for
// as long as the handshake may last.
type newcomers struct {
	mu      sync.Mutex         // guards the fields below
	of      map[netip.Addr]int // by broker.Neighbourhood; nobody is in it with none
	places  map[net.Conn]*list.Element
	oldest  list.List // of net.Conn, in the order they came
	refused int       // since the log was told
	told    time.Time
}

// refusal is why a newcomer is refused, or another in its favour.
type refusal uint8

const (
	welcome refusal = iota
	tooMany
	tooManyNeighbours
)

// enter lets one in, or says why not. The one that gives way to it, if one does, is to be
// closed; it has left already.
func (n *newcomers) enter(nc net.Conn, most, mostOf int) (why refusal, gone net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := neighbourhood(nc)
	if mostOf > 0 && n.of[at] >= mostOf {
		return tooManyNeighbours, nil
	}
	if most > 0 && len(n.places) >= most {
		gone, _ = n.oldest.Front().Value.(net.Conn)
		n.remove(gone)
		why = tooMany
	}
	if n.of == nil {
		n.of = make(map[netip.Addr]int)
		n.places = make(map[net.Conn]*list.Element)
	}
	n.places[nc] = n.oldest.PushBack(nc)
	n.of[at]++
	return why, gone
}

// leave is for one that has logged in, or is gone. It tells whether it had not left before.
func (n *newcomers) leave(nc net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.remove(nc)
}

// remove takes nc out. n.mu is held.
func (n *newcomers) remove(nc net.Conn) bool {
	place, there := n.places[nc]
	if !there {
		return false
	}
	delete(n.places, nc)
	n.oldest.Remove(place)
	at := neighbourhood(nc)
	if n.of[at]--; n.of[at] <= 0 {
		delete(n.of, at)
	}
	return true
}

// neighbourhood is where a connection comes from, as far as it counts.
func neighbourhood(nc net.Conn) netip.Addr {
	return broker.Neighbourhood(addrPort(nc.RemoteAddr()).Addr())
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
	why, gone := s.newcomers.enter(nc, s.opts.MaxNewcomers, s.opts.MaxNewcomersPerAddress)
	refused, text := nc, "too many connections from one address have not logged in, more are refused"
	switch why {
	case welcome:
		s.b.Counters.Newcomers.Add(1)
		return true
	case tooMany:
		s.b.Counters.NewcomersRefused.Add(1)
		refused, text = gone, "too many connections have not logged in, the oldest are closed"
	case tooManyNeighbours:
		s.b.Counters.NeighboursRefused.Add(1)
	}
	from := addrPort(refused.RemoteAddr()).Addr()
	refused.Close()
	if n := s.newcomers.tell(now); n > 0 {
		s.log.Warn().Stringer("peer", from).Int("refused", n).Msg(text)
	}
	return refused != nc
}

// settle is for a connection that admit has let in, and that is a newcomer no longer.
func (s *Server) settle(nc net.Conn) {
	if s.newcomers.leave(nc) {
		s.b.Counters.Newcomers.Add(-1)
	}
}
