package queue

import (
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// Spec is what a queue was declared as: what a client asks for, what is compared on
// redeclaration, what is stored, listed and exported.
type Spec struct {
	VHost      string
	Name       string
	Durable    bool // survives a restart; exclusive queues never do
	Exclusive  bool
	AutoDelete bool
	Arguments  amqp.Table
	// By is the user who made it, for whom it counts (C25); "" when it is nobody's. A queue
	// that is there is whoever's it is: it is not compared.
	By string
}

// Type is the value of x-queue-type.
type Type uint8

// The queue types served. Quorum queues run on the same engine with quorum's defaults.
const (
	Classic Type = iota
	Quorum
)

func (t Type) String() string { return [...]string{"classic", "quorum"}[t] }

// Overflow is what happens when a publish would exceed a length limit (LEN-2 to LEN-4).
type Overflow uint8

// The values of x-overflow.
const (
	DropHead Overflow = iota
	RejectPublish
	RejectPublishDLX
)

// None is the value of a limit that is not set.
const None = -1

// Options are a queue's arguments, resolved: what the queue acts on. The queue never
// hears where they came from.
type Options struct {
	Type           Type
	MessageTTL     time.Duration // None when not set; 0 is a valid TTL (TTL-4)
	Expires        time.Duration // the queue goes after this long without use; None when not set
	MaxLength      int64         // ready messages; None when not set
	MaxLengthBytes int64         // bytes of ready bodies; None when not set
	Overflow       Overflow
	// DeadLetter tells whether there is a dead-letter exchange; "" is the default exchange.
	DeadLetter           bool
	DeadLetterExchange   string
	DeadLetterRoutingKey string
	HasDeadLetterKey     bool
	// AtLeastOnce has dead messages kept until every target has them (DLX-14).
	AtLeastOnce          bool
	MaxPriority          uint8 // 0 for no priorities, or for those of a quorum queue
	SingleActiveConsumer bool
	Deduplicate          bool // keeps out what brings a value that is in the queue (EX-56)
	Retry                Retry
	DeliveryLimit        int64 // returns before a message is dead-lettered; None for no limit
	// ConsumerTimeout is how long a delivery may be out, unless its consumer has a timeout of
	// its own: for ever when it is 0, and as long as the broker says when it is None (CTO-2).
	ConsumerTimeout time.Duration

	askedAtLeastOnce bool // whether or not the rest allows it
}

// plain are the options of a queue that was declared without arguments. They are never
// changed.
var plain = Options{MessageTTL: None, Expires: None, MaxLength: None, MaxLengthBytes: None, DeliveryLimit: None, ConsumerTimeout: None}

// kept is a copy of o for a queue to keep, the same one for all queues that are plain. It is
// without the timeout, which the queue has beside it, and which is the broker's for most.
func (o Options) kept() *Options {
	o.ConsumerTimeout = None
	if o == plain {
		return &plain
	}
	return new(o)
}

// normalPriority is the highest priority of the lower class of messages in a quorum queue,
// which are those of RabbitMQ 4.0 to 4.2; what says nothing of its priority is in it (PRI-5).
// RabbitMQ hands out one of these after two of the others, here they wait as in any queue.
const normalPriority = 4

// levels is how many priority levels a queue has.
func (o *Options) levels() int {
	if o.Type == Quorum {
		return 2
	}
	return int(o.MaxPriority) + 1
}

// settle works out what follows from several options together.
func (o *Options) settle() {
	if o.Type == Quorum && o.Overflow == RejectPublishDLX {
		o.Overflow = DropHead
	}
	// What is dropped for its length cannot be kept, so this is for queues that refuse.
	o.AtLeastOnce = o.askedAtLeastOnce && o.Type == Quorum && o.DeadLetter && o.Overflow == RejectPublish
}
