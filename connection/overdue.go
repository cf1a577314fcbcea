package connection

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/queue"
)

// A delivery that waits too long for its acknowledgement goes back to its queue, and its
// consumer is cancelled (CTO-2). A client that cannot be told so, or a broker that does it
// the older way, has the channel closed instead (CTO-1).
//
// Nothing is done for a delivery but that its time is noted. The broker has each channel
// that holds something timed looked at when its oldest delivery would be late: about once
// in the timeout.

// overdue is what a channel knows of its deliveries' time.
type overdue struct {
	// pace is the shortest timeout there has been; 0 while nothing is timed. From one look
	// to the next no more than this goes by.
	pace       time.Duration
	closeAfter time.Duration // the timeout for which the channel is to be closed, or 0
	lapsed     *lapsed       // nil as long as nothing was taken back
}

// eighths are Unix milliseconds in units of eight. They wrap around after a year, so a
// timeout of more than half of one never comes.
func eighths(ms int64) uint32 { return uint32(ms >> 3) }

// since is how long d has been out, a little less rather than more.
func (d *delivered) since(now uint32) time.Duration {
	return time.Duration(int32(now-d.at)-1) * 8 * time.Millisecond
}

// timeoutOf is how long a delivery of q may be out with k, or with a get when k is nil: its
// own timeout wins. Zero or less is for ever.
func timeoutOf(k *consumer, q *queue.Queue) time.Duration {
	if k != nil && k.timeout != queue.None {
		return k.timeout
	}
	return q.ConsumerTimeout()
}

// consumerTimeout reads x-consumer-timeout, whole milliseconds, of which 0 is for ever
// (CON-4, CTO-2).
func consumerTimeout(m *amqp.BasicConsume, q *queue.Queue) (time.Duration, error) {
	const name = "x-consumer-timeout"
	v, ok := m.Arguments.Get(name)
	if !ok {
		return queue.None, nil
	}
	timeout, detail := queue.ParseConsumerTimeout(v)
	if detail != "" {
		return 0, amqp.PreconditionFailed("invalid arg '%s' for %v: %s", name, q, detail)
	}
	return timeout, nil
}

// watch has the broker look at the channel, on which something that may be out for timeout
// is about to be.
func (ch *Channel) watch(timeout time.Duration, now time.Time) {
	if ch.quicken(timeout) {
		ch.c.b.Watch(ch, now.Add(timeout))
	}
}

// quicken reports whether the channel has to be looked at sooner than so far.
func (ch *Channel) quicken(timeout time.Duration) bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	o := &ch.overdue
	if timeout <= 0 || ch.stopped || o.pace > 0 && o.pace <= timeout {
		return false
	}
	o.pace = timeout
	return true
}

// Expire implements broker.Watched: what is out for too long goes back to its queue, and
// everything else that its consumer has.
func (ch *Channel) Expire(now time.Time, out *queue.Effects) (next time.Time) {
	ch.mu.Lock()
	if ch.stopped || ch.overdue.closeAfter > 0 {
		ch.mu.Unlock()
		return time.Time{}
	}
	next, found := ch.findLate(now)
	if ch.overdue.closeAfter > 0 {
		ch.mu.Unlock()
		ch.c.overdue.Store(true)
		ch.c.opts.Attend()
		return time.Time{}
	}
	if !found {
		ch.mu.Unlock()
		return next
	}
	back, gone := ch.takeLate(now, out)
	ch.mu.Unlock()

	slices.SortStableFunc(back, func(a, b delivered) int { return cmp.Compare(a.queue.ID(), b.queue.ID()) })
	for len(back) > 0 {
		q := back[0].queue
		var positions []queue.Position
		for len(back) > 0 && back[0].queue == q && len(positions) < positionsPerCall {
			positions = append(positions, back[0].position)
			back = back[1:]
		}
		q.Reject(now, positions, true, out)
	}
	// Afterwards, so that a single active consumer's successor gets what came back.
	for _, k := range gone {
		k.queue.Cancel(now, k, out)
	}
	ch.resumeWaiting(now, out, nil)
	return next
}

// findLate notes which consumers have something out for too long, or that the channel is to
// be closed for it, and reports whether there is anything. next is when there may be more.
// The channel is locked.
func (ch *Channel) findLate(now time.Time) (next time.Time, found bool) {
	in := ch.overdue.pace
	at := eighths(now.UnixMilli())
	ch.unacked.each(func(d *delivered) {
		timeout := timeoutOf(d.consumer, d.queue)
		if timeout <= 0 {
			return
		}
		left := timeout - d.since(at)
		if left > 0 {
			in = min(in, left)
			return
		}
		found = true
		switch k := d.consumer; {
		case ch.c.opts.CloseOverdue, k != nil && !k.gone && !ch.c.client.cancelNotify:
			if ch.overdue.closeAfter == 0 {
				ch.overdue.closeAfter = timeout
			}
		case k != nil:
			k.late = true
		}
	})
	return now.Add(max(in, 8*time.Millisecond)), found
}

