package bench

import (
	"bytes"
	"strings"
	"testing"
)

func TestComparingQuotesTheRatioOfMediansWithItsSpread(t *testing.T) {
	results := func(cpu ...float64) (all []Result) {
		for _, v := range cpu {
			all = append(all, Result{ReceiveRate: 1 / v, Broker: &Cost{CPUMicrosPerMessage: v}})
		}
		return all
	}
	got := figures(results(20, 22, 100), results(2, 1, 4))
	if len(got) != 2 || got[0].Name != "broker CPU µs per message" || got[1].Name != "received per second" {
		t.Fatalf("got %+v, want the two figures both have", got)
	}
	if want := (Figure{
		Name: "broker CPU µs per message", A: Spread{22, 20, 100}, B: Spread{2, 1, 4}, Ratio: Spread{11, 10, 25},
	}); got[0] != want {
		t.Errorf("got %+v, want %+v", got[0], want)
	}
	if got := spread([]float64{4, 1, 2, 3}); got != (Spread{2.5, 1, 4}) {
		t.Errorf("got %+v of an even number, want the mean of the middle two", got)
	}
	if got, want := (Spread{1234.5, 12.34, 0.0625}).String(), "1234 [12.3 … 0.062]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestComparingRunsBothBrokersInTurn(t *testing.T) {
	a, b := newFakeBroker(t), newFakeBroker(t)
	b.deliver = func(n int, body []byte, send func([]byte)) {
		send(body)
		if n == 1 {
			send(body)
		}
	}
	got, err := Compare(t.Context(), scenario(t, "S1b"), small(a, 100), small(b, 100), 3)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.A) != 3 || len(got.B) != 3 || got.A[0].URI == got.B[0].URI {
		t.Errorf("got %d and %d runs, want 3 on each broker", len(got.A), len(got.B))
	}
	if want := "b: 1 duplicated, b: 1 duplicated, b: 1 duplicated"; strings.Join(got.Faults(), ", ") != want {
		t.Errorf("got faults %q, want %q", got.Faults(), want)
	}
	var table bytes.Buffer
	if err := got.WriteTable(&table); err != nil || !strings.Contains(table.String(), "a ÷ b") || !strings.Contains(table.String(), "b: 1 duplicated") {
		t.Errorf("got %v and\n%s", err, &table)
	}
	if _, err := Compare(t.Context(), scenario(t, "S1b"), small(a, 1), small(b, 1), 0); err == nil {
		t.Error("no pairs at all were compared")
	}
}
