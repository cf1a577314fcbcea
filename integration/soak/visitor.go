package main

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Visitors come, use what they declare themselves, and go. What they leave behind by accident is
// what a broker leaks: a name, a route, a timer, a goroutine.

// patience is how long a visitor waits for what has to come at once.
const patience = 30 * time.Second

// call is the life of a visitor with queues that end with it: some channels, on each of them an
// exclusive or an auto-delete queue, some transient messages to and from it, one that nothing
// takes, and then any way to go.
func call(w *worker) error {
	w.pause(w.between(100*time.Millisecond, 500*time.Millisecond))
	p, err := w.dial()
	if err != nil {
		return err
	}
	defer p.vanish()
	for range 1 + w.random.IntN(3) {
		ch, err := p.Channel()
		if err != nil {
			return err
		}
		if err := converse(w, ch); err != nil {
			return err
		}
		if w.random.IntN(2) == 0 {
			if err := ch.Close(); err != nil {
				return err
			}
		}
	}
	if w.random.IntN(3) == 0 {
		return nil // without a word
	}
	return p.Close()
}

// converse declares a queue and binds it to an exchange of its own, and sends messages through both.
func converse(w *worker, ch *amqp.Channel) error {
	exclusive, noAck, exchange := w.random.IntN(2) == 0, w.random.IntN(2) == 0, fmt.Sprintf("soak.visit.%x", w.random.Uint64())
	q, err := ch.QueueDeclare("", false, true, exclusive, false, nil)
	if err != nil {
		return err
	}
	kind := []string{"direct", "fanout", "topic", "headers"}[w.random.IntN(4)]
	if err := ch.ExchangeDeclare(exchange, kind, false, true, false, false, nil); err != nil {
		return err
	}
	if err := ch.QueueBind(q.Name, "a.visit", exchange, false, amqp.Table{"x-match": "any", "visit": true}); err != nil {
		return err
	}
	deliveries, err := ch.Consume(q.Name, "", noAck, false, false, false, nil)
	if err != nil {
		return err
	}
	returns := ch.NotifyReturn(make(chan amqp.Return, 1))
	n, body := 1+w.random.IntN(40), w.body(10, 8<<10)
	for range n {
		m := amqp.Publishing{Headers: amqp.Table{"visit": true}, Body: body}
		if err := ch.Publish(exchange, "a.visit", false, false, m); err != nil {
			return err
		}
	}
	if err := ch.Publish("", exchange, true, false, amqp.Publishing{MessageId: exchange}); err != nil {
		return err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for i := range n {
		select {
		case d := <-deliveries:
			if !bytes.Equal(d.Body, body) {
				return fmt.Errorf("message %d of %d to %s %s came with %d octets, want %d", i, n, kind, exchange, len(d.Body), len(body))
			}
			// Half of them leave with messages that they have not acknowledged.
			if !noAck && i < n/2 {
				if err := d.Ack(false); err != nil {
					return err
				}
			}
		case <-timer.C:
			return fmt.Errorf("message %d of %d to %s %s has not come", i, n, kind, exchange)
		}
	}
	select {
	case r := <-returns:
		if r.MessageId != exchange || r.ReplyCode != amqp.NoRoute {
			return fmt.Errorf("got %v of %q back, want %s", r.ReplyCode, r.MessageId, exchange)
		}
	case <-timer.C:
		return errors.New("a message that nothing takes was not returned")
	}
	return nil
}

// build is the life of a visitor with durable queues and exchanges: it declares some with whatever
// arguments, binds, fills and reads them, and deletes them with what is in them. Some queues it
// leaves to their expiry.
func build(w *worker) error {
	p, ch, err := w.open()
	if err != nil {
		return err
	}
	defer p.vanish()
	if err := ch.Confirm(false); err != nil {
		return err
	}
	for range 1 + w.random.IntN(20) {
		if w.over() {
			break
		}
		w.pause(w.between(50*time.Millisecond, 400*time.Millisecond))
		if err := buildOne(w, ch); err != nil {
			return err
		}
	}
	return p.Close()
}

// plans are arguments of queues that come and go. A policy may have others for them, too.
func plans() []amqp.Table {
	return []amqp.Table{
		nil,
		{"x-queue-type": "quorum"},
		{"x-max-priority": int32(3)},
		{"x-message-ttl": int32(200)},
		{"x-max-length": int32(10), "x-overflow": "reject-publish"},
		{"x-max-length-bytes": int32(20_000)},
		{"x-single-active-consumer": true},
		{"x-dead-letter-exchange": "soak.churn.nowhere", "x-message-ttl": int32(300)},
	}
}

func buildOne(w *worker, ch *amqp.Channel) error {
	name := fmt.Sprintf("soak.churn.%x", w.random.Uint64())
	all := plans()
	arguments := all[w.random.IntN(len(all))]
	expires := w.random.IntN(3) == 0
	if expires {
		if arguments == nil {
			arguments = amqp.Table{}
		}
		arguments["x-expires"] = int32(5000)
	}
	if _, err := ch.QueueDeclare(name, true, false, false, false, arguments); err != nil {
		return err
	}
	kind := []string{"direct", "fanout", "topic", "x-consistent-hash"}[w.random.IntN(4)]
	if err := ch.ExchangeDeclare(name, kind, true, false, false, false, nil); err != nil {
		return err
	}
	if err := ch.QueueBind(name, "1", name, false, nil); err != nil {
		return err
	}
	var confirms []*amqp.DeferredConfirmation
	for range w.random.IntN(50) {
		m := amqp.Publishing{DeliveryMode: amqp.Persistent, Priority: uint8(w.random.IntN(4)), Body: w.body(10, 16<<10)}
		if w.random.IntN(4) == 0 {
			m.Expiration = fmt.Sprint(w.random.IntN(500))
		}
		c, err := ch.PublishWithDeferredConfirm(name, "1", false, false, m)
		if err != nil {
			return err
		}
		confirms = append(confirms, c)
	}
	for _, c := range confirms {
		c.Wait() // some are refused, because the queue is full
	}
	for range w.random.IntN(10) {
		if _, _, err := ch.Get(name, w.random.IntN(2) == 0); err != nil {
			return err
		}
	}
	if w.random.IntN(4) == 0 {
		if _, err := ch.QueuePurge(name, false); err != nil {
			return err
		}
	}
	if w.random.IntN(2) == 0 {
		if err := ch.QueueUnbind(name, "1", name, nil); err != nil {
			return err
		}
	}
	if err := ch.ExchangeDelete(name, false, false); err != nil || expires {
		return err
	}
	_, err := ch.QueueDelete(name, false, false, false)
	return err
}

// blunder is the life of a visitor that makes mistakes, each of which costs it a channel.
func blunder(w *worker) error {
	p, err := w.dial()
	if err != nil {
		return err
	}
	defer p.vanish()
	for range 1 + w.random.IntN(20) {
		if w.over() {
			break
		}
		w.pause(w.between(200*time.Millisecond, time.Second))
		ch, err := p.Channel()
		if err != nil {
			return err
		}
		closed := ch.NotifyClose(make(chan *amqp.Error, 1))
		name := fmt.Sprintf("soak.blunder.%x", w.random.Uint64())
		want := amqp.NotFound
		switch w.random.IntN(4) {
		case 0:
			_, err = ch.QueueDeclarePassive(name, false, false, false, false, nil)
		case 1:
			err = ch.Publish(name, "", false, false, amqp.Publishing{})
		case 2:
			err, want = ch.Ack(1, false), amqp.PreconditionFailed
		case 3:
			_, err = ch.Consume(name, "", false, false, false, false, nil)
		}
		select {
		case reason := <-closed:
			if reason == nil {
				return fmt.Errorf("a mistake was answered by the end of the channel without a reason, want %d", want)
			}
			if reason.Code != want {
				return fmt.Errorf("a mistake was answered by %d, want %d: %w", reason.Code, want, reason)
			}
		case <-time.After(patience):
			return fmt.Errorf("a mistake was not answered: %w", err)
		}
	}
	return p.Close()
}

// ask is the life of one who asks and is answered at once, by direct reply-to.
func ask(w *worker) error {
	p, ch, err := w.open()
	if err != nil {
		return err
	}
	defer p.vanish()
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return err
	}
	questions, err := ch.Consume(q.Name, "", true, false, false, false, nil)
	if err != nil {
		return err
	}
	const reply = "amq.rabbitmq.reply-to"
	answers, err := ch.Consume(reply, "", true, false, false, false, nil)
	if err != nil {
		return err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for range 1 + w.random.IntN(100) {
		if w.over() {
			break
		}
		w.pause(50 * time.Millisecond)
		body := w.body(10, 1<<10)
		if err := ch.Publish("", q.Name, false, false, amqp.Publishing{ReplyTo: reply, Body: body}); err != nil {
			return err
		}
		timer.Reset(patience)
		for range 2 {
			select {
			case d := <-questions:
				if err := ch.Publish("", d.ReplyTo, false, false, amqp.Publishing{Body: d.Body}); err != nil {
					return err
				}
			case d := <-answers:
				if !bytes.Equal(d.Body, body) {
					return fmt.Errorf("got an answer of %d octets, want %d", len(d.Body), len(body))
				}
			case <-timer.C:
				return errors.New("a question was not answered")
			}
		}
	}
	return p.Close()
}

// knock is the life of one who does not get in: with a password or a virtual host that is wrong,
// or without saying what it wants.
func knock(w *worker) error {
	w.pause(w.between(500*time.Millisecond, 2*time.Second))
	uri, err := amqp.ParseURI(w.url)
	if err != nil {
		return err
	}
	switch w.random.IntN(3) {
	case 0:
		uri.Username = fmt.Sprintf("nobody-%x", w.random.Uint64())
	case 1:
		uri.Vhost = fmt.Sprintf("nowhere-%x", w.random.Uint64())
	case 2:
		c, err := amqp.DefaultDial(patience)("tcp", fmt.Sprintf("%s:%d", uri.Host, uri.Port))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("AMQP\x00\x00\x09\x01")[:w.random.IntN(9)])
		w.pause(w.between(0, time.Second))
		return err
	}
	if p, err := w.dialTo(uri.String()); err == nil {
		p.vanish()
		return errors.New("somebody got in who should not")
	}
	return nil
}
