package queue

import (
	"time"

	"github.com/leveretmq/leveret/message"
)

// Effects is what calls on queues want done once their locks are let go. One Effects
// serves a whole batch and is reused. Whoever made the calls carries it out: letters
// are published, queues deleted, consumers told, timers set, transfers settled, the
// store's backlog adjusted, and at the very end everyone in Wakes woken.
type Effects struct {
	// Wakes are writers that were given something to send.
	Wakes message.Wakes
	// Letters are queues that put dead letters into their outbox (TakeLetters).
	Letters []*Queue
	// Cancelled are consumers whose queue is gone and who are to be told.
	Cancelled []Consumer
	// Retimed are consumers whose queue has another acknowledgement timeout now.
	Retimed []Consumer
	// Unused are queues to be deleted: auto-delete after their last consumer, or expired.
	Unused []*Queue
	// Timers are moments at which a queue has something due.
	Timers []Timer
	// Transfers are letters that ended in their last target without being stored there;
	// Settle them at their source.
	Transfers []*Transfer
	// Memory is by how many bytes what queues hold in memory grew or shrank, and Large are
	// queues that have come to hold enough of it to be asked for some (PageOut).
	Memory int64
	Large  []*Queue
	// Unstored is by how many bytes the messages waiting for the disk grew or shrank.
	Unstored int64
}

// Timer asks for Queue.Expire to be called at At.
type Timer struct {
	Queue *Queue
	At    time.Time
}

// Transfer follows a message from where it comes from to its targets, so that it is settled
// at the source no earlier than it is safe at the targets (S-9). Most are dead letters; what
// an exchange must remember of a message when that is stored (S-12) is the other kind. Like a Confirm it is
// born with one hold, the carrier's own.
type Transfer struct {
	holds    int32 // guarded by the atomic functions
	source   Source
	position Position
	next     *Transfer // ends with this one; nil for most
}

// Source is where a transfer came from.
type Source interface {
	Collector
	// Arrived tells that a transfer has ended in its last target without being stored there.
	// Nothing is locked. If it was stored, the committer tells with CollectSettled.
	Arrived(p Position, out *Effects)
}

// Put is what a queue is asked to take.
type Put struct {
	Message *message.Message
	// Confirm is released when the queue has done what the publisher waits for; nil when
	// nobody waits.
	Confirm *message.Confirm
	// Transfer is set on dead letters whose source waits for them.
	Transfer *Transfer
}

// Reason says why a message was dead-lettered, in the words of x-death (DLX-1).
type Reason uint8

// The reasons for dead-lettering.
const (
	Rejected Reason = iota
	Expired
	MaxLength
	DeliveryLimit
	// Due is no death: a delayed message is to be routed by its exchange.
	Due
)

func (r Reason) String() string {
	return [...]string{"rejected", "expired", "maxlen", "delivery_limit", "due"}[r]
}

// Letter is a dead message on its way out of a queue. Whoever carries it publishes it
// to Exchange, giving every target Confirm and Transfer, and then calls Done.
type Letter struct {
	Message *message.Message
	Reason  Reason
	At      time.Time // when it died
	// Exchange and RoutingKey are the queue's dead-letter arguments at the time of death;
	// HasRoutingKey tells whether the key replaces the message's own (DLX-3).
	Exchange      string
	RoutingKey    string
	HasRoutingKey bool
	// Confirm is the publisher's, when the message died before it was stored: its targets
	// take over what the publisher waits for. May be nil.
	Confirm *message.Confirm
	// Transfer settles the message at its source. It is nil when the message was never to
	// be stored.
	Transfer *Transfer
	// AtLeastOnce has whoever carries the letter call Queue.Retain, instead of letting go of the
	// transfer, when not every target has taken it. Reached have, the last time.
	AtLeastOnce bool
	Reached     []ID
}

// Position names one message of one queue, as long as it is out for delivery.
type Position struct {
	Seq   uint64
	Slot  uint32
	Level uint8
}

// Delivery is a message handed to a consumer or a get.
type Delivery struct {
	Message  *message.Message
	Position Position
	At       int64 // when it is handed out, Unix milliseconds
	// Count is how often the message came back before; queues that report it as
	// x-delivery-count set ShowCount, and quorum queues, as x-acquired-count as well,
	// ShowAcquired (QQ-1).
	Count        uint32
	ShowCount    bool
	ShowAcquired bool
	Redelivered  bool
}

// Consumer is who the queue delivers to. It must be comparable and is the same value in
// every call. Deliver is called with the queue locked, must not call back, and reports
// false when there is no room (prefetch, or an outbound buffer that has grown too
// long); the queue then leaves the consumer alone until Resume, or until a message of
// its is settled. Whoever must be woken is added to out.Wakes.
type Consumer interface {
	Deliver(d Delivery, out *Effects) bool
}

// ConsumeOptions are the flags and arguments of basic.consume.
type ConsumeOptions struct {
	NoAck     bool // settled when delivered
	Exclusive bool // no other consumer beside it (CON-3)
	Priority  int32
}

// Stats are a queue's counters at one moment.
type Stats struct {
	Ready, Unacknowledged, Consumers int64
	ReadyBytes, UnacknowledgedBytes  int64
	Delayed, DelayedBytes            int64 // came back and are not ready again yet (QQ-6)
	Retained                         int64 // dead, and kept until their targets have them (DLX-14)
	Totals
}

// Totals are what a queue has counted since it was declared or restored. They only grow.
type Totals struct {
	Published, DeliveredAck, DeliveredNoAck uint64
	GetAck, GetNoAck, GetEmpty              uint64
	Redelivered, Acknowledged               uint64
	// Messages that died, by Reason: with a dead-letter exchange, and without one.
	DeadLettered, Dropped [4]uint64
}

// Add adds o to t.
func (t *Totals) Add(o Totals) {
	t.Published += o.Published
	t.DeliveredAck += o.DeliveredAck
	t.DeliveredNoAck += o.DeliveredNoAck
	t.GetAck += o.GetAck
	t.GetNoAck += o.GetNoAck
	t.GetEmpty += o.GetEmpty
	t.Redelivered += o.Redelivered
	t.Acknowledged += o.Acknowledged
	for i := range t.DeadLettered {
		t.DeadLettered[i] += o.DeadLettered[i]
		t.Dropped[i] += o.Dropped[i]
	}
}
