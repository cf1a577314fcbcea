package management_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/brokertest"
	"github.com/leveretmq/leveret/config"
)

// TestConnectionIsClosedWithItsReason (C-33), and not by those it is no business of.
func TestConnectionIsClosedWithItsReason(t *testing.T) {
	s, c := newClient(t)
	conn, err := amqp.DialConfig(s.URL(), amqp.Config{Properties: amqp.Table{"connection_name": "mine"}})
	if err != nil {
		t.Fatal(err)
	}
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	var connections []struct {
		Name   string
		Called string `json:"user_provided_name"`
	}
	c.get("/connections", &connections)
	if len(connections) != 1 || connections[0].Called != "mine" {
		t.Fatalf("got %+v", connections)
	}
	at := "/connections/" + url.PathEscape(connections[0].Name)
	for _, tag := range []string{"management", "monitoring"} {
		c.must("PUT", "/users/"+tag, fmt.Sprintf(`{"password":"x","tags":%q}`, tag))
	}
	if a, _ := c.as("management").do("DELETE", at, ""); a.StatusCode != 404 { // it cannot see it
		t.Errorf("got %d", a.StatusCode)
	}
	if a, _ := c.as("monitoring").do("DELETE", at, ""); a.StatusCode != 401 { // it can
		t.Errorf("got %d", a.StatusCode)
	}
	if a, _ := c.do("DELETE", at, "", "X-Reason", "because"); a.StatusCode != 204 {
		t.Errorf("got %d", a.StatusCode)
	}
	if e := <-closed; e == nil || e.Code != 320 || e.Reason != "CONNECTION_FORCED - because" {
		t.Errorf("got %v", e)
	}
	if a, _ := c.do("GET", at, ""); a.StatusCode != 404 {
		// The client has answered connection.close when it tells of it, and the broker forgets a
		// connection before it sends that.
		t.Errorf("got %d", a.StatusCode)
	}
}

// TestMessagesThatAreOnDiskAreGot, however many have left memory.
func TestMessagesThatAreOnDiskAreGot(t *testing.T) {
	s := brokertest.Start(t, brokertest.WithConfig(func(c *config.Config) { c.Store.QueueMemory = config.MiB }))
	c := &client{t, s.ManagementURL() + "/api", "guest", "guest"}
	c.must("PUT", "/queues/%2F/q", `{"durable":true}`)
	ch := openChannel(t, s)
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	const count = 60
	for i := range count {
		body := []byte(fmt.Sprint(i, strings.Repeat("x", 100<<10)))
		d, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), "", "q", false, false, amqp.Publishing{DeliveryMode: 2, Body: body})
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := d.WaitContext(t.Context()); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	f := func(mode string, redelivered bool) {
		t.Helper()
		var got []struct {
			Bytes       int `json:"payload_bytes"`
			Payload     string
			Redelivered bool
			Left        int `json:"message_count"`
		}
		text := c.must("POST", "/queues/%2F/q/get", fmt.Sprintf(`{"count":1000,"ackmode":%q,"encoding":"auto","truncate":4}`, mode))
		if err := jsonOf(text, &got); err != nil || len(got) != count {
			t.Fatalf("%s: got %d messages, %v; want %d", mode, len(got), err, count)
		}
		for i, m := range got {
			if !strings.HasPrefix(m.Payload, fmt.Sprint(i)) || m.Bytes < 100<<10 || m.Redelivered != redelivered || m.Left != count-1-i {
				t.Fatalf("%s: got %+v at %d", mode, m, i)
			}
		}
	}
	f("ack_requeue_true", false)
	f("reject_requeue_true", true)
	f("ack_requeue_false", true)
	if text := c.must("POST", "/queues/%2F/q/get", `{"count":1,"ackmode":"ack_requeue_true","encoding":"auto"}`); text != "[]" {
		t.Errorf("got %s", text)
	}
}

