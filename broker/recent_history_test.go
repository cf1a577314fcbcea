package broker

import (
	"slices"
	"strings"
	"testing"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/exchange"
)

func historyOf(length int) func(*exchange.Spec) {
	return func(s *exchange.Spec) { s.Arguments = s.Arguments.With("x-recent-history-length", int64(length)) }
}

// EX-54
func TestHistoryGoesToWhatIsBoundAndWhatThatLeadsTo(t *testing.T) {
	n := newNode(t)
	n.exchange("h", "x-recent-history", historyOf(2))
	for _, body := range []string{"a", "b", "c"} {
		n.publish("h", "k", body, amqp.Properties{})
	}
	f := func(queue, want string) {
		t.Helper()
		if got := n.bodies(queue); got != want {
			t.Errorf("%s: got %q, want %q", queue, got, want)
		}
	}
	n.queue("direct")
	n.bind("h", "queue", "direct", "")
	f("direct", "b c")
	n.bind("h", "queue", "direct", "")
	f("direct", "")

	n.exchange("further", "direct")
	n.queue("matching")
	n.queue("other")
	n.bind("further", "queue", "matching", "k")
	n.bind("further", "queue", "other", "o")
	n.bind("h", "exchange", "further", "")
	f("matching", "b c")
	f("other", "")
	n.publish("h", "k", "d", amqp.Properties{})
	f("matching", "d")
	f("direct", "d")
}

// EX-54, DUR-7
func TestHistoryOfADurableExchangeIsStoredAsFarAsItFits(t *testing.T) {
	n := newNode(t)
	n.exchange("h", "x-recent-history")
	n.exchange("t", "x-recent-history", transient)
	f := func(what, want string) {
		t.Helper()
		n = restart(t, n.disk)
		n.queue("q-" + what)
		n.bind("h", "queue", "q-"+what, "")
		if got := n.bodies("q-" + what); got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	n.publish("t", "", "x", amqp.Properties{})
	n.publish("h", "", "a", amqp.Properties{})
	n.publish("h", "", "b", amqp.Properties{})
	n.disk.commit()
	if got := len(n.disk.kept.histories); got != 1 {
		t.Errorf("got %d histories on disk, want that of the durable exchange", got)
	}
	n.publish("h", "", "lost in the crash", amqp.Properties{})
	f("small", "a b")

	n.publish("h", "", "c", amqp.Properties{})
	n.publish("h", "", strings.Repeat("l", storedHistoryBytes), amqp.Properties{})
	n.publish("h", "", "d", amqp.Properties{})
	n.publish("h", "", "e", amqp.Properties{})
	n.disk.commit()
	f("large", "d e")

	n.publish("h", "", strings.Repeat("l", storedHistoryBytes), amqp.Properties{})
	n.disk.commit()
	f("nothing", "")

	n.publish("h", "", "f", amqp.Properties{})
	id := n.v.exchanges.find("h").history.id
	if _, err := n.v.DeleteExchange("h", false, nil); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(n.disk.dropped, id) {
		t.Error("what the exchange kept was not dropped with it")
	}
	n.disk.commit()
	if got := len(n.disk.kept.histories); got != 0 {
		t.Errorf("got %d histories on disk after the exchange went, want none", got)
	}
}
