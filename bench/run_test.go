package bench

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// small are options for runs that end by their number of messages. A machine that is busy
// otherwise must not be taken for a broker that lost something.
func small(b *fakeBroker, messages int) Options {
	return Options{URI: b.uri(), Messages: messages, Duration: time.Minute, DrainTimeout: time.Second}
}

func scenario(t *testing.T, name string) Scenario {
	t.Helper()
	s, err := FindScenario(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryScenarioComesOutRightOnABrokerThatIsRight(t *testing.T) {
	for _, s := range Scenarios() {
		if s.still() {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			b := newFakeBroker(t)
			const messages = 1000
			if s.Delay > 0 {
				s.Delay, s.Spread = 1, 0 // this broker does not delay
			}
			got, err := Run(t.Context(), s, small(b, messages))
			if err != nil {
				t.Fatal(err)
			}
			want := int64(messages)
			if s.ExchangeType == "fanout" {
				want *= int64(s.Queues)
			}
			if got.Published != messages || got.Received != want {
				t.Errorf("got %d published and %d received, want %d and %d", got.Published, got.Received, messages, want)
			}
			if s.Window > 0 && (got.Confirmed != messages || got.Confirm == nil || got.Confirm.Count != messages) {
				t.Errorf("got %d confirmed with latency %+v, want %d", got.Confirmed, got.Confirm, messages)
			}
			if timed := s.BodyBytes >= timedBytes && s.Backlog == 0; timed != (got.EndToEnd != nil) || timed && got.EndToEnd.Count != want {
				t.Errorf("got latencies %+v of %d messages with bodies of %d", got.EndToEnd, want, s.BodyBytes)
			}
			if faults := got.Faults(); len(faults) != 0 {
				t.Errorf("got faults %q", faults)
			}
			if left := b.declared(); len(left) != 0 {
				t.Errorf("left %q declared", left)
			}
		})
	}
}

func TestConsumersShareConnections(t *testing.T) {
	b := newFakeBroker(t)
	s := scenario(t, "S2")
	s.Producers, s.Queues, s.ConsumerConnections = 2, 7, 3
	got, err := Run(t.Context(), s, small(b, 700))
	if err != nil {
		t.Fatal(err)
	}
	if got.Received != 700 || len(got.Faults()) != 0 {
		t.Errorf("got %d messages of 700 and faults %q", got.Received, got.Faults())
	}
	consumes := 0
	for _, name := range b.seen {
		if name == "basic.consume" {
			consumes++
		}
	}
	if consumes != 7 {
		t.Errorf("got %d consumers, want one for each of 7 queues", consumes)
	}
	s.ConsumersPerQueue = 2
	if _, err := Run(t.Context(), s, small(b, 1)); err == nil {
		t.Error("two consumers of a queue shared a connection")
	}
}

func TestConsumersOfOneQueueAreNotTakenForReordering(t *testing.T) {
	s := scenario(t, "S2")
	s.ConsumersPerQueue = 3
	b := newFakeBroker(t)
	got, err := Run(t.Context(), s, small(b, 2000))
	if err != nil || len(got.Faults()) != 0 {
		t.Errorf("got %q and %v, want no fault", got.Faults(), err)
	}
}

func TestBodiesOfSeveralFramesAndOfNoneAreCounted(t *testing.T) {
	for _, size := range []int{0, 1, 15, 23, 4088, 4089, 20_000} {
		s := scenario(t, "S1b")
		s.BodyBytes = size
		b := newFakeBroker(t)
		got, err := Run(t.Context(), s, small(b, 200))
		if err != nil || len(got.Faults()) != 0 || got.Received != 200 {
			t.Errorf("of %d octets: got %d received, faults %q and %v", size, got.Received, got.Faults(), err)
		}
	}
}

func TestWrongAnswersShow(t *testing.T) {
	f := func(name, scenarioName string, change func(*fakeBroker), want ...string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // the time goes in waiting for what is lost
			b := newFakeBroker(t)
			change(b)
			got, err := Run(t.Context(), scenario(t, scenarioName), small(b, 500))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.Faults(), want) {
				t.Errorf("got %q, want %q", got.Faults(), want)
			}
			if left := b.declared(); len(left) != 0 {
				t.Errorf("left %q declared", left)
			}
		})
	}
	each100 := func(then func(body []byte, send func([]byte))) func(*fakeBroker) {
		return func(b *fakeBroker) {
			b.deliver = func(n int, body []byte, send func([]byte)) {
				if n%100 == 0 {
					then(body, send)
				} else {
					send(body)
				}
			}
		}
	}
	f("dropped", "S1a", each100(func([]byte, func([]byte)) {}), "5 lost")
	f("dropped by each of ten queues", "S3", each100(func([]byte, func([]byte)) {}), "50 lost")
	f("twice", "S1b", each100(func(body []byte, send func([]byte)) { send(body); send(body) }), "5 duplicated")
	f("cut short", "S1b", each100(func(body []byte, send func([]byte)) { send(body[:100]) }), "5 lost", "5 damaged")
	f("of another run", "S1b", each100(func(body []byte, send func([]byte)) { body[0]++; send(body) }), "5 lost", "5 damaged")
	f("of no stream", "S1a", each100(func(body []byte, send func([]byte)) { body[4]++; send(body) }), "5 lost", "5 damaged")
	f("of another queue's stream", "S2c", func(b *fakeBroker) {
		b.deliver = func(n int, body []byte, send func([]byte)) {
			if n == 1 {
				body[7] = (body[7] + 1) % 10
			}
			send(body)
		}
	}, "10 lost", "10 came to the wrong queue")
	var late []byte
	f("late", "S1b", func(b *fakeBroker) {
		b.deliver = func(n int, body []byte, send func([]byte)) {
			if n == 100 {
				late = body
				return
			}
			send(body)
			if n == 300 {
				send(late)
			}
		}
	}, "1 reordered")
	f("refused", "S2", func(b *fakeBroker) {
		b.confirm = func(tag uint64, send func(amqp.Method)) {
			if tag == 7 {
				send(&amqp.BasicNack{DeliveryTag: tag})
			} else {
				send(&amqp.BasicAck{DeliveryTag: tag})
			}
		}
	}, "1 refused")
	f("confirmed twice", "S2", func(b *fakeBroker) {
		b.confirm = func(tag uint64, send func(amqp.Method)) {
			send(&amqp.BasicAck{DeliveryTag: tag})
			if tag == 7 {
				send(&amqp.BasicAck{DeliveryTag: tag})
			}
		}
	}, "1 confirms of nothing")
	f("never confirmed", "S2", func(b *fakeBroker) {
		b.confirm = func(tag uint64, send func(amqp.Method)) {
			if tag != 7 {
				send(&amqp.BasicAck{DeliveryTag: tag})
			}
		}
	}, "1 never confirmed")
	f("confirmed at the end, all at once", "S2", func(b *fakeBroker) {
		b.confirm = func(tag uint64, send func(amqp.Method)) {
			if tag == 500 {
				send(&amqp.BasicAck{DeliveryTag: tag, Multiple: true})
			}
		}
	})
}

