package connection

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/broker"
)

// frameSizeBeforeTune is the largest payload taken before a frame size was agreed on:
// passwords can be tokens of some thousand octets (W-14).
const frameSizeBeforeTune = 8192

// client is what the client said of itself.
type client struct {
	user         string
	mechanism    string // of the login
	properties   amqp.Table
	impersonator bool // may publish with any user-id (PUB-9)

	// Capabilities, false when not announced (C-5).
	cancelNotify bool // wants to hear when a consumer is cancelled
	authFailure  bool // wants to be told why it is refused
	blocked      bool // wants to be told when it is not read because of an alarm
}

// greet looks at the first eight octets and answers with connection.start, or with the
// header we speak (W-2 to W-8).
func (c *Connection) greet(b []byte) (n int) {
	accepted, n := amqp.ParseProtocolHeader(b)
	if n == 0 {
		return 0
	}
	if !accepted {
		c.spoke = true
		c.out.end(append(c.out.begin(), amqp.ProtocolHeader...), &c.effects.Wakes)
		c.reason = stranger(b[:n])
		c.state = ended
		return len(b)
	}
	c.send(0, &amqp.ConnectionStart{
		VersionMajor:     0,
		VersionMinor:     9,
		ServerProperties: appendAlarms(c.opts.serverProperties(c.b.ClusterName()), c.b.Alarms()),
		Mechanisms:       strings.Join(c.b.Mechanisms(c.peer.certificate() != nil), " "),
		Locales:          "en_US",
	})
	c.state = starting
	return n
}

// stranger is what to say of a client that speaks something else (W-7).
func stranger(greeting []byte) error {
	switch {
	case len(greeting) > 2 && greeting[0] == 0x16 && greeting[1] == 3:
		return errors.New("client speaks TLS, on a port without it")
	case string(greeting[:min(4, len(greeting))]) == "GET ":
		return errors.New("client speaks HTTP, on a port of AMQP")
	}
	return fmt.Errorf("client greeted with %q", greeting)
}

// certificate is the client's, if it has shown one that was verified.
func (p *Peer) certificate() *x509.Certificate {
	if p.TLS == nil {
		return nil
	}
	return p.TLS.PeerCertificate
}

// serverProperties are C-2's with the capabilities of C-3.
func (o *Options) serverProperties(cluster string) amqp.Table {
	capabilities := amqp.Table{
		{Name: "publisher_confirms", Value: true},
		{Name: "exchange_exchange_bindings", Value: true},
		{Name: "basic.nack", Value: true},
		{Name: "consumer_cancel_notify", Value: true},
		{Name: "connection.blocked", Value: true},
		{Name: "consumer_priorities", Value: true},
		{Name: "authentication_failure_close", Value: true},
		{Name: "per_consumer_qos", Value: true},
		{Name: "direct_reply_to", Value: true},
	}
	return amqp.Table{
		{Name: "capabilities", Value: capabilities},
		{Name: "cluster_name", Value: cmp.Or(cluster, "leveret@localhost")},
		{Name: "copyright", Value: "The Leveret authors"},
		{Name: "information", Value: "Licensed under the Apache License 2.0"},
		{Name: "platform", Value: "Go"},
		{Name: "product", Value: o.Product},
		{Name: "product_name", Value: o.ProductName},
		{Name: "product_version", Value: o.ProductVersion},
		{Name: "version", Value: o.Version},
	}
}

// AlarmsProperty is the server property that lists the alarms that are on, by name. It is
// there only while one is, for health checks, which have no user to log in with.
const AlarmsProperty = "leveret_alarms"

func appendAlarms(properties amqp.Table, on broker.Alarms) amqp.Table {
	var names amqp.Array
	for _, a := range on.All() {
		names = append(names, a.String())
	}
	if names == nil {
		return properties
	}
	return append(properties, amqp.Field{Name: AlarmsProperty, Value: names})
}

// connectionFrame handles a frame of channel 0.
func (c *Connection) connectionFrame(f amqp.Frame) {
	if f.Type != amqp.FrameMethod {
		if c.state < closing {
			c.raise(nil, amqp.UnexpectedFrame("expected method frame, got non method frame instead").OnNone())
		}
		return
	}
	class, id := f.MethodID()
	m := amqp.NewMethod(class, id)
	if m == nil {
		if c.state < closing {
			c.raise(nil, amqp.CommandInvalid("unimplemented method").On(class, id))
		}
		return
	}
	if err := m.Decode(f.Payload[4:]); err != nil {
		if c.state < closing {
			c.raise(nil, err)
		}
		return
	}
	c.decoding = false
	c.connectionMethod(m)
}

