// Package metrics is Prometheus' view of a broker, under the names RabbitMQ's dashboards
// and alerts use (PROM-2 to PROM-4). It reads the counters where they live when somebody
// asks, and keeps none of its own. It opens no socket: Handler is for whoever has one. It
// has no locks.
package metrics