// TestAlarmsFailTheirChecksAndHoldPublishersBack (RES-1).
func TestAlarmsFailTheirChecksAndHoldPublishersBack(t *testing.T) {
	s, c := newClient(t)
	s.SetAlarm(broker.DiskAlarm, true)
	for _, path := range []string{"/health/checks/alarms", "/health/checks/local-alarms"} {
		a, text := c.do("GET", path, "")
		if a.StatusCode != 503 || !strings.Contains(text, `"status":"failed"`) || !strings.Contains(text, `"resource":"disk"`) {
			t.Errorf("%s: got %d %s", path, a.StatusCode, text)
		}
	}
	var nodes []struct {
		Disk   bool `json:"disk_free_alarm"`
		Memory bool `json:"mem_alarm"`
	}
	if c.get("/nodes", &nodes); len(nodes) != 1 || !nodes[0].Disk || nodes[0].Memory {
		t.Errorf("got %+v", nodes)
	}
	const message = `{"properties":{},"routing_key":"q","payload":"","payload_encoding":"string"}`
	if a, text := c.do("POST", "/exchanges/%2F/amq.default/publish", message); a.StatusCode != 503 || !strings.Contains(text, "low on disk") {
		t.Errorf("got %d %s", a.StatusCode, text)
	}
	s.SetAlarm(broker.DiskAlarm, false)
	c.must("GET", "/health/checks/alarms", "")
	c.must("POST", "/exchanges/%2F/amq.default/publish", message)

	port := s.Addr()[strings.LastIndexByte(s.Addr(), ':')+1:]
	c.must("GET", "/health/checks/port-listener/"+port, "")
	c.must("GET", "/health/checks/protocol-listener/amqp", "")
	if a, text := c.do("GET", "/health/checks/protocol-listener/mqtt", ""); a.StatusCode != 503 || !strings.Contains(text, `"missing":"mqtt"`) {
		t.Errorf("got %d %s", a.StatusCode, text)
	}
}

// TestWhatIsPublishedHereIsAMessageLikeAnyOther: its properties arrive, its keys route, and its
// sender is who it says.
func TestWhatIsPublishedHereIsAMessageLikeAnyOther(t *testing.T) {
	s, c := newClient(t)
	for _, q := range []string{"a", "b", "c"} {
		c.must("PUT", "/queues/%2F/"+q, "{}")
	}
	ch := openChannel(t, s)
	text := c.must("POST", "/exchanges/%2F/amq.default/publish", `{"routing_key":"a","payload":"aGk=","payload_encoding":"base64","properties":{`+
		`"content_type":"text/plain","content_encoding":"x","delivery_mode":2,"priority":"3","correlation_id":"c","reply_to":"r","expiration":"60000",`+
		`"message_id":"m","timestamp":1234567890,"type":"t","user_id":"guest","app_id":"app","headers":{"n":5,"CC":["b"],"BCC":["c"]}}}`)
	if text != `{"routed":true}` {
		t.Errorf("got %s", text)
	}
	for _, q := range []string{"a", "b", "c"} {
		d, ok, err := ch.Get(q, true)
		if err != nil || !ok {
			t.Fatalf("%s: got %v, %v", q, ok, err)
		}
		if string(d.Body) != "hi" || d.ContentType != "text/plain" || d.ContentEncoding != "x" || d.DeliveryMode != 2 || d.Priority != 3 ||
			d.CorrelationId != "c" || d.ReplyTo != "r" || d.Expiration != "60000" || d.MessageId != "m" || d.Timestamp.Unix() != 1234567890 ||
			d.Type != "t" || d.UserId != "guest" || d.AppId != "app" || d.Headers["n"] != int64(5) || d.Headers["BCC"] != nil {
			t.Errorf("%s: got %+v", q, d)
		}
	}
	f := func(body, want string) {
		t.Helper()
		a, text := c.do("POST", "/exchanges/%2F/amq.default/publish", `{"routing_key":"a","payload":"x","payload_encoding":"string",`+body+`}`)
		if a.StatusCode != 400 || !strings.Contains(text, want) {
			t.Errorf("%s: got %d %s, want %s", body, a.StatusCode, text, want)
		}
	}
	f(`"properties":{"user_id":"other"}`, "authenticated user was 'guest'")
	f(`"properties":{"priority":300}`, "0 to 255")
	f(`"properties":{"expiration":"soon"}`, "expiration")
	f(`"properties":{"headers":{"a":null}}`, "null")
	f(`"properties":5`, "an object is wanted")
	f(`"properties":{},"payload_encoding":"rot13"`, "unsupported_encoding")
}

