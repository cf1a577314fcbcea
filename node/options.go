package node

import (
	"net"
	"time"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/connection"
	"github.com/leveretmq/leveret/server"
)

func brokerOptions(c config.Config) broker.Options {
	return broker.Options{
		ClusterName:     c.NodeName,
		DefaultVHost:    c.DefaultVHost,
		DefaultUser:     c.DefaultUser,
		DefaultPassword: c.DefaultPass,
		LoopbackUsers:   c.LoopbackUsers,
		QueueMemory:     int64(c.Store.QueueMemory),
		ConsumerTimeout: c.AMQP.ConsumerTimeout,
		Clock:           time.Now,

		DelayedDefaultExchange: c.DelayedDefaultExchange,
	}
}

// serverOptions are c's. A shutdown timeout of zero cuts clients off at once, where a zero
// CloseWait would be the default.
func serverOptions(c config.Config, o Options, g server.Gate) server.Options {
	return server.Options{
		Listen:    c.Listen,
		Gate:      g,
		Log:       o.Log,
		CloseWait: max(c.ShutdownTimeout, 1),
		HighWater: int(c.AMQP.OutboundHighWater),
		Connection: connection.Options{
			Product:          c.AMQP.CompatProduct,
			Version:          c.AMQP.CompatVersion,
			ProductName:      "Leveret",
			ProductVersion:   o.Version,
			ChannelMax:       uint16(c.AMQP.ChannelMax),
			FrameMax:         uint32(c.AMQP.FrameMax),
			Heartbeat:        uint16(c.AMQP.Heartbeat / time.Second),
			HandshakeTimeout: c.AMQP.HandshakeTimeout,
			MaxMessageBytes:  int(c.AMQP.MaxMessageSize),
			MaxConsumers:     c.AMQP.MaxConsumersPerChannel,
			CloseOverdue:     c.AMQP.ConsumerTimeoutAction == "channel",
		},
	}
}

// warnAboutGuest is loud when a user and password that everybody knows let in whoever can
// reach the broker.
func (n *Node) warnAboutGuest() {
	if n.broker.CheckPassword("guest", "guest", false) != nil {
		return
	}
	if a := firstExposed(append(n.Addresses(), n.ManagementAddresses()...)); a != nil {
		n.log.Warn().Stringer("address", a).
			Msg("ANYONE WHO CAN REACH THIS BROKER CAN LOG IN as guest with the password guest: " +
				"set default_user and default_pass, or loopback_users, before others can")
	}
}

// firstExposed is the first address that is not of this machine alone, or nil.
func firstExposed(addresses []net.Addr) net.Addr {
	for _, a := range addresses {
		if t, ok := a.(*net.TCPAddr); !ok || !t.IP.IsLoopback() {
			return a
		}
	}
	return nil
}
