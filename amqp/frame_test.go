package amqp

import (
	"bytes"
	"errors"
	"testing"
)

func TestAFrameIsReadOnlyWhenItIsWhole(t *testing.T) {
	whole := AppendMethod(nil, 7, &BasicAck{DeliveryTag: 9, Multiple: true})
	for n := range whole {
		if _, used, err := ParseFrame(whole[:n], 4096); used != 0 || err != nil {
			t.Fatalf("of %d octets, got n=%d err=%v, want nothing yet", n, used, err)
		}
	}
	f, n, err := ParseFrame(append(whole, 1, 2, 3), 4096)
	if err != nil || n != len(whole) {
		t.Fatalf("got n=%d err=%v, want %d octets", n, err, len(whole))
	}
	if got, want := f.String(), "ch=7 basic.ack{delivery_tag=9 multiple=true}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// W-9: type, channel, size, payload and the end, in octets.
func TestAFrameIsWrittenAsTheProtocolHasIt(t *testing.T) {
	f := func(fr Frame, want ...byte) {
		t.Helper()
		got := AppendFrame([]byte("before"), fr)
		if string(got) != "before"+string(want) {
			t.Errorf("got %x, want %x after what was there", got, want)
		}
		back, n, err := ParseFrame(want, 0)
		if err != nil || n != len(want) || back.Type != fr.Type || back.Channel != fr.Channel || !bytes.Equal(back.Payload, fr.Payload) {
			t.Errorf("got %+v, %d, %v, want what was written", back, n, err)
		}
	}
	f(Frame{Type: FrameMethod, Channel: 0x0102, Payload: []byte{0, 20, 0, 11, 0}}, 1, 1, 2, 0, 0, 0, 5, 0, 20, 0, 11, 0, 0xCE)
	header := []byte{0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0}
	f(Frame{Type: FrameHeader, Channel: 0xFFFE, Payload: header}, append(append([]byte{2, 0xFF, 0xFE, 0, 0, 0, 14}, header...), 0xCE)...)
	f(Frame{Type: FrameBody, Channel: 1, Payload: []byte{0xCE}}, 3, 0, 1, 0, 0, 0, 1, 0xCE, 0xCE)
	f(Frame{Type: FrameHeartbeat}, 8, 0, 0, 0, 0, 0, 0, 0xCE)
	long := make([]byte, 0x012345)
	f(Frame{Type: FrameBody, Channel: 1, Payload: long}, append(append([]byte{3, 0, 1, 0, 1, 0x23, 0x45}, long...), 0xCE)...)
}

// W-10 to W-13.
func TestABrokenFrameIsRefusedInRabbitMQsWords(t *testing.T) {
	f := func(b []byte, maxSize uint32, code uint16, text string) {
		t.Helper()
		_, n, err := ParseFrame(b, maxSize)
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("got err=%v, want %s", err, text)
		}
		if n != 0 || e.Code != code || e.Text != text || !e.Hard {
			t.Errorf("got n=%d hard=%t %d %q, want hard %d %q", n, e.Hard, e.Code, e.Text, code, text)
		}
		if e.On(60, 40); e.ClassID != 0 || e.MethodID != 0 {
			t.Errorf("got %d.%d to blame, want nothing", e.ClassID, e.MethodID)
		}
	}
	f([]byte{1, 0, 1, 0, 0, 0, 11, 0, 60, 0, 10, 0, 0, 0, 0, 0, 1, 0, 0xCD}, 131072, 501,
		"FRAME_ERROR - type 1, all octets = <<0,60,0,10,0,0,0,0,0,1,0>>: {invalid_frame_end_marker,205}")
	f([]byte{1, 0, 1, 0, 2, 0, 1}, 131072, 501,
		"FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,131073,131064}")
	f([]byte{1, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, 8192, 501,
		"FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,4294967295,8184}")
	f([]byte{1, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, 0, 501,
		"FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,4294967295,536870904}")
	for _, typ := range []byte{0, 4, 5, 6, 7, 255} {
		f([]byte{typ, 0, 0, 0, 0, 0, 1, 9, FrameEnd}, 4096, 501,
			FrameError("type %d, all octets = <<9>>: unknown_frame", typ).Text)
	}
	f([]byte{FrameMethod, 0, 0, 0, 0, 0, 3, 1, 2, 3, FrameEnd}, 4096, 501,
		"FRAME_ERROR - type 1, all octets = <<1,2,3>>: unknown_frame")
	f([]byte{FrameHeader, 0, 0, 0, 0, 0, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, FrameEnd}, 4096, 501,
		"FRAME_ERROR - type 2, all octets = <<1,2,3,4,5,6,7,8,9,10,11>>: unknown_frame")
	f(append(append([]byte{FrameHeartbeat, 0, 0, 0, 0, 0, 17}, make([]byte, 17)...), FrameEnd), 4096, 501,
		"FRAME_ERROR - type 8, first 16 octets = <<0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0>>: unknown_frame")
	f([]byte{FrameHeartbeat, 0, 1, 0, 0, 0, 0, FrameEnd}, 4096, 505,
		"UNEXPECTED_FRAME - type 8, all octets = <<>>")
}

// W-13: eight octets more than frame_max leaves for a payload are let through.
func TestAPayloadMayBeAsLongAsFrameMax(t *testing.T) {
	frame := AppendFrame(nil, Frame{Type: FrameBody, Channel: 1, Payload: make([]byte, 4096)})
	if _, n, err := ParseFrame(frame, 4096); n != len(frame) || err != nil {
		t.Errorf("4096 octets: got n=%d err=%v, want %d", n, err, len(frame))
	}
	if _, _, err := ParseFrame(frame, 4095); err == nil {
		t.Error("4096 octets where 4095 are allowed: got no error")
	}
}

// W-15, W-21.
func TestABodyIsCutIntoFramesOfFrameMax(t *testing.T) {
	f := func(bodySize int, frameMax uint32, want ...int) {
		t.Helper()
		body := make([]byte, bodySize)
		for i := range body {
			body[i] = byte(i)
		}
		b := AppendBody(nil, 3, body, frameMax)
		var got []byte
		for i := 0; len(b) > 0; i++ {
			f, n, err := ParseFrame(b, frameMax)
			if err != nil || n == 0 {
				t.Fatalf("piece %d: got n=%d err=%v", i, n, err)
			}
			if i >= len(want) || len(f.Payload) != want[i] || f.Channel != 3 || f.Type != FrameBody {
				t.Fatalf("piece %d: got %v, want sizes %v", i, f, want)
			}
			got = append(got, f.Payload...)
			b = b[n:]
		}
		if string(got) != string(body) {
			t.Error("the pieces do not make the body")
		}
	}
	f(8177, 4096, 4088, 4088, 1)
	f(4088, 4096, 4088)
	f(1, 4096, 1)
	f(0, 4096)
	f(100000, 0, 100000)
}

// W-2 to W-8.
func TestOnlyTheGreetingsOf09AreAccepted(t *testing.T) {
	f := func(greeting string, accepted bool, n int) {
		t.Helper()
		if gotAccepted, gotN := ParseProtocolHeader([]byte(greeting)); gotAccepted != accepted || gotN != n {
			t.Errorf("%q: got %t, %d, want %t, %d", greeting, gotAccepted, gotN, accepted, n)
		}
	}
	f("AMQP\x00\x00\x09\x01", true, 8)
	f("AMQP\x00\x00\x09\x01\x01\x00", true, 8)
	f("AMQP\x01\x01\x00\x09", true, 8)
	f("AMQP\x00\x00\x09\x00", false, 8)
	f("AMQP\x00\x01\x00\x00", false, 8)
	f("AMQP\x03\x01\x00\x00", false, 8)
	f("AMQP\x01\x01\x08\x00", false, 8)
	f("HELO\x00\x00\x09\x01", false, 8)
	f("GET / HTTP/1.1", false, 8)
	f("AMQP\x00\x00\x09", false, 0)
	f("", false, 0)
}
