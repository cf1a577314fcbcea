package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestStoreIsCheckedAndRepaired(t *testing.T) { // E12
	dir := t.TempDir()
	s := startServing(t, dir, complete)
	publishConfirmed(t, "amqp://guest:guest@"+s.address()+"/")
	if _, complaint, code := runProgram(t, "store", "check", "--data-dir", dir); code == 0 || !strings.Contains(complaint, "in use") {
		t.Errorf("got exit code %d and %q while the broker runs", code, complaint)
	}
	s.signal(syscall.SIGTERM)
	s.end()

	f := func(verb, want string, wantCode int) {
		t.Helper()
		out, complaint, code := runProgram(t, "store", verb, "--data-dir", dir)
		if code != wantCode || !strings.Contains(out, want) {
			t.Errorf("store %s: got exit code %d and %q, %q, want %d and %q", verb, code, out, complaint, wantCode, want)
		}
	}
	f("check", "1 queues, 50 messages, 500000 bytes, 0 problems", 0)
	logs, err := filepath.Glob(filepath.Join(dir, "store", "*.vlog"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no value log: %v", err)
	}
	b, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(b), strings.Repeat("x", 100))
	if at < 0 {
		t.Fatal("the messages are not in the value log")
	}
	b[at+50] ^= 1
	if err := os.WriteFile(logs[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	f("check", "queue", 1)
	f("repair", "queue", 0)
	f("check", " 0 problems", 0)
}

// A store is encrypted with the key in a file; the command that checks it needs it, too (A9).
func TestEncryptedStoreNeedsItsKeyFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("00112233445566778899aabbccddeeff\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "leveret.yaml")
	if err := os.WriteFile(config, []byte("store:\n  encryption_key_file: "+file+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServing(t, dir, complete, "--config", config)
	publishConfirmed(t, "amqp://guest:guest@"+s.address()+"/")
	s.signal(syscall.SIGTERM)
	s.end()
	if log := strings.Join(s.log, "\n"); !strings.Contains(log, "every user of this machine can read the key") {
		t.Errorf("got no warning of a key everybody can read in\n%s", log)
	}
	out, _, code := runProgram(t, "store", "check", "--data-dir", dir, "--config", config)
	if code != 0 || !strings.Contains(out, "1 queues, 50 messages, 500000 bytes, 0 problems") {
		t.Errorf("check: got exit code %d and %q", code, out)
	}
	if err := os.WriteFile(file, []byte("ffeeddccbbaa99887766554433221100"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"store", "check"}, {"store", "repair"}, {"serve", "--listen", "127.0.0.1:0"}} {
		_, complaint, code := runProgram(t, append(args, "--data-dir", dir, "--config", config)...)
		if code == 0 || !strings.Contains(complaint, "another key") {
			t.Errorf("%v with another key: got exit code %d and %q", args, code, complaint)
		}
	}
}

// publishConfirmed publishes 50 messages of 10 kB and waits for their confirms.
func publishConfirmed(t *testing.T, url string) {
	t.Helper()
	conn, ch := confirming(t, url)
	defer conn.Close()
	for range 50 {
		c, err := ch.PublishWithDeferredConfirm("", "q", false, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(strings.Repeat("x", 10_000))})
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := c.WaitContext(context.Background()); !ok || err != nil {
			t.Fatalf("confirmed: %v, %v", ok, err)
		}
	}
}

// confirming is a channel in confirm mode, with a durable queue q to publish to.
func confirming(t *testing.T, url string) (*amqp.Connection, *amqp.Channel) {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("q", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	return conn, ch
}
