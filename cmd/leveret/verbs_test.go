package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// TestVerbsReachARunningBroker: what one verb sets, another one lists, and takes away again.
func TestVerbsReachARunningBroker(t *testing.T) {
	s := startServing(t, filepath.Join(t.TempDir(), "data"), "Server startup complete")
	f := func(want string, args ...string) {
		t.Helper()
		out, complaint, code := runProgram(t, append(args, "--data-dir", s.dir)...)
		if code != 0 || strings.TrimSpace(out) != strings.TrimSpace(want) {
			t.Errorf("%q: got %d %q %q, want %q", args, code, out, complaint, want)
		}
	}
	refused := func(want string, args ...string) {
		t.Helper()
		out, complaint, code := runProgram(t, append(args, "--data-dir", s.dir)...)
		if code != 1 || out != "" || complaint != "leveret: "+want+"\n" {
			t.Errorf("%q: got %d %q %q, want %q", args, code, out, complaint, want)
		}
	}
	definitions := filepath.Join(t.TempDir(), "in.json")
	err := os.WriteFile(definitions, []byte(`{"vhosts":[{"name":"v"}],"queues":[{"name":"q","vhost":"v","durable":true}],`+
		`"exchanges":[{"name":"x","vhost":"v","type":"topic","durable":true}],`+
		`"bindings":[{"source":"x","vhost":"v","destination":"q","destination_type":"queue","routing_key":"a.#"}]}`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	f("definitions imported", "definitions", "import", definitions)
	f("NAME  TYPE     DURABLE  POLICY  READY  UNACKED  CONSUMERS\nq     classic  true     -       0      0        0", "queues", "list", "--vhost", "v")
	f("SOURCE  TO     DESTINATION  KEY  ARGUMENTS  PROPERTIES\n-       queue  q            q    -          q\nx       queue  q            a.#  -          a.%23", "bindings", "list", "--vhost", "v")
	f("queue q in vhost v purged", "queues", "purge", "q", "--vhost", "v")
	f("binding from x to q in vhost v deleted", "bindings", "delete", "x", "q", "--key", "a.#", "--vhost", "v")
	refused(`there is no binding from x to q with key "a.#" and without arguments in vhost v`, "bindings", "delete", "x", "q", "--key", "a.#", "--vhost", "v")
	f("exchange x in vhost v deleted", "exchanges", "delete", "x", "--vhost", "v", "--if-unused")
	refused("there is no exchange x in vhost v", "exchanges", "delete", "x", "--vhost", "v")

	f("user bob added; leveret permissions set gives it access to a virtual host", "users", "add", "bob", "--password", "secret", "--tags", "management")
	refused("there is a user bob already; users set changes it", "users", "add", "bob", "--no-password")
	refused("say the password with --password-stdin or --password, or --no-password", "users", "add", "eve")
	f("user bob changed", "users", "set", "bob", "--tags", "monitoring, policymaker")
	f("NAME   TAGS                    LIMITS\nbob    monitoring,policymaker  -\nguest  administrator           -", "users", "list")
	f("permissions of user bob in vhost v set", "permissions", "set", "bob", "^a", "", ".*", "--vhost", "v")
	refused("there is no user nobody, or no vhost v", "permissions", "set", "nobody", "", "", "", "--vhost", "v")
	f("topic permissions of user bob for exchange x in vhost v set", "topic-permissions", "set", "bob", "x", "^a", ".*", "--vhost", "v")
	f("VHOST  USER  EXCHANGE  WRITE  READ\nv      bob   x         ^a     .*", "topic-permissions", "list")
	f("topic permissions of user bob in vhost v deleted", "topic-permissions", "delete", "bob", "--vhost", "v")

	f("policy p in vhost v set", "policies", "set", "p", "^q", `{"max-length":5}`, "--priority", "-1", "--apply-to", "queues", "--vhost", "v")
	f("operator policy o in vhost v set", "operator-policies", "set", "o", "^q", `{"max-length":3}`, "--vhost", "v")
	refused("Validation failed pattern should be regular expression but is invalid: missing closing ): (", "policies", "set", "p", "(", `{"max-length":5}`)
	f("NAME  PATTERN  APPLY-TO  PRIORITY  DEFINITION\np     ^q       queues    -1        {\"max-length\":5}", "policies", "list", "--vhost", "v")
	f("policy p in vhost v deleted", "policies", "delete", "p", "--vhost", "v")
	refused("there is no operator policy p in vhost v", "operator-policies", "delete", "p", "--vhost", "v")

	out, _, _ := runProgram(t, "definitions", "export", "--vhost", "v", "--data-dir", s.dir)
	var exported struct{ Queues, Exchanges, Parameters []map[string]any }
	if err := json.Unmarshal([]byte(out), &exported); err != nil || len(exported.Queues) != 1 || len(exported.Exchanges) != 0 || len(exported.Parameters) != 1 {
		t.Errorf("got %v of\n%s", err, out)
	}
	f("vhost v deleted", "vhosts", "delete", "v")
	f("user bob deleted", "users", "delete", "bob")
	refused("there is no connection nobody", "connections", "close", "nobody")

	nowhere := t.TempDir()
	s.dir = nowhere
	refused("no broker answers at "+filepath.Join(nowhere, "leveret.sock")+": is it running, and with this --data-dir?", "users", "list")
}

// TestConsumersAreListedAndExtended (CTO-2): the channel is named as the list shows it.
func TestConsumersAreListedAndExtended(t *testing.T) {
	s := startServing(t, filepath.Join(t.TempDir(), "data"), "Server startup complete")
	conn, err := amqp.Dial("amqp://guest:guest@" + s.address() + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("work", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	deliveries, err := ch.Consume("work", "ann", false, false, false, false, amqp.Table{"x-consumer-timeout": 3_600_000})
	if err != nil {
		t.Fatal(err)
	}
	f := func(wantCode int, want string, args ...string) {
		t.Helper()
		out, complaint, code := runProgram(t, append(args, "--data-dir", s.dir)...)
		if got := strings.TrimSpace(out + complaint); code != wantCode || got != want {
			t.Errorf("%q: got %d %q, want %d %q", args, code, got, wantCode, want)
		}
	}
	channel := fmt.Sprintf("%v -> %v (1)", conn.LocalAddr(), conn.RemoteAddr())
	pad := strings.Repeat(" ", len(channel)-len("channel"))
	f(0, "QUEUE  CHANNEL"+pad+"  TAG  ACK   PREFETCH  ACTIVE\nwork   "+channel+"  ann  true  0         true", "consumers", "list", "--vhost", "/")
	f(1, "leveret: no acknowledgement with a timeout is awaited of consumer 'ann' on channel '"+channel+"' in vhost '/'", "consumers", "extend", channel, "ann")
	if err := ch.PublishWithContext(t.Context(), "", "work", false, false, amqp.Publishing{}); err != nil {
		t.Fatal(err)
	}
	<-deliveries
	f(0, "consumer ann on channel "+channel+" in vhost / extended", "consumers", "extend", channel, "ann")
	f(0, "consumer ann on channel "+channel+" in vhost / extended", "consumers", "extend", channel, "ann", "--delivery", "1")
	f(1, "leveret: no acknowledgement with a timeout is awaited of delivery 2 of consumer 'ann' on channel '"+channel+"' in vhost '/'",
		"consumers", "extend", channel, "ann", "--delivery", "2")
	f(1, "leveret: there is no channel nobody in vhost /", "consumers", "extend", "nobody", "ann")
}

// TestPasswordIsReadFromStandardInput, and only its first line.
func TestPasswordIsReadFromStandardInput(t *testing.T) {
	s := startServing(t, filepath.Join(t.TempDir(), "data"), "Server startup complete")
	add := func(name, input string) (string, error) {
		cmd := program(t, "users", "add", name, "--password-stdin", "--data-dir", s.dir)
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := add("bob", "secret\nand more"); err != nil {
		t.Fatalf("got %v: %s", err, out)
	}
	if out, err := add("eve", "\n"); err == nil || !strings.Contains(out, "there is no password on standard input") {
		t.Errorf("got %v: %s", err, out)
	}
	out, _, _ := runProgram(t, "users", "list", "--json", "--data-dir", s.dir)
	var users []struct {
		Name         string
		PasswordHash string `json:"password_hash"`
	}
	if err := json.Unmarshal([]byte(out), &users); err != nil || len(users) != 2 || users[0].Name != "bob" || users[0].PasswordHash == "" {
		t.Errorf("got %v of\n%s", err, out)
	}
}
