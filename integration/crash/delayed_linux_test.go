package crash

import (
	"context"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/bench"
)

const (
	delayedRate   = 5000   // messages that become due in a second
	delayedFill   = 40_000 // messages that can be published in a second, at least
	delayedWindow = 256    // messages unconfirmed at most: their delay begins when the broker has them
)

// TestDelayedMessagesOutliveAKill holds P1 and the rules of delayed messages (EX-55, DUR-7) over as many
// as are asked for: all are confirmed, the broker is killed, and after the start each comes once,
// and not before it is due. It tells how late they were, and what the broker had in memory.
//
//	go test ./integration/crash -run TestDelayedMessagesOutliveAKill -messages 5000000 -timeout 1h -v
func TestDelayedMessagesOutliveAKill(t *testing.T) {
	p := measured(t)
	start(t, p)
	n := *messagesFlag
	if n == 0 {
		n = 10_000
	}
	peak := &memoryPeak{t: t}
	peak.watch(p)
	first := time.Now().Add(2*time.Second + time.Duration(n)*time.Second/delayedFill)
	publishDelayed(t, p.url(), n, first)
	filled := peak.end()
	if time.Now().After(first) {
		t.Fatalf("publishing took until %v after the first was due; the machine is too slow", time.Since(first))
	}
	must(t, p.kill())
	took, err := p.start(max(startLimit, time.Duration(n/1_000_000)*2*time.Second))
	must(t, err)
	peak.watch(p)
	late := consumeDelayed(t, p.url(), n)
	drained := peak.end()
	slices.Sort(late)
	at := func(share float64) time.Duration { return late[int(share*float64(n-1))].Round(100 * time.Microsecond) }
	t.Logf("%d messages, %d due a second: %v from the start after the kill to AMQP; late by p50 %v, p99 %v, p99.9 %v, at most %v; RssAnon at most %d MiB while they came, %d MiB while they went",
		n, delayedRate, took.Round(time.Millisecond), at(0.5), at(0.99), at(0.999), at(1), filled>>20, drained>>20)
	if n >= 1_000_000 && max(filled, drained) > 150<<20 {
		t.Errorf("got %d MiB of memory, want 150 at most", max(filled, drained)>>20)
	}
}

// channelAt opens a channel of a connection of its own.
func channelAt(t *testing.T, url string) (*amqp.Connection, *amqp.Channel) {
	t.Helper()
	conn, err := amqp.Dial(url)
	must(t, err)
	ch, err := conn.Channel()
	must(t, err)
	return conn, ch
}

// publishDelayed has n messages confirmed, the first of which is due at a moment and the others
// one after the other from then on. A body is its number and when it is due.
func publishDelayed(t *testing.T, url string, n int, first time.Time) {
	t.Helper()
	conn, ch := channelAt(t, url)
	defer conn.Close()
	must(t, ch.ExchangeDeclare("later", "x-delayed-message", true, false, false, false, amqp.Table{"x-delayed-type": "direct"}))
	_, err := ch.QueueDeclare("due", true, false, false, false, nil)
	must(t, err)
	must(t, ch.QueueBind("due", "k", "later", false, nil))
	must(t, ch.Confirm(false))
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, delayedWindow))
	outstanding := 0
	settle := func(most int) {
		for ; outstanding > most; outstanding-- {
			if c, ok := <-confirms; !ok || !c.Ack {
				t.Fatalf("got %+v, %v, want a confirm", c, ok)
			}
		}
	}
	for i := range n {
		due := first.Add(time.Duration(i) * time.Second / delayedRate)
		// Delays are whole milliseconds, counted from when the broker has the message.
		delay := (time.Until(due) + time.Millisecond - 1).Milliseconds()
		body := binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(i))
		body = binary.BigEndian.AppendUint64(body, uint64(time.Now().Add(time.Duration(delay)*time.Millisecond).UnixNano()))
		must(t, ch.PublishWithContext(context.Background(), "later", "k", false, false, amqp.Publishing{
			DeliveryMode: amqp.Persistent, Headers: amqp.Table{"x-delay": delay}, Body: body,
		}))
		outstanding++
		settle(delayedWindow - 1)
	}
	settle(0)
}

// consumeDelayed takes n messages, each of which must come once and not early, and tells how
// late each was.
func consumeDelayed(t *testing.T, url string, n int) []time.Duration {
	t.Helper()
	conn, ch := channelAt(t, url)
	defer conn.Close()
	must(t, ch.Qos(1000, 0, false))
	deliveries, err := ch.Consume("due", "", false, false, false, false, nil)
	must(t, err)
	seen, late := make([]bool, n), make([]time.Duration, 0, n)
	quiet := time.NewTimer(time.Hour)
	for len(late) < n {
		quiet.Reset(10*time.Second + time.Duration(n)*time.Second/delayedFill)
		select {
		case d, ok := <-deliveries:
			if !ok {
				t.Fatal("the channel was closed")
			}
			i, due := binary.BigEndian.Uint64(d.Body), time.Unix(0, int64(binary.BigEndian.Uint64(d.Body[8:])))
			if seen[i] {
				t.Fatalf("message %d came twice", i)
			}
			seen[i] = true
			late = append(late, time.Since(due))
			if late[len(late)-1] < -time.Millisecond {
				t.Fatalf("message %d came %v early", i, -late[len(late)-1])
			}
			if len(late)%100 == 0 || len(late) == n {
				must(t, ch.Ack(d.DeliveryTag, true))
			}
		case <-quiet.C:
			t.Fatalf("got %d messages of %d, and no more come", len(late), n)
		}
	}
	return late
}

// memoryPeak is the most anonymous memory that a broker has had, looked at ten times a second.
type memoryPeak struct {
	t     *testing.T
	bytes int64
	quit  chan struct{}
	done  chan struct{}
}

func (m *memoryPeak) watch(p *process) {
	m.bytes, m.quit, m.done = 0, make(chan struct{}), make(chan struct{})
	pid := p.cmd.Process.Pid
	go func() {
		defer close(m.done)
		look := time.NewTicker(100 * time.Millisecond)
		defer look.Stop()
		for {
			bytes, err := bench.AnonymousMemory(pid)
			if err != nil {
				m.t.Error(err)
				return
			}
			m.bytes = max(m.bytes, bytes)
			select {
			case <-look.C:
			case <-m.quit:
				return
			}
		}
	}()
}

func (m *memoryPeak) end() int64 {
	close(m.quit)
	<-m.done
	return m.bytes
}
