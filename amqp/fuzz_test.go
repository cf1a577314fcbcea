package amqp

import (
	"bytes"
	"runtime"
	"testing"
)

// bounded runs decode and checks that it allocated in proportion to its input. An entry
// of a table has two octets at the least and is a Field of 32 in memory, so a table may
// take sixteen times its size, its copy and the allocator's rounding beside it.
func bounded(t *testing.T, input []byte, decode func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	decode()
	runtime.ReadMemStats(&after)
	if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(20*len(input)+64<<10); got > limit {
		t.Fatalf("%d octets of input: got %d octets allocated, want at most %d", len(input), got, limit)
	}
}

// isClientError checks that err is what a client is told: hard, with a code and a text.
func isClientError(t *testing.T, err error) {
	t.Helper()
	e, ok := err.(*Error)
	if !ok || !e.Hard || ReplyName(e.Code) == "" || len(e.Text) == 0 {
		t.Fatalf("got %#v, want a hard error", err)
	}
}

func FuzzParseFrame(f *testing.F) {
	for _, r := range recordings(f) {
		f.Add(r.b, uint32(4096))
	}
	f.Add(AppendHeartbeat(nil), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, maxSize uint32) {
		var frame Frame
		var n int
		var err error
		bounded(t, nil, func() { frame, n, err = ParseFrame(b, maxSize) })
		if err != nil {
			isClientError(t, err)
			if n != 0 {
				t.Fatalf("got n=%d with %v", n, err)
			}
			return
		}
		if n == 0 {
			return
		}
		if maxSize != 0 && uint64(len(frame.Payload)) > uint64(maxSize) {
			t.Fatalf("got a payload of %d where %d are allowed", len(frame.Payload), maxSize)
		}
		if again := AppendFrame(nil, frame); !bytes.Equal(again, b[:n]) {
			t.Fatalf("got\n%x, want\n%x", again, b[:n])
		}
		// What has come cannot depend on what comes after, nor be read before it is whole.
		if _, m, err := ParseFrame(b[:n], maxSize); m != n || err != nil {
			t.Fatalf("alone: got n=%d err=%v, want %d", m, err, n)
		}
		if _, m, err := ParseFrame(b[:n-1], maxSize); m != 0 || err != nil {
			t.Fatalf("cut: got n=%d err=%v, want nothing yet", m, err)
		}
		if text := frame.String(); bytes.ContainsAny([]byte(text), "\n\r") {
			t.Fatalf("got several lines: %q", text)
		}
	})
}

func FuzzTable(f *testing.F) {
	for _, r := range recordings(f) {
		frame, n, _ := ParseFrame(r.b, 0)
		if n == 0 || frame.Type != FrameHeader {
			continue
		}
		if v, err := ScanProperties(frame.ContentHeader().Properties); err == nil && v.HasHeaders() {
			f.Add(v.Headers)
		}
	}
	f.Add(AppendTable(nil, nested(33))[4:])
	f.Fuzz(func(t *testing.T, b []byte) {
		var table Table
		var err error
		bounded(t, b, func() { table, err = ParseBareTable(b) })
		if err != nil {
			isClientError(t, err)
			return
		}
		if again := appendBareTable(nil, table); len(again) != len(b) {
			t.Fatalf("got %d octets, want %d", len(again), len(b))
		}
		encoded := AppendTable(nil, table)
		again, n, err := DecodeTable(encoded)
		if err != nil || n != len(encoded) || !again.Equal(table) {
			t.Fatalf("got %v, n=%d, err=%v, want %v", again, n, err, table)
		}
		if !bytes.Equal(AppendTable(nil, again), encoded) {
			t.Fatal("encoded twice, two results")
		}
		for _, field := range table {
			want, _ := table.Get(field.Name)
			tag, value, ok := FindHeader(b, field.Name)
			if got := DecodeValue(tag, value); !ok || !equalValues(got, want) {
				t.Fatalf("%q: got %v, %t, want %v", field.Name, got, ok, want)
			}
			TypeName(want)
		}
	})
}

func FuzzMethod(f *testing.F) {
	for _, r := range recordings(f) {
		if frame, n, _ := ParseFrame(r.b, 0); n != 0 && frame.Type == FrameMethod {
			class, method := frame.MethodID()
			f.Add(class, method, frame.Payload[4:])
		}
	}
	f.Fuzz(func(t *testing.T, class, method uint16, args []byte) {
		m := NewMethod(class, method)
		if (m == nil) != (MethodName(class, method) == "") {
			t.Fatalf("%d.%d: got %v and name %q", class, method, m, MethodName(class, method))
		}
		if m == nil {
			return
		}
		var err error
		bounded(t, args, func() { err = m.Decode(args) })
		if err != nil {
			isClientError(t, err)
			return
		}
		payload := m.Append(nil)
		again := NewMethod(class, method)
		if err := again.Decode(payload[4:]); err != nil {
			t.Fatalf("%s: what was written cannot be read: %v", m.Name(), err)
		}
		if !bytes.Equal(again.Append(nil), payload) {
			t.Fatalf("%s: encoded twice, two results", m.Name())
		}
	})
}

func FuzzProperties(f *testing.F) {
	for _, r := range recordings(f) {
		if frame, n, _ := ParseFrame(r.b, 0); n != 0 && frame.Type == FrameHeader {
			f.Add(frame.ContentHeader().Properties)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Properties
		var err error
		bounded(t, b, func() { err = p.Decode(b) })
		if err != nil {
			isClientError(t, err)
			bounded(t, nil, func() { _, scanned := ScanProperties(b); isClientError(t, scanned) })
			return
		}
		checkView(t, b, &p)
		encoded := p.Append(nil)
		var again Properties
		if err := again.Decode(encoded); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if again.Flags != p.Flags || !bytes.Equal(again.Append(nil), encoded) {
			t.Fatal("encoded twice, two results")
		}
	})
}
