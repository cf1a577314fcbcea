package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/brokertest"
)

// api reads a path of the HTTP API into v.
func (c *client) api(s *brokertest.Server, path string, v any) {
	c.t.Helper()
	r, err := http.NewRequest("GET", s.ManagementURL()+"/api/"+path, nil)
	c.must(err)
	r.SetBasicAuth("guest", "guest")
	answer, err := http.DefaultClient.Do(r)
	c.must(err)
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		c.t.Fatalf("%s: got %s", path, answer.Status)
	}
	c.must(json.NewDecoder(answer.Body).Decode(v))
}

// TestConnectionsAndChannelsAreNamedByTheirEnds in whatever is told of them (C-18).
func TestConnectionsAndChannelsAreNamedByTheirEnds(t *testing.T) {
	s := brokertest.Start(t)
	c := connect(t, s)
	c.another()
	want := fmt.Sprintf("%v -> %v", c.conn.LocalAddr(), s.Addr())
	var connections []struct{ Name string }
	c.api(s, "connections", &connections)
	if len(connections) != 1 || connections[0].Name != want {
		t.Errorf("got %v, want %s", connections, want)
	}
	var channels []struct {
		Name    string
		Details struct {
			Name string
		} `json:"connection_details"`
	}
	c.api(s, "channels", &channels)
	var names []string
	for _, ch := range channels {
		names = append(names, ch.Name)
		if ch.Details.Name != want {
			t.Errorf("got a channel of %q, want %q", ch.Details.Name, want)
		}
	}
	if slices.Sort(names); !slices.Equal(names, []string{want + " (1)", want + " (2)"}) {
		t.Errorf("got %q, want %s (1) and (2)", names, want)
	}
}

// TestOperatorsSeeWhichConsumerIsActive; the consumers are not told (SAC-6).
func TestOperatorsSeeWhichConsumerIsActive(t *testing.T) {
	s := brokertest.Start(t)
	c := connect(t, s)
	q := c.durable("single", amqp.Table{"x-single-active-consumer": true})
	other := c.durable("shared", nil)
	cancelled := c.NotifyCancel(make(chan string, 3))
	consume := func(queue, tag string) {
		t.Helper()
		_, err := c.Consume(queue, tag, false, false, false, false, nil)
		c.must(err)
	}
	see := func(tag, want, single string) {
		t.Helper()
		var consumers []struct {
			Tag      string `json:"consumer_tag"`
			Active   bool
			Activity string `json:"activity_status"`
		}
		c.api(s, "consumers", &consumers)
		got := "none"
		for _, k := range consumers {
			if k.Tag == tag {
				got = fmt.Sprint(k.Active, " ", k.Activity)
			}
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", tag, got, want)
		}
		var queue struct {
			Single *string `json:"single_active_consumer_tag"`
		}
		c.api(s, "queues/%2F/single", &queue)
		if queue.Single == nil && single != "" || queue.Single != nil && *queue.Single != single {
			t.Errorf("the queue's active consumer is %v, want %q", queue.Single, single)
		}
	}
	see("one", "none", "")
	consume(q, "one")
	consume(q, "two")
	consume(other, "three")
	see("one", "true single_active", "one")
	see("two", "false waiting", "one")
	see("three", "true up", "one")
	c.must(c.Cancel("one", false))
	see("two", "true single_active", "two")
	see("one", "none", "two")
	if len(cancelled) != 0 {
		t.Error("a client was told")
	}
}
