package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/brokertest"
)

// operation is something that asks for permissions, over AMQP, HTTP or both.
type operation struct {
	name  string
	needs []string // "write q": what is asked for, of what
	// topics are what is asked for besides, of a routing key at the exchange t (PERM-7):
	// "write k.{username}", where the variable stands for what it stands for in a permission.
	topics []string
	amqp   func(ch *amqp.Channel) error
	http   string // "PUT /queues/%2F/new", and a body behind it
	undo   string // what is done by an administrator afterwards, as http
}

// operations is the table of section PERM: who may do what. Every row is asked both ways,
// because both have to come to the same answer.
var operations = []operation{
	{name: "declare an exchange", needs: []string{"configure new"}, undo: "DELETE /exchanges/%2F/new",
		amqp: func(ch *amqp.Channel) error {
			return ch.ExchangeDeclare("new", "fanout", false, false, false, false, nil)
		},
		http: `PUT /exchanges/%2F/new {"type":"fanout","durable":false}`},
	{name: "declare an exchange with an alternate", needs: []string{"configure new", "read new", "write x"}, undo: "DELETE /exchanges/%2F/new",
		amqp: func(ch *amqp.Channel) error {
			return ch.ExchangeDeclare("new", "fanout", false, false, false, false, amqp.Table{"alternate-exchange": "x"})
		},
		http: `PUT /exchanges/%2F/new {"type":"fanout","durable":false,"arguments":{"alternate-exchange":"x"}}`},
	{name: "delete an exchange", needs: []string{"configure z"}, undo: `PUT /exchanges/%2F/z {"type":"fanout","durable":false}`,
		amqp: func(ch *amqp.Channel) error { return ch.ExchangeDelete("z", false, false) },
		http: "DELETE /exchanges/%2F/z"},
	{name: "bind an exchange", needs: []string{"write y", "read x"},
		amqp: func(ch *amqp.Channel) error { return ch.ExchangeBind("y", "k", "x", false, nil) },
		http: `POST /bindings/%2F/e/x/e/y {"routing_key":"k"}`},
	{name: "unbind an exchange", needs: []string{"write y", "read x"},
		amqp: func(ch *amqp.Channel) error { return ch.ExchangeUnbind("y", "bound", "x", false, nil) },
		http: "DELETE /bindings/%2F/e/x/e/y/bound", undo: `POST /bindings/%2F/e/x/e/y {"routing_key":"bound"}`},
	{name: "declare a queue", needs: []string{"configure new"}, undo: "DELETE /queues/%2F/new",
		amqp: func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare("new", false, false, false, false, nil)
			return err
		},
		http: `PUT /queues/%2F/new {"durable":false}`},
	{name: "declare a queue with a dead-letter exchange", needs: []string{"configure new", "read new", "write x"}, undo: "DELETE /queues/%2F/new",
		amqp: func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare("new", false, false, false, false, amqp.Table{"x-dead-letter-exchange": "x"})
			return err
		},
		http: `PUT /queues/%2F/new {"durable":false,"arguments":{"x-dead-letter-exchange":"x"}}`},
	{name: "delete a queue", needs: []string{"configure p"}, undo: `PUT /queues/%2F/p {"durable":false}`,
		amqp: func(ch *amqp.Channel) error { _, err := ch.QueueDelete("p", false, false, false); return err },
		http: "DELETE /queues/%2F/p"},
	{name: "bind a queue", needs: []string{"write q", "read x"},
		amqp: func(ch *amqp.Channel) error { return ch.QueueBind("q", "k", "x", false, nil) },
		http: `POST /bindings/%2F/e/x/q/q {"routing_key":"k"}`},
	{name: "unbind a queue", needs: []string{"write q", "read x"}, undo: `POST /bindings/%2F/e/x/q/q {"routing_key":"bound"}`,
		amqp: func(ch *amqp.Channel) error { return ch.QueueUnbind("q", "bound", "x", nil) },
		http: "DELETE /bindings/%2F/e/x/q/q/bound"},
	{name: "purge a queue", needs: []string{"read q"},
		amqp: func(ch *amqp.Channel) error { _, err := ch.QueuePurge("q", false); return err },
		http: "DELETE /queues/%2F/q/contents"},
	{name: "get", needs: []string{"read q"},
		amqp: func(ch *amqp.Channel) error { _, _, err := ch.Get("q", true); return err },
		http: `POST /queues/%2F/q/get {"count":1,"ackmode":"ack_requeue_false","encoding":"auto"}`},
	{name: "consume", needs: []string{"read q"},
		amqp: func(ch *amqp.Channel) error {
			_, err := ch.Consume("q", "", true, false, false, false, nil)
			return err
		}},
	{name: "publish", needs: []string{"write x"},
		amqp: func(ch *amqp.Channel) error { return ch.Publish("x", "", false, false, amqp.Publishing{}) },
		http: `POST /exchanges/%2F/x/publish {"properties":{},"routing_key":"","payload":"","payload_encoding":"string"}`},
	{name: "publish to the default exchange", needs: []string{"write amq.default"},
		amqp: func(ch *amqp.Channel) error { return ch.Publish("", "q", false, false, amqp.Publishing{}) },
		http: `POST /exchanges/%2F/amq.default/publish {"properties":{},"routing_key":"q","payload":"","payload_encoding":"string"}`},
	{name: "publish to a topic exchange", needs: []string{"write t"}, topics: []string{"write k.{username}.{vhost}"},
		amqp: func(ch *amqp.Channel) error { return ch.Publish("t", "k.u./", false, false, amqp.Publishing{}) },
		http: `POST /exchanges/%2F/t/publish {"properties":{},"routing_key":"k.u./","payload":"","payload_encoding":"string"}`},
	{name: "publish with CC and BCC to a topic exchange", needs: []string{"write t"},
		topics: []string{"write k", "write cc.{username}", "write bcc.{vhost}"},
		amqp: func(ch *amqp.Channel) error {
			headers := amqp.Table{"CC": []any{"cc.u"}, "BCC": []any{"bcc./"}}
			return ch.Publish("t", "k", false, false, amqp.Publishing{Headers: headers})
		},
		http: `POST /exchanges/%2F/t/publish {"properties":{"headers":{"CC":["cc.u"],"BCC":["bcc./"]}},"routing_key":"k","payload":"","payload_encoding":"string"}`},
	{name: "publish an empty key to a topic exchange", needs: []string{"write t"}, topics: []string{"write "},
		amqp: func(ch *amqp.Channel) error { return ch.Publish("t", "", false, false, amqp.Publishing{}) },
		http: `POST /exchanges/%2F/t/publish {"properties":{},"routing_key":"","payload":"","payload_encoding":"string"}`},
	{name: "bind a queue to a topic exchange", needs: []string{"write q", "read t"}, topics: []string{"read k.{username}.{vhost}"},
		amqp: func(ch *amqp.Channel) error { return ch.QueueBind("q", "k.u./", "t", false, nil) },
		http: `POST /bindings/%2F/e/t/q/q {"routing_key":"k.u./"}`},
	{name: "unbind a queue from a topic exchange", needs: []string{"write q", "read t"}, topics: []string{"read bound.{username}"},
		undo: `POST /bindings/%2F/e/t/q/q {"routing_key":"bound.u"}`,
		amqp: func(ch *amqp.Channel) error { return ch.QueueUnbind("q", "bound.u", "t", nil) },
		http: "DELETE /bindings/%2F/e/t/q/q/bound.u"},
	{name: "bind an exchange to a topic exchange", needs: []string{"write y", "read t"}, topics: []string{"read k.{username}.{vhost}"},
		amqp: func(ch *amqp.Channel) error { return ch.ExchangeBind("y", "k.u./", "t", false, nil) },
		http: `POST /bindings/%2F/e/t/e/y {"routing_key":"k.u./"}`},
	{name: "unbind an exchange from a topic exchange", needs: []string{"write y", "read t"}, topics: []string{"read bound.{username}"},
		undo: `POST /bindings/%2F/e/t/e/y {"routing_key":"bound.u"}`,
		amqp: func(ch *amqp.Channel) error { return ch.ExchangeUnbind("y", "bound.u", "t", false, nil) },
		http: "DELETE /bindings/%2F/e/t/e/y/bound.u"},
	{name: "bind a topic exchange to another", needs: []string{"write t", "read x"}, // the key is not t's to judge
		amqp: func(ch *amqp.Channel) error { return ch.ExchangeBind("t", "k", "x", false, nil) },
		http: `POST /bindings/%2F/e/x/e/t {"routing_key":"k"}`},
	{name: "declare passively", amqp: func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive("q", false, false, false, false, nil)
		return err
	}},
	{name: "confirms, prefetch, acknowledgements", amqp: func(ch *amqp.Channel) error {
		return errors.Join(ch.Confirm(false), ch.Qos(1, 0, false), ch.Ack(0, true))
	}},
	{name: "transactions", amqp: func(ch *amqp.Channel) error { return errors.Join(ch.Tx(), ch.TxCommit()) }},
	{name: "consume replies", amqp: func(ch *amqp.Channel) error {
		_, err := ch.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
		return err
	}},
}

