package server

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/leveretmq/leveret/broker"
)

// spare lets a connection that was accepted in, or closes it when memory is exhausted (E18).
func (s *Server) spare(now time.Time, nc net.Conn) bool {
	if !s.b.Alarms().Refuse() {
		return true
	}
	nc.Close()
	s.b.Counters.ConnectionsTurnedAway.Add(1)
	if n := s.newcomers.tell(now); n > 0 {
		s.log.Warn().Stringer("peer", nc.RemoteAddr()).Int("refused", n).Msg("memory is exhausted, connections are refused")
	}
	return false
}

// seats are the sockets that clients may have.
type seats struct {
	limit int           // no more are accepted; 0 for any number
	high  int           // where the alarm is raised, which is before
	alarm func(on bool) // of descriptors; called with mu held

	mu       sync.Mutex    // guards the fields below
	free     chan struct{} // closed when a seat is given back; nil when nobody waits for one
	taken    int
	full     bool // as many as high, or nearly
	starving bool // the system has refused one
}

// take counts a socket.
func (s *seats) take() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken++
	if s.limit > 0 && s.taken >= s.high && !s.full {
		s.full = true
		s.alarm(true)
	}
}

// giveBack is for when a socket is closed. The alarm ends a little below the limit, so that
// it does not come and go.
func (s *seats) giveBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.free != nil {
		close(s.free)
		s.free = nil
	}
	if s.full && s.taken <= s.high-s.high/20 {
		s.full = false
		s.alarm(s.starving)
	}
}

// starve tells that the system has refused a descriptor, or that it does not any more.
func (s *seats) starve(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.starving != yes {
		s.starving = yes
		s.alarm(yes || s.full)
	}
}

// await returns when there is a seat, or stop is closed.
func (s *seats) await(stop <-chan struct{}) {
	for {
		s.mu.Lock()
		if s.limit == 0 || s.taken < s.limit {
			s.mu.Unlock()
			return
		}
		if s.free == nil {
			s.free = make(chan struct{})
		}
		free := s.free
		s.mu.Unlock()
		select {
		case <-free:
		case <-stop:
			return
		}
	}
}

// descriptorAlarm raises the alarm, or clears it.
func (s *Server) descriptorAlarm(on bool) {
	if on {
		s.log.Warn().Msg("FILE DESCRIPTORS: as many clients are connected as there are descriptors for, others are refused until some go")
	} else {
		s.log.Info().Msg("file descriptors: clients are accepted again")
	}
	s.b.SetAlarm(broker.DescriptorAlarm, on)
}

// outOfDescriptors tells whether a socket could not be accepted for want of a descriptor.
func outOfDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
