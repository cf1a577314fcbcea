package crash

import (
	"strings"
	"testing"
	"time"
)

// A harness that is blocked ends and says so. It used to wait for the end of an alarm that
// never ended.
func TestHarnessThatIsBlockedSaysSo(t *testing.T) {
	l := newLoop(t)
	l.process.env = []string{"LEVERET_DISK_FREE_LIMIT=1152921504606846976"}
	l.start()
	f := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "the broker blocked a publisher: low on disk") {
			t.Errorf("%s: got %v, want that it was blocked", what, err)
		}
	}
	began := time.Now()
	c := &churn{prefix: "blocked", items: []*item{{}}}
	conn, err := dial(l.url, nil)
	l.check(err, "dial")
	defer conn.Close()
	ch, err := conn.Channel()
	l.check(err, "open a channel")
	l.check(ch.ExchangeDeclare(c.exchange(), "direct", true, false, false, false, nil), "declare")
	f("look", c.look(l.url))

	w := newLoad("blocked", l.random)
	crew, err := w.begin(l.url, 0, 1)
	l.check(err, "begin the load")
	for blocked := time.NewTicker(10 * time.Millisecond); crew.err() == nil && time.Since(began) < 10*time.Second; {
		<-blocked.C
	}
	f("load", crew.end())
	f("drain", w.drain(l.url, drainLimit))
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	l.check(l.process.kill(), "kill")
}

// A step that is stuck ends with the broker.
func TestStepThatIsStuckEndsTheBroker(t *testing.T) {
	l := newLoop(t)
	l.start()
	stuck := make(chan struct{})
	go func() {
		<-l.process.ended
		close(stuck)
	}()
	err := l.within(time.Millisecond, func() error {
		<-stuck
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "not done after 1ms") {
		t.Errorf("got %v, want that it was stuck", err)
	}
}
