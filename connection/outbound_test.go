package connection

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/message"
)

func taken(o *Outbound) []byte {
	var b Batch
	o.Take(&b)
	return bytes.Join(b.Slices(nil), nil)
}

// TestContentIsWrittenAsIfItWereCopied compares bodies of many lengths, referenced or not,
// with the codec's plain copies (W-15).
func TestContentIsWrittenAsIfItWereCopied(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, frameMax := range []uint32{0, 4096, 131072} {
		o := NewOutbound(0, func() {})
		var wakes message.Wakes
		var want []byte
		for _, size := range []int{0, 1, 4087, 4088, 4089, 8177, referenceBytes - 1, referenceBytes, 131064, 131065, 300_000} {
			body := make([]byte, size)
			for i := range body {
				body[i] = byte(rnd.Uint32())
			}
			properties := []byte{0, 0}
			o.end(o.appendContent(o.begin(), 7, properties, body, frameMax), &wakes)
			want = amqp.AppendBody(amqp.AppendHeader(want, 7, uint64(size), properties), 7, body, frameMax)
		}
		if got := taken(o); !bytes.Equal(got, want) {
			t.Errorf("frame_max %d: got %d bytes, want %d, or they differ", frameMax, len(got), len(want))
		}
	}
}

func TestWriterIsToldOncePerBatch(t *testing.T) {
	told := 0
	o := NewOutbound(0, func() { told++ })
	var wakes message.Wakes
	for range 10 {
		o.end(append(o.begin(), 'x'), &wakes)
	}
	if len(wakes) != 1 || told != 0 {
		t.Errorf("got %d to wake and %d told within the batch, want 1 and 0", len(wakes), told)
	}
	wakes.Wake()
	o.end(append(o.begin(), 'x'), &wakes)
	wakes.Wake()
	if told != 2 {
		t.Errorf("the writer was told %d times in two batches", told)
	}
	if got := len(taken(o)); got != 11 {
		t.Errorf("got %d bytes, want 11", got)
	}
}

func TestConsumerFindsNoRoomAboveTheHighMarkAndIsResumedBelowTheLowOne(t *testing.T) {
	t.Run("default", func(t *testing.T) { testHighMark(t, NewOutbound(0, func() {}), HighWater) })
	t.Run("smaller", func(t *testing.T) { testHighMark(t, NewOutbound(1000, func() {}), 1000) })
}

func testHighMark(t *testing.T, o *Outbound, mark int) {
	var wakes message.Wakes
	k := new(consumer)
	piece := make([]byte, mark/2)
	for range 2 {
		buf, ok := o.beginDelivery(k)
		if !ok {
			t.Fatal("no room below the high mark")
		}
		o.end(append(buf, piece...), &wakes)
	}
	for range 2 {
		if _, ok := o.beginDelivery(k); ok {
			t.Fatal("there is room above the high mark")
		}
	}
	// What is being written still counts.
	var b Batch
	if n, drained := o.Take(&b); n != mark || drained {
		t.Fatalf("took %d bytes, drained is %v", n, drained)
	}
	if _, ok := o.beginDelivery(k); ok {
		t.Error("there is room while nothing was written")
	}
	if n, drained := o.Take(&b); n != 0 || !drained {
		t.Errorf("took %d bytes, drained is %v after everything was written", n, drained)
	}
	if starved, _ := o.relieve(); len(starved) != 1 {
		t.Errorf("got %d consumers to resume, want 1", len(starved))
	}
	if buf, ok := o.beginDelivery(k); !ok {
		t.Error("no room after everything was written")
	} else {
		o.end(buf, &wakes)
	}
}

func TestNothingIsKeptAfterClose(t *testing.T) {
	o := NewOutbound(0, func() {})
	var wakes message.Wakes
	o.end(append(o.begin(), 'x'), &wakes)
	o.Close()
	o.end(append(o.begin(), 'y'), &wakes)
	o.endQuietly(append(o.begin(), 'z'))
	o.Wake(false)
	if got := taken(o); len(got) != 0 {
		t.Errorf("got %q from a closed buffer", got)
	}
	if _, ok := o.beginDelivery(nil); ok {
		t.Error("a closed buffer has room")
	}
}

