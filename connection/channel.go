package connection

import (
	"sync"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/broker"
)

// Channel is one conversation within a connection.
type Channel struct {
	c  *Connection
	id uint16
	// closing is set once the server has closed the channel: everything but close-ok is
	// ignored until that comes (CH-5).
	closing bool

	publish   publishing
	router    broker.Router
	access    access
	lastQueue string    // "" until one was declared
	joined    int       // consumers ever
	replyTo   *consumer // the consumer of direct reply-to
	inBatch   bool      // is among Connection.confirmed
	publisher bool      // has published
	left      bool      // stop was called
	counting  bool      // is among Connection.publishing
	batch     published

	// Changed with mu held by the goroutine that feeds, which alone reads them without.
	confirming bool
	tx         *transaction // nil unless tx.select was said
	prefetch   int          // for consumers to come, 0 for no limit (QOS-2)
	consumers  map[string]*consumer

	mu        sync.Mutex // guards the fields below
	stopped   bool       // nothing is delivered, returned or confirmed any more (CH-13)
	nextTag   uint64     // the last delivery tag given out
	unacked   unacked
	window    window      // shared by all consumers (QOS-3)
	starved   []*consumer // found their window or the shared one full, in the order they did
	sharing   bool        // room in the shared window is about to be given to the starved
	invited   *consumer   // whose turn it is while sharing
	cancelled []*consumer // their queue is gone; the map does not know yet
	pending   confirms
	telling   bool // somebody is going to Wake us
	totals    broker.ChannelTotals
	overdue   overdue
}

// published is what a channel published in a batch.
type published struct{ all, returned, dropped uint64 }

// window is how many deliveries may be out at a time, and how many are.
type window struct {
	limit int // 0 for no limit
	out   int
}

func (w *window) full() bool { return w.limit > 0 && w.out >= w.limit }

// openChannel opens a channel with the first frame on its number (CH-1, CH-4).
func (c *Connection) openChannel(f amqp.Frame) {
	if f.Type != amqp.FrameMethod {
		c.raise(nil, amqp.UnexpectedFrame("expected method frame, got non method frame instead").OnNone())
		return
	}
	class, id := f.MethodID()
	switch {
	case class == amqp.ClassChannel && id == amqp.MethodChannelCloseOk:
		return // it crossed the client's own close
	case class != amqp.ClassChannel || id != amqp.MethodChannelOpen:
		c.raise(nil, amqp.ChannelError("expected 'channel.open'").On(class, id))
		return
	}
	var open amqp.ChannelOpen
	if err := open.Decode(f.Payload[4:]); err != nil {
		c.raise(nil, err)
		return
	}
	if limit := int(c.opts.ChannelMax); len(c.channels) >= limit {
		c.raise(nil, amqp.NotAllowed("number of channels opened (%d) has reached the negotiated channel_max (%d)",
			len(c.channels), limit).OnNone())
		return
	}
	if err := c.b.OpenChannel(c.client.user); err != nil {
		c.raise(nil, err)
		return
	}
	ch := &Channel{c: c, id: f.Channel}
	c.channelsMu.Lock()
	c.channels[f.Channel] = ch
	c.channelsMu.Unlock()
	c.channelCount.Store(int64(len(c.channels)))
	c.b.Counters.ChannelsOpened.Add(1)
	c.last = ch
	c.send(f.Channel, &amqp.ChannelOpenOk{})
}

// closingChannelFrame handles frames that come before the client has answered
// channel.close.
func (c *Connection) closingChannelFrame(ch *Channel, f amqp.Frame) {
	if f.Type != amqp.FrameMethod {
		return
	}
	switch class, id := f.MethodID(); {
	case class != amqp.ClassChannel:
	case id == amqp.MethodChannelCloseOk:
		c.freeChannel(ch)
	case id == amqp.MethodChannelClose:
		c.send(ch.id, &amqp.ChannelCloseOk{})
	case id == amqp.MethodChannelOpen:
		c.raise(nil, amqp.ChannelError("second 'channel.open' seen").On(class, id))
	}
}

// freeChannel makes the number free to be opened again (CH-6).
func (c *Connection) freeChannel(ch *Channel) {
	c.channelsMu.Lock()
	delete(c.channels, ch.id)
	c.channelsMu.Unlock()
	c.b.CloseChannels(c.client.user, 1)
	c.channelCount.Store(int64(len(c.channels)))
	c.last = nil
}

// frame handles one frame of an open channel.
func (ch *Channel) frame(f amqp.Frame) {
	if f.Type == amqp.FrameMethod && ch.publish.stage == noContent {
		ch.methodFrame(f)
		return
	}
	if err := ch.contentFrame(f); err != nil {
		ch.c.raise(ch, err)
	}
}

// methodFrame decodes a method and has it handled. The methods of a message's way are
// decoded without the heap.
func (ch *Channel) methodFrame(f amqp.Frame) {
	class, id := f.MethodID()
	arguments := f.Payload[4:]
	var err error
	switch uint32(class)<<16 | uint32(id) {
	case basicPublish:
		var m amqp.BasicPublish
		if err = m.Decode(arguments); err == nil {
			ch.basicPublish(&m)
			return
		}
	case basicAck:
		var m amqp.BasicAck
		if err = m.Decode(arguments); err == nil {
			ch.c.decoding = false
			err = ch.settle(m.DeliveryTag, m.Multiple, settlement{})
		}
	default:
		m := amqp.NewMethod(class, id)
		if m == nil {
			ch.c.raise(nil, amqp.CommandInvalid("unimplemented method").On(class, id))
			return
		}
		if err = m.Decode(arguments); err == nil {
			ch.c.decoding = false
			err = ch.method(m)
		}
	}
	if err != nil {
		ch.fail(err, class, id)
	}
}