// TestUserLosesItsConnectionsWithItsAccount (C-33).
func TestUserLosesItsConnectionsWithItsAccount(t *testing.T) {
	s, c := newClient(t)
	c.must("PUT", "/users/ann", `{"password":"x","tags":""}`)
	c.must("PUT", "/permissions/%2F/ann", all)
	conn, err := amqp.Dial(strings.Replace(s.URL(), "guest:guest", "ann:x", 1))
	if err != nil {
		t.Fatal(err)
	}
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	c.must("DELETE", "/users/ann", "")
	if e := <-closed; e == nil || e.Reason != "CONNECTION_FORCED - user 'ann' is deleted" {
		t.Errorf("got %v", e)
	}
	if a, _ := c.as("ann").do("GET", "/whoami", ""); a.StatusCode != 401 {
		t.Errorf("got %d", a.StatusCode)
	}
}

// TestPolicyActsOnWhatIsThere (POL-1), and a protected virtual host stays.
func TestPolicyActsOnWhatIsThere(t *testing.T) {
	_, c := newClient(t)
	c.must("PUT", "/vhosts/v", "{}")
	c.must("PUT", "/queues/v/q", `{"arguments":{"x-max-length":7}}`)
	c.must("PUT", "/policies/v/p", `{"pattern":"^q","definition":{"max-length":5,"message-ttl":1000}}`)
	c.must("PUT", "/operator-policies/v/o", `{"pattern":"^q","definition":{"max-length":3}}`)
	var q struct {
		Policy, Operator string
		OperatorPolicy   string         `json:"operator_policy"`
		Effective        map[string]any `json:"effective_policy_definition"`
	}
	c.get("/queues/v/q", &q)
	if q.Policy != "p" || q.OperatorPolicy != "o" || fmt.Sprint(q.Effective) != "map[max-length:3 message-ttl:1000]" {
		t.Errorf("got %+v", q)
	}
	c.must("POST", "/vhosts/v/deletion/protection", "")
	if a, text := c.do("DELETE", "/vhosts/v", ""); a.StatusCode != 412 || !strings.Contains(text, "protected") {
		t.Errorf("got %d %s", a.StatusCode, text)
	}
	c.must("DELETE", "/vhosts/v/deletion/protection", "")
	c.must("DELETE", "/vhosts/v", "")
}

// TestRatesComeWithTheSecondLook: a queue's counters grow between two requests.
func TestRatesComeWithTheSecondLook(t *testing.T) {
	_, c := newClient(t)
	c.must("PUT", "/queues/%2F/q", "{}")
	var q struct {
		Stats struct {
			Publish int
			Details struct{ Rate float64 } `json:"publish_details"`
		} `json:"message_stats"`
	}
	c.get("/queues/%2F/q", &q)
	began := time.Now()
	for range 10 {
		c.must("POST", "/exchanges/%2F/amq.default/publish", `{"properties":{},"routing_key":"q","payload":"","payload_encoding":"string"}`)
	}
	c.get("/queues/%2F/q", &q)
	// Within a second there is no rate yet; slow machines may take longer.
	if q.Stats.Publish != 10 || time.Since(began) < time.Second && q.Stats.Details.Rate != 0 {
		t.Errorf("got %+v", q)
	}
}

// TestExchangesTellHowManyMessagesWait (EX-55): those where messages can wait.
func TestExchangesTellHowManyMessagesWait(t *testing.T) {
	_, c := newClient(t)
	c.must("PUT", "/exchanges/%2F/x", `{"type":"x-delayed-message","arguments":{"x-delayed-type":"direct"}}`)
	c.must("POST", "/exchanges/%2F/x/publish",
		`{"properties":{"headers":{"x-delay":60000}},"routing_key":"k","payload":"","payload_encoding":"string"}`)
	for name, want := range map[string]string{"x": "1", "amq.direct": ""} {
		var x struct {
			Delayed json.Number `json:"messages_delayed"`
		}
		c.get("/exchanges/%2F/"+name, &x)
		if x.Delayed.String() != want {
			t.Errorf("%s: got messages_delayed %q, want %q", name, x.Delayed, want)
		}
	}
}
