package management_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/leveretmq/leveret/brokertest"
	amqp "github.com/rabbitmq/amqp091-go"
)

// client asks the API of a broker.
type client struct {
	t        *testing.T
	url      string // with /api
	user     string
	password string
}

func newClient(t *testing.T, opts ...brokertest.Option) (*brokertest.Server, *client) {
	t.Helper()
	s := brokertest.Start(t, append([]brokertest.Option{brokertest.InMemory()}, opts...)...)
	return s, &client{t, s.ManagementURL() + "/api", "guest", "guest"}
}

// openChannel is a channel of a connection of its own, until the test ends.
func openChannel(t *testing.T, s *brokertest.Server) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // it may be closed
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// as is c for another user, whose password is x.
func (c *client) as(user string) *client { return &client{c.t, c.url, user, "x"} }

// reply is an answer without its body.
type reply struct {
	StatusCode    int
	Header        http.Header
	ContentLength int64
}

// do asks for something.
func (c *client) do(method, path, body string, headers ...string) (reply, string) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.SetBasicAuth(c.user, c.password)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	if r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/json")
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return reply{a.StatusCode, a.Header, a.ContentLength}, string(text)
}

// must asks for something that is granted.
func (c *client) must(method, path, body string) string {
	c.t.Helper()
	a, text := c.do(method, path, body)
	if a.StatusCode >= 400 {
		c.t.Fatalf("%s %s: got %d %s", method, path, a.StatusCode, text)
	}
	return text
}

// get reads an answer into v.
func (c *client) get(path string, v any) {
	c.t.Helper()
	text := c.must("GET", path, "")
	if err := json.Unmarshal([]byte(text), v); err != nil {
		c.t.Fatalf("GET %s: %v in %s", path, err, text)
	}
}

// jsonOf reads text into v.
func jsonOf(text string, v any) error { return json.Unmarshal([]byte(text), v) }

const all = `{"configure":".*","write":".*","read":".*"}`

// TestTagsAndPermissionsDecide what a user may do, as they do in RabbitMQ (API-1, PERM-4).
func TestTagsAndPermissionsDecide(t *testing.T) {
	_, c := newClient(t)
	tags := []string{"none", "management", "policymaker", "monitoring", "administrator"}
	for _, v := range []string{"apiv", "apiw"} {
		c.must("PUT", "/vhosts/"+v, "{}")
	}
	for _, tag := range tags {
		c.must("PUT", "/users/api_"+tag, fmt.Sprintf(`{"password":"x","tags":%q}`, strings.TrimPrefix(tag, "none")))
		c.must("PUT", "/permissions/apiv/api_"+tag, all)
	}
	policy := `{"pattern":"zzz","definition":{"max-length":1}}`
	for _, v := range []string{"apiv", "apiw"} {
		c.must("PUT", "/queues/"+v+"/q", "{}")
		c.must("PUT", "/exchanges/"+v+"/x", `{"type":"topic"}`)
		c.must("POST", "/bindings/"+v+"/e/x/q/q", `{"routing_key":"k"}`)
		c.must("PUT", "/policies/"+v+"/p", policy)
		c.must("PUT", "/operator-policies/"+v+"/p", policy)
	}
	bodies := []struct{ prefix, body string }{
		{"PUT /users/", `{"password":"x","tags":""}`},
		{"PUT /user-limits/", `{"value":9}`},
		{"PUT /vhost-limits/", `{"value":1000}`},
		{"POST /users/bulk-delete", `{"users":["nobody"]}`},
		{"PUT /exchanges/", `{"type":"fanout"}`},
		{"PUT /policies/", policy},
		{"PUT /operator-policies/", policy},
		{"PUT /permissions/", all},
		{"PUT /topic-permissions/", `{"exchange":"x","write":"","read":""}`},
		{"POST /queues/", `{"count":1,"ackmode":"ack_requeue_true","encoding":"auto"}`},
		{"POST /exchanges/", `{"properties":{},"routing_key":"","payload":"","payload_encoding":"string"}`},
		{"POST /bindings/", `{"routing_key":"k"}`},
		{"", "{}"},
	}
	table, err := os.ReadFile("testdata/authorisation.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		recorded, want, differs := strings.Cut(line, " | ")
		f := strings.Fields(recorded)
		method, path := f[0], f[1]
		if !differs {
			want = strings.Join(f[2:], " ")
		}
		body := ""
		if method == "PUT" || method == "POST" {
			for _, b := range bodies {
				if strings.HasPrefix(method+" "+path, b.prefix) {
					body = b.body
					break
				}
			}
		}
		var got []string
		for _, tag := range tags {
			a, _ := c.as("api_"+tag).do(method, path, body)
			got = append(got, fmt.Sprint(a.StatusCode))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s %s: got %s, want %s", method, path, strings.Join(got, " "), want)
		}
	}
}

