package main

import (
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// TestLedgerSeesBrokenPromises, each of them in the shortest story that has it.
func TestLedgerSeesBrokenPromises(t *testing.T) {
	due := time.Now()
	m := amqp.Publishing{MessageId: "a", Body: []byte("body"), DeliveryMode: amqp.Persistent}
	came := func(redelivered bool) amqp.Delivery {
		return amqp.Delivery{MessageId: "a", Body: []byte("body"), DeliveryMode: amqp.Persistent, Redelivered: redelivered}
	}
	f := func(want string, story func(l *ledger)) {
		t.Helper()
		l := newLedger()
		l.publish("a", m, due, []string{"here", "there"})
		story(l)
		l.overdue(due.Add(time.Second))
		got := ""
		if err := l.err(); err != nil {
			got = strings.TrimSuffix(strings.TrimPrefix(err.Error(), "promises broken: map["), ":1]")
		}
		if got != want {
			t.Errorf("got %q, want %q\n%s", got, want, strings.Join(l.told, "\n"))
		}
	}
	arrive := func(l *ledger, at string) {
		l.deliver(at, at, came(false))
		l.settle(at, "a")
	}
	f("", func(l *ledger) {
		arrive(l, "here")
		l.confirm("a", true)
		l.deliver("there", "chain-1", came(false)) // it is rejected and becomes a letter
		l.deliver("there", "chain-2", came(false))
		l.deliver("there", "chain-2", came(true))
		l.settle("there", "a")
		if confirmed, open := l.counts(); confirmed != 1 || open != 0 {
			t.Errorf("got %d confirmed and %d open, want 1 and 0", confirmed, open)
		}
	})
	f("", func(*ledger) {}) // it was not confirmed
	f("lost", func(l *ledger) { l.confirm("a", true) })
	f("lost", func(l *ledger) {
		l.confirm("a", true)
		arrive(l, "here")
	})
	f("lost", func(l *ledger) {
		l.confirm("a", true)
		arrive(l, "here")
		l.deliver("there", "there", came(false)) // and it is not acknowledged
	})
	f("returned", func(l *ledger) { l.confirm("a", false) })
	f("returned", func(l *ledger) { l.returned("a", "NO_ROUTE") })
	f("early", func(l *ledger) {
		l.deliver("here", "here", came(false))
		l.deliver("here", "here", came(false))
	})
	f("phantom", func(l *ledger) {
		arrive(l, "here")
		l.deliver("here", "here", came(true))
	})
	f("phantom", func(l *ledger) { l.deliver("elsewhere", "elsewhere", came(false)) })
	f("phantom", func(l *ledger) {
		arrive(l, "here")
		arrive(l, "there")
		l.confirm("a", true)
		l.deliver("here", "here", came(true)) // it is struck out
	})
	f("damaged", func(l *ledger) {
		d := came(false)
		d.Body = []byte("bodY")
		l.deliver("here", "here", d)
	})
	f("damaged", func(l *ledger) {
		d := came(false)
		d.Priority = 1
		l.deliver("here", "here", d)
	})
}
