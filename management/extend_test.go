package management_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/brokertest"
)

// worker is a consumer with one delivery that it does not acknowledge.
type worker struct {
	cancelled chan string
	at        string // its path in the API
}

// work starts a worker of a user, whose acknowledgements are awaited for so long.
func work(t *testing.T, s *brokertest.Server, c *client, user, tag string, timeout time.Duration) worker {
	t.Helper()
	conn, err := amqp.Dial(strings.Replace(s.URL(), "guest:guest", user, 1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	q, err := ch.QueueDeclare("", true, false, false, false, nil) // its own, whatever the tag
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.PublishWithContext(t.Context(), "", q.Name, false, false, amqp.Publishing{}); err != nil {
		t.Fatal(err)
	}
	cancelled := ch.NotifyCancel(make(chan string, 1))
	deliveries, err := ch.Consume(q.Name, tag, false, false, false, false, amqp.Table{"x-consumer-timeout": timeout.Milliseconds()})
	if err != nil {
		t.Fatal(err)
	}
	if d := <-deliveries; d.DeliveryTag != 1 {
		t.Fatalf("got delivery %+v, want the first", d)
	}
	return worker{cancelled, "/consumers/%2F/" + url.PathEscape(channelOf(c, tag)) + "/" + tag + "/extend"}
}

// channelOf is the channel on which a consumer is, as the API tells it.
func channelOf(c *client, tag string) string {
	c.t.Helper()
	var all []struct {
		Tag     string `json:"consumer_tag"`
		Channel struct {
			Name string
		} `json:"channel_details"`
	}
	c.get("/consumers/%2F", &all)
	for _, k := range all {
		if k.Tag == tag {
			return k.Channel.Name
		}
	}
	c.t.Fatalf("got %+v, want a consumer %s", all, tag)
	return ""
}

// TestAcknowledgementTimeoutIsExtended, from when it is asked for (CTO-2).
func TestAcknowledgementTimeoutIsExtended(t *testing.T) {
	const timeout = 3 * time.Second
	s, c := newClient(t)
	long := work(t, s, c, "guest:guest", "long", timeout)
	clock := work(t, s, c, "guest:guest", "clock", timeout/30)
	if tag := <-clock.cancelled; tag != "clock" {
		t.Fatalf("got %s cancelled, want the one whose time is short", tag)
	}
	asked := time.Now()
	if a, text := c.do("POST", long.at, ""); a.StatusCode != 204 || text != "" {
		t.Fatalf("got %d %s, want 204", a.StatusCode, text)
	}
	if tag := <-long.cancelled; tag != "long" || time.Since(asked) < timeout {
		t.Errorf("got %s cancelled after %v, want it after %v", tag, time.Since(asked), timeout)
	}
	// What went back is not out any more.
	a, text := c.do("POST", long.at, "")
	if want := `"error":"not_found","reason":"no acknowledgement with a timeout is awaited of consumer 'long' on channel`; a.StatusCode != 404 || !strings.Contains(text, want) {
		t.Errorf("got %d %s, want 404 and %s", a.StatusCode, text, want)
	}
}

// TestWorkerExtendsWithNothingButItsLogin: no tag, and without the name of its channel unless
// that is in doubt (CTO-2, PERM-4).
func TestWorkerExtendsWithNothingButItsLogin(t *testing.T) {
	s, c := newClient(t)
	for _, name := range []string{"worker", "other"} {
		c.must("PUT", "/users/"+name, `{"password":"x","tags":""}`)
		c.must("PUT", "/permissions/%2F/"+name, all)
	}
	f := func(user, path string, want int) {
		t.Helper()
		if a, text := c.as(user).do("POST", path, ""); a.StatusCode != want {
			t.Errorf("%s of %s: got %d %s, want %d", path, user, a.StatusCode, text, want)
		}
	}
	const own = "/consumers/%2F/-/w/extend"
	f("worker", own, 404) // there is none yet
	first := work(t, s, c, "worker:x", "w", time.Hour)
	f("worker", first.at, 204)
	f("worker", own, 204)
	f("other", first.at, 404) // it cannot see it
	f("other", own, 404)
	f("worker", "/consumers/%2F/-/x/extend", 404)
	f("nobody", own, 401)
	work(t, s, c, "other:x", "w", time.Hour)
	f("worker", own, 204) // it still has one of its own
	work(t, s, c, "worker:x", "w", time.Hour)
	f("worker", own, 400)
	f("worker", first.at, 204)
	if a, _ := c.as("worker").do("GET", "/consumers/%2F", ""); a.StatusCode != 401 {
		t.Errorf("got %d for the list of consumers, want 401", a.StatusCode)
	}
}

// TestWhoMayExtendAnAcknowledgementTimeout: whose connection it is, and administrators (PERM-4).
func TestWhoMayExtendAnAcknowledgementTimeout(t *testing.T) {
	s, c := newClient(t)
	c.must("PUT", "/vhosts/other", "{}")
	for _, u := range []struct{ name, tag, vhost string }{
		{"worker", "management", "%2F"},
		{"management", "management", "%2F"},
		{"monitoring", "monitoring", "%2F"},
		{"administrator", "administrator", "%2F"},
		{"none", "", "%2F"},
		{"stranger", "monitoring", "other"},
	} {
		c.must("PUT", "/users/"+u.name, fmt.Sprintf(`{"password":"x","tags":%q}`, u.tag))
		c.must("PUT", "/permissions/"+u.vhost+"/"+u.name, all)
	}
	w := work(t, s, c, "worker:x", "w", time.Hour)
	f := func(user *client, path, body string, want int) {
		t.Helper()
		if a, text := user.do("POST", path, body); a.StatusCode != want {
			t.Errorf("%s of %s: got %d %s, want %d", path, user.user, a.StatusCode, text, want)
		}
	}
	f(c.as("worker"), w.at, "", 204)
	f(c.as("administrator"), w.at, "", 204)
	f(c.as("management"), w.at, "", 404) // it cannot see it
	f(c.as("none"), w.at, "", 404)       // nor can this one
	f(c.as("monitoring"), w.at, "", 401) // this one can
	f(c.as("stranger"), w.at, "", 401)   // it may monitor, but not in this virtual host
	wrong := *c
	wrong.password = "wrong"
	f(&wrong, w.at, "", 401)

	f(c.as("worker"), w.at, `{"delivery_tag":1}`, 204)
	f(c.as("worker"), w.at, `{"delivery_tag":2}`, 404)
	f(c.as("worker"), w.at, `{"delivery_tag":-1}`, 400)
	f(c.as("worker"), w.at, `{"delivery_tag":"one"}`, 400)
	f(c.as("worker"), w.at, `{`, 400)
	f(c, strings.Replace(w.at, "/w/extend", "/x/extend", 1), "", 404)
	f(c, strings.Replace(w.at, "%2F", "other", 1), "", 404)
	f(c, "/consumers/%2F/no%20channel/w/extend", "", 404)
	f(c, "/consumers/nowhere/no%20channel/w/extend", "", 404)
	if a, _ := c.do("GET", w.at, ""); a.StatusCode != 405 || a.Header.Get("Allow") != "POST, OPTIONS" {
		t.Errorf("got %d and Allow: %s", a.StatusCode, a.Header.Get("Allow"))
	}
}
