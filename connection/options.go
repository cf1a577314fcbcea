package connection

import (
	"cmp"
	"time"
)

// Options are the settings of a connection. The zero value of a number is replaced by
// the default named beside it; Heartbeat and the callbacks are taken as they are.
type Options struct {
	Product        string // what server-properties call us, RabbitMQ (C-2)
	Version        string // the version of RabbitMQ we are compatible with, 4.2.0
	ProductName    string // what we are, Leveret
	ProductVersion string // our own version

	ChannelMax       uint16        // channels at a time, 2047
	FrameMax         uint32        // octets in a frame, 131072
	Heartbeat        uint16        // seconds suggested to the client; 0 suggests none
	HandshakeTimeout time.Duration // from New to connection.open-ok, 10 s (W-31)
	MaxMessageBytes  int           // longest body, 16 MiB (W-23)
	MaxConsumers     int           // consumers of a channel, 2500
	// MaxTransactionBytes is how much a transaction may hold, 32 MiB; more is a hard 506.
	MaxTransactionBytes int
	// CloseOverdue has a channel closed when something is out on it for too long, as RabbitMQ
	// did up to 4.2 (CTO-1), where otherwise only the consumer is cancelled (CTO-2).
	CloseOverdue bool

	// Replies is where direct reply-to finds its consumers, shared by all connections of a
	// broker.
	Replies *ReplyConsumers
	// Stop is called when the broker wants the connection gone: Shutdown is to be called with
	// the reason, on the goroutine that feeds. It may come from any goroutine and must not
	// block.
	Stop func(reason error)
	// Ready is called when a suspended connection may be fed again; from any goroutine, and
	// sometimes when it was not suspended. It must not block.
	Ready func()
	// Attend is called when Tick is to be called soon, whatever it said last; from any
	// goroutine. It must not block.
	Attend func()
	// Fail is called when the disk failed under something a client waits for. The socket is
	// to be closed without another word (P6).
	Fail func(error)
}

func (o *Options) complete() {
	o.Product = cmp.Or(o.Product, "RabbitMQ")
	o.Version = cmp.Or(o.Version, "4.2.0")
	o.ProductName = cmp.Or(o.ProductName, "Leveret")
	o.ProductVersion = cmp.Or(o.ProductVersion, "0.0.0")
	o.ChannelMax = cmp.Or(o.ChannelMax, 2047)
	o.FrameMax = cmp.Or(o.FrameMax, 131072)
	o.HandshakeTimeout = cmp.Or(o.HandshakeTimeout, 10*time.Second)
	o.MaxMessageBytes = cmp.Or(o.MaxMessageBytes, 16<<20)
	o.MaxConsumers = cmp.Or(o.MaxConsumers, 2500)
	o.MaxTransactionBytes = cmp.Or(o.MaxTransactionBytes, 32<<20)
	if o.Replies == nil {
		o.Replies = new(ReplyConsumers)
	}
	if o.Stop == nil {
		o.Stop = func(error) {}
	}
	if o.Ready == nil {
		o.Ready = func() {}
	}
	if o.Attend == nil {
		o.Attend = func() {}
	}
	if o.Fail == nil {
		o.Fail = func(error) {}
	}
}
