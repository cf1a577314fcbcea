package integration

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/brokertest"
)

// TestUserMakesNoMoreThanItMay, however it asks, and others do (C25).
func TestUserMakesNoMoreThanItMay(t *testing.T) {
	s := brokertest.Start(t, brokertest.InMemory())
	m := &matrix{t: t, url: s.ManagementURL() + "/api"}
	m.admin("PUT /users/u", `{"password":"u","tags":"management"}`)
	m.permit(grants{Configure: ".*", Write: ".*", Read: ".*"})
	m.admin("PUT /user-limits/u/max-queues", `{"value":2}`)
	m.admin("PUT /user-limits/u/max-bindings", `{"value":2}`)
	conn, err := amqp.Dial(strings.Replace(s.URL(), "guest:guest", "u:u", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	over := func(f func(ch *amqp.Channel) error, want string) {
		t.Helper()
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		defer ch.Close() // it may be closed already
		err = f(ch)
		var refused *amqp.Error
		switch {
		case want == "" && err == nil:
		case !errors.As(err, &refused) || refused.Code != amqp.PreconditionFailed || !strings.Contains(refused.Reason, want):
			t.Errorf("got %v, want 406 %q", err, want)
		}
	}
	declare := func(name string) func(ch *amqp.Channel) error {
		return func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(name, false, false, false, false, nil)
			return err
		}
	}
	bind := func(key string) func(ch *amqp.Channel) error {
		return func(ch *amqp.Channel) error { return ch.QueueBind("a", key, "amq.topic", false, nil) }
	}
	asks := func(what, body, want string) {
		t.Helper()
		status, text := m.do("u", what, body)
		if want == "" && status >= 300 || want != "" && (status != http.StatusBadRequest || !strings.Contains(text, want)) {
			t.Errorf("%s: got %d %s, want 400 %q", what, status, text, want)
		}
	}
	const queues, bindings = "queue limit of user 'u' in vhost '/' (2) is reached", "binding limit of user 'u' in vhost '/' (2) is reached"
	over(declare("a"), "")
	asks("PUT /queues/%2F/b", `{}`, "")
	over(declare("c"), queues)
	asks("PUT /queues/%2F/c", `{}`, queues)
	over(bind("1"), "")
	asks("POST /bindings/%2F/e/amq.topic/q/a", `{"routing_key":"2"}`, "")
	over(bind("3"), bindings)
	asks("POST /bindings/%2F/e/amq.topic/q/a", `{"routing_key":"3"}`, bindings)
	m.admin("PUT /queues/%2F/c", `{}`)
	m.admin("DELETE /queues/%2F/b", "")
	over(declare("d"), "")
	m.admin("DELETE /user-limits/u/max-bindings", "")
	over(bind("3"), "")
}
