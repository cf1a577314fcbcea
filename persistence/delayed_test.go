package persistence

import (
	"fmt"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// EX-55, S-16: what waits at an exchange is stored under the exchange's number. It is there
// after a crash, without a body being read, and a check finds and reads it.
func TestMessagesThatWaitAtAnExchangeAreThereAfterACrash(t *testing.T) {
	const n = 300
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	spec := exchange.Spec{VHost: "/", Name: "x", Type: "x-delayed-message", Durable: true,
		Arguments: amqp.Table{{Name: "x-delayed-type", Value: "fanout"}}}
	write(t, s, topology.Unit{Puts: []topology.Record{topology.Exchange{ID: 9, Spec: spec}}})
	delayed := func(s *Store) *queue.Queue {
		q := queue.NewDelayed(9, queue.Spec{VHost: "/", Name: "x", Durable: true}, s)
		q.Attach(func(func(time.Time, *queue.Effects)) {})
		return q
	}
	now := time.UnixMilli(1_700_000_000_000)
	q := delayed(s)
	var out queue.Effects
	nd := &node{confirmed: make(chan uint64, n)}
	for i := range n {
		m, err := message.New(message.Content{Properties: []byte{0x10, 0, 1 + byte(i%2)}, Body: fmt.Append(nil, i)})
		if err != nil {
			t.Fatal(err)
		}
		c := message.NewConfirm(nd, uint64(i))
		q.Delay(now, queue.Put{Message: m, Confirm: c}, int64(10_000+i*i*100), &out)
		c.Release(&out.Wakes)
	}
	for range n {
		<-nd.confirmed
	}

	at := copyDir(t, dir)
	if r, err := Check(at, nil); err != nil || r.Messages != n || len(r.Problems) != 0 {
		t.Errorf("a check found %+v, %v", r, err)
	}
	s = open(t, at)
	restored := restore(t, s, 9)
	q = delayed(s)
	out = queue.Effects{}
	q.Restore(now, restored, &out)
	if ready, _ := q.Counts(); ready != n {
		t.Errorf("%d wait, want %d", ready, n)
	}
	// The earliest is read ahead of its time.
	if len(out.Timers) != 1 || !out.Timers[0].At.Before(now.Add(10*time.Second)) || out.Timers[0].At.Before(now.Add(8*time.Second)) {
		t.Errorf("timers %v", out.Timers)
	}
	if got := readAll(t, s, 9, restored); len(got) != n {
		t.Errorf("%d can be read, want %d", len(got), n)
	}
}
