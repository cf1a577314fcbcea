package broker

import (
	"cmp"
	"crypto/x509"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
)

// Session is a connection as the rest of the broker sees it: something that can describe
// itself and be closed. It is comparable.
type Session interface {
	// Describe is safe from any goroutine.
	Describe() SessionInfo
	// Channels are those that are open, by number. It is safe from any goroutine.
	Channels() []ChannelInfo
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

	Peer, Here       netip.AddrPort // not valid when they are not known
	OpenedAt         time.Time
	Mechanism        string   // of the login, such as PLAIN
	TLS              *TLSInfo // nil without it; not to be changed
	ChannelMax       uint16
	FrameMax         uint32        // octets; 0 for no limit
	Heartbeat        time.Duration // as agreed on; 0 for none
	ClientProperties amqp.Table    // not to be changed
	Blocked          bool          // it has published while an alarm is on, and is not read

	OctetsReceived, OctetsSent uint64
	Reads, Writes              uint64 // in how many pieces those came and went
	Pending                    int    // octets that wait to be sent
}

// TLSInfo is what client and server have agreed on, in the words of RabbitMQ's API.
type TLSInfo struct {
	Version     string // tlsv1.2 or tlsv1.3
	KeyExchange string // of TLS 1.2, such as ecdhe_rsa; any
	Cipher      string // such as aes_128_gcm
	Hash        string // aead, or of TLS 1.2 that of the record's MAC
	// PeerCertificate is the client's, and was verified; nil when it has shown none.
	PeerCertificate *x509.Certificate
}

// ChannelInfo is what a channel tells about itself.
type ChannelInfo struct {
	Number         uint16
	Confirm        bool // is in confirm mode
	Transactional  bool
	Prefetch       int // of consumers to come; 0 for no limit
	GlobalPrefetch int // of all consumers together; 0 for no limit

	Consumers            int
	Unacknowledged       int // deliveries that are out
	Unconfirmed          int // publishes that were not answered yet
	UncommittedPublishes int
	UncommittedAcks      int
	Totals               ChannelTotals
}

// ChannelTotals are what a channel has counted since it was opened.
type ChannelTotals struct {
	Published, Confirmed    uint64
	Returned, Dropped       uint64 // publishes that nothing wanted, mandatory or not
	Delivered, DeliveredAck uint64 // to consumers: without and with acknowledgement
	Got, GotAck, GotEmpty   uint64 // by basic.get: without and with acknowledgement
	Redelivered             uint64 // of those delivered or got
	Acknowledged            uint64
}

// Subscriber is a queue.Consumer that can describe itself.
type Subscriber interface {
	// Subscription is safe from any goroutine; no queue may be locked.
	Subscription() SubscriberInfo
}

// SubscriberInfo is what a consumer tells about itself.
type SubscriberInfo struct {
	Session     Session
	Channel     uint16
	Tag         string
	AckRequired bool
	Prefetch    int        // 0 for no limit
	Arguments   amqp.Table // not to be changed
}

// sessions are the connections there are.
type sessions struct {
	mu   sync.Mutex // guards the fields below
	all  map[Session]registered
	ever uint64
	// How many connections, and how many of their channels, a user or a virtual host has.
	ofUser, ofVHost, channelsOf map[string]int
	channels                    int // of all users
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

// OpenChannel counts a channel of user, or refuses it when the user or the node has as many as
// it may (ERR-31).
func (b *Broker) OpenChannel(user string) error {
	if b.Alarms().Refuse() {
		b.Counters.RefusedForMemory.Add(1)
		return amqp.ResourceError("cannot open a channel: memory is exhausted").OnNone()
	}
	b.mu.RLock()
	limits := b.users[user].Limits
	b.mu.RUnlock()
	r := &b.sessions
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := b.checkChannels(); err != nil {
		return err
	}
	if limit, reached := limits.Reached(auth.MaxChannels, r.channelsOf[user]); reached {
		b.Counters.UserLimitsReached.Add(1)
		return amqp.NotAllowed("number of channels opened for user '%s' has reached the maximum allowed user limit of %d", user, limit).OnNone()
	}
	r.channelsOf[user]++
	r.channels++
	return nil
}

// CloseChannels takes back n times OpenChannel.
func (b *Broker) CloseChannels(user string, n int) {
	r := &b.sessions
	r.mu.Lock()
	defer r.mu.Unlock()
	less(r.channelsOf, user, n)
	r.channels -= n
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
