package bench

import (
	"bytes"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestThingsThatStandAboutAreCountedAndCleanedUp(t *testing.T) {
	b := newFakeBroker(t)
	s := scenario(t, "S7")
	s.Connections, s.EmptyQueues, s.Settle = 20, 1500, 0
	o := small(b, 0)
	o.BrokerPID = os.Getpid()
	got, err := Run(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	connections, queues := got.Standing.Connections, got.Standing.Queues
	if connections.Count != 20 || connections.PerSecond <= 0 || queues.Count != 1500 || queues.PerSecond <= 0 {
		t.Errorf("got %+v and %+v, want 20 connections and 1500 queues", connections, queues)
	}
	methods := map[string]int{}
	b.mu.Lock()
	for _, name := range b.seen {
		methods[name]++
	}
	left := 0
	for name, q := range b.queues {
		if q.durable {
			left++
			t.Logf("left %s", name)
		}
	}
	b.mu.Unlock()
	if methods["basic.consume"] != 20 || methods["queue.declare"] != 1520 || methods["queue.delete"] != 1500 || left != 0 {
		t.Errorf("got %v and %d durable queues left", methods, left)
	}
	var table bytes.Buffer
	if err := got.WriteTable(&table); err != nil || !strings.Contains(table.String(), "1500, declared at ") || strings.Contains(table.String(), "published") {
		t.Errorf("got %v and\n%s", err, &table)
	}
	s.EmptyQueues = 0
	if got, err = Run(t.Context(), s, small(b, 0)); err != nil || got.Standing.Queues != nil || got.Standing.Connections.BytesEach != -1 {
		t.Errorf("got %+v and %v, want connections alone, and nothing of a process that is not looked at", got.Standing, err)
	}
}

// brokerAddress is set in a process that is to be a broker.
const brokerAddress = "LEVERET_BENCH_BROKER"

func TestABrokerIsStartedAndEnded(t *testing.T) {
	if address := os.Getenv(brokerAddress); address != "" {
		newFakeBrokerAt(t, address)
		end := make(chan os.Signal, 1)
		signal.Notify(end, syscall.SIGTERM)
		<-end
		return
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	s := scenario(t, "S8")
	s.Starts, s.Settle = 2, 0
	o := Options{URI: "amqp://" + address, Start: os.Args[0] + " -test.run=^" + t.Name() + "$"}
	if _, err := Run(t.Context(), s, o); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("got %v where something else is listening", err)
	}
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	// A process that is no broker ends before it listens.
	none := o
	none.Start = os.Args[0] + " -test.run=^$"
	if _, err := Run(t.Context(), s, none); err == nil || !strings.Contains(err.Error(), "ended before") {
		t.Errorf("got %v of a broker that ended at once", err)
	}
	t.Setenv(brokerAddress, address)
	got, err := Run(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	if h := got.Start.Handshake; h.Count != 2 || h.P50 <= 0 || h.P50 > 10_000 || got.Start.RSSBytes <= 0 {
		t.Errorf("got %+v and RSS %d", h, got.Start.RSSBytes)
	}
	if c, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		c.Close()
		t.Error("the last broker is still there")
	}
	none.Start = ""
	if _, err := Run(t.Context(), s, none); err == nil {
		t.Error("a broker was started of which nobody said how")
	}
}

func TestProgressIsForTerminals(t *testing.T) {
	if NewProgress(new(bytes.Buffer)) != nil {
		t.Error("a buffer got progress lines")
	}
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if NewProgress(f) != nil {
		t.Error("a file got progress lines")
	}
	var out bytes.Buffer
	o := small(newFakeBroker(t), 100)
	o.Progress = (&Progress{to: &out}).of("pair 1 of 2  ")
	if _, err := Run(t.Context(), scenario(t, "S2"), o); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.HasPrefix(got, clearLine+"pair 1 of 2  S2  amqp://127.0.0.1:") || !strings.Contains(got, "confirmed ") || !strings.HasSuffix(got, clearLine) {
		t.Errorf("got %q, want a line that is cleared at the end", got)
	}
}
