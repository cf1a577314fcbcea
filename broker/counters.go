package broker

import "sync/atomic"

// Counters are totals since the broker started. Whoever does a thing counts it: the
// broker what it says below, the connections the rest.
type Counters struct {
	// Counted by the broker.
	MessagesRouted         atomic.Uint64 // publishes and dead letters that reached a queue
	DeadLettersDropped     atomic.Uint64 // dead letters without exchange, route, or in a cycle
	DelayedDropped         atomic.Uint64 // messages that nothing took when their time had come
	QueuesDeclared         atomic.Uint64 // queue.declare that succeeded, whether new or not
	QueuesCreated          atomic.Uint64
	QueuesDeleted          atomic.Uint64
	ExchangesCreated       atomic.Uint64
	ExchangesDeleted       atomic.Uint64
	AuthenticationRefused  atomic.Uint64
	AuthenticationAccepted atomic.Uint64
	LoginsUnheard          atomic.Uint64 // whose password was not looked at, after too many wrong ones

	// Counted by the server.
	Newcomers             atomic.Int64  // connections open now that have not logged in
	NewcomersRefused      atomic.Uint64 // closed because too many had not logged in
	NeighboursRefused     atomic.Uint64 // because too many from the same address had not
	HandshakesFailed      atomic.Uint64 // of TLS
	ConnectionsTurnedAway atomic.Uint64 // closed at once because memory was exhausted
	UserLimitsReached     atomic.Uint64 // connections, channels, declares and binds refused because their user had as many as it may
	RefusedForMemory      atomic.Uint64 // declares, binds, channels and large frames that memory was not there for

	// Counted by connections.
	MessagesReceived           atomic.Uint64 // basic.publish that was let in
	MessagesReceivedConfirm    atomic.Uint64 // of those, on channels in confirm mode
	MessagesConfirmed          atomic.Uint64
	MessagesRejected           atomic.Uint64 // publisher nacks
	MessagesUnroutableDropped  atomic.Uint64
	MessagesUnroutableReturned atomic.Uint64
	ConnectionsOpened          atomic.Uint64
	ConnectionsClosed          atomic.Uint64
	ChannelsOpened             atomic.Uint64
	ChannelsClosed             atomic.Uint64
	ConsumersAdded             atomic.Uint64
	ConsumersRemoved           atomic.Uint64
	Publishers                 atomic.Int64 // channels open now that have published
	MessageSizes               Sizes        // of those received
}

// VHostCounters are totals of one virtual host since the broker started, or the virtual
// host was made. Connections count them.
type VHostCounters struct {
	MessagesReceived           atomic.Uint64
	MessagesConfirmed          atomic.Uint64
	MessagesUnroutableDropped  atomic.Uint64
	MessagesUnroutableReturned atomic.Uint64
}

// SizeBuckets is how many buckets message sizes are counted in.
const SizeBuckets = 9

// sizeLimits are the largest size of each bucket but the last, as RabbitMQ has them
// (PROM-3).
var sizeLimits = [SizeBuckets - 1]int{100, 1e3, 1e4, 1e5, 1e6, 1e7, 5e7, 1e8}

// Sizes counts message bodies by their size.
type Sizes struct {
	Buckets [SizeBuckets]atomic.Uint64 // by SizeBucket
	Bytes   atomic.Uint64              // of all together
}

// SizeBucket is where in Sizes a body of n bytes is counted.
func SizeBucket(n int) int {
	for i := range sizeLimits {
		if n <= sizeLimits[i] {
			return i
		}
	}
	return len(sizeLimits)
}

// SizeLimits are the largest sizes of the buckets. The last bucket has none.
func SizeLimits() [SizeBuckets - 1]int { return sizeLimits }
