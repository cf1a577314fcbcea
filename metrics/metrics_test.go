package metrics_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/brokertest"
	"github.com/leveretmq/leveret/config"
)

// page is what was scraped: values by name and labels, such as x{a="b",c="d"}.
type page map[string]float64

// scrape reads a page the way Prometheus does.
func scrape(t *testing.T, url string) page {
	t.Helper()
	families := families(t, url)
	p := page{}
	for name, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			slices.Sort(labels)
			id := name
			if len(labels) > 0 {
				id += "{" + strings.Join(labels, ",") + "}"
			}
			switch {
			case m.Gauge != nil:
				p[id] = m.GetGauge().GetValue()
			case m.Counter != nil:
				p[id] = m.GetCounter().GetValue()
			case m.Histogram != nil:
				p[id] = float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return p
}

func families(t *testing.T, url string) map[string]*dto.MetricFamily {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		body, err := io.ReadAll(r.Body)
		t.Fatalf("got %s %s, %v; want the metrics", r.Status, body, err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

func (p page) want(t *testing.T, want page) {
	t.Helper()
	for name, value := range want {
		if got, ok := p[name]; !ok || got != value {
			t.Errorf("got %v, %v for %s, want %v", got, ok, name, value)
		}
	}
}

func dial(t *testing.T, s *brokertest.Server) (*amqp.Connection, *amqp.Channel) {
	t.Helper()
	conn, err := amqp.Dial(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return conn, ch
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// converse says something of everything that is counted, and leaves one message ready,
// one unacknowledged, and a consumer.
func converse(t *testing.T, s *brokertest.Server) {
	t.Helper()
	_, ch := dial(t, s)
	must(t, ch.Confirm(false))
	confirmed := func(exchange, key string, mandatory bool, p amqp.Publishing) {
		t.Helper()
		d, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), exchange, key, mandatory, false, p)
		must(t, err)
		if _, err := d.WaitContext(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	declare := func(name string, durable bool, args amqp.Table) {
		t.Helper()
		_, err := ch.QueueDeclare(name, durable, false, false, false, args)
		must(t, err)
	}
	declare("classic", true, amqp.Table{"x-dead-letter-exchange": "amq.fanout", "x-max-length": int32(3)})
	declare("quorum", true, amqp.Table{"x-queue-type": "quorum"})
	body := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("12345678")}
	for range 4 { // one too many for the first
		confirmed("", "classic", false, body)
		confirmed("", "quorum", false, body)
	}
	confirmed("", "nobody", false, amqp.Publishing{Body: make([]byte, 200)})
	confirmed("", "nobody", true, body)

	deliveries, err := ch.Consume("classic", "tag", false, false, false, false, nil)
	must(t, err)
	for range 3 {
		d := <-deliveries
		must(t, d.Nack(false, d.DeliveryTag == 3))
	}
	d := <-deliveries // the third again
	must(t, d.Ack(false))
	must(t, ch.Cancel("tag", false))
	get := func(queue string, ack, want bool) {
		t.Helper()
		if _, ok, err := ch.Get(queue, !ack); err != nil || ok != want {
			t.Fatalf("got %v, %v from %s, want %v", ok, err, queue, want)
		}
	}
	get("classic", true, false)
	get("quorum", false, true)
	get("quorum", true, true)
	_, err = ch.Consume("quorum", "", true, false, false, false, nil)
	must(t, err)
}

func TestEverythingIsCountedWhereItHappens(t *testing.T) { // PROM-3, PROM-4
	s := brokertest.Start(t)
	converse(t, s)
	classic, quorum := `{protocol="amqp091",queue_type="rabbit_classic_queue"}`, `{protocol="amqp091",queue_type="rabbit_quorum_queue"}`
	global := func(name string) string { return "rabbitmq_global_messages_" + name + `_total{protocol="amqp091"}` }
	dead := func(reason, strategy string) string {
		return "rabbitmq_global_messages_dead_lettered_" + reason + `_total{dead_letter_strategy="` + strategy + `",queue_type="rabbit_classic_queue"}`
	}
	of := func(name, queueType string) string { return "rabbitmq_global_messages_" + name + "_total" + queueType }
	want := page{
		"rabbitmq_connections": 1, "rabbitmq_channels": 1, "rabbitmq_queues": 2, "rabbitmq_consumers": 1,
		`rabbitmq_global_consumers{protocol="amqp091"}`:  1,
		`rabbitmq_global_publishers{protocol="amqp091"}`: 1,
		"rabbitmq_connections_opened_total":              1, "rabbitmq_connections_closed_total": 0,
		"rabbitmq_channels_opened_total": 1, "rabbitmq_channels_closed_total": 0,
		"rabbitmq_queues_declared_total": 2, "rabbitmq_queues_created_total": 2, "rabbitmq_queues_deleted_total": 0,
		`rabbitmq_auth_attempts_succeeded_total{protocol="amqp091"}`: 1,

		global("received"): 10, global("received_confirm"): 10, global("confirmed"): 10,
		global("routed"): 8, global("unroutable_dropped"): 1, global("unroutable_returned"): 1,
		`rabbitmq_message_size_bytes{protocol="amqp091"}`: 10,
		dead("maxlen", "at_most_once"):                    1, dead("rejected", "at_most_once"): 2, dead("rejected", "disabled"): 0,

		of("delivered_consume_manual_ack", classic): 4, of("redelivered", classic): 1, of("acknowledged", classic): 1,
		of("get_empty", classic): 1, of("delivered", classic): 4,
		of("delivered_get_auto_ack", quorum): 1, of("delivered_get_manual_ack", quorum): 1,
		of("delivered_consume_auto_ack", quorum): 2, of("delivered", quorum): 4, of("get_empty", quorum): 0,

		"rabbitmq_queue_messages_ready": 0, "rabbitmq_queue_messages_unacked": 1, "rabbitmq_queue_messages": 1,
		"rabbitmq_queue_messages_bytes": 8, "rabbitmq_queue_messages_unacked_bytes": 8, "rabbitmq_queue_consumers": 1,
		"rabbitmq_queue_messages_published_total": 8,
		"leveret_store_unstored_bytes":            0,
		"leveret_store_spilled_bytes":             0,
	}
	got := scrape(t, s.MetricsURL())
	got.want(t, want)
	if got["leveret_store_groups_total"] == 0 || got["leveret_store_messages_total"] < 8 || got["leveret_store_commit_seconds_total"] <= 0 {
		t.Errorf("got %v groups of %v messages in %v s, want what was stored",
			got["leveret_store_groups_total"], got["leveret_store_messages_total"], got["leveret_store_commit_seconds_total"])
	}
	scrape(t, s.MetricsURL()+"/per-object").want(t, page{
		`rabbitmq_queue_messages_unacked{queue="quorum",vhost="/"}`:          1,
		`rabbitmq_queue_messages{queue="classic",vhost="/"}`:                 0,
		`rabbitmq_queue_consumers{queue="quorum",vhost="/"}`:                 1,
		`rabbitmq_queue_messages_published_total{queue="classic",vhost="/"}`: 4,
	})

	// The totals stay when what they were counted in goes.
	conn, ch := dial(t, s)
	for _, q := range []string{"classic", "quorum"} {
		_, err := ch.QueueDelete(q, false, false, false)
		must(t, err)
	}
	must(t, conn.Close())
	got = scrape(t, s.MetricsURL())
	got.want(t, page{"rabbitmq_queues": 0, "rabbitmq_queues_deleted_total": 2, "rabbitmq_queue_messages": 0, "rabbitmq_connections_closed_total": 1})
	for name, value := range want {
		if strings.HasPrefix(name, "rabbitmq_global_messages_") && got[name] != value {
			t.Errorf("got %v for %s after its queue was deleted, want %v as before", got[name], name, value)
		}
	}
}

// dashboard are the metrics that RabbitMQ's overview dashboard queries (PROM-3), and its
// alerts on alarms.
var dashboard = strings.Fields(`
	rabbitmq_identity_info rabbitmq_build_info
	rabbitmq_queue_messages_ready rabbitmq_queue_messages_unacked rabbitmq_queues rabbitmq_channels rabbitmq_connections
	rabbitmq_global_publishers rabbitmq_global_consumers
	rabbitmq_global_messages_received_total rabbitmq_global_messages_received_confirm_total rabbitmq_global_messages_routed_total
	rabbitmq_global_messages_confirmed_total rabbitmq_global_messages_unroutable_dropped_total
	rabbitmq_global_messages_unroutable_returned_total rabbitmq_global_messages_delivered_total
	rabbitmq_global_messages_delivered_consume_auto_ack_total rabbitmq_global_messages_delivered_consume_manual_ack_total
	rabbitmq_global_messages_delivered_get_auto_ack_total rabbitmq_global_messages_delivered_get_manual_ack_total
	rabbitmq_global_messages_get_empty_total rabbitmq_global_messages_redelivered_total rabbitmq_global_messages_acknowledged_total
	rabbitmq_queues_declared_total rabbitmq_queues_created_total rabbitmq_queues_deleted_total
	rabbitmq_channels_opened_total rabbitmq_channels_closed_total rabbitmq_connections_opened_total rabbitmq_connections_closed_total
	rabbitmq_message_size_bytes rabbitmq_erlang_uptime_seconds
	rabbitmq_alarms_memory_used_watermark rabbitmq_alarms_free_disk_space_watermark
`)

func TestAlarmsAreOnThePage(t *testing.T) { // PROM-3
	s := brokertest.Start(t, brokertest.WithConfig(func(c *config.Config) { c.DiskFreeLimit, c.MemoryLimit = 5000, 7*config.GiB }))
	scrape(t, s.MetricsURL()).want(t, page{
		"rabbitmq_alarms_memory_used_watermark": 0, "rabbitmq_alarms_free_disk_space_watermark": 0, "leveret_alarms_slow_disk": 0,
		"rabbitmq_disk_space_available_limit_bytes": 5000, "rabbitmq_resident_memory_limit_bytes": 7 << 30,
	})
	f := func(a broker.Alarm, name string) {
		t.Helper()
		s.SetAlarm(a, true)
		scrape(t, s.MetricsURL()).want(t, page{name: 1})
		s.SetAlarm(a, false)
		scrape(t, s.MetricsURL()).want(t, page{name: 0})
	}
	f(broker.MemoryAlarm, "rabbitmq_alarms_memory_used_watermark")
	f(broker.DiskAlarm, "rabbitmq_alarms_free_disk_space_watermark")
	f(broker.SlowDiskAlarm, "leveret_alarms_slow_disk")
}

func TestPageIsWhatDashboardsQuery(t *testing.T) { // PROM-2, PROM-3
	s := brokertest.Start(t)
	for _, path := range []string{"", "/per-object"} {
		got := families(t, s.MetricsURL()+path)
		want := dashboard
		if path == "" {
			if _, err := os.Stat("/proc/self/status"); err == nil {
				want = append(slices.Clone(want), "rabbitmq_process_resident_memory_bytes", "rabbitmq_process_open_fds",
					"rabbitmq_process_max_fds", "rabbitmq_disk_space_available_bytes",
					"rabbitmq_disk_space_available_limit_bytes", "rabbitmq_resident_memory_limit_bytes")
			}
		} else {
			want = slices.DeleteFunc(slices.Clone(want), func(name string) bool { return strings.HasPrefix(name, "rabbitmq_queue_messages") })
		}
		for _, name := range want {
			if got[name] == nil {
				t.Errorf("got no %s on /metrics%s", name, path)
			}
		}
		lint(t, got)
	}
	labels := map[string]string{}
	for _, l := range families(t, s.MetricsURL())["rabbitmq_identity_info"].GetMetric()[0].GetLabel() {
		labels[l.GetName()] = l.GetValue()
	}
	for name, pattern := range map[string]string{
		"rabbitmq_node": `^leveret@brokertest$`, "rabbitmq_cluster": `.`, "rabbitmq_endpoint": `^aggregated$`,
		"rabbitmq_cluster_permanent_id": `^rabbitmq-cluster-id-[0-9a-f]{32}$`,
	} {
		if !regexp.MustCompile(pattern).MatchString(labels[name]) {
			t.Errorf("got %s %q, want it to match %s", name, labels[name], pattern)
		}
	}
	id := labels["rabbitmq_cluster_permanent_id"]
	s.Restart()
	if text := families(t, s.MetricsURL())["rabbitmq_identity_info"].String(); !strings.Contains(text, id) {
		t.Errorf("got %s after a restart, want %s still", text, id)
	}
}

// lint holds the page against the rules of the exposition format that parsers let pass.
func lint(t *testing.T, families map[string]*dto.MetricFamily) {
	t.Helper()
	for name, f := range families {
		if f.GetHelp() == "" {
			t.Errorf("%s says nothing of what it is", name)
		}
		if total := strings.HasSuffix(name, "_total"); total != (f.GetType() == dto.MetricType_COUNTER) {
			t.Errorf("%s is a %s", name, f.GetType())
		}
		for _, m := range f.GetMetric() {
			if v := m.GetCounter().GetValue() + m.GetGauge().GetValue(); v < 0 {
				t.Errorf("got %v for %s, want no less than 0", v, name)
			}
		}
	}
}
