package main

import (
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A lane is a kind of message whose every piece is counted: how it is published and at which ends
// it has to arrive.
type lane struct {
	name          string
	exchange, key string
	rate          int           // messages in a second
	least, most   int           // bytes of a body
	slow          time.Duration // that a message may take by the rules of its lane
	ends          []string
	dress         func(w *worker, m *amqp.Publishing) // or nil
}

// A tap takes messages out of a queue that belongs to an end.
type tap struct {
	queue, end string
	consumers  int
	kills      int           // percent that it rejects, which makes letters of them
	away       time.Duration // that nobody consumes, between one consumer and the next, during the load
}

const (
	window   = 200 // messages that a producer has out without a confirm
	prefetch = 40  // of each consumer
	late     = time.Minute
	requeues = 2 // percent that a consumer puts back, once
	ticks    = 40
)

// lanes are the counted load, some 2500 messages in a second.
func lanes() []lane {
	return []lane{
		{name: "plain", key: "soak.plain", rate: 700, least: 10, most: 4 << 10, ends: []string{"plain"}},
		{name: "transient", key: "soak.transient", rate: 500, least: 10, most: 4 << 10, ends: []string{"transient"},
			dress: func(_ *worker, m *amqp.Publishing) { m.DeliveryMode = amqp.Transient }},
		{name: "quorum", key: "soak.quorum", rate: 200, least: 10, most: 4 << 10, ends: []string{"quorum"}},
		{name: "levels", key: "soak.levels", rate: 300, least: 10, most: 4 << 10, ends: []string{"levels"},
			dress: func(w *worker, m *amqp.Publishing) { m.Priority = uint8(w.random.IntN(8)) }},
		{name: "fan", exchange: "soak.topic", key: "soak.fan.out", rate: 80, least: 10, most: 16 << 10, ends: []string{"fan-1", "fan-2", "fan-3"}},
		// What is rejected waits a second in a queue with a time to live, and goes on from there.
		{name: "chain", key: "soak.entry", rate: 150, least: 10, most: 4 << 10, ends: []string{"chain"}, slow: time.Second},
		{name: "fuse", key: "soak.fuse", rate: 100, least: 10, most: 4 << 10, ends: []string{"fuse"}, slow: 3 * time.Second,
			dress: func(w *worker, m *amqp.Publishing) { m.Expiration = fmt.Sprint(w.random.IntN(3000)) }},
		{name: "delayed", exchange: "soak.delay", key: "delayed", rate: 100, least: 10, most: 4 << 10, ends: []string{"delayed"}, slow: 5 * time.Second,
			dress: func(w *worker, m *amqp.Publishing) { m.Headers["x-delay"] = int32(w.random.IntN(5000)) }},
		{name: "large", key: "soak.large", rate: 10, least: 32 << 10, most: largestBody, ends: []string{"large"}},
		{name: "backlog", key: "soak.backlog", rate: 100, least: 100, most: 8 << 10, ends: []string{"backlog"}, slow: 20 * time.Second},
		{name: "single", key: "soak.single", rate: 100, least: 10, most: 4 << 10, ends: []string{"single"}},
		// What does not fit into a short queue becomes a letter, too.
		{name: "short", key: "soak.short", rate: 150, least: 10, most: 4 << 10, ends: []string{"short"}, slow: 2 * time.Second},
	}
}

// taps are those who take the counted load.
func taps() []tap {
	return []tap{
		{queue: "soak.plain", end: "plain", consumers: 2},
		{queue: "soak.transient", end: "transient", consumers: 2},
		{queue: "soak.quorum", end: "quorum", consumers: 1},
		{queue: "soak.levels", end: "levels", consumers: 2},
		{queue: "soak.fan-1", end: "fan-1", consumers: 1},
		{queue: "soak.fan-2", end: "fan-2", consumers: 1},
		{queue: "soak.fan-3", end: "fan-3", consumers: 1},
		{queue: "soak.entry", end: "chain", consumers: 1, kills: 60},
		{queue: "soak.final", end: "chain", consumers: 1},
		{queue: "soak.ashes", end: "fuse", consumers: 1},
		{queue: "soak.delayed", end: "delayed", consumers: 1},
		{queue: "soak.large", end: "large", consumers: 1},
		{queue: "soak.backlog", end: "backlog", consumers: 1, away: 15 * time.Second},
		{queue: "soak.single", end: "single", consumers: 2},
		{queue: "soak.short", end: "short", consumers: 1, away: 2 * time.Second},
		{queue: "soak.overflown", end: "short", consumers: 1},
	}
}

// queues are those of the counted load, and transacted that of transactions.
var queues = map[string]amqp.Table{
	"soak.plain":     nil,
	"soak.transient": nil,
	"soak.quorum":    {"x-queue-type": "quorum"},
	"soak.levels":    {"x-max-priority": int32(5)},
	"soak.fan-1":     nil,
	"soak.fan-2":     nil,
	"soak.fan-3":     nil,
	"soak.entry":     {"x-dead-letter-exchange": "soak.deaths", "x-dead-letter-routing-key": "hop"},
	"soak.hop":       {"x-message-ttl": int32(1000), "x-dead-letter-exchange": "soak.deaths", "x-dead-letter-routing-key": "final"},
	"soak.final":     nil,
	"soak.fuse":      {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "soak.ashes"},
	"soak.ashes":     nil,
	"soak.delayed":   nil,
	"soak.large":     nil,
	"soak.backlog":   nil,
	"soak.single":    {"x-single-active-consumer": true},
	"soak.short":     {"x-max-length": int32(100), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "soak.overflown"},
	"soak.overflown": nil,
	transacted:       nil,
}

// bindings are exchange, key and queue of each.
var bindings = [][3]string{
	{"soak.topic", "soak.#", "soak.fan-1"}, {"soak.topic", "soak.*.out", "soak.fan-2"}, {"soak.topic", "soak.fan.out", "soak.fan-3"},
	{"soak.deaths", "hop", "soak.hop"}, {"soak.deaths", "final", "soak.final"},
	{"soak.delay", "delayed", "soak.delayed"},
}

// exchanges are type and arguments of each.
var exchanges = map[string]struct {
	kind      string
	arguments amqp.Table
}{
	"soak.topic":  {"topic", nil},
	"soak.deaths": {"direct", nil},
	"soak.delay":  {"x-delayed-message", amqp.Table{"x-delayed-type": "direct"}},
}

// declare declares what the counted load needs, all of it durable.
func declare(ch *amqp.Channel) error {
	for name, arguments := range queues {
		if _, err := ch.QueueDeclare(name, true, false, false, false, arguments); err != nil {
			return err
		}
	}
	for name, x := range exchanges {
		if err := ch.ExchangeDeclare(name, x.kind, true, false, false, false, x.arguments); err != nil {
			return err
		}
	}
	for _, b := range bindings {
		if err := ch.QueueBind(b[2], b[1], b[0], false, nil); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes it. Every queue has to be empty by then.
func remove(ch *amqp.Channel) error {
	for name := range queues {
		n, err := ch.QueueDelete(name, false, false, false)
		if err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("%s had %d messages when nothing was to come any more", name, n)
		}
	}
	for name := range exchanges {
		if err := ch.ExchangeDelete(name, false, false); err != nil {
			return err
		}
	}
	return nil
}
