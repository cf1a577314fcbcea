package management_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// leftOut are the members of RabbitMQ's answers that are not in ours, and why. What has an
// asterisk for a part stands for every such part.
var leftOut = map[string]string{
	"*.garbage_collection":                       "of Erlang's processes",
	"*.reductions":                               "of Erlang's processes",
	"*.reductions_details":                       "of Erlang's processes",
	"*.recoverable_slaves":                       "of mirrored queues, which there are none of",
	"*.backing_queue_status":                     "the inside of RabbitMQ's classic queues",
	"*.idle_since":                               "queues and channels do not look at the clock when they are used",
	"*.head_message_timestamp":                   "properties are not read again",
	"*.consumer_capacity":                        "is not measured",
	"*.consumer_utilisation":                     "is not measured",
	"*.message_bytes_paged_out":                  "is not counted by queue",
	"*.message_bytes_persistent":                 "is not counted by queue",
	"*.message_bytes_ram":                        "memory is what a queue holds in memory",
	"*.messages_paged_out":                       "is not counted by queue",
	"*.messages_persistent":                      "is not counted by queue",
	"*.messages_ram":                             "memory is what a queue holds in memory",
	"*.messages_ready_ram":                       "memory is what a queue holds in memory",
	"*.messages_unacknowledged_ram":              "memory is what a queue holds in memory",
	"exchanges.user_who_performed_action":        "who declared what is not kept",
	"overview.sample_retention_policies":         "no history is kept",
	"overview.release_series_support_status":     "of RabbitMQ's releases",
	"overview.message_stats.disk_reads":          "the store counts what it commits, and the metrics tell it",
	"overview.message_stats.disk_reads_details":  "",
	"overview.message_stats.disk_writes":         "",
	"overview.message_stats.disk_writes_details": "",
	"*.cowboy_opts":                              "of Erlang's HTTP server",
	"overview.contexts.protocol":                 "of Erlang's HTTP server",
	"overview.listeners.socket_opts":             "of Erlang's sockets",
	"nodes.contexts.protocol":                    "of Erlang's HTTP server",
	"nodes.ra_open_file_metrics":                 "of RabbitMQ's Raft",
	"nodes.metrics_gc_queue_length":              "of RabbitMQ's statistics",
}

// fromErlang are figures of a node that only mean something of Erlang.
var fromErlang = []string{"nodes.gc_", "nodes.context_switches", "nodes.io_", "nodes.mnesia_", "nodes.msg_store_", "nodes.queue_index_"}

// needed are those of leftOut that something was left out by.
var needed = map[string]bool{}

func isLeftOut(path string) bool {
	if _, ok := leftOut[path]; ok {
		needed[path] = true
		return true
	}
	for _, prefix := range fromErlang {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	i := strings.LastIndexByte(path, '.')
	general := "*" + path[max(i, 0):]
	_, ok := leftOut[general]
	needed[general] = needed[general] || ok
	return ok
}

// sameShape compares what is named alike: everything RabbitMQ has is there, of the same type.
// null is of any type, and numbers are numbers.
func sameShape(t *testing.T, path string, want, got any) {
	t.Helper()
	if want == nil || got == nil {
		return
	}
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok && !isLeftOut(path) {
			t.Errorf("%s: got %T, want an object", path, got)
			return
		}
		if strings.HasSuffix(path, "arguments") || strings.HasSuffix(path, "client_properties") || strings.HasSuffix(path, "cluster_state") {
			return
		}
		for name, value := range want {
			here := path + "." + name
			v, there := got[name]
			if !there && !isLeftOut(here) {
				t.Errorf("%s is missing", here)
			}
			if there {
				sameShape(t, here, value, v)
			}
		}
	case []any:
		got, ok := got.([]any)
		if !ok && !isLeftOut(path) {
			t.Errorf("%s: got %T, want an array", path, got)
			return
		}
		for _, value := range want {
			for _, v := range got[:min(1, len(got))] {
				sameShape(t, path, value, v)
			}
		}
	default:
		if fmt.Sprintf("%T", want) != fmt.Sprintf("%T", got) {
			t.Errorf("%s: got %T, want %T", path, got, want)
		}
	}
}