// fail raises an error of a method.
func (ch *Channel) fail(err error, class, id uint16) {
	if e := asError(err); e != nil {
		err = e.On(class, id)
	}
	ch.c.raise(ch, err)
}

const (
	basicPublish = uint32(amqp.ClassBasic)<<16 | uint32(amqp.MethodBasicPublish)
	basicAck     = uint32(amqp.ClassBasic)<<16 | uint32(amqp.MethodBasicAck)
)

// method handles every method but those methodFrame does itself.
func (ch *Channel) method(m amqp.Method) error {
	switch m := m.(type) {
	case *amqp.ChannelOpen:
		return amqp.ChannelError("second 'channel.open' seen")
	case *amqp.ChannelClose:
		ch.close()
		return nil
	case *amqp.ChannelFlow:
		return ch.flow(m)
	case *amqp.AccessRequest:
		ch.c.send(ch.id, &amqp.AccessRequestOk{Ticket: 1}) // CH-9
		return nil

	case *amqp.ExchangeDeclare:
		return ch.exchangeDeclare(m)
	case *amqp.ExchangeDelete:
		return ch.exchangeDelete(m)
	case *amqp.ExchangeBind:
		return ch.exchangeBind(m)
	case *amqp.ExchangeUnbind:
		return ch.exchangeUnbind(m)

	case *amqp.QueueDeclare:
		return ch.queueDeclare(m)
	case *amqp.QueueBind:
		return ch.queueBind(m)
	case *amqp.QueueUnbind:
		return ch.queueUnbind(m)
	case *amqp.QueuePurge:
		return ch.queuePurge(m)
	case *amqp.QueueDelete:
		return ch.queueDelete(m)

	case *amqp.BasicQos:
		return ch.basicQos(m)
	case *amqp.BasicConsume:
		return ch.basicConsume(m)
	case *amqp.BasicCancel:
		return ch.basicCancel(m)
	case *amqp.BasicCancelOk:
		return nil // the answer to a cancel of ours, which needs none (CON-7)
	case *amqp.BasicGet:
		return ch.basicGet(m)
	case *amqp.BasicReject:
		return ch.settle(m.DeliveryTag, false, settlement{rejected: true, requeue: m.Requeue})
	case *amqp.BasicNack:
		return ch.settle(m.DeliveryTag, m.Multiple, settlement{rejected: true, requeue: m.Requeue, returned: true})
	case *amqp.BasicRecover:
		return ch.recover(m.Requeue, &amqp.BasicRecoverOk{})
	case *amqp.BasicRecoverAsync:
		return ch.recover(m.Requeue, nil)

	case *amqp.ConfirmSelect:
		return ch.confirmSelect(m)
	case *amqp.TxSelect:
		return ch.txSelect()
	case *amqp.TxCommit:
		return ch.txCommit()
	case *amqp.TxRollback:
		return ch.txRollback()
	}
	// Methods that only servers send, and those of channel 0 (W-26).
	return amqp.CommandInvalid("unimplemented method")
}

// close ends a channel the client is done with: deliveries are back in their queues and
// queues without consumers gone before it is told (CH-7).
func (ch *Channel) close() {
	c := ch.c
	ch.stop()
	c.b.CarryOut(c.now, &c.effects)
	c.freeChannel(ch)
	c.send(ch.id, &amqp.ChannelCloseOk{})
}

// flow is what clients ask of deliveries. RabbitMQ only knows them flowing (CH-8).
func (ch *Channel) flow(m *amqp.ChannelFlow) error {
	if !m.Active {
		return amqp.NotImplemented("active=false")
	}
	ch.c.send(ch.id, &amqp.ChannelFlowOk{Active: true})
	return nil
}

// silence has the channel deliver nothing more. What others of its connection give back
// when they stop is not for it: it would come back once more, and count as delivered.
func (ch *Channel) silence() {
	ch.mu.Lock()
	ch.stopped = true
	ch.mu.Unlock()
}

// stop ends everything the channel does: consumers are removed, what was not
// acknowledged goes back to where it was (TX-6, CH-7), confirms are void.
func (ch *Channel) stop() {
	if ch.left {
		return
	}
	ch.left = true
	ch.mu.Lock()
	ch.stopped = true
	if ch.tx != nil {
		ch.unacked.restore(ch.tx.takeSettled())
	}
	back, _ := ch.unacked.takeThrough(0, ch.c.taken[:0])
	ch.starved = nil
	watched := ch.overdue.pace > 0
	ch.overdue = overdue{}
	ch.c.unconfirmed.Add(-ch.pending.outstanding())
	ch.pending = confirms{}
	ch.mu.Unlock()

	if watched {
		ch.c.b.Unwatch(ch)
	}
	ch.c.b.Counters.ChannelsClosed.Add(1)
	if ch.publisher {
		ch.c.b.Counters.Publishers.Add(-1)
	}
	ch.c.b.Counters.ConsumersRemoved.Add(uint64(len(ch.consumers)))
	for _, k := range ch.sortedConsumers() {
		k.queue.Cancel(ch.c.now, k, &ch.c.effects)
	}
	ch.mu.Lock()
	ch.consumers = nil
	ch.mu.Unlock()
	ch.forgetReplyTo()
	ch.letGo()
	ch.endTransaction()
	ch.publish = publishing{}
	ch.apply(back, settlement{rejected: true, requeue: true})
}
