package connection

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/leveretmq/leveret/amqp"
)

// answers is what a client reads of confirms: +n, -n, and … for multiple.
func answers(t testing.TB, b []byte) (out []string) {
	t.Helper()
	for len(b) > 0 {
		f, n, err := amqp.ParseFrame(b, 0)
		if err != nil || n == 0 {
			t.Fatalf("not a frame: %v", err)
		}
		b = b[n:]
		var sign string
		var tag uint64
		var multiple bool
		if _, id := f.MethodID(); id == amqp.MethodBasicAck {
			var m amqp.BasicAck
			err = m.Decode(f.Payload[4:])
			sign, tag, multiple = "+", m.DeliveryTag, m.Multiple
		} else {
			var m amqp.BasicNack
			err = m.Decode(f.Payload[4:])
			sign, tag, multiple = "-", m.DeliveryTag, m.Multiple
		}
		if err != nil {
			t.Fatal(err)
		}
		s := fmt.Sprintf("%s%d", sign, tag)
		if multiple {
			s += "…"
		}
		out = append(out, s)
	}
	return out
}

func number(t testing.TB, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestConfirmsAreAsFewAsSayIt(t *testing.T) {
	f := func(settled, want string) {
		t.Helper()
		var c confirms
		c.start()
		var got []string
		for _, group := range strings.Split(settled, " | ") {
			for _, w := range strings.Fields(group) {
				n := number(t, w[1:])
				for c.next <= n || c.next < 9 {
					c.add()
				}
				c.settle(n, w[0] == '+')
			}
			got = append(got, answers(t, c.append(nil, 1))...)
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: got %s, want %s", settled, s, want)
		}
	}
	f("+1", "+1")
	f("+1 +2 +3", "+3…")
	f("+3 +1 +2", "+3…")
	f("+1 -2 +3 +4", "+1 -2 +4…")
	f("-1 -2 +3", "-2… +3")
	f("+2 +3", "+2 +3")             // 1 is outstanding, so no multiple
	f("+2 +3 | +1 +4", "+2 +3 +4…") // 2 and 3 were answered already
	f("+2 | +1 +3 +5", "+2 +3… +5") // 4 is outstanding
	f("+2 | +1", "+2 +1")
}

// TestEveryConfirmIsAnsweredOnceWithItsOutcome is the reading of a client that takes
// multiple literally (CONF-2).
func TestEveryConfirmIsAnsweredOnceWithItsOutcome(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var c confirms
		c.start()
		var unsettled []uint64
		outcome := map[uint64]bool{}    // of settled numbers
		unanswered := map[uint64]bool{} // as the client sees it
		for range 500 {
			switch rnd.IntN(3) {
			case 0:
				n := c.add()
				unsettled = append(unsettled, n)
				unanswered[n] = true
			case 1:
				if len(unsettled) > 0 {
					i := rnd.IntN(min(len(unsettled), 4))
					n := unsettled[i]
					unsettled = append(unsettled[:i], unsettled[i+1:]...)
					outcome[n] = rnd.IntN(5) > 0
					c.settle(n, outcome[n])
				}
			case 2:
				for _, a := range answers(t, c.append(nil, 1)) {
					n := number(t, strings.TrimSuffix(a[1:], "…"))
					for m := range unanswered {
						if m != n && (m > n || !strings.HasSuffix(a, "…")) {
							continue
						}
						if ok, settled := outcome[m]; !settled || ok != (a[0] == '+') {
							t.Fatalf("seed %d: %s answers %d, which is settled %v as %v", seed, a, m, settled, ok)
						}
						delete(unanswered, m)
					}
				}
				if len(unanswered) != len(unsettled) {
					t.Fatalf("seed %d: %d are unanswered, want %d", seed, len(unanswered), len(unsettled))
				}
				if got, want := c.outstanding(), int64(len(unsettled)); got != want {
					t.Fatalf("seed %d: %d outstanding, want %d", seed, got, want)
				}
			}
		}
	}
}

// CONF-2, PUB-4: what is confirmed so far is said ahead of a return, though it was read with it;
// the confirm of what is returned comes behind it.
func TestConfirmsPrecedeTheReturnOfALaterMessage(t *testing.T) {
	r := newRig(t)
	k := r.open(1)
	k.send(frameOf(1, &amqp.ConfirmSelect{}))
	k.want("ch=1 confirm.select-ok{}")
	publish := func(mandatory bool) []byte {
		return content(1, &amqp.BasicPublish{Exchange: "amq.fanout", Mandatory: mandatory}, amqp.Properties{}, "m", 4096)
	}
	k.send(slices.Concat(publish(false), publish(false), publish(true), publish(false)))
	k.want(
		"ch=1 basic.ack{delivery_tag=2 multiple=true}",
		`ch=1 basic.return{reply_code=312 reply_text="NO_ROUTE" exchange="amq.fanout" routing_key=""}`,
		"ch=1 HEADER class=60 weight=0 size=1 flags=0000",
		`ch=1 BODY "m"`,
		"ch=1 basic.ack{delivery_tag=4 multiple=true}",
	)
}