// TestWhoMayNotComeIn is told so, in the words of RabbitMQ.
func TestWhoMayNotComeIn(t *testing.T) {
	_, c := newClient(t)
	f := func(c *client, path string, status int, body string, headers ...string) {
		t.Helper()
		a, text := c.do("GET", path, "", headers...)
		if a.StatusCode != status || text != body {
			t.Errorf("%s: got %d %s, want %d %s", path, a.StatusCode, text, status, body)
		}
		if status == 401 && a.Header.Get("WWW-Authenticate") != `Basic realm="RabbitMQ Management"` {
			t.Errorf("%s: got %v", path, a.Header)
		}
	}
	f(&client{t, c.url, "guest", "wrong"}, "/overview", 401, `{"error":"not_authorized","reason":"Login failed"}`)
	f(&client{t, c.url, "", ""}, "/overview", 401, `{"error":"not_authorized","reason":"Login failed"}`)
	f(&client{t, c.url, "", ""}, "/auth", 200, `{"oauth_enabled":false}`)
	f(c, "/whoami", 200, `{"name":"guest","tags":["administrator"]}`)
	c.must("PUT", "/users/plain", `{"password":"x","tags":""}`)
	f(c.as("plain"), "/whoami", 401, `{"error":"not_authorised","reason":"Not management user"}`)
	// A page of somebody else's cannot have a browser ask for anything.
	a, text := c.do("POST", "/definitions", "{}", "Content-Type", "text/plain", "Origin", "http://elsewhere.example")
	if a.StatusCode != 403 || !strings.Contains(text, "cross-origin") {
		t.Errorf("got %d %s", a.StatusCode, text)
	}
}

// TestPathsAreRabbitMQs: names are escaped, the default virtual host's among them, and what
// there is no such thing of is told as JSON.
func TestPathsAreRabbitMQs(t *testing.T) {
	_, c := newClient(t)
	c.must("PUT", "/queues/%2F/a%2Fb", "{}")
	f := func(method, path string, status int, want string) {
		t.Helper()
		a, text := c.do(method, path, "")
		if a.StatusCode != status || !strings.Contains(text, want) {
			t.Errorf("%s %s: got %d %s, want %d %s", method, path, a.StatusCode, text, status, want)
		}
	}
	f("GET", "/queues/%2F/a%2Fb", 200, `"name":"a/b"`)
	f("GET", "/queues/%2f/", 200, `"name":"a/b"`)
	f("GET", "/queues/", 200, `"name":"a/b"`)
	f("GET", "/queues//", 404, `{"error":"Object Not Found","reason":"Not Found"}`)
	f("GET", "/queues/%2F/a/b", 404, "Object Not Found")
	f("GET", "/exchanges/%2F/amq.default", 200, `"name":""`)
	f("GET", "/nothing", 404, "Object Not Found")
	a, text := c.do("PATCH", "/queues/%2F/q", "")
	if a.StatusCode != 405 || a.Header.Get("Allow") != "HEAD, GET, PUT, DELETE, OPTIONS" || !strings.Contains(text, "method_not_allowed") {
		t.Errorf("got %d %v %s", a.StatusCode, a.Header, text)
	}
	if a, _ := c.do("OPTIONS", "/overview", ""); a.StatusCode != 200 || a.Header.Get("Allow") != "HEAD, GET, OPTIONS" {
		t.Errorf("got %d %v", a.StatusCode, a.Header)
	}
	if a, text := c.do("HEAD", "/overview", ""); a.StatusCode != 200 || text != "" || a.ContentLength <= 0 {
		t.Errorf("got %d %q", a.StatusCode, text)
	}
	if a, text := c.do("PUT", "/queues/%2F/big", `{"arguments":{"x":"`+strings.Repeat("x", 2<<20)+`"}}`); a.StatusCode != 400 || !strings.Contains(text, "too large") {
		t.Errorf("got %d %.100s", a.StatusCode, text)
	}
	resp, err := http.Get(strings.TrimSuffix(c.url, "/api") + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 401 && resp.StatusCode != 404 {
		t.Errorf("got %d at /", resp.StatusCode)
	}
}