// TestClientThatReadsNothingIsNotReadEither: gets are not limited by anything else (S-27).
func TestClientThatReadsNothingIsNotReadEither(t *testing.T) {
	r := newRig(t)
	k := r.open(1)
	k.send(frameOf(1, &amqp.QueueDeclare{Queue: "q"}))
	body := string(make([]byte, 100<<10))
	const n = 100
	for range n {
		k.send(content(1, &amqp.BasicPublish{RoutingKey: "q"}, amqp.Properties{}, body, 131072))
	}
	k.frames()
	k.stopped = true
	for range n {
		k.send(frameOf(1, &amqp.BasicGet{Queue: "q", NoAck: true}))
	}
	q, _, err := r.b.VHost("/").Queue(k.c, "q")
	if err != nil {
		t.Fatal(err)
	}
	ready, _ := q.Counts()
	if !k.suspended || ready == 0 || ready == n {
		t.Errorf("suspended is %v with %d of %d messages left", k.suspended, ready, n)
	}
	k.stopped = false
	r.settle()
	got := 0
	for _, f := range k.frames() {
		if f.Type == amqp.FrameHeader {
			got++
		}
	}
	if got != n || k.suspended {
		t.Errorf("got %d messages after reading on, want %d; suspended is %v", got, n, k.suspended)
	}
}

func TestDeliveriesGoOnAfterTheClientHasRead(t *testing.T) {
	r := newRig(t)
	k, from := r.open(1), r.open(1)
	k.send(frameOf(1, &amqp.QueueDeclare{Queue: "q"}))
	k.send(frameOf(1, &amqp.BasicConsume{Queue: "q", NoAck: true}))
	k.frames()
	k.stopped = true
	body := string(make([]byte, 100<<10))
	const n = 50
	for range n {
		from.send(content(1, &amqp.BasicPublish{RoutingKey: "q"}, amqp.Properties{}, body, 131072))
	}
	if waiting := k.out.size(); waiting < HighWater || waiting > HighWater+len(body)+1000 {
		t.Errorf("%d bytes wait for a client that does not read", waiting)
	}
	k.stopped = false
	r.settle()
	got := 0
	for _, f := range k.frames() {
		if f.Type == amqp.FrameHeader {
			got++
		}
	}
	if got != n {
		t.Errorf("got %d messages after reading on, want %d", got, n)
	}
}

// S-24: what consumers get because the client has read is told to the writer, which may
// have nothing else to wake it.
func TestRoomThatCameBackIsFlushed(t *testing.T) {
	r := newRig(t)
	k, from := r.open(1), r.open(1)
	k.send(frameOf(1, &amqp.QueueDeclare{Queue: "q"}))
	k.send(frameOf(1, &amqp.BasicConsume{Queue: "q", NoAck: true}))
	k.stopped = true
	for range 30 {
		from.send(content(1, &amqp.BasicPublish{RoutingKey: "q"}, amqp.Properties{}, string(make([]byte, 100<<10)), 131072))
	}
	k.out.Take(&k.batch)
	if n, drained := k.out.Take(&k.batch); n != 0 || !drained {
		t.Fatalf("%d bytes wait, drained is %v after everything was written", n, drained)
	}
	told := 0
	k.out.signal = func() { told++ }
	k.c.Drained(r.now)
	if k.out.size() == 0 || told == 0 {
		t.Errorf("the writer was told %d times of %d bytes", told, k.out.size())
	}
}

