package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/leveretmq/leveret/broker"
)

// Options are what the metrics tell, and where they read it.
type Options struct {
	Broker        *broker.Broker
	Node          string // of the node and, as long as it is alone, of its cluster
	ClusterID     string // the same for as long as the store lives
	Version       string // Leveret's own
	CompatVersion string // the version of RabbitMQ to pass for
	Started       time.Time
	DataDir       string            // whose file system is watched
	DiskFreeLimit int64             // bytes; 0 when the disk is not watched
	MemoryLimit   int64             // bytes; 0 when memory is not watched
	Store         func() StoreStats // nil when there is nothing to tell
	// Certificates tells of those of TLS; nil without it.
	Certificates func() CertificateStats
}

// CertificateStats are the counters of the certificates of TLS.
type CertificateStats struct {
	NotAfter          time.Time // when the one in use ends
	Reloads, Failures uint64    // how often new ones were taken, or could not be
}

// StoreStats are the counters of the store, since it was opened.
type StoreStats struct {
	Groups, Transactions uint64
	Messages, Bytes      uint64
	CommitTime           time.Duration // of all groups together
	UnstoredBytes        int64
	SpilledBytes         int64
	Damaged              uint64 // records or messages that could not be read
}

// Handler answers /metrics, which adds everything up, and /metrics/per-object, which has
// a line for each queue.
func Handler(o Options) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", page(o, "aggregated", false))
	mux.Handle("GET /metrics/per-object", page(o, "per-object", true))
	return mux
}

// page is one of the two, with what is the same on both.
func page(o Options, endpoint string, perObject bool) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		identity(o, endpoint),
		build(o),
		&nodeCollector{o},
		&alarmCollector{o},
		&processCollector{o},
		&queueCollector{o.Broker, perObject},
	)
	if o.Store != nil {
		r.MustRegister(&storeCollector{o.Store})
	}
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// identity is joined into every query of RabbitMQ's dashboards (PROM-2).
func identity(o Options, endpoint string) prometheus.Collector {
	return constant("rabbitmq_identity_info", "RabbitMQ node & cluster identity info", prometheus.Labels{
		"rabbitmq_node":                 o.Node,
		"rabbitmq_cluster":              o.Node,
		"rabbitmq_cluster_permanent_id": "rabbitmq-cluster-id-" + o.ClusterID,
		"rabbitmq_endpoint":             endpoint,
	})
}

// build has the labels of RabbitMQ's; those that have no meaning here are empty.
func build(o Options) prometheus.Collector {
	return constant("rabbitmq_build_info", "RabbitMQ & Erlang/OTP version info", prometheus.Labels{
		"rabbitmq_version":          o.CompatVersion,
		"prometheus_plugin_version": o.CompatVersion,
		"prometheus_client_version": "",
		"erlang_version":            "",
		"product_name":              "Leveret",
		"product_version":           o.Version,
	})
}

func constant(name, help string, labels prometheus.Labels) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels},
		func() float64 { return 1 })
}

// sink is where a collector puts what it reads: the descriptions are made on the way, so
// that a name, its text and its value stand in one line.
type sink struct {
	ch     chan<- prometheus.Metric
	labels []string // names of the labels of what follows
}

func (s sink) gauge(name, help string, v float64, labels ...string) {
	s.put(prometheus.GaugeValue, name, help, v, labels)
}

func (s sink) counter(name, help string, v uint64, labels ...string) {
	s.put(prometheus.CounterValue, name, help, float64(v), labels)
}

func (s sink) put(t prometheus.ValueType, name, help string, v float64, labels []string) {
	s.ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, s.labels, nil), t, v, labels...)
}

// with is s for metrics that have labels of the given names.
func (s sink) with(labels ...string) sink { return sink{s.ch, labels} }
