package metrics_test

import (
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/leveretmq/leveret/brokertest"
)

// rabbitMQ are the types and labels of metrics on the page of RabbitMQ 3.10.8, of those
// that have the same name here.
const rabbitMQ = `
rabbitmq_connections_opened_total counter
rabbitmq_connections_closed_total counter
rabbitmq_channels_opened_total counter
rabbitmq_channels_closed_total counter
rabbitmq_queues_declared_total counter
rabbitmq_queues_created_total counter
rabbitmq_queues_deleted_total counter
rabbitmq_process_open_fds gauge
rabbitmq_process_resident_memory_bytes gauge
rabbitmq_disk_space_available_bytes gauge
rabbitmq_process_max_fds gauge
rabbitmq_erlang_uptime_seconds gauge
rabbitmq_auth_attempts_total counter protocol
rabbitmq_auth_attempts_succeeded_total counter protocol
rabbitmq_auth_attempts_failed_total counter protocol
rabbitmq_queue_messages_ready gauge
rabbitmq_queue_messages_unacked gauge
rabbitmq_queue_messages gauge
rabbitmq_queue_consumers gauge
rabbitmq_queue_messages_bytes gauge
rabbitmq_queue_messages_ready_bytes gauge
rabbitmq_queue_messages_unacked_bytes gauge
rabbitmq_queue_messages_published_total counter
rabbitmq_connections gauge
rabbitmq_channels gauge
rabbitmq_consumers gauge
rabbitmq_queues gauge
rabbitmq_global_consumers gauge protocol
rabbitmq_global_publishers gauge protocol
rabbitmq_global_messages_acknowledged_total counter protocol queue_type
rabbitmq_global_messages_confirmed_total counter protocol
rabbitmq_global_messages_dead_lettered_delivery_limit_total counter dead_letter_strategy queue_type
rabbitmq_global_messages_dead_lettered_expired_total counter dead_letter_strategy queue_type
rabbitmq_global_messages_dead_lettered_maxlen_total counter dead_letter_strategy queue_type
rabbitmq_global_messages_dead_lettered_rejected_total counter dead_letter_strategy queue_type
rabbitmq_global_messages_delivered_consume_auto_ack_total counter protocol queue_type
rabbitmq_global_messages_delivered_consume_manual_ack_total counter protocol queue_type
rabbitmq_global_messages_delivered_get_auto_ack_total counter protocol queue_type
rabbitmq_global_messages_delivered_get_manual_ack_total counter protocol queue_type
rabbitmq_global_messages_delivered_total counter protocol queue_type
rabbitmq_global_messages_get_empty_total counter protocol queue_type
rabbitmq_global_messages_received_confirm_total counter protocol
rabbitmq_global_messages_received_total counter protocol
rabbitmq_global_messages_redelivered_total counter protocol queue_type
rabbitmq_global_messages_routed_total counter protocol
rabbitmq_global_messages_unroutable_dropped_total counter protocol
rabbitmq_global_messages_unroutable_returned_total counter protocol
`

// ours are metrics that RabbitMQ 3.10.8 has not, or has without a type.
var ours = map[string]bool{"rabbitmq_identity_info": true, "rabbitmq_build_info": true, "rabbitmq_message_size_bytes": true}

func TestNamesTypesAndLabelsAreRabbitMQs(t *testing.T) { // PROM-3
	known := map[string]string{}
	for line := range strings.Lines(strings.TrimSpace(rabbitMQ)) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		known[name] = rest
	}
	for name, f := range families(t, brokertest.Start(t).MetricsURL()) {
		if !strings.HasPrefix(name, "rabbitmq_") || ours[name] {
			continue
		}
		got := map[dto.MetricType]string{dto.MetricType_COUNTER: "counter", dto.MetricType_GAUGE: "gauge"}[f.GetType()]
		for _, l := range f.GetMetric()[0].GetLabel() {
			got += " " + l.GetName()
		}
		if want, ok := known[name]; !ok || got != want {
			t.Errorf("got %s %s, want %s", name, got, want)
		}
	}
}
