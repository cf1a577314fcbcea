package integration

import (
	"encoding/binary"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/brokertest"
	"github.com/leveretmq/leveret/config"
)

// TestTransientBacklogLeavesMemory holds that what is never stored leaves memory as well
// (S-27), and comes back in order; what a consumer holds and returns comes back to its place.
func TestTransientBacklogLeavesMemory(t *testing.T) {
	t.Parallel()
	s := brokertest.Start(t, brokertest.WithConfig(func(c *config.Config) { c.Store.QueueMemory = config.MiB }))
	c := connect(t, s)
	q := c.queue("q", nil)
	const n, size = 16384, 1024
	body := make([]byte, size)
	for i := range uint32(n) {
		binary.BigEndian.PutUint32(body, i)
		c.must(c.PublishWithContext(t.Context(), "", q, false, false, amqp.Publishing{Body: body}))
	}
	c.publish("", q, "the last")
	if got := metric(t, s, "leveret_store_spilled_bytes"); got < n*size/2 {
		t.Errorf("%v of %d bytes are on disk", got, n*size)
	}
	if got := metric(t, s, "leveret_store_messages_total"); got != 0 {
		t.Errorf("%v messages were stored", got)
	}

	out := c.another()
	got, err := out.Consume(q, "", false, false, false, false, nil)
	c.must(err)
	number := func(d amqp.Delivery) uint32 { return binary.BigEndian.Uint32(d.Body) }
	for i := range uint32(n) {
		if d := next(t, got); number(d) != i || d.Redelivered {
			t.Fatalf("got %d, redelivered %v, in place %d", number(d), d.Redelivered, i)
		}
	}
	c.must(out.Close()) // everything returns, from memory and from disk

	c.must(c.Qos(100, 0, false))
	got = c.consume(q, "")
	for i := range uint32(n) {
		d := next(t, got)
		if number(d) != i || !d.Redelivered || len(d.Body) != size {
			t.Fatalf("got %d of %d bytes, redelivered %v, in place %d", number(d), len(d.Body), d.Redelivered, i)
		}
		c.must(d.Ack(false))
	}
	if d := next(t, got); string(d.Body) != "the last" {
		t.Errorf("got %q, want the last", d.Body)
	}
}

// metric is the value of a metric without labels.
func metric(t *testing.T, s *brokertest.Server, name string) float64 {
	t.Helper()
	r, err := http.Get(s.MetricsURL())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	all, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(all)) {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), name+" "); found {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}
