package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// pages are what a dashboard and a scraper ask for.
var pages = []string{
	"overview", "nodes", "connections", "channels", "consumers", "exchanges", "queues", "bindings",
	"queues/%2F/soak.plain", "queues/%2F/soak.short", "policies", "definitions", "vhosts", "users",
	"exchanges/%2F/soak.topic/bindings/source", "queues/%2F/soak.final/bindings",
}

// look is the life of a dashboard: every few seconds it asks for statistics, all of them now and
// then.
func look(w *worker) error {
	w.pause(w.between(time.Second, 3*time.Second))
	asked := []string{pages[w.random.IntN(len(pages))], "overview"}
	if w.random.IntN(10) == 0 {
		asked = pages
	}
	for _, page := range asked {
		if err := w.http(http.MethodGet, page, nil, http.StatusOK); err != nil {
			return err
		}
	}
	return w.request(http.MethodGet, w.metrics, nil, http.StatusOK)
}

// govern is the life of an operator who sets policies, those of queues that come and go and one
// that changes nothing for those that stay, and takes them away again.
func govern(w *worker) error {
	churn := []map[string]any{
		{"message-ttl": 500}, {"max-length": 20, "overflow": "drop-head"}, {"expires": 60_000},
		{"dead-letter-exchange": "soak.churn.nowhere"}, {"max-length-bytes": 100_000, "message-ttl": 2000},
	}
	w.pause(w.between(time.Second, 4*time.Second))
	for name, p := range map[string]map[string]any{
		"soak-churn": {"pattern": `^soak\.churn`, "definition": churn[w.random.IntN(len(churn))], "priority": w.random.IntN(3)},
		"soak-stay": {"pattern": `^soak\.(plain|backlog|chain|final|levels)$`, "apply-to": "queues",
			"definition": map[string]any{"max-length": 10_000_000 + w.random.IntN(1000)}},
	} {
		if err := w.put("policies/%2F/"+name, p); err != nil {
			return err
		}
	}
	w.pause(w.between(time.Second, 4*time.Second))
	for _, name := range []string{"soak-churn", "soak-stay"} {
		if err := w.http(http.MethodDelete, "policies/%2F/"+name, nil, http.StatusNoContent); err != nil {
			return err
		}
	}
	return nil
}

// settle is the life of a tenant: a virtual host and a user of its own, something in it, and all
// of that deleted again.
func settle(w *worker) error {
	w.pause(w.between(5*time.Second, 10*time.Second))
	name := fmt.Sprintf("soak-tenant-%x", w.random.Uint64())
	if err := w.put("vhosts/"+name, nil); err != nil {
		return err
	}
	if err := w.put("users/"+name, map[string]any{"password": name, "tags": ""}); err != nil {
		return err
	}
	if err := w.put("permissions/"+name+"/"+name, map[string]any{"configure": ".*", "write": "^(?!not)", "read": ".*"}); err != nil {
		return err
	}
	if err := furnish(w, name); err != nil {
		return err
	}
	for _, what := range []string{"users/", "vhosts/"} {
		if err := w.http(http.MethodDelete, what+name, nil, http.StatusNoContent); err != nil {
			return err
		}
	}
	return nil
}

// furnish leaves a queue with messages in a virtual host, and a client that is connected still.
func furnish(w *worker, name string) error {
	uri, err := amqp.ParseURI(w.url)
	if err != nil {
		return err
	}
	uri.Vhost, uri.Username, uri.Password = name, name, name
	p, err := w.dialTo(uri.String())
	if err != nil {
		return err
	}
	// If the broker has not closed it by then; it takes its time on a busy machine.
	defer func() { time.AfterFunc(10*time.Second, p.vanish) }()
	ch, err := p.Channel()
	if err != nil {
		return err
	}
	if err := ch.Confirm(false); err != nil {
		return err
	}
	if _, err := ch.QueueDeclare("furniture", true, false, false, false, nil); err != nil {
		return err
	}
	for range 20 {
		c, err := ch.PublishWithDeferredConfirm("", "furniture", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: w.body(10, 16<<10)})
		if err != nil {
			return err
		}
		c.Wait()
	}
	return nil
}

// put is a PUT of JSON.
func (w *worker) put(path string, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if value == nil {
		body = nil
	}
	err = w.http(http.MethodPut, path, body, http.StatusCreated)
	if err != nil && strings.Contains(err.Error(), http.StatusText(http.StatusNoContent)) {
		return nil // it was there
	}
	return err
}

func (w *worker) http(method, path string, body []byte, want int) error {
	return w.request(method, w.management+"/api/"+path, body, want)
}

// request reads an answer to its end.
func (w *worker) request(method, url string, body []byte, want int) error {
	r, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.SetBasicAuth("guest", "guest")
	client := http.Client{Timeout: patience}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != want {
		return fmt.Errorf("%s %s: got %s, want %d: %.300s", method, url, answer.Status, want, text)
	}
	return nil
}
