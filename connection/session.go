package connection

import (
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/broker"
)

// session is the connection as the rest of the broker knows it.
type session struct {
	c       *Connection
	info    broker.SessionInfo // what does not change
	blocked atomic.Bool
	asked   atomic.Bool // to close
}

// newSession describes the connection as it enters a virtual host.
func (c *Connection) newSession(vhost string) *session {
	return &session{c: c, info: broker.SessionInfo{
		Name:             c.peer.Name,
		User:             c.client.user,
		VHost:            vhost,
		Peer:             c.peer.Remote,
		Here:             c.peer.Local,
		OpenedAt:         c.now,
		Mechanism:        c.client.mechanism,
		TLS:              c.peer.TLS,
		ChannelMax:       c.opts.ChannelMax,
		FrameMax:         c.frameMax,
		Heartbeat:        c.Heartbeat(),
		ClientProperties: c.client.properties,
	}}
}

// Describe implements broker.Session.
func (s *session) Describe() broker.SessionInfo {
	c, info := s.c, s.info
	info.Channels = int(c.channelCount.Load())
	info.Blocked = s.blocked.Load()
	info.OctetsReceived, info.Reads = c.octets.Load(), c.reads.Load()
	info.OctetsSent, info.Writes, info.Pending = c.out.traffic()
	return info
}

// Channels implements broker.Session.
func (s *session) Channels() []broker.ChannelInfo {
	c := s.c
	c.channelsMu.Lock()
	open := make([]*Channel, 0, len(c.channels))
	for _, ch := range c.channels {
		open = append(open, ch)
	}
	c.channelsMu.Unlock()
	slices.SortFunc(open, func(a, b *Channel) int { return cmp.Compare(a.id, b.id) })
	all := make([]broker.ChannelInfo, 0, len(open))
	for _, ch := range open {
		if info, ok := ch.describe(); ok {
			all = append(all, info)
		}
	}
	return all
}

// describe returns what the channel tells about itself, and false when it does nothing any
// more.
func (ch *Channel) describe() (broker.ChannelInfo, bool) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.stopped {
		return broker.ChannelInfo{}, false
	}
	info := broker.ChannelInfo{
		Number:         ch.id,
		Confirm:        ch.confirming,
		Transactional:  ch.tx != nil,
		Prefetch:       ch.prefetch,
		GlobalPrefetch: ch.window.limit,
		Consumers:      len(ch.consumers),
		Unacknowledged: ch.unacked.count(),
		Unconfirmed:    int(ch.pending.outstanding()),
		Totals:         ch.totals,
	}
	info.Totals.Confirmed = ch.pending.confirmed
	if ch.tx != nil {
		info.UncommittedPublishes = len(ch.tx.publishes)
		for _, s := range ch.tx.settled {
			info.UncommittedAcks += len(s.deliveries)
		}
	}
	return info, true
}

// Subscription implements broker.Subscriber.
func (k *consumer) Subscription() broker.SubscriberInfo {
	return broker.SubscriberInfo{
		Session:     k.ch.c.session,
		Channel:     k.ch.id,
		Tag:         k.tag,
		AckRequired: !k.noAck,
		Prefetch:    k.prefetch,
		Arguments:   k.arguments,
	}
}

// Unblocked implements broker.Blocked.
func (s *session) Unblocked() { s.c.opts.Ready() }

// Close implements broker.Session.
func (s *session) Close(reason *amqp.Error) {
	s.asked.Store(true)
	s.c.opts.Stop(reason)
}

// Unpublished is how many bytes the connection holds of messages that are not complete or not
// committed, none once it is about to let go of them.
func (s *session) Unpublished() int64 {
	if s.asked.Load() {
		return 0
	}
	return s.c.unpublished.Load()
}

var (
	_ broker.Session    = (*session)(nil)
	_ broker.Subscriber = (*consumer)(nil)
)
