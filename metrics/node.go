package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/queue"
)

// protocol is the label of what clients did over AMQP 0-9-1.
const protocol = "amqp091"

// queueTypes are the values of the label queue_type, by queue.Type.
var queueTypes = [...]string{queue.Classic: "rabbit_classic_queue", queue.Quorum: "rabbit_quorum_queue"}

// nodeCollector reads what the broker has counted.
type nodeCollector struct{ o Options }

// Describe implements prometheus.Collector. What is collected is known only then.
func (*nodeCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (n *nodeCollector) Collect(ch chan<- prometheus.Metric) {
	s := sink{ch: ch}
	n.objects(s)
	n.publishing(s.with("protocol"))
	n.sizes(s.with("protocol"))
	totals := n.o.Broker.QueueTotals()
	for t, name := range queueTypes {
		consuming(s.with("protocol", "queue_type"), totals[t], protocol, name)
		deaths(s.with("queue_type", "dead_letter_strategy"), totals[t], name)
	}
}

// objects are how many there are of everything, and have been.
func (n *nodeCollector) objects(s sink) {
	c := &n.o.Broker.Counters
	// What ends is read before what begins, so that the difference is never negative.
	consumersRemoved, channelsClosed := c.ConsumersRemoved.Load(), c.ChannelsClosed.Load()
	consumers, channels := c.ConsumersAdded.Load()-consumersRemoved, c.ChannelsOpened.Load()-channelsClosed
	queues := 0
	for _, v := range n.o.Broker.VHosts() {
		queues += len(v.Queues())
	}
	s.gauge("rabbitmq_connections", "Connections currently open", float64(len(n.o.Broker.Sessions())))
	s.gauge("rabbitmq_channels", "Channels currently open", float64(channels))
	s.gauge("rabbitmq_consumers", "Consumers currently connected", float64(consumers))
	s.gauge("rabbitmq_queues", "Queues available", float64(queues))
	s.gauge("leveret_delayed_messages", "Messages that wait at exchanges until they are due", float64(n.o.Broker.DelayedMessages()))
	s.counter("leveret_delayed_messages_dropped_total", "Messages that nothing took when they were due", c.DelayedDropped.Load())
	global := s.with("protocol")
	global.gauge("rabbitmq_global_consumers", "Current number of consumers", float64(consumers), protocol)
	global.gauge("rabbitmq_global_publishers", "Current number of publishers", float64(c.Publishers.Load()), protocol)

	s.counter("rabbitmq_connections_opened_total", "Total number of connections opened", c.ConnectionsOpened.Load())
	s.counter("rabbitmq_connections_closed_total", "Total number of connections closed or terminated", c.ConnectionsClosed.Load())
	s.counter("rabbitmq_channels_opened_total", "Total number of channels opened", c.ChannelsOpened.Load())
	s.counter("rabbitmq_channels_closed_total", "Total number of channels closed", channelsClosed)
	s.counter("rabbitmq_queues_declared_total", "Total number of queues declared", c.QueuesDeclared.Load())
	s.counter("rabbitmq_queues_created_total", "Total number of queues created", c.QueuesCreated.Load())
	s.counter("rabbitmq_queues_deleted_total", "Total number of queues deleted", c.QueuesDeleted.Load())

	n.security(s)
	accepted, refused := c.AuthenticationAccepted.Load(), c.AuthenticationRefused.Load()
	a := s.with("protocol")
	a.counter("rabbitmq_auth_attempts_total", "Total number of authorization attempts", accepted+refused, protocol)
	a.counter("rabbitmq_auth_attempts_succeeded_total", "Total number of successful authentication attempts", accepted, protocol)
	a.counter("rabbitmq_auth_attempts_failed_total", "Total number of failed authentication attempts", refused, protocol)
}

// security is what was refused before anybody had logged in, and what TLS lives on.
func (n *nodeCollector) security(s sink) {
	c := &n.o.Broker.Counters
	s.gauge("leveret_connections_unauthenticated", "Connections currently open that have not logged in", float64(c.Newcomers.Load()))
	refused := s.with("reason")
	const help = "Connections closed because too many had not logged in, of all or of their address, or memory was exhausted"
	refused.counter("leveret_connections_refused_total", help, c.NewcomersRefused.Load(), "unauthenticated")
	refused.counter("leveret_connections_refused_total", help, c.NeighboursRefused.Load(), "unauthenticated_of_address")
	refused.counter("leveret_connections_refused_total", help, c.ConnectionsTurnedAway.Load(), "memory")
	s.counter("leveret_user_limits_reached_total", "Connections, channels, queues and bindings refused because their user had as many as it may", c.UserLimitsReached.Load())
	s.counter("leveret_logins_unheard_total", "Logins refused without looking at the password, because too many from their address were wrong", c.LoginsUnheard.Load())
	s.counter("leveret_tls_handshakes_failed_total", "TLS handshakes of AMQP clients that failed", c.HandshakesFailed.Load())
	if n.o.Certificates == nil {
		return
	}
	t := n.o.Certificates()
	s.gauge("leveret_tls_certificate_not_after_seconds", "When the certificate in use ends, since 1970", float64(t.NotAfter.Unix()))
	s.counter("leveret_tls_certificates_replaced_total", "Times that new certificates were taken from their files", t.Reloads)
	s.counter("leveret_tls_certificates_refused_total", "Times that new certificates could not be taken from their files", t.Failures)
}

// publishing is what became of what publishers sent.
func (n *nodeCollector) publishing(s sink) {
	c := &n.o.Broker.Counters
	s.counter("rabbitmq_global_messages_received_total", "Total number of messages received from publishers",
		c.MessagesReceived.Load(), protocol)
	s.counter("rabbitmq_global_messages_received_confirm_total", "Total number of messages received from publishers expecting confirmations",
		c.MessagesReceivedConfirm.Load(), protocol)
	s.counter("rabbitmq_global_messages_confirmed_total", "Total number of messages confirmed to publishers",
		c.MessagesConfirmed.Load(), protocol)
	s.counter("rabbitmq_global_messages_routed_total", "Total number of messages routed to queues or streams",
		c.MessagesRouted.Load(), protocol)
	s.counter("rabbitmq_global_messages_unroutable_dropped_total", "Total number of messages published as non-mandatory into an exchange and dropped as unroutable",
		c.MessagesUnroutableDropped.Load(), protocol)
	s.counter("rabbitmq_global_messages_unroutable_returned_total", "Total number of messages published as mandatory into an exchange and returned to the publisher as unroutable",
		c.MessagesUnroutableReturned.Load(), protocol)
}

// sizes are those of the messages that publishers sent.
func (n *nodeCollector) sizes(s sink) {
	c := &n.o.Broker.Counters.MessageSizes
	below, count := map[float64]uint64{}, uint64(0)
	limits := broker.SizeLimits()
	for i := range c.Buckets {
		count += c.Buckets[i].Load()
		if i < len(limits) {
			below[float64(limits[i])] = count
		}
	}
	desc := prometheus.NewDesc("rabbitmq_message_size_bytes", "Size of messages received from publishers", s.labels, nil)
	s.ch <- prometheus.MustNewConstHistogram(desc, count, float64(c.Bytes.Load()), below, protocol)
}

// consuming is what queues of one type gave to consumers.
func consuming(s sink, t queue.Totals, labels ...string) {
	s.counter("rabbitmq_global_messages_delivered_total", "Total number of messages delivered to consumers",
		t.DeliveredAck+t.DeliveredNoAck+t.GetAck+t.GetNoAck, labels...)
	s.counter("rabbitmq_global_messages_delivered_consume_manual_ack_total", "Total number of messages delivered to consumers using basic.consume with manual acknowledgment",
		t.DeliveredAck, labels...)
	s.counter("rabbitmq_global_messages_delivered_consume_auto_ack_total", "Total number of messages delivered to consumers using basic.consume with automatic acknowledgment",
		t.DeliveredNoAck, labels...)
	s.counter("rabbitmq_global_messages_delivered_get_manual_ack_total", "Total number of messages delivered to consumers using basic.get with manual acknowledgment",
		t.GetAck, labels...)
	s.counter("rabbitmq_global_messages_delivered_get_auto_ack_total", "Total number of messages delivered to consumers using basic.get with automatic acknowledgment",
		t.GetNoAck, labels...)
	s.counter("rabbitmq_global_messages_get_empty_total", "Total number of times basic.get operations fetched no message",
		t.GetEmpty, labels...)
	s.counter("rabbitmq_global_messages_redelivered_total", "Total number of messages redelivered to consumers",
		t.Redelivered, labels...)
	s.counter("rabbitmq_global_messages_acknowledged_total", "Total number of messages acknowledged by consumers",
		t.Acknowledged, labels...)
}

// deaths are the messages that died in queues of one type. RabbitMQ's at_most_once is
// what a dead-letter exchange means for every queue here, whatever is promised beyond it.
func deaths(s sink, t queue.Totals, queueType string) {
	for reason, why := range [...]struct{ name, help string }{
		queue.Rejected:      {"rejected", "Total number of messages dead-lettered due to basic.reject or basic.nack"},
		queue.Expired:       {"expired", "Total number of messages dead-lettered due to message TTL exceeded"},
		queue.MaxLength:     {"maxlen", "Total number of messages dead-lettered due to overflow drop-head or reject-publish-dlx"},
		queue.DeliveryLimit: {"delivery_limit", "Total number of messages dead-lettered due to delivery-limit exceeded"},
	} {
		name := "rabbitmq_global_messages_dead_lettered_" + why.name + "_total"
		s.counter(name, why.help, t.DeadLettered[reason], queueType, "at_most_once")
		s.counter(name, why.help, t.Dropped[reason], queueType, "disabled")
	}
}
