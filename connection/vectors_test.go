package connection

import (
	"bytes"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/leveretmq/leveret/amqp"
)

// masks hide what is different each time, and what we say otherwise on purpose.
var masks = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`amq\.(gen|ctag)-[A-Za-z0-9_-]{22}`), "amq.$1-…"},
	{regexp.MustCompile(`amq\.rabbitmq\.reply-to\.[^"]+`), "amq.rabbitmq.reply-to.…"},
	{regexp.MustCompile(`server_properties=\{.*\} mechanisms`), "server_properties={…} mechanisms"},
	// RabbitMQ flags a lone nack as multiple; we do not need to.
	{regexp.MustCompile(`(basic\.nack\{delivery_tag=\d+) multiple=\w+`), "$1"},
	// RabbitMQ's printer breaks long lines in the middle of a term.
	{regexp.MustCompile(`\\n +`), ""},
}

func masked(line string) string {
	for _, m := range masks {
		line = m.what.ReplaceAllString(line, m.with)
	}
	return line
}

// TestConversationsAreThoseOfRabbitMQ sends what clients said in recorded conversations and
// compares the answers. prepare declares what the recordings take for granted.
func TestConversationsAreThoseOfRabbitMQ(t *testing.T) {
	f := func(name string, prepare ...amqp.Method) {
		t.Helper()
		text, err := os.ReadFile("testdata/vectors/" + name + ".hex")
		if err != nil {
			t.Fatal(err)
		}
		r := newRig(t)
		setUp := r.open(1)
		for _, m := range prepare {
			setUp.send(frameOf(1, m))
		}
		compared := 0
		k := (*rigConn)(nil)
		var want []string
		answered := func() {
			t.Helper()
			got := k.lines()
			for i := range got {
				got[i] = masked(got[i])
			}
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("%s: got\n\t%s\nwant\n\t%s", name, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
			}
			compared += len(want)
			want = nil
		}
		for _, line := range strings.Split(string(text), "\n") {
			side, digits, _ := strings.Cut(line, " ")
			octets, err := hex.DecodeString(digits)
			switch {
			case side != ">" && side != "<":
				continue
			case err != nil:
				t.Fatal(err)
			case side == "<":
				frame, _, err := amqp.ParseFrame(octets, 0)
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, masked(frame.String()))
				continue
			}
			switch {
			case k == nil && bytes.HasPrefix(octets, []byte("AMQP")):
				k = r.accept(Options{Heartbeat: 60})
			case k == nil:
				k = r.open(1)
			default:
				if len(want) > 0 {
					answered()
				}
				if k.c.state >= closing && !isCloseOk(octets) {
					k = r.open(1)
				}
			}
			k.send(octets)
		}
		answered()
		if compared == 0 {
			t.Errorf("%s: nothing was compared", name)
		}
	}
	f("handshake")
	f("wrong-password")
	f("missing-vhost")
	f("confirms", &amqp.QueueDeclare{Queue: "vecml", Arguments: amqp.Table{
		{Name: "x-max-length", Value: int32(1)}, {Name: "x-overflow", Value: "reject-publish"}}})
	f("errors", &amqp.QueueDeclare{Queue: "vecq", Durable: true})
	f("framing")
	f("consuming", &amqp.QueueDeclare{Queue: "vecq", Durable: true}, &amqp.QueueDeclare{Queue: "vecc"})
}

func isCloseOk(octets []byte) bool {
	return bytes.Equal(octets, frameOf(0, &amqp.ConnectionCloseOk{}))
}

// TestOnlyWhatIsTrueIsAnnounced compares our capabilities with RabbitMQ's: the same, in the
// same order (C-3).
func TestOnlyWhatIsTrueIsAnnounced(t *testing.T) {
	text, err := os.ReadFile("testdata/vectors/handshake.hex")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "< ") {
			continue
		}
		octets, err := hex.DecodeString(line[2:])
		if err != nil {
			t.Fatal(err)
		}
		frame, _, _ := amqp.ParseFrame(octets, 0)
		var theirs amqp.ConnectionStart
		if err := theirs.Decode(frame.Payload[4:]); err != nil {
			t.Fatal(err)
		}
		var o Options
		o.complete()
		v, _ := theirs.ServerProperties.Get("capabilities")
		ours, _ := o.serverProperties("").Get("capabilities")
		if !v.(amqp.Table).Equal(ours.(amqp.Table)) {
			t.Errorf("got %v, want %v", ours, v)
		}
		return
	}
}
