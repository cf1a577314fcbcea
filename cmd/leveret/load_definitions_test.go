package main

import (
	"strings"
	"syscall"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// TestClientsFindTheDefinitions that the broker was started with, users included (DEF-7).
func TestClientsFindTheDefinitions(t *testing.T) {
	config := write(t, "load_definitions: "+write(t, `{
		"users": [{"name":"shop","password":"secret","tags":"management"}],
		"vhosts": [{"name":"shop"}],
		"permissions": [{"user":"shop","vhost":"shop","configure":"","write":"^events$","read":"^orders$"}],
		"exchanges": [{"name":"events","vhost":"shop","type":"topic","durable":true,"auto_delete":false,"internal":false,"arguments":{}}],
		"queues": [{"name":"orders","vhost":"shop","durable":true,"auto_delete":false,"arguments":{"x-max-length":5}}],
		"bindings": [{"source":"events","vhost":"shop","destination":"orders","destination_type":"queue","routing_key":"order.#","arguments":{}}]
	}`)+"\n")
	dir := t.TempDir()
	for _, body := range []string{"first", "after a restart"} {
		s := startServing(t, dir, complete, "--config", config)
		conn, err := amqp.Dial("amqp://shop:secret@" + s.address() + "/shop")
		if err != nil {
			t.Fatal(err)
		}
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		if err := ch.PublishWithContext(t.Context(), "events", "order.made", true, false, amqp.Publishing{Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
		if d, ok, err := ch.Get("orders", true); err != nil || !ok || string(d.Body) != body {
			t.Errorf("got %q, %v, %v, want %q", d.Body, ok, err, body)
		}
		if _, err := amqp.Dial("amqp://guest:guest@" + s.address() + "/"); err == nil {
			t.Error("the default user is there as well")
		}
		conn.Close()
		s.signal(syscall.SIGTERM)
		if code := s.end(); code != 0 {
			t.Errorf("got %d after\n%s", code, strings.Join(s.log, "\n"))
		}
	}

	bad := write(t, "load_definitions: "+write(t, `{"vhosts":[{"name":"shop"}],"policies":[{"vhost":"shop","name":"p","pattern":"(","definition":{"max-length":1}}]}`)+"\n")
	_, complaint, code := runProgram(t, "--data-dir", t.TempDir(), "--config", bad)
	if code != 1 || !strings.Contains(complaint, "policy 'p' in vhost 'shop'") || strings.Contains(complaint, "listening") {
		t.Errorf("got %d, %s", code, complaint)
	}
	if _, complaint, code = runProgram(t, "validate", bad); code != 1 || !strings.Contains(complaint, "policy 'p' in vhost 'shop'") {
		t.Errorf("got %d, %s from validate", code, complaint)
	}
}
