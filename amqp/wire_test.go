package amqp

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata")

// recorded is one line of testdata/wire: bytes of a conversation with RabbitMQ 3.10.8.
// kind is frame, greeting or broken; text is what the test printed for a frame before.
type recorded struct {
	file string
	line int
	kind string
	b    []byte
	text string
}

func recordings(t testing.TB) []recorded {
	t.Helper()
	files, err := filepath.Glob("testdata/wire/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("got files %v, err=%v", files, err)
	}
	var all []recorded
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if answer, ok := strings.CutPrefix(line, "\t"); ok {
				all[len(all)-1].text = answer
				continue
			}
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			words := strings.Fields(line)
			b, err := hex.DecodeString(words[2])
			if err != nil {
				t.Fatalf("%s:%d: %v", file, i+1, err)
			}
			all = append(all, recorded{file: file, line: i + 1, kind: words[1], b: b})
		}
	}
	return all
}

func TestRecordedFramesReadAsTheyAreWritten(t *testing.T) {
	frames := 0
	for _, r := range recordings(t) {
		if r.kind != "frame" {
			continue
		}
		frames++
		f, n, err := ParseFrame(r.b, 131072)
		if err != nil || n != len(r.b) {
			t.Errorf("%s:%d: got n=%d err=%v, want a frame of %d octets", r.file, r.line, n, err, len(r.b))
			continue
		}
		if again := reencode(t, f); !bytes.Equal(again, r.b) && !bytes.Equal(again, longsAsWritten(r.b)) {
			t.Errorf("%s:%d: got again\n%x, want\n%x", r.file, r.line, again, r.b)
		}
		if got := f.String(); got != r.text && !*update {
			t.Errorf("%s:%d: got\n%s, want\n%s", r.file, r.line, got, r.text)
		}
	}
	if frames < 100 {
		t.Errorf("got %d frames, want at least 100", frames)
	}
	if *update {
		rewriteAnswers(t)
	}
}

// reencode decodes a frame's payload and writes the frame anew from what was decoded.
func reencode(t testing.TB, f Frame) []byte {
	t.Helper()
	switch f.Type {
	case FrameMethod:
		m := NewMethod(f.MethodID())
		if m == nil {
			t.Fatalf("no method for %s", f)
		}
		if err := m.Decode(f.Payload[4:]); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		return AppendMethod(nil, f.Channel, m)
	case FrameHeader:
		h := f.ContentHeader()
		var p Properties
		if err := p.Decode(h.Properties); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		return AppendHeader(nil, f.Channel, h.BodySize, p.Append(nil))
	}
	return AppendFrame(nil, f)
}

// longsAsWritten is the one recorded exception: the tag L is written back as l, as
// RabbitMQ does when it re-encodes a table. The table's field of that type is L_i64.
func longsAsWritten(frame []byte) []byte {
	return bytes.ReplaceAll(frame, []byte("L_i64L"), []byte("L_i64l"))
}

func rewriteAnswers(t *testing.T) {
	t.Helper()
	files, _ := filepath.Glob("testdata/wire/*.txt")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "\t") {
				continue
			}
			out.WriteString(line)
			if words := strings.Fields(line); len(words) == 3 && words[1] == "frame" {
				b, _ := hex.DecodeString(words[2])
				f, _, _ := ParseFrame(b, 131072)
				out.WriteString("\t" + f.String() + "\n")
			}
		}
		if err := os.WriteFile(file, []byte(out.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRecordedGreetingsAreJudgedAsRabbitMQJudgedThem(t *testing.T) {
	for _, r := range recordings(t) {
		if r.kind != "greeting" {
			continue
		}
		want := string(r.b) == ProtocolHeader
		if accepted, n := ParseProtocolHeader(r.b); n != 8 || accepted != want {
			t.Errorf("%s:%d: got accepted=%t n=%d, want %t, 8", r.file, r.line, accepted, n, want)
		}
	}
}

func TestRecordedBrokenFramesAreRefused(t *testing.T) {
	seen := 0
	for _, r := range recordings(t) {
		if r.kind != "broken" {
			continue
		}
		seen++
		_, n, err := ParseFrame(r.b, 131072)
		if e, ok := err.(*Error); !ok || n != 0 || e.Code != ReplyFrameError || !e.Hard {
			t.Errorf("%s:%d: got n=%d err=%v, want a hard 501", r.file, r.line, n, err)
		}
	}
	if seen != 2 {
		t.Errorf("got %d broken frames, want 2", seen)
	}
}

// W-54: the recorded response of AMQPLAIN is a table without its length.
func TestAMQPLAINsResponseIsABareTable(t *testing.T) {
	for _, r := range recordings(t) {
		f, n, _ := ParseFrame(r.b, 131072)
		if n == 0 || f.Type != FrameMethod {
			continue
		}
		m := NewMethod(f.MethodID())
		start, ok := m.(*ConnectionStartOk)
		if !ok || m.Decode(f.Payload[4:]) != nil || start.Mechanism != "AMQPLAIN" {
			continue
		}
		table, err := ParseBareTable([]byte(start.Response))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := table.String(), `{LOGIN=S:"guest", PASSWORD=S:"guest"}`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		return
	}
	t.Error("no recording logs in with AMQPLAIN")
}

// W-15: cutting the recorded body anew gives the recorded frames.
func TestARecordedBodyIsCutWhereRabbitMQCutIt(t *testing.T) {
	var bodies, want []byte
	for _, r := range recordings(t) {
		if filepath.Base(r.file) != "multi-frame-body.txt" {
			continue
		}
		f, _, _ := ParseFrame(r.b, 4096)
		if f.Type == FrameBody {
			bodies, want = append(bodies, f.Payload...), append(want, r.b...)
		}
	}
	if len(bodies) != 8177 {
		t.Fatalf("got a recorded body of %d octets, want 8177", len(bodies))
	}
	if got := AppendBody(nil, 1, bodies, 4096); !bytes.Equal(got, want) {
		t.Error("the body was cut elsewhere")
	}
}