func TestBacklogIsWholeBeforeAnythingIsConsumed(t *testing.T) {
	b := newFakeBroker(t)
	early := 0
	b.onMethod = func(m amqp.Method) amqp.Method {
		if m.Name() == "basic.consume" {
			for _, q := range b.queues {
				early += 300 - len(q.ready)
			}
		}
		return nil
	}
	s := scenario(t, "S6")
	got, err := Run(t.Context(), s, small(b, 300))
	if err != nil || len(got.Faults()) != 0 || got.Received != 300 {
		t.Errorf("got %d received, faults %q and %v", got.Received, got.Faults(), err)
	}
	if early != 0 {
		t.Errorf("consumed with %d of 300 messages not in the queue", early)
	}
	if got.PublishRate <= 0 || got.ReceiveRate <= 0 {
		t.Errorf("got %.0f/s published and %.0f/s received, want both measured", got.PublishRate, got.ReceiveRate)
	}
	s.Backlog = 200
	if got, err := Run(t.Context(), s, small(b, 0)); err != nil || got.Published != 200 {
		t.Errorf("got %d published and %v, want the whole backlog of 200 and no more", got.Published, err)
	}
}

func TestEverythingDeliveredIsAcknowledged(t *testing.T) {
	b := newFakeBroker(t)
	if _, err := Run(t.Context(), scenario(t, "S2"), small(b, 120)); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if want := uint64(50 + 100 + 120); b.acked != want {
		t.Errorf("got acknowledged tags adding up to %d, want 50 + 100 + 120", b.acked)
	}
}

