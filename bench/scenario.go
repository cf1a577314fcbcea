package bench

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Scenario says what load a broker is put under. Its zero values ask for the least.
type Scenario struct {
	Name  string `json:"name"`
	Title string `json:"title"` // one line for people

	Producers         int `json:"producers"` // each on a connection of its own
	Queues            int `json:"queues"`
	ConsumersPerQueue int `json:"consumers_per_queue"` // each on a connection of its own
	// ConsumerConnections is how many connections the consumers share, each of them with one
	// consumer on every so many queues; 0 is a connection for each consumer. Which of the queues
	// of one connection a message came to is not told apart.
	ConsumerConnections int `json:"consumer_connections,omitempty"`

	// ExchangeType is "" for the default exchange, "fanout" or "topic". By the default
	// exchange, producers and queues are paired off and each goes round its own.
	ExchangeType string `json:"exchange_type,omitempty"`
	// Bindings is how many a topic exchange has, all with * or #, dealt out to the queues.
	// Each of as many routing keys, which every producer goes round, matches exactly one.
	Bindings int `json:"bindings,omitempty"`

	BodyBytes int  `json:"body_bytes"`
	Durable   bool `json:"durable"` // durable exchange and queues, persistent messages

	// Window is how many messages a producer has unconfirmed at most; 0 is no confirms.
	Window int `json:"window,omitempty"`
	// InFlight is how many messages are published but not yet delivered at most, over all
	// producers, so that a slow consumer does not make it a test of long queues.
	InFlight int `json:"in_flight"`
	// Backlog is how many messages are published before anything is consumed, if time and
	// Options.Messages allow; 0 consumes from the start.
	Backlog int `json:"backlog,omitempty"`
	// Messages is how many are published however long it takes, and told in parts; 0 is as many
	// as Options say. Options.Messages goes before it.
	Messages int `json:"messages,omitempty"`
	// Rate is how many messages a second are published over all producers; 0 is as fast
	// as it goes. It goes without confirms.
	Rate int `json:"rate,omitempty"`

	// Delay has every message wait at a delayed exchange: it is due at a moment chosen at
	// random from the Spread that begins so long after the run did. Latency is then how late
	// messages come, and in their order they are not expected.
	Delay  time.Duration `json:"delay_ns,omitempty"`
	Spread time.Duration `json:"spread_ns,omitempty"`

	// Connections is how many are opened, each with a channel, a queue and a consumer, and
	// EmptyQueues how many durable queues are declared, to stand about without a message. A
	// scenario has those, or Starts, or messages.
	Connections int `json:"connections,omitempty"`
	EmptyQueues int `json:"empty_queues,omitempty"`
	// Starts is how often the broker of Options.Start is started.
	Starts int `json:"starts,omitempty"`
	// Settle is how long after that the broker's memory is looked at.
	Settle time.Duration `json:"settle_ns,omitempty"`

	// AckEvery is after how many deliveries a consumer acknowledges all it has, with
	// multiple set; 0 consumes without acknowledgements.
	AckEvery int `json:"ack_every,omitempty"`
	Prefetch int `json:"prefetch,omitempty"` // 0 is no limit

	// Linger is how long a reader that found little waits before it reads again. A broker
	// that writes every message by itself would otherwise wake it for each, and most of
	// that is paid for in the broker's own system calls. It is for scenarios that are not
	// about latency.
	Linger time.Duration `json:"linger_ns,omitempty"`
}

// Scenarios returns the scenarios known by name, in the order of their names.
func Scenarios() []Scenario {
	const kib = 1 << 10
	transient := Scenario{Producers: 1, Queues: 1, ConsumersPerQueue: 1, BodyBytes: kib, InFlight: 10_000, Linger: time.Millisecond / 2}
	durable := transient
	durable.Durable, durable.Window, durable.Prefetch, durable.AckEvery = true, 1000, 500, 50

	standing := Scenario{Producers: 1, Queues: 1, ConsumersPerQueue: 1, InFlight: 1, Settle: 3 * time.Second}

	named := func(name, title string, s Scenario, change func(*Scenario)) Scenario {
		s.Name, s.Title = name, title
		if change != nil {
			change(&s)
		}
		return s
	}
	return []Scenario{
		named("S1a", "transient, auto-ack, 16 B", transient, func(s *Scenario) { s.BodyBytes = 16 }),
		named("S1b", "transient, auto-ack, 1 KiB", transient, nil),
		named("S2", "persistent 1 KiB, confirms window 1000, ack every 50", durable, nil),
		named("S2w1", "persistent 1 KiB, confirms window 1, ack each", durable, func(s *Scenario) {
			s.Window, s.AckEvery, s.Linger = 1, 1, 0
		}),
		named("S2b", "persistent 1 KiB, 50 producers with window 1", durable, func(s *Scenario) {
			s.Producers, s.Window, s.Linger = 50, 1, 0
		}),
		named("S2c", "persistent 1 KiB, 10 producers, 10 queues, 10 consumers", durable, func(s *Scenario) {
			s.Producers, s.Queues = 10, 10
		}),
		named("S3", "transient 1 KiB, fan-out to 10 queues and consumers", transient, func(s *Scenario) {
			s.ExchangeType, s.Queues = "fanout", 10
		}),
		named("S4", "transient 1 KiB, topic exchange, 1000 bindings with * and #, 10 queues", transient, func(s *Scenario) {
			s.ExchangeType, s.Queues, s.Bindings = "topic", 10, 1000
		}),
		named("S5", "transient 1 KiB, 5000 msg/s, end-to-end latency", transient, func(s *Scenario) {
			s.Rate, s.Linger = 5000, 0
		}),
		named("churn", "persistent 1 KiB through a queue kept short, told in ten parts", durable, func(s *Scenario) {
			s.Messages = 20_000_000_000 / kib
		}),
		named("delayed", "persistent 256 B, 300 000 that are due at 5000/s, how late they come", durable, func(s *Scenario) {
			s.ExchangeType, s.BodyBytes, s.Messages, s.Linger = "fanout", 256, 300_000, 0
			s.Delay, s.Spread = 20*time.Second, time.Minute
		}),
		named("S6", "persistent 1 KiB, a million in one queue, then drained", durable, func(s *Scenario) { s.Backlog = 1_000_000 }),
		named("S7", "idle connections with channel, queue and consumer; empty durable queues", standing, func(s *Scenario) {
			s.Connections, s.EmptyQueues = 1000, 5000
		}),
		named("S8", "from the start of the broker to the first handshake, and its memory then", standing, func(s *Scenario) {
			s.Starts = 5
		}),
	}
}

