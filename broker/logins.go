package broker

import (
	"net/netip"
	"sync"
	"time"

	"github.com/leveretmq/leveret/auth"
)

// TooManyLogins is why a login was not looked at: too many from the same address had just been
// wrong. It wraps auth.ErrRefused.
type TooManyLogins struct {
	From  netip.Addr
	First bool // of this second, which is worth a line in the log; the others are not
}

func (e *TooManyLogins) Error() string {
	return "login refused: too many wrong logins from " + e.From.String()
}

func (e *TooManyLogins) Unwrap() error { return auth.ErrRefused }

// logins bounds what it costs to have passwords guessed here, and how fast they can be (A16).
//
// Wrong ones are counted by the second and forgotten with it, so that what is remembered is
// never more than what one second can bring.
type logins struct {
	mu      sync.Mutex // guards the fields below
	room    *sync.Cond // one of those that look at a password is done
	looking int
	most    int // that may look at a time
	second  time.Time
	of      map[netip.Addr]failures // of this second
}

// failures are those of one address.
type failures struct {
	wrong int
	told  bool // that there are too many
}

func (l *logins) init(most int) {
	l.room = sync.NewCond(&l.mu)
	l.most = max(most, 1)
}

// begin waits until one more password may be looked at; end follows it.
func (l *logins) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.looking >= l.most {
		l.room.Wait()
	}
	l.looking++
}

func (l *logins) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.looking--
	l.room.Signal()
}

// admit tells whether a password from an address is looked at. Those that are looked at
// together can go beyond the limit by as many as they are.
func (l *logins) admit(now time.Time, from netip.Addr, limit int) error {
	if limit <= 0 || !from.IsValid() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// A clock that was set back begins a second, too.
	if d := now.Sub(l.second); d < 0 || d >= time.Second {
		l.second, l.of = now, nil
	}
	f := l.of[Neighbourhood(from)]
	if f.wrong < limit {
		return nil
	}
	no := &TooManyLogins{from, !f.told}
	f.told = true
	l.of[Neighbourhood(from)] = f
	return no
}

// wrong counts a wrong password.
func (l *logins) wrong(from netip.Addr) {
	if !from.IsValid() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = make(map[netip.Addr]failures)
	}
	f := l.of[Neighbourhood(from)]
	f.wrong++
	l.of[Neighbourhood(from)] = f
}

// Neighbourhood is what is one address for those who count: an address of IPv4, and the network
// of 64 bits that an address of IPv6 is in, all of which one machine can have.
func Neighbourhood(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}
