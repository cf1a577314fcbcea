package amqp

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func randomProperties(r *rand.Rand) Properties {
	s := func() string { return randomName(r) }
	return Properties{
		ContentType: s(), ContentEncoding: s(), Headers: randomTable(r, 2),
		DeliveryMode: uint8(r.Uint32()), Priority: uint8(r.Uint32()),
		CorrelationID: s(), ReplyTo: s(), Expiration: s(), MessageID: s(),
		Timestamp: Timestamp(r.Uint64()), Type: s(), UserID: s(), AppID: s(), ClusterID: s(),
		Flags: uint16(r.Uint32()) & knownFlags,
	}
}

func TestPropertiesDecodeToWhatWasAppended(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 6))
	for range 1000 {
		p := randomProperties(r)
		b := p.Append(nil)
		var got Properties
		if err := got.Decode(b); err != nil {
			t.Fatal(err)
		}
		if again := got.Append(nil); got.Flags != p.Flags || !bytes.Equal(again, b) {
			t.Fatalf("got\n%x, want\n%x", again, b)
		}
		checkView(t, b, &got)
	}
}

// checkView compares what ScanProperties sees with what was decoded.
func checkView(t *testing.T, b []byte, p *Properties) {
	t.Helper()
	v, err := ScanProperties(b)
	if err != nil {
		t.Fatalf("got %v, want what decoding accepts", err)
	}
	if v.Flags != p.Flags || v.DeliveryMode != p.DeliveryMode || v.Priority != p.Priority ||
		v.CorrelationID != p.CorrelationID || v.ReplyTo != p.ReplyTo || v.Expiration != p.Expiration ||
		v.MessageID != p.MessageID || v.UserID != p.UserID || v.Timestamp != uint64(p.Timestamp) || v.HasHeaders() != p.Has(FlagHeaders) ||
		!v.Has(p.Flags) || v.Has(^p.Flags) {
		t.Fatalf("got %+v, want %+v", v, *p)
	}
	headers, err := ParseBareTable(v.Headers)
	if err != nil || !headers.Equal(p.Headers) {
		t.Fatalf("got headers %v, err=%v, want %v", headers, err, p.Headers)
	}
	for _, h := range p.Headers {
		want, _ := p.Headers.Get(h.Name)
		tag, value, ok := FindHeader(v.Headers, h.Name)
		if got := DecodeValue(tag, value); !ok || !equalValues(got, want) {
			t.Fatalf("header %q: got %v, %t, want %v", h.Name, got, ok, want)
		}
	}
}

// W-40.
func TestTheFlagsStandInTheOrderOfTheProperties(t *testing.T) {
	f := func(p Properties, want string) {
		t.Helper()
		if got := string(p.Append(nil)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(Properties{Flags: FlagContentType, ContentType: "a"}, "\x80\x00\x01a")
	f(Properties{Flags: FlagContentEncoding, ContentEncoding: "a"}, "\x40\x00\x01a")
	f(Properties{Flags: FlagHeaders}, "\x20\x00\x00\x00\x00\x00")
	f(Properties{Flags: FlagDeliveryMode, DeliveryMode: 2}, "\x10\x00\x02")
	f(Properties{Flags: FlagPriority, Priority: 9}, "\x08\x00\x09")
	f(Properties{Flags: FlagCorrelationID, CorrelationID: "a"}, "\x04\x00\x01a")
	f(Properties{Flags: FlagReplyTo, ReplyTo: "a"}, "\x02\x00\x01a")
	f(Properties{Flags: FlagExpiration, Expiration: "a"}, "\x01\x00\x01a")
	f(Properties{Flags: FlagMessageID, MessageID: "a"}, "\x00\x80\x01a")
	f(Properties{Flags: FlagTimestamp, Timestamp: 1}, "\x00\x40\x00\x00\x00\x00\x00\x00\x00\x01")
	f(Properties{Flags: FlagType, Type: "a"}, "\x00\x20\x01a")
	f(Properties{Flags: FlagUserID, UserID: "a"}, "\x00\x10\x01a")
	f(Properties{Flags: FlagAppID, AppID: "a"}, "\x00\x08\x01a")
	f(Properties{Flags: FlagClusterID, ClusterID: "a"}, "\x00\x04\x01a")
	f(Properties{ContentType: "not flagged"}, "\x00\x00")
	if knownFlags != 0xFFFC {
		t.Errorf("got all flags %#x, want 0xfffc", knownFlags)
	}
}

// W-41, W-28.
func TestPropertiesThatCannotBeReadAreRefusedHard(t *testing.T) {
	f := func(b []byte, code uint16) {
		t.Helper()
		var p Properties
		decoded := p.Decode(b)
		_, scanned := ScanProperties(b)
		for _, err := range []error{decoded, scanned} {
			var e *Error
			if !errors.As(err, &e) || e.Code != code || !e.Hard {
				t.Errorf("%q: got %v, want a hard %d", b, err, code)
				continue
			}
			if e.On(60, 40); e.ClassID != 60 || e.MethodID != 40 {
				t.Errorf("%q: got %d.%d to blame, want what the caller says", b, e.ClassID, e.MethodID)
			}
		}
		if decoded != nil && scanned != nil && decoded.Error() != scanned.Error() {
			t.Errorf("%q: got %v and %v", b, decoded, scanned)
		}
	}
	f(nil, ReplyFrameError)
	f([]byte{0}, ReplyFrameError)
	f([]byte{0, 1}, ReplyFrameError)
	f([]byte{0, 1, 0, 0}, ReplyFrameError)
	f([]byte{0, 0, 0}, ReplyFrameError)
	f([]byte{0x10, 0}, ReplyFrameError)
	f([]byte{0x80, 0, 2, 'a'}, ReplyFrameError)
	f([]byte{0x20, 0, 0, 0, 0, 1}, ReplySyntaxError)
	f([]byte("\x20\x00\x00\x00\x00\x03\x01az"), ReplySyntaxError)

	var p Properties
	if err := p.Decode([]byte{0, 2}); err != nil || p.Flags != 0 {
		t.Errorf("bit 1: got %+v, err=%v, want it ignored", p, err)
	}
	if err := p.Decode([]byte{0x80, 0, 1, 0xff}); err != nil || p.ContentType != "\xff" {
		t.Errorf("no UTF-8: got %+v, err=%v, want it taken", p, err)
	}
}

func TestCuttingPropertiesAnywhereIsAnError(t *testing.T) {
	p := randomProperties(rand.New(rand.NewPCG(9, 7)))
	p.Flags = knownFlags
	b := p.Append(nil)
	for n := range b {
		_, err := ScanProperties(b[:n])
		if err == nil || p.Decode(b[:n]) == nil {
			t.Fatalf("%d of %d octets: got no error", n, len(b))
		}
	}
}

func TestScanningPropertiesDoesNotAllocate(t *testing.T) {
	p := Properties{
		Flags: knownFlags, ContentType: "application/json", DeliveryMode: 2, Expiration: "60000", ReplyTo: "r",
		Headers: Table{{"CC", Array{"a", "b"}}, {"deep", nested(30)}, {"s", strings.Repeat("x", 300)}},
	}
	list := p.Append(nil)
	n := testing.AllocsPerRun(100, func() {
		v, err := ScanProperties(list)
		if err != nil || v.Expiration != "60000" {
			t.Fatalf("got %+v, err=%v", v, err)
		}
		if tag, _, ok := FindHeader(v.Headers, "CC"); !ok || tag != 'A' {
			t.Fatal("CC not found")
		}
	})
	if n != 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}