func TestWhatTheBrokerRefusesIsTheError(t *testing.T) {
	f := func(name string, at func(amqp.Method) bool, answer amqp.Method, want string) {
		t.Helper()
		b := newFakeBroker(t)
		refused := false
		b.onMethod = func(m amqp.Method) amqp.Method {
			if !refused && at(m) {
				refused = true
				return answer
			}
			return nil
		}
		_, err := Run(t.Context(), scenario(t, name), small(b, 500))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
		if left := b.declared(); len(left) != 0 {
			t.Errorf("left %q declared", left)
		}
	}
	closed := &amqp.ChannelClose{ReplyCode: 406, ReplyText: "PRECONDITION_FAILED - no"}
	is := func(name string) func(amqp.Method) bool { return func(m amqp.Method) bool { return m.Name() == name } }
	f("S1a", is("queue.declare"), closed, "queue.declare: the broker closed the channel: 406 PRECONDITION_FAILED - no")
	f("S4", is("queue.bind"), closed, "the broker closed the channel: 406")
	f("S2", is("confirm.select"), closed, "confirm.select: the broker closed the channel: 406")
	f("S2", is("basic.publish"), closed, "the broker closed the channel: 406")
	f("S1b", is("basic.publish"), &amqp.ConnectionClose{ReplyCode: 320, ReplyText: "CONNECTION_FORCED"}, "the broker closed the connection: 320 CONNECTION_FORCED")
	f("S2", is("basic.ack"), &amqp.BasicCancel{ConsumerTag: "c"}, `the broker cancelled consumer "c"`)
}

func TestCancelledRunStillDeletesWhatItDeclared(t *testing.T) {
	b := newFakeBroker(t)
	ctx, cancel := context.WithCancel(t.Context())
	b.deliver = func(n int, body []byte, send func([]byte)) {
		if n == 100 {
			cancel()
		}
		send(body)
	}
	_, err := Run(ctx, scenario(t, "S3"), small(b, 0))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if left := b.declared(); len(left) != 0 {
		t.Errorf("left %q declared", left)
	}
}

func TestRunEndsWithItsDuration(t *testing.T) {
	b := newFakeBroker(t)
	o := small(b, 0)
	o.Duration, o.Warmup = 60*time.Millisecond, 20*time.Millisecond
	got, err := Run(t.Context(), scenario(t, "S2"), o)
	if err != nil || len(got.Faults()) != 0 {
		t.Fatalf("got %q and %v", got.Faults(), err)
	}
	if got.Seconds < 0.03 || got.ReceiveRate <= 0 || got.ReceiveRate*got.Seconds >= float64(got.Received) {
		t.Errorf("got %.0f/s over %.3f s of %d received, want all but the warm-up", got.ReceiveRate, got.Seconds, got.Received)
	}
}

func TestDiskIsProbedAndLeftAsItWas(t *testing.T) {
	b, dir := newFakeBroker(t), t.TempDir()
	o := small(b, 10)
	o.DiskDir = dir
	got, err := Run(t.Context(), scenario(t, "S2w1"), o)
	if err != nil {
		t.Fatal(err)
	}
	if got.Disk == nil || got.Disk.Count != diskProbes {
		t.Errorf("got %+v, want %d probes", got.Disk, diskProbes)
	}
	var table strings.Builder
	if err := got.WriteTable(&table); err != nil || !strings.Contains(table.String(), "confirm ÷ sync") {
		t.Errorf("got %v and\n%s\nwant the confirms compared with it", err, &table)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("left %v, %v", files, err)
	}
	o.DiskDir = dir + "/none"
	if _, err := Run(t.Context(), scenario(t, "S2w1"), o); err == nil || !strings.Contains(err.Error(), "probe the disk") {
		t.Errorf("got %v, want that there is no such directory", err)
	}
}

func TestBrokerThatIsNotThereIsAnError(t *testing.T) {
	_, err := Run(t.Context(), scenario(t, "S1a"), Options{URI: "amqp://127.0.0.1:1/"})
	if err == nil || !strings.Contains(err.Error(), "connect:") {
		t.Errorf("got %v, want that it could not connect", err)
	}
}

func TestMessagesThatComeBeforeTheyAreDueAreFound(t *testing.T) {
	s := scenario(t, "delayed")
	s.Delay, s.Spread = time.Hour, 0
	got, err := Run(t.Context(), s, small(newFakeBroker(t), 100))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"100 early"}; !slices.Equal(got.Faults(), want) {
		t.Errorf("got faults %q, want %q", got.Faults(), want)
	}
}
