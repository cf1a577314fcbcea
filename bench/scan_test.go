package bench

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/leveretmq/leveret/amqp"
)

func TestFrameBytesAgreesWithParseFrame(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	whole, broken := 0, 0
	for range 60_000 {
		b := amqp.AppendFrame(nil, amqp.Frame{Type: amqp.FrameBody, Channel: uint16(random.Uint32()), Payload: make([]byte, random.IntN(40))})
		b = append(b, make([]byte, random.IntN(3))...)
		if random.IntN(4) == 0 {
			b[3+random.IntN(len(b)-3)] ^= byte(random.UintN(8))
		}
		b = b[:random.IntN(len(b)+1)]
		got := frameBytes(b)
		_, want, err := amqp.ParseFrame(b, 0)
		switch {
		case err != nil && got == -1:
			broken++
		case err == nil && got == want:
			whole += min(want, 1)
		default:
			t.Fatalf("of %x: got %d, want %d and %v", b, got, want, err)
		}
	}
	if whole < 1000 || broken < 100 {
		t.Errorf("only %d whole and %d broken frames were tried", whole, broken)
	}
}

// scanned is what a scan has seen, for comparing.
type scanned struct {
	tag, redelivered uint64
	messages         []string
}

func scanAll(pieces ...[]byte) (s scanned, err error) {
	var d deliveries
	var pending []byte
	for _, piece := range pieces {
		pending = append(pending, piece...)
		used, err := d.scan(pending, func(n uint64, start []byte) {
			s.messages = append(s.messages, fmt.Sprintf("%d %d %q", d.tag, n, start))
		})
		pending = slices.Clone(pending[used:])
		if err != nil {
			return s, err
		}
	}
	s.tag, s.redelivered = d.tag, d.redelivered
	return s, nil
}

func TestCuttingTheStreamAnywhereGivesTheSameDeliveries(t *testing.T) {
	var b []byte
	b = appendDelivery(b, 1, "", "q", []byte("one"), 4096)
	b = amqp.AppendHeartbeat(b)
	b = appendDelivery(b, 2, "x", "key", nil, 4096)
	b = amqp.AppendMethod(b, 0, &amqp.ConnectionBlocked{Reason: "low on memory"})
	b = appendDelivery(b, 3, "x", "", []byte("in pieces"), 8+4) // four octets a frame
	b = amqp.AppendMethod(b, channel, &amqp.BasicDeliver{ConsumerTag: "", DeliveryTag: 1 << 40, Redelivered: true})
	b = amqp.AppendHeader(b, channel, 4, []byte{0, 0})
	b = amqp.AppendBody(b, channel, []byte("last"), 0)
	want, err := scanAll(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := want.messages; !slices.Equal(got, []string{`1 3 "one"`, `2 0 ""`, `3 9 "in p"`, `1099511627776 4 "last"`}) {
		t.Errorf("got %q", got)
	}
	if want.redelivered != 1 || want.tag != 1<<40 {
		t.Errorf("got %d redelivered and tag %d, want 1 and %d", want.redelivered, want.tag, uint64(1)<<40)
	}
	for i := range b {
		for j := i; j < min(i+20, len(b)); j++ {
			got, err := scanAll(b[:i], b[i:j], b[j:])
			if err != nil || got.tag != want.tag || !slices.Equal(got.messages, want.messages) {
				t.Fatalf("cut at %d and %d: got %+v and %v, want %+v", i, j, got, err, want)
			}
		}
	}
}

func TestScanRefusesWhatCannotBe(t *testing.T) {
	deliver := amqp.AppendMethod(nil, channel, &amqp.BasicDeliver{DeliveryTag: 1})
	header := amqp.AppendHeader(nil, channel, 3, []byte{0, 0})
	body := func(s string) []byte { return amqp.AppendBody(nil, channel, []byte(s), 0) }
	frame := func(typ uint8, payload ...byte) []byte {
		return amqp.AppendFrame(nil, amqp.Frame{Type: typ, Channel: channel, Payload: payload})
	}
	f := func(want error, pieces ...[]byte) {
		t.Helper()
		if _, err := scanAll(bytes.Join(pieces, nil)); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	f(nil, deliver, header, body("abc"))
	f(errContent, deliver, deliver)
	f(errContent, deliver, body("abc"))
	f(errContent, header)
	f(errContent, deliver, header, body("abcd"))
	f(errContent, deliver, header, body("abc"), body("d"))
	f(errShort, frame(amqp.FrameMethod, 0, 60))
	f(errShort, frame(amqp.FrameMethod, 0, 60, 0, 60, 200, 1, 2, 3))
	f(errShort, frame(amqp.FrameMethod, 0, 60, 0, 60))
	f(errShort, deliver, frame(amqp.FrameHeader, 0, 60))
	f(errFrameType, frame(4))
	f(errFrameEnd, deliver[:len(deliver)-1], []byte{0})
}

func TestScanConfirmsReadsAcksAndNacks(t *testing.T) {
	var b []byte
	b = amqp.AppendMethod(b, channel, &amqp.BasicAck{DeliveryTag: 7, Multiple: true})
	b = amqp.AppendMethod(b, channel, &amqp.BasicNack{DeliveryTag: 8})
	b = amqp.AppendHeartbeat(b)
	b = amqp.AppendMethod(b, channel, &amqp.BasicAck{DeliveryTag: 9})
	var got []string
	see := func(tag uint64, multiple, nack bool) { got = append(got, fmt.Sprint(tag, multiple, nack)) }
	used, err := scanConfirms(b[:len(b)-1], see)
	if err != nil || used != len(b)-21 {
		t.Errorf("got %d used of %d and %v, want all but the frame that is not whole", used, len(b)-1, err)
	}
	if _, err := scanConfirms(b[used:], see); err != nil {
		t.Error(err)
	}
	if want := []string{"7 true false", "8 false true", "9 false false"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := scanConfirms(amqp.AppendHeader(nil, channel, 0, []byte{0, 0}), see); !errors.Is(err, errContent) {
		t.Errorf("got %v, want %v", err, errContent)
	}
}

func BenchmarkScanDeliveries(bench *testing.B) {
	for _, size := range []int{16, 1024} {
		bench.Run(fmt.Sprintf("bytes=%d", size), func(bench *testing.B) {
			var b []byte
			const messages = 64
			for i := range messages {
				body := make([]byte, size)
				stamp{run: 1, sequence: uint64(i)}.put(body)
				b = appendDelivery(b, uint64(i), "", "leveret-bench.01234567.q0", body, 0)
			}
			var d deliveries
			var s sequence
			seen := 0
			bench.ReportAllocs()
			bench.SetBytes(int64(len(b) / messages))
			for bench.Loop() {
				s.next = 0
				for i := 0; i < len(b); {
					used, err := d.scan(b[i:], func(_ uint64, start []byte) {
						if at, ok := readStamp(start); ok && s.see(at.sequence) {
							seen++
						}
					})
					if err != nil || used == 0 {
						bench.Fatal(used, err)
					}
					i += used
				}
			}
			if want := bench.N * messages; seen != want {
				bench.Errorf("got %d messages, want %d", seen, want)
			}
			bench.ReportMetric(float64(bench.Elapsed().Nanoseconds())/float64(seen), "ns/message")
		})
	}
}
