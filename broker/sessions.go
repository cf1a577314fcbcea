package broker

import (
	"cmp"
	"slices"
	"sync"

	"github.com/leveretmq/leveret/amqp"
)

// Session is a connection as the rest of the broker sees it: something that can describe
// itself and be closed. It is comparable.
type Session interface {
	// Describe is safe from any goroutine.
	Describe() SessionInfo
	// Close asks for the connection to be ended with reason. It does not wait, and is
	// called with nothing locked.
	Close(reason *amqp.Error)
}

// SessionInfo is what a connection tells about itself.
type SessionInfo struct {
	Name     string // "<peer> -> <here>" (C-18)
	User     string // "" before the login
	VHost    string // "" before connection.open
	Channels int
}

// sessions are the connections there are. The zero value is empty.
type sessions struct {
	mu   sync.Mutex // guards the fields below
	all  map[Session]uint64
	ever uint64
}

// Register makes a connection known. It is closed with its user, its virtual host or the
// broker, and counted, until Unregister.
func (b *Broker) Register(s Session) {
	r := &b.sessions
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = make(map[Session]uint64)
	}
	r.ever++
	r.all[s] = r.ever
}

// Unregister forgets a connection. Of one that is not registered it does nothing.
func (b *Broker) Unregister(s Session) {
	r := &b.sessions
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, s)
}

// Sessions returns the connections, in the order they registered.
func (b *Broker) Sessions() []Session {
	r := &b.sessions
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Session, 0, len(r.all))
	for s := range r.all {
		out = append(out, s)
	}
	slices.SortFunc(out, func(x, y Session) int { return cmp.Compare(r.all[x], r.all[y]) })
	return out
}

func (b *Broker) closeSessions(which func(SessionInfo) bool, reason *amqp.Error) {
	for _, s := range b.Sessions() {
		if which(s.Describe()) {
			s.Close(reason)
		}
	}
}
