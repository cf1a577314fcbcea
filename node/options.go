package node

import (
	"net"
	"runtime"
	"slices"
	"time"

	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/connection"
	"github.com/leveretmq/leveret/metrics"
	"github.com/leveretmq/leveret/server"
)

// sockets is how many sockets clients may have of so many file descriptors; 0 is any number. A
// quarter is for the store, whose files are many when it is large, and for HTTP.
func sockets(descriptors int64) int {
	if descriptors <= 0 {
		return 0
	}
	return int(max(16, descriptors-max(96, descriptors/4)))
}

// connections is how many connections there may be of so many sockets. A fifth of the sockets
// is for those that have not logged in.
func connections(configured, sockets int) int {
	if sockets == 0 || configured > 0 && configured <= sockets-sockets/5 {
		return configured
	}
	return sockets - sockets/5
}

func brokerOptions(c config.Config, clock func() time.Time) broker.Options {
	return broker.Options{
		NodeName:        c.NodeName,
		ClusterName:     c.NodeName,
		DefaultVHost:    c.DefaultVHost,
		DefaultUser:     c.DefaultUser,
		DefaultPassword: c.DefaultPass,
		Blank:           c.LoadDefinitions != "",
		LoopbackUsers:   c.LoopbackUsers,
		QueueMemory:     int64(c.Store.QueueMemory),
		ConsumerTimeout: c.AMQP.ConsumerTimeout,
		Clock:           clock,
		MaxUnpublished:  memoryLimit(c.MemoryLimit, Memory()) / 2,

		DelayedDefaultExchange: c.DelayedDefaultExchange,
		Limits: broker.NodeLimits{
			Connections: connections(c.AMQP.MaxConnections, sockets(mostFiles())),
			Channels:    c.AMQP.MaxChannels,
			Queues:      c.AMQP.MaxQueues,
			Exchanges:   c.AMQP.MaxExchanges,
		},
		Mechanisms:      c.AMQP.AuthMechanisms,
		CertificateName: auth.CertificateName{From: c.TLS.LoginFrom, SANType: c.TLS.LoginSANType, SANIndex: c.TLS.LoginSANIndex},
		LoginRate:       c.AMQP.MaxWrongLogins,
		// Whoever guesses leaves some of the machine to the others.
		PasswordChecks: max(runtime.GOMAXPROCS(0)/2, 1),
	}
}

// serverOptions are c's. A shutdown timeout of zero cuts clients off at once, where a zero
// CloseWait would be the default.
func serverOptions(c config.Config, o Options, g server.Gate, clock func() time.Time) server.Options {
	s := server.Options{
		Listen:    c.Listen,
		Gate:      g,
		Clock:     clock,
		Log:       o.Log,
		CloseWait: max(c.ShutdownTimeout, 1),
		HighWater: int(c.AMQP.OutboundHighWater),

		WriteTimeout: c.AMQP.WriteTimeout,

		MaxSockets:  sockets(mostFiles()),
		MaxBuffered: memoryLimit(c.MemoryLimit, Memory()) / 4,
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

			MaxTransactionBytes: int(c.AMQP.MaxTransactionSize),
			CloseOverdue:        c.AMQP.ConsumerTimeoutAction == "channel",
		},
		MaxNewcomersPerAddress: c.AMQP.MaxUnauthenticatedPerAddress,
		TLSHandshakeTimeout:    c.TLS.HandshakeTimeout,
	}
	if c.TLS.Enabled() {
		s.TLSListen = c.TLS.Listen
	}
	return s
}

// mostFiles is how many descriptors the process may have, negative when it cannot be told.
func mostFiles() int64 { return metrics.ReadProcess(".").MaxFiles }

// warnAboutGuest is loud when a user and password that everybody knows let in whoever can
// reach the broker.
func (n *Node) warnAboutGuest() {
	if n.broker.CheckPassword("guest", "guest", false) != nil {
		return
	}
	if a := firstExposed(slices.Concat(n.Addresses(), n.TLSAddresses(), n.ManagementAddresses(), n.ManagementTLSAddresses())); a != nil {
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