// connectionMethod handles a method of channel 0. The order of the handshake is fixed;
// a client that leaves it before it has logged in is not told so (W-27).
func (c *Connection) connectionMethod(m amqp.Method) {
	switch m := m.(type) {
	case *amqp.ConnectionStartOk:
		if c.state == starting {
			c.startOk(m)
			return
		}
	case *amqp.ConnectionTuneOk:
		if c.state == tuning {
			c.tuneOk(m)
			return
		}
	case *amqp.ConnectionOpen:
		if c.state == opening {
			c.open(m)
			return
		}
	case *amqp.ConnectionClose:
		switch c.state {
		case running, opening:
			c.connectionClose(m)
			return
		case closing: // it crossed ours
			c.send(0, &amqp.ConnectionCloseOk{})
			return
		}
	case *amqp.ConnectionCloseOk:
		if c.state == closing {
			c.state = ended
			return
		}
	case *amqp.ConnectionUpdateSecret:
		if c.state == running {
			c.send(0, &amqp.ConnectionUpdateSecretOk{}) // our users' secrets do not expire (C-35)
			return
		}
	}
	class, id := m.ID()
	switch {
	case c.state == closing:
	case c.state < opening:
		c.fallSilent(fmt.Errorf("%s in connection state %v", m.Name(), c.state))
	default:
		c.raise(nil, amqp.ChannelError("unexpected method in connection state %v", c.state).On(class, id))
	}
}

// startOk logs the client in. A refused client that can be told is told (C-9); one whose
// response cannot be read hears nothing (C-10). Both wait before they can try again.
func (c *Connection) startOk(m *amqp.ConnectionStartOk) {
	c.client.properties = m.ClientProperties
	c.client.cancelNotify = capability(m.ClientProperties, "consumer_cancel_notify")
	c.client.authFailure = capability(m.ClientProperties, "authentication_failure_close")
	c.client.blocked = capability(m.ClientProperties, "connection.blocked")
	user, err := c.b.Authenticate(c.now, broker.Login{
		Mechanism:   m.Mechanism,
		Response:    []byte(m.Response),
		From:        c.peer.Remote.Addr(),
		Loopback:    c.peer.Loopback,
		Certificate: c.peer.certificate(),
	})
	if err != nil {
		if c.client.authFailure && !errors.Is(err, auth.ErrMalformed) {
			c.send(0, &amqp.ConnectionClose{
				ReplyCode: amqp.ReplyAccessRefused,
				ReplyText: amqp.ReplyText("ACCESS_REFUSED - Login was refused using authentication mechanism " + m.Mechanism +
					". For details see the broker logfile."),
			})
		}
		c.fallSilent(err)
		return
	}
	c.client.user, c.client.mechanism = user, m.Mechanism
	c.send(0, &amqp.ConnectionTune{ChannelMax: c.opts.ChannelMax, FrameMax: c.opts.FrameMax, Heartbeat: c.opts.Heartbeat})
	c.state = tuning
}

// tuneOk takes the client's choice, which may be lower than ours and not higher (C-13).
func (c *Connection) tuneOk(m *amqp.ConnectionTuneOk) {
	err := negotiate("frame_max", int(m.FrameMax), amqp.FrameMinSize, int(c.opts.FrameMax), "")
	if err == nil {
		err = negotiate("channel_max", int(m.ChannelMax), 1, int(c.opts.ChannelMax), " (no limit)")
	}
	if err != nil {
		c.raise(nil, err.On(m.ID()))
		return
	}
	c.frameMax, c.frameSize = m.FrameMax, m.FrameMax
	c.opts.ChannelMax = m.ChannelMax
	c.life.start(c.now, m.Heartbeat)
	c.state = opening
}

// negotiate refuses a value below the minimum, and one above our maximum, which 0 is
// when we have one (C-14).
func negotiate(what string, value, minimum, maximum int, unlimited string) *amqp.Error {
	if value != 0 {
		unlimited = ""
	}
	switch {
	case value != 0 && value < minimum:
		return amqp.NotAllowed("negotiated %s = %d is lower than the minimum allowed value (%d)", what, value, minimum)
	case value == 0 || value > maximum:
		return amqp.NotAllowed("negotiated %s = %d%s is higher than the maximum allowed value (%d)", what, value, unlimited, maximum)
	}
	return nil
}

// open lets the client into its virtual host (C-15, C-16).
func (c *Connection) open(m *amqp.ConnectionOpen) {
	s := c.newSession(m.VirtualHost)
	v, err := c.b.Open(s)
	if err != nil {
		c.raise(nil, asError(err).On(m.ID()))
		return
	}
	c.vhost, c.session = v, s
	c.permit = c.b.Permit(c.client.user, m.VirtualHost)
	c.channelsMu.Lock()
	c.channels = make(map[uint16]*Channel)
	c.channelsMu.Unlock()
	c.client.impersonator = slices.Contains(c.b.Tags(c.client.user), auth.Impersonator)
	c.deadline = time.Time{}
	c.b.Counters.ConnectionsOpened.Add(1)
	c.send(0, &amqp.ConnectionOpenOk{})
	c.state = running
}

// capability reads one of the client's capabilities.
func capability(properties amqp.Table, name string) bool {
	v, _ := properties.Get("capabilities")
	t, _ := v.(amqp.Table)
	v, _ = t.Get(name)
	set, _ := v.(bool)
	return set
}
