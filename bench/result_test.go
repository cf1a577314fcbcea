package bench

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestResultIsPrintedForPeopleAndForPrograms(t *testing.T) {
	l := newLatency()
	l.record(int64(2 * time.Millisecond))
	from := usage{user: time.Second, system: time.Second, written: 1000}
	to := usage{user: 3 * time.Second, system: 2 * time.Second, rss: 20 << 20, rssAnon: 10 << 20, peak: 30 << 20, written: 3000}
	r := Result{
		Scenario: scenario(t, "S2"), URI: "amqp://h:1/%2F", Seconds: 2,
		Published: 1000, Confirmed: 999, Received: 998, Lost: 2, PublishRate: 500, ReceiveRate: 499,
		Confirm: l.summary(), Broker: newCost(from, to, 1_000_000, 500),
	}
	var table, object bytes.Buffer
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"S2  persistent", "1000, 500/s", "2 lost, 1 never confirmed", "p50 2.0", "3.00 µs per delivered", "RssAnon 10.0 MiB", "4.00 bytes written"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("got\n%s\nwant %q in it", &table, want)
		}
	}
	if strings.Contains(table.String(), "generator") {
		t.Errorf("got\n%s\nwant nothing of what was not measured", &table)
	}
	if err := r.JSON(&object); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Lost   int
		Broker struct {
			CPU float64 `json:"cpu_us_per_message"`
		}
		Confirm struct {
			P50 float64 `json:"p50_ms"`
		} `json:"confirm_latency"`
		EndToEnd *struct{} `json:"end_to_end_latency"`
	}
	if err := json.Unmarshal(object.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Lost != 2 || got.Broker.CPU != 3 || int(got.Confirm.P50*100) != 200 || got.EndToEnd != nil {
		t.Errorf("got %+v of %s", got, &object)
	}
	var summary bytes.Buffer
	if err := WriteSummary(&summary, []Result{r, {Scenario: scenario(t, "S1a")}}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(summary.String()), "\n")
	if len(lines) != 3 || !strings.Contains(lines[1], "3.00") || !strings.Contains(lines[2], "nothing") {
		t.Errorf("got\n%s\nwant a heading and a line for each", &summary)
	}
}
