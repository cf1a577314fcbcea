package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/queue"
)

// queueCollector reads what is in queues: of all together, or of each with its name.
type queueCollector struct {
	b         *broker.Broker
	perObject bool
}

// Describe implements prometheus.Collector. What is collected is known only then.
func (*queueCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *queueCollector) Collect(ch chan<- prometheus.Metric) {
	s := sink{ch: ch}
	if c.perObject {
		s = s.with("queue", "vhost")
	}
	var sum queue.Stats
	for _, v := range c.b.VHosts() {
		for _, q := range v.Queues() {
			stats := q.Stats()
			if c.perObject {
				depth(s, stats, q.Name(), v.Name())
				s.counter("rabbitmq_queue_messages_published_total", "Total number of messages published to queues",
					stats.Published, q.Name(), v.Name())
				continue
			}
			sum.Ready += stats.Ready
			sum.Unacknowledged += stats.Unacknowledged
			sum.Consumers += stats.Consumers
			sum.ReadyBytes += stats.ReadyBytes
			sum.UnacknowledgedBytes += stats.UnacknowledgedBytes
			sum.Delayed += stats.Delayed
		}
	}
	if !c.perObject {
		depth(s, sum)
		published := uint64(0)
		for _, t := range c.b.QueueTotals() {
			published += t.Published
		}
		s.counter("rabbitmq_queue_messages_published_total", "Total number of messages published to queues", published)
	}
}

func depth(s sink, q queue.Stats, labels ...string) {
	s.gauge("rabbitmq_queue_messages_ready", "Messages ready to be delivered to consumers",
		float64(q.Ready), labels...)
	s.gauge("rabbitmq_queue_messages_unacked", "Messages delivered to consumers but not yet acknowledged",
		float64(q.Unacknowledged), labels...)
	s.gauge("rabbitmq_queue_messages", "Sum of ready and unacknowledged messages - total queue depth",
		float64(q.Ready+q.Unacknowledged), labels...)
	s.gauge("rabbitmq_queue_messages_bytes", "Size in bytes of ready and unacknowledged messages",
		float64(q.ReadyBytes+q.UnacknowledgedBytes), labels...)
	s.gauge("rabbitmq_queue_messages_ready_bytes", "Size in bytes of ready messages",
		float64(q.ReadyBytes), labels...)
	s.gauge("rabbitmq_queue_messages_unacked_bytes", "Size in bytes of all unacknowledged messages",
		float64(q.UnacknowledgedBytes), labels...)
	s.gauge("leveret_queue_messages_delayed", "Messages that came back from consumers and are not ready again yet",
		float64(q.Delayed), labels...)
	s.gauge("rabbitmq_queue_consumers", "Consumers on a queue",
		float64(q.Consumers), labels...)
}
