package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/leveretmq/leveret/broker"
)

// alarmCollector tells which alarms are on, and the limits they stand for.
type alarmCollector struct{ o Options }

// Describe implements prometheus.Collector. What is collected is known only then.
func (*alarmCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *alarmCollector) Collect(ch chan<- prometheus.Metric) {
	s, on := sink{ch: ch}, c.o.Broker.Alarms()
	alarm := func(name, help string, a broker.Alarm) {
		v := 0.0
		if on.Has(a) {
			v = 1
		}
		s.gauge(name, help, v)
	}
	alarm("rabbitmq_alarms_memory_used_watermark", "is 1 if the memory in use is above its limit", broker.MemoryAlarm)
	alarm("rabbitmq_alarms_free_disk_space_watermark", "is 1 if the free disk space is below its limit", broker.DiskAlarm)
	alarm("leveret_alarms_slow_disk", "is 1 while a commit has been under way for long", broker.SlowDiskAlarm)
	alarm("leveret_alarms_memory_exhausted", "is 1 while newcomers are turned away and nothing can be declared because of the memory in use", broker.ExhaustionAlarm)
	alarm("leveret_alarms_file_descriptors", "is 1 if as many clients are connected as there are file descriptors for", broker.DescriptorAlarm)
	held, most := c.o.Broker.Unpublished()
	s.gauge("leveret_unpublished_bytes", "Bytes of messages that are not complete or not committed", float64(held))
	if most > 0 {
		s.gauge("leveret_unpublished_limit_bytes", "Bytes of messages that are not complete or not committed above which connections are closed", float64(most))
	}
	s.counter("leveret_refused_for_memory_total", "Channels, declarations, bindings and frames that there was no memory for", c.o.Broker.Counters.RefusedForMemory.Load())
	if c.o.DiskFreeLimit > 0 {
		s.gauge("rabbitmq_disk_space_available_limit_bytes", "Free disk space low watermark in bytes", float64(c.o.DiskFreeLimit))
	}
	if c.o.MemoryLimit > 0 {
		s.gauge("rabbitmq_resident_memory_limit_bytes", "Memory high watermark in bytes", float64(c.o.MemoryLimit))
	}
}
