package broker

import (
	"fmt"
	"slices"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

// carrier is what one goroutine needs to carry dead letters.
type carrier struct {
	router  Router
	letters []queue.Letter
	reached []queue.ID // the queues that have taken a letter that is sent at least once
}

// carryLetters empties the outboxes of the queues in out.Letters. Whoever carries for a
// queue goes on until its outbox is empty, and nobody else carries for it meanwhile, so
// that its letters leave in the order in which they died (DLX-15). Queues that letters
// fill or kill in append themselves to out.Letters while this goes on.
func (b *Broker) carryLetters(now time.Time, out *queue.Effects) {
	c, _ := b.carriers.Get().(*carrier)
	if c == nil {
		c = new(carrier)
	}
	for i := 0; i < len(out.Letters); i++ {
		b.carryLettersOf(now, out.Letters[i], c, out)
	}
	clear(out.Letters)
	out.Letters = out.Letters[:0]
	b.carriers.Put(c)
}

func (b *Broker) carryLettersOf(now time.Time, q *queue.Queue, c *carrier, out *queue.Effects) {
	v := b.VHost(q.Spec().VHost)
	letters, ok := q.TakeLetters(c.letters[:0], false)
	for ok {
		for i := range letters {
			l := &letters[i]
			l.Confirm = unrefusable(l.Confirm)
			c.reached = append(c.reached[:0], l.Reached...)
			if all := b.carry(now, v, q, c, l, out); l.AtLeastOnce && !all {
				q.Retain(now, l, slices.Clone(c.reached), out)
				continue
			}
			// The carrier's own holds. The targets have taken theirs by now.
			l.Confirm.Release(&out.Wakes)
			l.Transfer.Release(out)
		}
		clear(letters)
		letters, ok = q.TakeLetters(letters[:0], true)
	}
	if cap(letters) <= 1024 {
		c.letters = letters
	} else {
		c.letters = nil
	}
}

// carry sends one letter on its way, and reports whether it came everywhere it should.
func (b *Broker) carry(now time.Time, v *VHost, q *queue.Queue, c *carrier, l *queue.Letter, out *queue.Effects) (all bool) {
	if l.Reason == queue.Due {
		if v == nil || !v.fire(now, c, q, l, out) {
			b.Counters.DelayedDropped.Add(1)
		}
		return true
	}
	arrived := false
	if v != nil {
		arrived, all = v.deadLetter(now, c, q.Name(), l, out)
	}
	if !arrived && (all || !l.AtLeastOnce) {
		b.Counters.DeadLettersDropped.Add(1)
	}
	return all
}

// unrefusable returns a confirm for the targets of a letter that lets go of the publisher's
// one when it is done, and keeps from it that a target was full: the message was taken and
// has died, which is no refusal (CONF-5).
func unrefusable(c *message.Confirm) *message.Confirm {
	if c == nil {
		return nil
	}
	return message.NewConfirm(ofLetter{c}, 0)
}

// ofLetter is the Confirmer of a letter's targets.
type ofLetter struct{ publisher *message.Confirm }

func (l ofLetter) Confirmed(_ uint64, _ bool, wakes *message.Wakes) { l.publisher.Release(wakes) }

// deadLetter publishes one letter of the queue named source, and reports whether it came
// anywhere, and whether everywhere it should. Without its exchange, or a route from there, it
// is gone (DLX-2, DLX-13), unless it is to arrive at least once (DLX-14); its publisher is
// never told.
func (v *VHost) deadLetter(now time.Time, c *carrier, source string, l *queue.Letter, out *queue.Effects) (arrived, all bool) {
	x := v.exchanges.find(l.Exchange)
	if x == nil {
		return false, false
	}
	m, deaths := deadMessage(source, l)
	queues := c.router.route(now, v, x.x, m, l.Confirm)
	originals := slices.Clone(c.router.originals)
	transfer := c.router.follows(l.Transfer)
	all = len(queues) > 0
	for _, q := range queues {
		if deaths.cycle(q.Name()) {
			continue
		}
		arrived = true
		switch {
		case slices.Contains(l.Reached, q.ID()):
		case q.Publish(now, queue.Put{Message: m, Confirm: l.Confirm, Transfer: transfer}, out):
			c.reached = append(c.reached, q.ID())
		default:
			all = false
		}
	}
	if len(c.router.delayed) > 0 {
		c.router.delay(now, queue.Put{Message: m, Confirm: l.Confirm, Transfer: transfer}, out)
		arrived = true
	}
	if transfer != l.Transfer {
		transfer.Release(out)
	}
	if l.AtLeastOnce && !all {
		for _, o := range originals {
			o.window.refuse(o.number) // it will come again
		}
	}
	if arrived {
		v.b.Counters.MessagesRouted.Add(1)
	}
	return arrived, all
}

// deadMessage is the message that a letter becomes: another one, with the account of its
// deaths in the headers. The deaths it returns are those that may make a cycle: no message is
// lost for what a client alone has written.
func deadMessage(source string, l *queue.Letter) (*message.Message, deaths) {
	m := l.Message
	var p amqp.Properties
	if err := p.Decode(m.Properties()); err != nil {
		panic(fmt.Sprintf("broker: properties of a message in queue %q: %v", source, err))
	}
	before := deathsOf(p.Headers)
	history := before.record(source, l, p.Expiration)

	p.Flags = p.Flags&^amqp.FlagExpiration | amqp.FlagHeaders // DLX-5
	p.Headers = history.headers(p.Headers, len(before) > 0)
	content := message.Content{
		Exchange:   l.Exchange,
		RoutingKey: m.RoutingKey,
		More:       m.More,
		Body:       m.Body(),
		Dead:       true,
	}
	if l.HasRoutingKey { // it replaces every key, and what told of the others (DLX-3, DLX-11)
		content.RoutingKey, content.More = l.RoutingKey, nil
		p.Headers = p.Headers.Without(headerCC)
	}
	content.Properties = p.Append(nil)
	dead, err := message.New(content)
	if err != nil {
		panic(fmt.Sprintf("broker: properties of a dead letter of queue %q: %v", source, err))
	}
	if !m.Dead {
		history = history[:1]
	}
	return dead, history
}
