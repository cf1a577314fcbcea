package metrics

import "github.com/prometheus/client_golang/prometheus"

// storeCollector reads what the store has counted.
type storeCollector struct{ stats func() StoreStats }

// Describe implements prometheus.Collector. What is collected is known only then.
func (*storeCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *storeCollector) Collect(ch chan<- prometheus.Metric) {
	s, st := sink{ch: ch}, c.stats()
	s.counter("leveret_store_groups_total", "Commits, each of everything that gathered during the one before", st.Groups)
	s.counter("leveret_store_transactions_total", "Transactions that the commits took", st.Transactions)
	s.counter("leveret_store_messages_total", "Messages committed, counted in each queue", st.Messages)
	s.counter("leveret_store_message_bytes_total", "Bytes of messages committed, counted in each queue", st.Bytes)
	s.put(prometheus.CounterValue, "leveret_store_commit_seconds_total", "Time that commits took together", st.CommitTime.Seconds(), nil)
	s.gauge("leveret_store_unstored_bytes", "Bytes of messages that wait to be written to disk", float64(st.UnstoredBytes))
	s.gauge("leveret_store_spilled_bytes", "Bytes on disk of messages that are never stored and have left memory", float64(st.SpilledBytes))
	s.gauge("leveret_store_damaged_records", "Records or messages that could not be read when the store was opened", float64(st.Damaged))
}
