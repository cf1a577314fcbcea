package broker

import (
	"cmp"
	"slices"
	"sync"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
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

// sessions are the connections there are.
type sessions struct {
	mu   sync.Mutex // guards the fields below
	all  map[Session]registered
	ever uint64
	// How many connections, and how many of their channels, a user or a virtual host has.
	ofUser, ofVHost, channelsOf map[string]int
}

func (r *sessions) init() {
	r.all = make(map[Session]registered)
	r.ofUser, r.ofVHost, r.channelsOf = make(map[string]int), make(map[string]int), make(map[string]int)
}

// registered is what is remembered of a connection.
type registered struct {
	ordinal     uint64
	user, vhost string
}

// add makes a connection known. r.mu is held.
func (r *sessions) add(s Session, d SessionInfo) {
	r.ever++
	r.all[s] = registered{r.ever, d.User, d.VHost}
	r.ofUser[d.User]++
	r.ofVHost[d.VHost]++
}

// Unregister forgets a connection. Of one that is not registered it does nothing.
func (b *Broker) Unregister(s Session) {
	r := &b.sessions
	r.mu.Lock()
	defer r.mu.Unlock()
	d, ok := r.all[s]
	if !ok {
		return
	}
	delete(r.all, s)
	less(r.ofUser, d.user, 1)
	less(r.ofVHost, d.vhost, 1)
}

// less takes n off a count and forgets it at none.
func less(counts map[string]int, name string, n int) {
	if counts[name] -= n; counts[name] <= 0 {
		delete(counts, name)
	}
}

// OpenChannel counts a channel of user, or refuses it when the user has as many as it may
// (ERR-31).
func (b *Broker) OpenChannel(user string) error {
	b.mu.RLock()
	limits := b.users[user].Limits
	b.mu.RUnlock()
	r := &b.sessions
	r.mu.Lock()
	defer r.mu.Unlock()
	if limit, reached := limits.Reached(auth.MaxChannels, r.channelsOf[user]); reached {
		return amqp.NotAllowed("number of channels opened for user '%s' has reached the maximum allowed user limit of %d", user, limit).OnNone()
	}
	r.channelsOf[user]++
	return nil
}

// CloseChannels takes back n times OpenChannel.
func (b *Broker) CloseChannels(user string, n int) {
	r := &b.sessions
	r.mu.Lock()
	defer r.mu.Unlock()
	less(r.channelsOf, user, n)
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
	slices.SortFunc(out, func(x, y Session) int { return cmp.Compare(r.all[x].ordinal, r.all[y].ordinal) })
	return out
}

func (b *Broker) closeSessions(which func(SessionInfo) bool, reason *amqp.Error) {
	for _, s := range b.Sessions() {
		if which(s.Describe()) {
			s.Close(reason)
		}
	}
}
