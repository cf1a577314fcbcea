package management

import (
	"fmt"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/definitions"
)

// session is a connection with what it tells of itself.
type session struct {
	broker.Session
	broker.SessionInfo
}

// sessions are the connections that the caller may see and which is true for: those who
// monitor see all, others their own.
func (c *call) sessions(which func(broker.SessionInfo) bool) []session {
	var seen []session
	for _, s := range c.Broker.Sessions() {
		d := s.Describe()
		if c.user != nil && !monitor.may(c.user) && d.User != c.user.Name {
			continue
		}
		if which(d) {
			seen = append(seen, session{s, d})
		}
	}
	return seen
}

func every(broker.SessionInfo) bool { return true }

func (c *call) inVHost(d broker.SessionInfo) bool { return d.VHost == c.args[0] }
func (c *call) ofUser(d broker.SessionInfo) bool  { return d.User == c.args[0] }

func (c *call) connections() error      { return c.listConnections(c.sessions(every)) }
func (c *call) vhostConnections() error { return c.listConnections(c.sessions(c.inVHost)) }
func (c *call) userConnections() error  { return c.listConnections(c.sessions(c.ofUser)) }

func (c *call) listConnections(found []session) error {
	items := []item{}
	for _, s := range found {
		items = append(items, item{s.Name, func() object { return c.describeConnection(s) }})
	}
	return c.list(items)
}

// find is the connection of the path.
func (c *call) find() (session, error) {
	found := c.sessions(func(d broker.SessionInfo) bool { return d.Name == c.args[0] })
	if len(found) == 0 {
		return session{}, notFound
	}
	return found[0], nil
}

func (c *call) connection() error {
	s, err := c.find()
	if err != nil {
		return err
	}
	return c.one(c.describeConnection(s))
}

func (c *call) connectionChannels() error {
	s, err := c.find()
	if err != nil {
		return err
	}
	return c.listChannels([]session{s})
}

// closeConnection ends a connection (C-33). The header X-Reason says why.
func (c *call) closeConnection() error {
	s, err := c.find()
	if err != nil {
		return err
	}
	return c.closeAll([]session{s})
}

func (c *call) closeUserConnections() error { return c.closeAll(c.sessions(c.ofUser)) }

func (c *call) closeAll(found []session) error {
	reason := c.r.Header.Get("X-Reason")
	if reason == "" {
		reason = "Closed via management plugin"
	}
	for _, s := range found {
		if c.user != nil && s.User != c.user.Name && !c.user.HasTag(auth.Administrator) {
			return notAuthorised("User not authorised to access object")
		}
	}
	for _, s := range found {
		s.Close(amqp.ConnectionForced("%s", reason))
	}
	return c.gone()
}

// describeConnection tells of a connection what RabbitMQ does. What it counts about its
// process has no counterpart.
func (c *call) describeConnection(s session) object {
	state := "running"
	switch {
	case s.Blocked:
		state = "blocked"
	case c.Broker.Alarms().Block():
		state = "blocking"
	}
	o := object{
		"name":                      s.Name,
		"user":                      s.User,
		"user_who_performed_action": s.User,
		"vhost":                     s.VHost,
		"node":                      c.self().Name,
		"protocol":                  "AMQP 0-9-1",
		"type":                      "network",
		"state":                     state,
		"channels":                  s.SessionInfo.Channels,
		"channel_max":               s.ChannelMax,
		"frame_max":                 s.FrameMax,
		"timeout":                   int(s.Heartbeat.Seconds()),
		"auth_mechanism":            s.Mechanism,
		"client_properties":         definitions.Value(s.ClientProperties),
		"connected_at":              s.OpenedAt.UnixMilli(),
		"send_pend":                 s.Pending,
		"recv_cnt":                  s.Reads,
		"send_cnt":                  s.Writes,
		"ssl":                       false,
		"ssl_protocol":              nil,
		"ssl_key_exchange":          nil,
		"ssl_cipher":                nil,
		"ssl_hash":                  nil,
		"peer_cert_issuer":          nil,
		"peer_cert_subject":         nil,
		"peer_cert_validity":        nil,
	}
	if t := s.TLS; t != nil {
		o["ssl"], o["ssl_protocol"], o["ssl_key_exchange"], o["ssl_cipher"], o["ssl_hash"] = true, t.Version, t.KeyExchange, t.Cipher, t.Hash
		if p := t.PeerCertificate; p != nil {
			o["peer_cert_issuer"], o["peer_cert_subject"] = auth.DistinguishedNameOf(p.RawIssuer), auth.DistinguishedNameOf(p.RawSubject)
			o["peer_cert_validity"] = p.NotBefore.UTC().Format(time.RFC3339) + " - " + p.NotAfter.UTC().Format(time.RFC3339)
		}
	}
	if s.Peer.IsValid() {
		o["peer_host"], o["peer_port"] = s.Peer.Addr().String(), s.Peer.Port()
	}
	if s.Here.IsValid() {
		o["host"], o["port"] = s.Here.Addr().String(), s.Here.Port()
	}
	if name, ok := s.ClientProperties.Get("connection_name"); ok {
		o["user_provided_name"] = definitions.Value(name)
	}
	return c.count(o, ofData, keyOf(s, 0), []counter{{"recv_oct", s.OctetsReceived}, {"send_oct", s.OctetsSent}})
}

