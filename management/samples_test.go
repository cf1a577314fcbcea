package management_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// TestSamplesAreToldWhenAskedFor, in RabbitMQ's shape: newest first, at whole multiples of the
// increment.
func TestSamplesAreToldWhenAskedFor(t *testing.T) {
	s, c := newClient(t)
	c.must("PUT", "/queues/%2F/q", `{}`)
	c.must("POST", "/exchanges/%2F/amq.default/publish", `{"properties":{},"routing_key":"q","payload":"x","payload_encoding":"string"}`)
	conn, err := amqp.Dial(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	type details struct {
		Rate, Avg   *float64
		AverageRate *float64 `json:"avg_rate"`
		Samples     []struct {
			Sample    int64
			Timestamp int64
		}
	}
	check := func(name string, d details, want int64) {
		t.Helper()
		if len(d.Samples) != 1 || d.Rate == nil || d.AverageRate == nil || d.Avg == nil {
			t.Fatalf("%s: got %+v", name, d)
		}
		at := time.UnixMilli(d.Samples[0].Timestamp)
		if got := d.Samples[0]; want >= 0 && (got.Sample != want || *d.Avg != float64(want)) || got.Timestamp%60000 != 0 || time.Since(at) > 2*time.Minute {
			t.Errorf("%s: got %+v at %v, want %d at a whole minute", name, d, at, want)
		}
	}
	// Everything is asked for the first time, so there is one sample.
	const asked = "lengths_age=30&lengths_incr=60&msg_rates_age=30&msg_rates_incr=60&data_rates_age=30&data_rates_incr=60&node_stats_age=30&node_stats_incr=60"
	var q struct {
		Lengths details `json:"messages_details"`
		Stats   struct {
			Publish details `json:"publish_details"`
		} `json:"message_stats"`
	}
	c.get("/queues/%2F/q?"+asked, &q)
	check("a queue's length", q.Lengths, 1)
	check("a queue's publishes", q.Stats.Publish, 1)
	var o struct {
		Totals struct {
			Messages details `json:"messages_details"`
		} `json:"queue_totals"`
		Stats struct {
			Publish details `json:"publish_details"`
		} `json:"message_stats"`
	}
	c.get("/overview?"+asked, &o)
	check("all lengths", o.Totals.Messages, 1)
	check("all publishes", o.Stats.Publish, 0) // those of AMQP
	var connections []struct {
		Received details `json:"recv_oct_details"`
	}
	c.get("/connections?"+asked, &connections)
	if len(connections) != 1 {
		t.Fatalf("got %d connections", len(connections))
	}
	check("what a connection sent", connections[0].Received, -1)
	var nodes []struct {
		Memory details `json:"proc_used_details"`
	}
	c.get("/nodes?"+asked, &nodes)
	check("a node's processes", nodes[0].Memory, -1)

	if text := c.must("GET", "/queues/%2F/q?msg_rates_age=30&msg_rates_incr=60&columns=messages_details", ""); strings.Contains(text, "samples") {
		t.Errorf("got %s, want no samples of what they are not asked of", text)
	}
	if a, text := c.do("GET", "/queues?lengths_age=20&lengths_incr=0", ""); a.StatusCode != http.StatusBadRequest || !strings.Contains(text, "Invalid range parameters: age 20, incr 0") {
		t.Errorf("got %d %s, want it refused", a.StatusCode, text)
	}
}

// TestWhatRabbitMQMeansToTakeAwayIsListed, and what of it is in use.
func TestWhatRabbitMQMeansToTakeAwayIsListed(t *testing.T) {
	s, c := newClient(t)
	names := func(path string) string {
		t.Helper()
		var all []struct {
			Name, Desc string
			Phase      string `json:"deprecation_phase"`
			URL        string `json:"doc_url"`
			By         string `json:"provided_by"`
		}
		c.get(path, &all)
		var names []string
		for _, d := range all {
			if d.Desc == "" || d.Phase != "permitted_by_default" || d.URL == "" || d.By != "rabbit" {
				t.Errorf("got %+v", d)
			}
			names = append(names, d.Name)
		}
		return strings.Join(names, " ")
	}
	f := func(want string) {
		t.Helper()
		if got := names("/deprecated-features/used"); got != want {
			t.Errorf("got %q in use, want %q", got, want)
		}
	}
	if got, want := names("/deprecated-features"), "global_qos management_metrics_collection transient_nonexcl_queues"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	f("")
	c.must("PUT", "/queues/%2F/durable", `{"durable":true}`)
	ch := openChannel(t, s)
	if _, err := ch.QueueDeclare("", false, true, true, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.Qos(1, 0, false); err != nil {
		t.Fatal(err)
	}
	f("")
	c.must("PUT", "/queues/%2F/transient", `{"durable":false}`)
	f("transient_nonexcl_queues")
	if err := ch.Qos(1, 0, true); err != nil {
		t.Fatal(err)
	}
	f("global_qos transient_nonexcl_queues")
	c.must("DELETE", "/queues/%2F/transient", "")
	f("global_qos")
}