// grants are permissions: what configure, write and read match.
type grants struct {
	Configure string `json:"configure"`
	Write     string `json:"write"`
	Read      string `json:"read"`

	topic *topicGrants // nil for none, which allows every key
}

// topicGrants are a topic permission of the exchange t, and the same of x, which is none of
// topics and is not to ask for it.
type topicGrants struct {
	Exchange string `json:"exchange"`
	Write    string `json:"write"`
	Read     string `json:"read"`
}

func (g *topicGrants) of(op string) *string {
	return map[string]*string{"write": &g.Write, "read": &g.Read}[op]
}

func (g *grants) of(op string) *string {
	return map[string]*string{"configure": &g.Configure, "write": &g.Write, "read": &g.Read}[op]
}

// TestOperationsAskForWhatTheyNeedAndNothingElse: nothing, each permission alone on
// everything, all but each that is needed, and exactly what is needed (PERM-1 to PERM-6), each
// without a topic permission and with each kind of one (PERM-7).
func TestOperationsAskForWhatTheyNeedAndNothingElse(t *testing.T) {
	s := brokertest.Start(t, brokertest.InMemory())
	m := &matrix{t: t, url: s.ManagementURL() + "/api"}
	m.admin("PUT /users/u", `{"password":"u","tags":"management"}`)
	for _, x := range []string{"PUT /exchanges/%2F/x", "PUT /exchanges/%2F/y", "PUT /exchanges/%2F/z"} {
		m.admin(x, `{"type":"fanout","durable":false}`)
	}
	for _, q := range []string{"PUT /queues/%2F/q", "PUT /queues/%2F/p"} {
		m.admin(q, `{"durable":false}`)
	}
	m.admin("PUT /exchanges/%2F/t", `{"type":"topic","durable":false}`)
	for _, x := range []string{"POST /bindings/%2F/e/t/q/q", "POST /bindings/%2F/e/t/e/y"} {
		m.admin(x, `{"routing_key":"bound.u"}`)
	}
	m.admin("POST /bindings/%2F/e/x/q/q", `{"routing_key":"bound"}`)
	m.admin("POST /bindings/%2F/e/x/e/y", `{"routing_key":"bound"}`)
	m.permit(grants{})
	conn, err := amqp.Dial(strings.Replace(s.URL(), "guest:guest", "u:u", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	m.conn = conn

	for _, o := range operations {
		m.topics(o, "nothing", grants{})
		for _, op := range []string{"configure", "write", "read"} {
			var g grants
			*g.of(op) = ".*"
			m.topics(o, op+" alone", g)
		}
		exact := exactly(o.needs)
		m.topics(o, "exactly what is needed", exact)
		for i, need := range o.needs {
			most := exactly(slices.Delete(slices.Clone(o.needs), i, i+1))
			m.topics(o, "all but "+need, most)
		}
	}
}

// topics tries an operation with some permissions and every kind of topic permission.
func (m *matrix) topics(o operation, which string, g grants) {
	m.t.Helper()
	try := func(topics string, p *topicGrants) {
		m.t.Helper()
		g.topic = p
		m.try(o, which+" and of topics "+topics, g)
	}
	try("anything", nil)
	try("nothing", &topicGrants{})
	exact := exactTopics(o.topics)
	try("exactly what is needed", &exact)
	if len(o.topics) == 0 {
		return
	}
	try("write alone", &topicGrants{Write: ".*"})
	try("read alone", &topicGrants{Read: ".*"})
	for i, need := range o.topics {
		most := exactTopics(slices.Delete(slices.Clone(o.topics), i, i+1))
		try("all but "+need, &most)
	}
}

// exactTopics matches the keys that are named and nothing else.
func exactTopics(needs []string) topicGrants {
	var g topicGrants
	for _, need := range needs {
		op, key, _ := strings.Cut(need, " ")
		add(g.of(op), key)
	}
	return g
}

// add makes a pattern match a text too.
func add(pattern *string, text string) {
	if *pattern != "" {
		*pattern += "|"
	}
	*pattern += exactlyOne(text)
}

// exactlyOne is the pattern that matches a text.
func exactlyOne(text string) string { return "^" + strings.ReplaceAll(text, ".", `\.`) + "$" }

// matches is whether one of the patterns that add has put together is that of a text.
func matches(pattern, text string) bool {
	return pattern == ".*" || pattern != "" && slices.Contains(strings.Split(pattern, "|"), exactlyOne(text))
}

// exactly matches what is named and nothing else.
func exactly(needs []string) grants {
	var g grants
	for _, need := range needs {
		op, resource, _ := strings.Cut(need, " ")
		add(g.of(op), resource)
	}
	return g
}

// matrix asks for everything both ways.
type matrix struct {
	t    *testing.T
	url  string
	conn *amqp.Connection
}

// try does an operation with some permissions, and wants it done exactly if they suffice.
func (m *matrix) try(o operation, which string, g grants) {
	m.t.Helper()
	m.permit(g)
	want := true
	for _, need := range o.needs {
		op, resource, _ := strings.Cut(need, " ")
		want = want && matches(*g.of(op), resource)
	}
	for _, need := range o.topics {
		op, key, _ := strings.Cut(need, " ")
		want = want && (g.topic == nil || matches(*g.topic.of(op), key))
	}
	if got, why := m.overAMQP(o); got != want {
		m.t.Errorf("%s, with %s, over AMQP: got %v (%s), want %v", o.name, which, got, why, want)
	} else if got && o.undo != "" {
		m.admin(o.undo, "")
	}
	if o.http == "" {
		return
	}
	method, body := cut(o.http)
	status, text := m.do("u", method, body)
	got := status < 300
	if !got && status != http.StatusUnauthorized && status != http.StatusForbidden {
		m.t.Errorf("%s, with %s, over HTTP: got %d %s", o.name, which, status, text)
		return
	}
	if got != want {
		m.t.Errorf("%s, with %s, over HTTP: got %v (%d %s), want %v", o.name, which, got, status, text, want)
	} else if got && o.undo != "" {
		m.admin(o.undo, "")
	}
}

// overAMQP does o on a channel of its own.
func (m *matrix) overAMQP(o operation) (done bool, why string) {
	m.t.Helper()
	ch, err := m.conn.Channel()
	if err != nil {
		m.t.Fatalf("after %s: %v", o.name, err)
	}
	defer ch.Close() // it may be closed already
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	err = o.amqp(ch)
	if err == nil {
		err = ch.Qos(0, 0, false) // what is not answered is refused by now
	}
	if err == nil {
		return true, ""
	}
	reason := <-closed
	if reason == nil || reason.Code != amqp.AccessRefused {
		m.t.Errorf("%s: got %v and %v, want 403", o.name, err, reason)
		return false, err.Error()
	}
	return false, reason.Reason
}

func (m *matrix) permit(g grants) {
	m.t.Helper()
	body, err := json.Marshal(g)
	if err != nil {
		m.t.Fatal(err)
	}
	m.admin("PUT /permissions/%2F/u", string(body))
	if g.topic == nil {
		m.admin("DELETE /topic-permissions/%2F/u", "")
		return
	}
	for _, x := range []string{"t", "x"} {
		p := *g.topic
		p.Exchange = x
		if body, err = json.Marshal(p); err != nil {
			m.t.Fatal(err)
		}
		m.admin("PUT /topic-permissions/%2F/u", string(body))
	}
}

// admin does what has to succeed.
func (m *matrix) admin(what, body string) {
	m.t.Helper()
	if body == "" {
		what, body = cut(what)
	}
	if status, text := m.do("guest", what, body); status >= 300 {
		m.t.Fatalf("%s: %d %s", what, status, text)
	}
}

// cut takes the body off a request.
func cut(request string) (what, body string) {
	what, body, ok := strings.Cut(request, " {")
	if ok {
		body = "{" + body
	}
	return what, body
}

func (m *matrix) do(user, what, body string) (status int, text string) {
	m.t.Helper()
	method, path, _ := strings.Cut(what, " ")
	r, err := http.NewRequestWithContext(m.t.Context(), method, m.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		m.t.Fatal(err)
	}
	r.SetBasicAuth(user, user)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		m.t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return answer.StatusCode, fmt.Sprintf("%.200s", b)
}