// TestAnswersHaveRabbitMQsShape: what RabbitMQ 3.10.8 answered is compared, member by member,
// with what is answered of the same kind of things here (API-4).
func TestAnswersHaveRabbitMQsShape(t *testing.T) {
	s, c := newClient(t)
	conn, err := amqp.Dial(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	c.must("PUT", "/users/u5", `{"password":"x","tags":"impersonator"}`)
	c.must("PUT", "/permissions/%2F/u5", all)
	c.must("PUT", "/topic-permissions/%2F/u5", `{"exchange":"px2","write":"^a","read":""}`)
	c.must("PUT", "/queues/%2F/apiq", `{"durable":true,"arguments":{"x-message-ttl":60000}}`)
	c.must("PUT", "/exchanges/%2F/apix", `{"type":"topic","durable":true}`)
	c.must("POST", "/bindings/%2F/e/apix/q/apiq", `{"routing_key":"a.#","arguments":{"k":"v"}}`)
	check(ch.Qos(5, 0, false))
	deliveries, err := ch.Consume("apiq", "ctag1", false, false, false, false, nil)
	check(err)
	check(ch.PublishWithContext(context.Background(), "apix", "a.b", false, false, amqp.Publishing{Body: []byte("x")}))
	<-deliveries

	for name, path := range map[string]string{
		"bindings": "/bindings", "channels": "/channels", "cluster-name": "/cluster-name", "connections": "/connections",
		"consumers": "/consumers", "exchanges": "/exchanges", "nodes": "/nodes", "overview": "/overview", "permissions": "/permissions",
		"queue": "/queues/%2F/apiq", "queue-bindings": "/queues/%2F/apiq/bindings", "queues-page": "/queues?page=1&page_size=10",
		"topic-permissions": "/topic-permissions", "users": "/users", "vhosts": "/vhosts", "whoami": "/whoami",
	} {
		text, err := os.ReadFile("testdata/shapes/" + name + ".json")
		check(err)
		var want, got any
		check(json.Unmarshal(text, &want))
		c.get(path, &got)
		if list, ok := got.([]any); ok && len(list) == 0 {
			t.Errorf("%s: got an empty list", name)
		}
		sameShape(t, name, want, got)
	}

	for name := range leftOut {
		if !needed[name] {
			t.Errorf("%s is not left out", name)
		}
	}

	// A few values that only add up when they are those of the things that were done.
	var q struct {
		Messages       int
		Unacknowledged int `json:"messages_unacknowledged"`
		Consumers      int
		Type           string
		Stats          struct{ Publish, Deliver int } `json:"message_stats"`
		Details        []struct {
			Tag     string `json:"consumer_tag"`
			Channel struct {
				Name       string
				Connection string `json:"connection_name"`
			} `json:"channel_details"`
			Prefetch int `json:"prefetch_count"`
		} `json:"consumer_details"`
	}
	c.get("/queues/%2F/apiq", &q)
	if q.Messages != 1 || q.Unacknowledged != 1 || q.Consumers != 1 || q.Type != "classic" || q.Stats.Publish != 1 || q.Stats.Deliver != 1 ||
		len(q.Details) != 1 || q.Details[0].Tag != "ctag1" || q.Details[0].Prefetch != 5 || q.Details[0].Channel.Name != q.Details[0].Channel.Connection+" (1)" {
		t.Errorf("got %+v", q)
	}
	var connections []struct {
		Name      string
		Connected int64 `json:"connected_at"`
		PeerPort  int   `json:"peer_port"`
		Received  int   `json:"recv_oct"`
		Sent      int   `json:"send_oct"`
		Channels  int
		State     string
	}
	c.get("/connections", &connections)
	if len(connections) != 1 {
		t.Fatalf("got %+v", connections)
	}
	k := connections[0]
	if k.Name != fmt.Sprintf("%v -> %v", conn.LocalAddr(), conn.RemoteAddr()) || time.Since(time.UnixMilli(k.Connected)) > time.Minute ||
		k.PeerPort == 0 || k.Received == 0 || k.Sent == 0 || k.Channels != 1 || k.State != "running" {
		t.Errorf("got %+v", k)
	}
	if q.Details[0].Channel.Connection != k.Name {
		t.Errorf("got a consumer of %s", q.Details[0].Channel.Connection)
	}
}
