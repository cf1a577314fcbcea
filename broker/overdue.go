package broker

import (
	"fmt"
	"time"

	"github.com/leveretmq/leveret/queue"
)

// Watched is a channel with deliveries that may come to be out for too long. It is
// comparable.
type Watched interface {
	// Expire takes back what is out for too long, and returns when to be called next; the
	// zero time is never. It is called with nothing locked.
	Expire(now time.Time, out *queue.Effects) (next time.Time)
	// Extend has the deliveries of a consumer count as handed out now, or the one with that
	// tag unless it is 0. It reports whether this is the channel of that name, and has them.
	Extend(now time.Time, vhost, channel, consumer string, tag uint64) bool
	// Awaits tells whether something is out with a consumer of that tag, and if it is, the
	// name of the channel and whose connection it is on.
	Awaits(vhost, consumer string) (channel, user string, ok bool)
}

// Retimed is a queue.Consumer that wants to know when its queue has another acknowledgement
// timeout. It is called with nothing locked.
type Retimed interface{ ConsumerTimeoutChanged(now time.Time) }

// Watch has the channel looked at no later than at, and from then on whenever it says.
func (b *Broker) Watch(w Watched, at time.Time) { b.timers.set(w, at) }

// Unwatch ends that.
func (b *Broker) Unwatch(w Watched) { b.timers.forget(w) }

// ExtendConsumer gives the consumer with that tag on the channel of that name, which is
// "<connection> (<number>)" (C-18), its whole acknowledgement timeout again, for what is
// out with it; or for one delivery alone, unless its tag is 0. If nothing is timed there,
// the error is a *Refusal.
func (b *Broker) ExtendConsumer(now time.Time, vhost, channel, consumer string, tag uint64) error {
	for _, w := range b.timers.watched() {
		if w.Extend(now, vhost, channel, consumer, tag) {
			return nil
		}
	}
	what := fmt.Sprintf("consumer '%s'", consumer)
	if tag != 0 {
		what = fmt.Sprintf("delivery %d of consumer '%s'", tag, consumer)
	}
	return refuse(NotFound, "no acknowledgement with a timeout is awaited of %s on channel '%s' in vhost '%s'", what, channel, vhost)
}

// ChannelsAwaiting are the names of the channels on which something with an acknowledgement
// timeout is out with a consumer of that tag, on connections of a user, or of any for "".
func (b *Broker) ChannelsAwaiting(vhost, consumer, user string) (channels []string) {
	for _, w := range b.timers.watched() {
		if channel, owner, ok := w.Awaits(vhost, consumer); ok && (user == "" || owner == user) {
			channels = append(channels, channel)
		}
	}
	return channels
}

// watched are the channels in it.
func (t *timers) watched() []Watched {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []Watched
	for x := range t.of {
		if w, ok := x.(Watched); ok {
			all = append(all, w)
		}
	}
	return all
}

// timed has a queue that says nothing of an acknowledgement timeout use the broker's.
func (b *Broker) timed(o queue.Options) queue.Options {
	if o.ConsumerTimeout == queue.None {
		o.ConsumerTimeout = b.options.ConsumerTimeout
	}
	return o
}

func tellRetimed(now time.Time, out *queue.Effects) {
	for _, c := range out.Retimed {
		if c, ok := c.(Retimed); ok {
			c.ConsumerTimeoutChanged(now)
		}
	}
	clear(out.Retimed)
	out.Retimed = out.Retimed[:0]
}