// FindScenario returns the scenario of that name, in upper or lower case.
func FindScenario(name string) (Scenario, error) {
	var names []string
	for _, s := range Scenarios() {
		if strings.EqualFold(s.Name, name) {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Scenario{}, fmt.Errorf("no scenario %q: there are %s", name, strings.Join(names, ", "))
}

// still tells whether a scenario has no messages.
func (s Scenario) still() bool { return s.Connections > 0 || s.EmptyQueues > 0 || s.Starts > 0 }

// validate returns what keeps s from being run, all of it.
func (s Scenario) validate() error {
	var wrong []error
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	least := func(what string, n, least int) { refuse(n < least, "%s: %d is less than %d", what, n, least) }
	least("producers", s.Producers, 1)
	least("queues", s.Queues, 1)
	least("consumers per queue", s.ConsumersPerQueue, 1)
	least("messages in flight", s.InFlight, 1)
	least("consumer connections", s.ConsumerConnections, 0)
	refuse(s.ConsumerConnections > s.Queues, "%d consumer connections are more than there are queues", s.ConsumerConnections)
	refuse(s.ConsumerConnections > 0 && (s.ConsumersPerQueue != 1 || s.ExchangeType != ""), "consumers share connections by the default exchange, with one for each queue")
	refuse(s.ConsumerConnections > 0 && s.Backlog > 0, "consumers of a backlog share no connections")
	least("body bytes", s.BodyBytes, 0)
	least("window", s.Window, 0)
	least("backlog", s.Backlog, 0)
	least("rate", s.Rate, 0)
	least("messages", s.Messages, 0)
	least("ack every", s.AckEvery, 0)
	least("prefetch", s.Prefetch, 0)
	least("connections", s.Connections, 0)
	least("empty queues", s.EmptyQueues, 0)
	least("starts", s.Starts, 0)
	refuse(s.Settle < 0, "settle: %v is less than nothing", s.Settle)
	refuse(s.Starts > 0 && (s.Connections > 0 || s.EmptyQueues > 0), "a broker is started, or it has things standing about")
	refuse(s.Prefetch > 65535, "prefetch: %d does not fit its 16 bits", s.Prefetch)
	refuse(s.BodyBytes > 64<<20, "body bytes: %d is more than 64 MiB", s.BodyBytes)
	// A consumer that waits for more than it may have would wait for ever.
	refuse(s.Prefetch > 0 && s.AckEvery > s.Prefetch, "acknowledging every %d needs a prefetch of as many, not %d", s.AckEvery, s.Prefetch)
	refuse(s.Linger < 0, "linger: %v is less than nothing", s.Linger)
	refuse(s.Delay < 0 || s.Spread < 0, "delay and spread: less than nothing")
	refuse(s.Spread > 0 && s.Delay == 0, "a spread goes with a delay")
	refuse(s.Delay > 0 && s.ExchangeType == "", "a delay needs an exchange of its own")
	refuse(s.Delay > 0 && s.BodyBytes < timedBytes, "a delay needs bodies of %d bytes, to tell when they are due", timedBytes)
	refuse(s.Delay > 0 && s.Backlog > 0, "a delay and a backlog do not go together")
	refuse(s.Rate > 0 && s.Window > 0, "a fixed rate goes without confirms")
	switch s.ExchangeType {
	case "", "fanout":
		refuse(s.Bindings > 0, "only a topic exchange has a number of bindings")
	case "topic":
		refuse(s.Bindings < s.Queues, "%d bindings do not go round %d queues", s.Bindings, s.Queues)
	default:
		refuse(true, "exchange type %q: there are fanout, topic and none, for the default exchange", s.ExchangeType)
	}
	return errors.Join(wrong...)
}
