package exchange

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/message"
)

func keysOf(messages []*message.Message) (keys []string) {
	for _, m := range messages {
		keys = append(keys, m.RoutingKey)
	}
	return keys
}

// EX-54
func TestWhoIsBoundIsToldTheLastMessages(t *testing.T) {
	x, err := New(Spec{Type: "x-recent-history", Arguments: amqp.Table{{Name: historyLength, Value: int32(3)}}}, seed)
	if err != nil {
		t.Fatal(err)
	}
	f := func(d string, want ...string) {
		t.Helper()
		if got := keysOf(x.Bind(binding.Binding{RoutingKey: d}, &binding.Destination{Name: d})); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", d, got, want)
		}
	}
	f("first")
	for i := range 4 {
		x.Route(published(t, fmt.Sprint(i), nil), nil)
	}
	f("second", "1", "2", "3")
	not := func(v any) amqp.Table { return amqp.Table{{Name: noStore, Value: v}} }
	if got := x.Route(published(t, "secret", not(true)), nil); len(got) != 2 {
		t.Errorf("got %d destinations of what is not kept, want 2", len(got))
	}
	x.Route(published(t, "kept", not("true")), nil) // not a boolean
	x.Route(published(t, "false", not(false)), nil)
	f("third", "3", "kept", "false")
}

// EX-54
func TestHistoryHasTwentyMessagesUnlessTold(t *testing.T) {
	x := mustNew(t, "x-recent-history")
	for i := range 25 {
		x.Route(published(t, fmt.Sprint(i), nil), nil)
	}
	if got := keysOf(x.History()); len(got) != 20 || got[0] != "5" || got[19] != "24" {
		t.Errorf("got %q, want 5 to 24", got)
	}
	if got := mustNew(t, "fanout").Bind(binding.Binding{}, &binding.Destination{}); got != nil {
		t.Errorf("a fanout kept %q", keysOf(got))
	}
	f := func(v any, want string) {
		t.Helper()
		s := Spec{Type: "x-recent-history", Arguments: amqp.Table{{Name: historyLength, Value: v}}}
		refused(t, s.CheckArguments(), 406,
			"PRECONDITION_FAILED - Invalid argument "+want+", 'x-recent-history-length' must be a positive integer")
	}
	f(int32(0), "0")
	f(int64(-3), "-3")
	f("5", `<<"5">>`)
	f(true, "true")
	f(2.5, "2.5")
}

// The naive twin cuts a slice of all messages.
func TestHistoryIsBoundedInMessagesAndBytes(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	body := make([]byte, 5<<20)
	for _, length := range []int{1, 3, 50} {
		h := &recentHistory{length: length}
		var all []*message.Message
		for step := range 200 {
			m, err := message.New(message.Content{RoutingKey: fmt.Sprint(step), Properties: new(amqp.Properties).Append(nil), Body: body[:r.IntN(10)*r.IntN(500<<10)]})
			if err != nil {
				t.Fatal(err)
			}
			h.push(m)
			all = append(all, m)
			want, bytes := all[len(all)-1:], m.Size()
			for i := len(all) - 2; i >= 0 && len(want) < length; i-- {
				if bytes += all[i].Size(); bytes > maxHistoryBytes {
					break
				}
				want = all[i:]
			}
			if got := h.history(); !slices.Equal(got, want) {
				t.Fatalf("seed %d, length %d, step %d: got %q, want %q", seed, length, step, keysOf(got), keysOf(want))
			}
		}
		if cap(h.recent) > 8*length+8 {
			t.Errorf("length %d: got room for %d messages", length, cap(h.recent))
		}
	}
}

func TestHistoryTellsOfAChangeOnce(t *testing.T) {
	x := mustNew(t, "x-recent-history")
	x.RestoreHistory([]*message.Message{published(t, "before", nil)})
	told := 0
	x.OnHistory(func() { told++ })
	x.Route(published(t, "a", nil), nil)
	x.Route(published(t, "b", nil), nil)
	if got, changed := x.TakeHistory(); told != 1 || !changed || !slices.Equal(keysOf(got), []string{"before", "a", "b"}) {
		t.Errorf("got %q, changed %v, and was told %d times, want before, a, b and once", keysOf(got), changed, told)
	}
	if got, changed := x.TakeHistory(); changed {
		t.Errorf("got %q again", keysOf(got))
	}
	x.Route(published(t, "c", nil), nil)
	if told != 2 {
		t.Errorf("was told %d times, want once more", told)
	}
}
