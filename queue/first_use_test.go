package queue

import (
	"testing"
	"time"

	"github.com/leveretmq/leveret/message"
)

// S-11: whoever comes while the mark is under way has to wait for it as well.
func TestEveryoneWaitsUntilTheFirstUseIsOnDisk(t *testing.T) {
	q := New(1, Spec{Name: "q", Durable: true}, Options{MessageTTL: None, Expires: None, MaxLength: None, MaxLengthBytes: None, DeliveryLimit: None}, &heldStore{})
	f := func(when string, want bool) {
		t.Helper()
		if got := q.FirstUse(); got != want {
			t.Errorf("first use %s: %v, want %v", when, got, want)
		}
	}
	f("at first", true)
	b := &Batch{Group: 7}
	q.CollectSettled(b, nil)
	if len(b.States) != 1 || !b.States[0].HadConsumer {
		t.Fatalf("states %+v, want one that tells of the consumer", b.States)
	}
	f("while the mark is under way", true)
	var w message.Wakes
	q.Stored(6, &w)
	f("after another commit", true)
	q.Stored(7, &w)
	f("once it is on disk", false)
}

func TestMarksOfAnUncleanStopOutliveACleanOne(t *testing.T) {
	q := New(1, Spec{Name: "q", Durable: true}, Options{MessageTTL: None, Expires: None, MaxLength: None, MaxLengthBytes: None, DeliveryLimit: None}, &heldStore{})
	q.Restore(time.UnixMilli(1), Restored{Levels: []RestoredLevel{{
		Head: 1, Next: 6, AllRedelivered: true, Runs: []Run{{Range: Range{First: 5, Last: 5}, Count: 1}},
	}}}, &Effects{})
	b := &Batch{Group: 1}
	q.CollectSettled(b, nil)
	if len(b.States) != 1 || b.States[0].DeliveredTo != 5 {
		t.Errorf("states %+v, want one that is delivered to 5", b.States)
	}
}