// takeLate takes everything that consumers have who are late with something, and gets that
// are, out of what may be acknowledged; when that is tried it is no mistake. Such consumers
// are cancelled, and their clients told. The channel is locked.
func (ch *Channel) takeLate(now time.Time, out *queue.Effects) (back []delivered, gone []*consumer) {
	at := eighths(now.UnixMilli())
	back = ch.unacked.takeAll(func(d *delivered) bool {
		if d.consumer != nil {
			return d.consumer.late
		}
		timeout := d.queue.ConsumerTimeout()
		return timeout > 0 && d.since(at) >= timeout
	})
	if ch.overdue.lapsed == nil {
		ch.overdue.lapsed = new(lapsed)
	}
	for i := range back {
		ch.overdue.lapsed.add(back[i].tag)
		k := back[i].consumer
		if k == nil || k.gone {
			continue
		}
		k.gone = true
		gone = append(gone, k)
		ch.cancelled = append(ch.cancelled, k)
		ch.tellCancelled(k, out)
	}
	ch.makeRoom(back)
	return back, gone
}

// closeOverdue closes the channels on which something was out for too long (CTO-1).
func (c *Connection) closeOverdue() {
	for _, id := range slices.Sorted(maps.Keys(c.channels)) {
		ch := c.channels[id]
		ch.mu.Lock()
		timeout := ch.overdue.closeAfter
		ch.mu.Unlock()
		if timeout == 0 || ch.closing {
			continue
		}
		c.raise(ch, amqp.PreconditionFailed("delivery acknowledgement on channel %d timed out. Timeout value used: %d ms. "+
			"This timeout value can be configured, see consumers doc guide to learn more", id, timeout.Milliseconds()).OnNone())
	}
}

// Extend implements broker.Watched.
func (ch *Channel) Extend(now time.Time, vhost, channel, consumer string, tag uint64) bool {
	if ch.c.vhost.Name() != vhost || ch.name() != channel {
		return false
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	found := false
	ch.unacked.each(func(d *delivered) {
		if d.consumer != nil && d.consumer.tag == consumer && (tag == 0 || tag == d.tag) {
			d.at = eighths(now.UnixMilli())
			found = true
		}
	})
	return found
}

// Awaits implements broker.Watched.
func (ch *Channel) Awaits(vhost, consumer string) (channel, user string, ok bool) {
	if ch.c.vhost.Name() != vhost {
		return "", "", false
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.unacked.each(func(d *delivered) { ok = ok || d.consumer != nil && d.consumer.tag == consumer })
	return ch.name(), ch.c.client.user, ok
}

// name is what operators call the channel (C-18).
func (ch *Channel) name() string { return fmt.Sprintf("%s (%d)", ch.c.peer.Name, ch.id) }

// settleLapsed lets a client settle what was taken back from it, which changes nothing:
// it cannot know yet. What else there is up to a multiple's tag is taken. The channel is
// locked.
func (ch *Channel) settleLapsed(tag uint64, multiple bool, taken []delivered, ok bool) ([]delivered, bool) {
	l := ch.overdue.lapsed
	if !ok && l.has(tag) {
		ok = true
		if multiple {
			taken = ch.unacked.takeUpTo(tag, taken)
		}
	}
	if ok {
		l.forget(tag, multiple)
	}
	return taken, ok
}

// lapsed are the tags of deliveries that were taken back.
type lapsed struct{ ranges []queue.Range }

// maxLapsed is how many ranges are kept; the oldest tags are forgotten first.
const maxLapsed = 4096

// add notes a tag.
func (l *lapsed) add(tag uint64) {
	i, found := l.find(tag)
	switch {
	case found:
		return
	case i > 0 && l.ranges[i-1].Last+1 == tag:
		l.ranges[i-1].Last = tag
	default:
		l.ranges = slices.Insert(l.ranges, i, queue.Range{First: tag, Last: tag})
	}
	if len(l.ranges) > maxLapsed {
		l.ranges = l.ranges[1:]
	}
}

// has tells whether a tag is among them.
func (l *lapsed) has(tag uint64) bool {
	_, found := l.find(tag)
	return found
}

// find returns the place of the range a tag is in, or would be.
func (l *lapsed) find(tag uint64) (int, bool) {
	return slices.BinarySearchFunc(l.ranges, tag, func(r queue.Range, tag uint64) int {
		switch {
		case r.Last < tag:
			return -1
		case r.First > tag:
			return 1
		}
		return 0
	})
}

// forget takes a tag out; with all, every tag up to it as well, or every one there is when
// it is 0.
func (l *lapsed) forget(tag uint64, all bool) {
	if all && tag == 0 {
		l.ranges = nil
		return
	}
	i, found := l.find(tag)
	if all {
		l.ranges = l.ranges[i:]
		if found {
			l.ranges[0].First = tag + 1
			if l.ranges[0].Last == tag {
				l.ranges = l.ranges[1:]
			}
		}
		return
	}
	if !found {
		return
	}
	r := l.ranges[i]
	var rest []queue.Range
	if r.First < tag {
		rest = append(rest, queue.Range{First: r.First, Last: tag - 1})
	}
	if tag < r.Last {
		rest = append(rest, queue.Range{First: tag + 1, Last: r.Last})
	}
	l.ranges = slices.Replace(l.ranges, i, i+1, rest...)
}

var (
	_ broker.Watched = (*Channel)(nil)
	_ broker.Retimed = (*consumer)(nil)
)