func (c *call) channels() error      { return c.listChannels(c.sessions(every)) }
func (c *call) vhostChannels() error { return c.listChannels(c.sessions(c.inVHost)) }

func (c *call) listChannels(of []session) error {
	items := []item{}
	for _, s := range of {
		for _, ch := range s.Session.Channels() {
			items = append(items, item{channelName(s.Name, ch.Number), func() object { return c.describeChannel(s, ch) }})
		}
	}
	return c.list(items)
}

func channelName(connection string, number uint16) string {
	return fmt.Sprintf("%s (%d)", connection, number)
}

// channel is one, with its consumers.
func (c *call) channel() error {
	for _, s := range c.sessions(every) {
		for _, ch := range s.Session.Channels() {
			if channelName(s.Name, ch.Number) != c.args[0] {
				continue
			}
			o := c.describeChannel(s, ch)
			o["publishes"], o["deliveries"] = []any{}, []any{}
			o["consumer_details"] = c.consumersWhere(c.visible(), func(i broker.SubscriberInfo) bool {
				return i.Session == s.Session && i.Channel == ch.Number
			})
			return c.one(o)
		}
	}
	return notFound
}

func (c *call) describeChannel(s session, ch broker.ChannelInfo) object {
	t := ch.Totals
	o := object{
		"name":                      channelName(s.Name, ch.Number),
		"number":                    ch.Number,
		"node":                      c.self().Name,
		"user":                      s.User,
		"user_who_performed_action": s.User,
		"vhost":                     s.VHost,
		"state":                     "running",
		"confirm":                   ch.Confirm,
		"transactional":             ch.Transactional,
		"prefetch_count":            ch.Prefetch,
		"global_prefetch_count":     ch.GlobalPrefetch,
		"consumer_count":            ch.Consumers,
		"messages_unacknowledged":   ch.Unacknowledged,
		"messages_unconfirmed":      ch.Unconfirmed,
		"messages_uncommitted":      ch.UncommittedPublishes,
		"acks_uncommitted":          ch.UncommittedAcks,
		"pending_raft_commands":     0,
		"connection_details":        connectionDetails(s.SessionInfo),
	}
	counters := append(publishing(t.Published, t.Confirmed, t.Returned, t.Dropped),
		counter{"deliver", t.DeliveredAck}, counter{"deliver_no_ack", t.Delivered},
		counter{"get", t.GotAck}, counter{"get_no_ack", t.Got}, counter{"get_empty", t.GotEmpty},
		counter{"deliver_get", t.DeliveredAck + t.Delivered + t.GotAck + t.Got},
		counter{"redeliver", t.Redelivered}, counter{"ack", t.Acknowledged})
	o["message_stats"] = c.count(object{}, ofMessages, keyOf(s, ch.Number), counters)
	return o
}

// sessionKey is what a connection's counters, or with a number those of one of its channels, are
// known by. A name is that of another connection some time after this one has ended.
type sessionKey struct {
	name     string
	openedAt int64 // Unix nanoseconds
	channel  uint16
}

func keyOf(s session, channel uint16) sessionKey {
	return sessionKey{s.Name, s.OpenedAt.UnixNano(), channel}
}

func connectionDetails(d broker.SessionInfo) object {
	o := object{"name": d.Name}
	if d.Peer.IsValid() {
		o["peer_host"], o["peer_port"] = d.Peer.Addr().String(), d.Peer.Port()
	}
	return o
}

func (c *call) consumers() error {
	vhosts, err := c.within()
	if err != nil {
		return err
	}
	items := []item{}
	for _, o := range c.consumersWhere(vhosts, func(broker.SubscriberInfo) bool { return true }) {
		items = append(items, item{fmt.Sprint(o["consumer_tag"]), func() object { return o }})
	}
	return c.list(items)
}

// consumersWhere describes the consumers of all queues that which is true for.
func (c *call) consumersWhere(vhosts []*broker.VHost, which func(broker.SubscriberInfo) bool) []object {
	all := []object{}
	for _, v := range vhosts {
		for _, q := range v.Queues() {
			all = append(all, c.consumersOf(q, which)...)
		}
	}
	return all
}
