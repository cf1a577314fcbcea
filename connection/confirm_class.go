package connection

import (
	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/message"
)

// confirmSelect puts the channel in confirm mode; again is fine (CONF-1).
func (ch *Channel) confirmSelect(m *amqp.ConfirmSelect) error {
	if ch.tx != nil {
		return amqp.PreconditionFailed("cannot switch from tx to confirm mode")
	}
	if !ch.confirming {
		ch.mu.Lock()
		ch.confirming = true
		ch.pending.start()
		ch.mu.Unlock()
	}
	if !m.NoWait {
		ch.c.send(ch.id, &amqp.ConfirmSelectOk{})
	}
	return nil
}

// nextConfirm takes the number of a publish. What is confirmed until the end of the
// batch is sent by its Flush.
func (ch *Channel) nextConfirm() uint64 {
	if !ch.inBatch {
		ch.inBatch = true
		ch.c.confirmed = append(ch.c.confirmed, ch)
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.telling = true
	ch.c.unconfirmed.Add(1)
	return ch.pending.add()
}

// Confirmed implements message.Confirmer. It may be called with a queue locked.
func (ch *Channel) Confirmed(seq uint64, ok bool, wakes *message.Wakes) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.stopped {
		return // void (CONF-7)
	}
	ch.pending.settle(seq, ok)
	if !ch.telling {
		ch.telling = true
		wakes.Add(ch)
	}
}

// sendConfirms appends what was confirmed since the last time, at the end of a batch.
func (ch *Channel) sendConfirms(wakes *message.Wakes) {
	ch.inBatch = false
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.telling = false
	ch.appendReady(wakes)
}

// sendReadyConfirms is sendConfirms in the middle of a batch.
func (ch *Channel) sendReadyConfirms(wakes *message.Wakes) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.appendReady(wakes)
}

// appendReady appends the confirms that are due. The channel is locked.
func (ch *Channel) appendReady(wakes *message.Wakes) {
	if ch.stopped || ch.pending.ready == 0 {
		return
	}
	out := ch.c.out
	out.end(ch.appendConfirms(out.begin()), wakes)
}

// Wake implements message.Waker: confirms that were released by someone else are sent.
func (ch *Channel) Wake(few bool) {
	out := ch.c.out
	ch.mu.Lock()
	ch.telling = false
	if ch.stopped || ch.pending.ready == 0 {
		ch.mu.Unlock()
		return
	}
	tell := out.endQuietly(ch.appendConfirms(out.begin()))
	ch.mu.Unlock()
	if tell {
		out.Wake(few)
	}
}

// appendConfirms appends the acks and nacks that are due and counts them. The channel is
// locked.
func (ch *Channel) appendConfirms(buf []byte) []byte {
	confirmed, refused := ch.pending.confirmed, ch.pending.refused
	buf = ch.pending.append(buf, ch.id)
	confirmed, refused = ch.pending.confirmed-confirmed, ch.pending.refused-refused
	c := ch.c
	c.b.Counters.MessagesConfirmed.Add(confirmed)
	c.vhost.Counters.MessagesConfirmed.Add(confirmed)
	if refused > 0 {
		c.b.Counters.MessagesRejected.Add(refused)
	}
	if c.unconfirmed.Add(-int64(confirmed+refused)) == 0 && c.awaiting.Load() {
		c.opts.Ready()
	}
	return buf
}