// RES-6: a consumer that reads nothing is given as much as its prefetch allows, and without
// one as much as the outbound buffer takes. The rest stays in the queue, for others.
func TestSlowConsumerIsGivenNoMoreThanItsBufferTakes(t *testing.T) {
	f := func(what string, prefetch uint16, noAck bool, least, most int) {
		t.Helper()
		r := newRig(t)
		p, slow := r.open(1), r.open(1)
		p.send(frameOf(1, &amqp.QueueDeclare{Queue: "q"}))
		slow.send(frameOf(1, &amqp.BasicQos{PrefetchCount: prefetch}))
		slow.send(frameOf(1, &amqp.BasicConsume{Queue: "q", NoAck: noAck}))
		slow.stopped = true
		const n, size = 300, 10_000
		for range n {
			p.send(content(1, &amqp.BasicPublish{RoutingKey: "q"}, amqp.Properties{}, strings.Repeat("x", size), 0))
		}
		q := r.b.VHost("/").Queues()[0]
		if out := n - int(q.Stats().Ready); out < least || out > most {
			t.Errorf("%s: got %d messages handed out, want %d to %d", what, out, least, most)
		}
		if pending := r.b.Sessions()[1].Describe().Pending; pending > HighWater+size+100 {
			t.Errorf("%s: got %d octets that wait to be sent, want no more than %d and a message", what, pending, HighWater)
		}
		// Others are served meanwhile.
		p.frames()
		p.send(frameOf(1, &amqp.BasicGet{Queue: "q", NoAck: true}))
		if got := p.lines(); len(got) == 0 || !strings.Contains(got[0], "basic.get-ok") {
			t.Errorf("%s: got %q, want a message", what, got)
		}
		slow.stopped = false
		r.settle()
		if noAck && q.Stats().Ready != 0 {
			t.Errorf("%s: got %d messages left after it has read", what, q.Stats().Ready)
		}
	}
	f("no prefetch", 0, false, 50, 110)
	f("no acknowledgement", 0, true, 50, 110)
	f("prefetch", 3, false, 3, 3)
}

// TestLittleIsWrittenByWhoeverAppendedIt goes through what may be written at the end of a batch,
// and what is the writer's.
func TestLittleIsWrittenByWhoeverAppendedIt(t *testing.T) {
	f := func(name string, few bool, prepare func(o *Outbound), want string) {
		t.Helper()
		got := ""
		o := NewOutbound(20<<10, func() { got += "writer " })
		o.WriteAtOnce(func() {
			var b Batch
			if n, ok := o.TakeLittle(&b); ok {
				got += string(bytes.Join(b.Slices(nil), nil)) + " "
				if waits := o.Waiting(); waits != 0 || n != b.size() {
					t.Errorf("%s: took %d bytes of %d, and %d wait", name, n, b.size(), waits)
				}
				o.Written()
			}
		})
		prepare(o)
		var wakes message.Wakes
		o.end(append(o.begin(), 'x'), &wakes)
		o.Wake(few)
		if got != want {
			t.Errorf("%s: got %.40q, want %q", name, got, want)
		}
		// Whoever comes next has to ask again.
		wakes = nil
		if o.end(append(o.begin(), 'y'), &wakes); len(wakes) != 1 {
			t.Errorf("%s: got %d to wake for what comes after, want 1", name, len(wakes))
		}
	}
	nothing := func(*Outbound) {}
	f("alone", true, nothing, "x ")
	f("with many others", false, nothing, "writer ")
	f("after much", true, func(o *Outbound) { o.pending.buf = make([]byte, littleBytes) }, "writer ")
	f("after a long body", true, func(o *Outbound) {
		o.end(o.appendContent(o.begin(), 1, []byte{0, 0}, make([]byte, referenceBytes), 0), new(message.Wakes))
	}, "writer ")
	f("while a consumer waits for room", true, func(o *Outbound) {
		o.pending.buf = make([]byte, 20<<10)
		o.beginDelivery(new(consumer))
		o.pending.buf = nil
	}, "writer ")
	f("while the reader waits for room", true, func(o *Outbound) {
		o.pending.buf = make([]byte, 100<<10)
		o.holdReader()
		o.pending.buf = nil
	}, "writer ")
}
