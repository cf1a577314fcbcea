package connection

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/policy"
	"github.com/leveretmq/leveret/queue"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata")

// TestScripts has clients say what is above ---- in each paragraph of testdata/*.txt and
// compares what they hear with what is below it. Lines are commands:
//
//	open a 1 2                    connection a shakes hands and opens channels 1 and 2
//	open a bare close-overdue 1   the same, of a client without capabilities, and with an option
//	accept a [frame-max=4096]     connection a without a handshake
//	a 1 queue.declare queue=q     a sends a method on channel 1
//	a 1 basic.publish routing_key=q body=hi delivery_mode=2
//	a raw "AMQP" 0102             a sends octets, as text or hexadecimal
//	a stops reading, a reads, a goes      the client stops, goes on, or hangs up
//	tick 3s                       time passes
//	hold, commit                  the disk waits until it is told
//	user u configure write read   a user whose password is its name
//	topic u exchange write read   a topic permission of that user
//	limit user|vhost name limit n
//	policy name pattern {key=l:1} on queues, and policy name to take it away
//	extend a 1 tag [delivery]     the deliveries of a consumer get their time anew
//	delete user|vhost name
//	alarm memory|disk|slow, clear memory|disk|slow
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScript(t, file) })
	}
}

func runScript(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &script{t: t, rig: newRig(t), names: make(map[string]*rigConn)}
	var out strings.Builder
	for _, paragraph := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
		commands, want, asked := strings.Cut(paragraph, "\n----")
		out.WriteString(commands)
		for _, line := range strings.Split(commands, "\n") {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				s.command(line)
			}
		}
		if got := s.heard(); got != "" || asked {
			out.WriteString("\n----" + got)
			if !*update && got != strings.TrimRight(want, "\n") {
				t.Errorf("%s: after\n%s\ngot%s\nwant%s", file, commands, got, want)
			}
		}
		out.WriteString("\n\n")
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.TrimSpace(out.String())+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

type script struct {
	t     *testing.T
	rig   *rig
	names map[string]*rigConn
	order []string
	said  []string // by the broker, to whoever is no client
}

func (s *script) command(line string) {
	s.t.Helper()
	words := fields(line)
	switch words[0] {
	case "open":
		s.open(words[1], words[2:])
	case "accept":
		s.accept(words[1], words[2:])
	case "tick":
		s.tick(words[1])
	case "hold":
		s.rig.held = true
	case "commit":
		s.rig.held = false
		s.rig.settle()
	case "user":
		s.user(words[1:])
	case "topic":
		_, err := s.rig.b.PutTopicPermission(auth.TopicPermission{User: words[1], VHost: "/", Exchange: words[2], Write: words[3], Read: words[4]})
		s.check(err)
		s.rig.settle()
	case "limit":
		s.limit(words[1], words[2], words[3], words[4])
	case "policy":
		s.policy(words[1:])
	case "extend":
		s.extend(words[1:])
	case "delete":
		s.delete(words[1], words[2])
	case "alarm", "clear":
		a, ok := map[string]broker.Alarm{"memory": broker.MemoryAlarm, "disk": broker.DiskAlarm, "slow": broker.SlowDiskAlarm}[words[1]]
		if !ok {
			s.t.Fatalf("no alarm %s", words[1])
		}
		s.rig.b.SetAlarm(a, words[0] == "alarm")
		s.rig.settle()
	default:
		s.client(words)
	}
}

func (s *script) open(name string, channels []string) {
	var o Options
	properties := capabilities
	for len(channels) > 0 && channels[0][0] > '9' {
		switch channels[0] {
		case "bare":
			properties = nil
		case "close-overdue":
			o.CloseOverdue = true
		default:
			s.t.Fatalf("no such option: %s", channels[0])
		}
		channels = channels[1:]
	}
	k := s.rig.accept(o)
	k.login("guest", properties)
	s.names[name] = k
	s.order = append(s.order, name)
	for _, ch := range channels {
		s.client([]string{name, ch, "channel.open"})
	}
	s.names[name].frames()
}

func (s *script) accept(name string, options []string) {
	var o Options
	for _, w := range options {
		key, value, _ := strings.Cut(w, "=")
		n, err := strconv.Atoi(value)
		s.check(err)
		switch key {
		case "frame-max":
			o.FrameMax = uint32(n)
		case "channel-max":
			o.ChannelMax = uint16(n)
		case "max-message":
			o.MaxMessageBytes = n
		case "heartbeat":
			o.Heartbeat = uint16(n)
		default:
			s.t.Fatalf("no such option: %s", w)
		}
	}
	s.names[name] = s.rig.accept(o)
	s.order = append(s.order, name)
}

func (s *script) tick(by string) {
	d, err := time.ParseDuration(by)
	s.check(err)
	s.rig.now = s.rig.now.Add(d)
	Ticker(s.rig.b)(s.rig.now)
	for _, name := range s.order {
		k := s.names[name]
		if k.err == nil {
			_, k.err = k.c.Tick(s.rig.now)
		}
	}
	s.rig.settle()
}

func (s *script) user(words []string) {
	b := s.rig.b
	_, err := b.PutUser(auth.User{Name: words[0], PasswordHash: b.HashPassword(words[0]), Algorithm: auth.SHA256})
	s.check(err)
	if len(words) > 1 {
		_, err = b.PutPermission(auth.Permission{User: words[0], VHost: "/", Configure: words[1], Write: words[2], Read: words[3]})
		s.check(err)
	}
	s.rig.settle()
}

func (s *script) limit(of, name, limit, value string) {
	n, err := strconv.ParseInt(value, 10, 64)
	s.check(err)
	set := s.rig.b.SetUserLimit
	if of == "vhost" {
		set = s.rig.b.SetVHostLimit
	}
	_, err = set(name, limit, n)
	s.check(err)
	s.rig.settle()
}

func (s *script) policy(words []string) {
	var out queue.Effects
	if len(words) > 1 {
		d, _ := s.table(words[2])
		_, err := s.rig.b.SetPolicy(s.rig.now, policy.Policy{VHost: "/", Name: words[0], Pattern: words[1], ApplyTo: policy.Queues, Definition: d}, &out)
		s.check(err)
	} else {
		_, err := s.rig.b.DeletePolicy(s.rig.now, "/", words[0], &out)
		s.check(err)
	}
	s.rig.b.Flush(s.rig.now, &out)
	s.rig.settle()
}

func (s *script) extend(words []string) {
	tag := uint64(0)
	if len(words) > 3 {
		n, err := strconv.ParseUint(words[3], 10, 64)
		s.check(err)
		tag = n
	}
	channel := fmt.Sprintf("%s (%s)", s.names[words[0]].c.peer.Name, words[1])
	if err := s.rig.b.ExtendConsumer(s.rig.now, "/", channel, words[2], tag); err != nil {
		s.said = append(s.said, err.Error())
	}
}

func (s *script) delete(what, name string) {
	if what == "user" {
		s.rig.b.DeleteUser(name)
	} else {
		var out queue.Effects
		s.rig.b.DeleteVHost(s.rig.now, name, &out)
		s.rig.b.Flush(s.rig.now, &out)
	}
	s.rig.settle()
}

func (s *script) client(words []string) {
	s.t.Helper()
	k := s.names[words[0]]
	if k == nil {
		s.t.Fatalf("no such command or connection: %s", words[0])
	}
	switch rest := strings.Join(words[1:], " "); {
	case rest == "stops reading":
		k.stopped = true
	case rest == "reads":
		k.stopped = false
		s.rig.settle()
	case rest == "goes":
		k.c.Close(s.rig.now, errors.New("client closed the socket"))
		k.err = ErrEnded
		s.rig.settle()
	case rest == "shutdown":
		k.c.Shutdown(s.rig.now, errors.New("broker forced connection closure with reason 'shutdown'"))
		k.feed() // as the server does, because a blocked connection has not been read
		s.rig.settle()
	case words[1] == "raw":
		k.send(s.octets(words[2:]))
	default:
		channel, err := strconv.ParseUint(words[1], 10, 16)
		s.check(err)
		k.send(s.frames(uint16(channel), words[2], words[3:]))
	}
}

// heard is what each connection's client has heard since the last time.
func (s *script) heard() string {
	var b strings.Builder
	for _, line := range s.said {
		b.WriteString("\n" + line)
	}
	s.said = nil
	for _, name := range s.order {
		k := s.names[name]
		if strings.HasPrefix(string(k.received), "AMQP") {
			fmt.Fprintf(&b, "\n%s %q", name, k.received[:8])
			k.received = k.received[8:]
		}
		for _, line := range k.lines() {
			fmt.Fprintf(&b, "\n%s %s", name, line)
		}
		if k.failed != nil {
			fmt.Fprintf(&b, "\n%s fails: %v", name, k.failed)
			k.failed = nil
		}
		if k.err != nil && s.names[name].in != nil || k.err != nil && !k.c.released {
			k.c.Close(s.rig.now, nil)
		}
		if k.err != nil && k.c.state == ended && !k.gone {
			k.gone = true
			fmt.Fprintf(&b, "\n%s ended", name)
			if r := k.c.Reason(); r != nil {
				fmt.Fprintf(&b, ": %v", r)
			}
			s.rig.settle()
		}
	}
	return b.String()
}

func (s *script) octets(words []string) (b []byte) {
	for _, w := range words {
		if text, err := strconv.Unquote(w); err == nil {
			b = append(b, text...)
			continue
		}
		h, err := hex.DecodeString(w)
		s.check(err)
		b = append(b, h...)
	}
	return b
}

// frames makes the frames of a method, which is written as Frame.String writes it, with
// what is zero left out.
func (s *script) frames(channel uint16, name string, args []string) []byte {
	m := methodNamed(name)
	if m == nil {
		s.t.Fatalf("no method %s", name)
	}
	var p amqp.Properties
	body, frameMax := "", uint32(131072)
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		switch {
		case key == "body":
			body = unquote(value)
		case key == "octets":
			n, err := strconv.Atoi(value)
			s.check(err)
			body = strings.Repeat("x", n)
		case key == "frames-of":
			n, err := strconv.Atoi(value)
			s.check(err)
			frameMax = uint32(n + 8)
		case s.set(m, key, value, ok):
		case s.set(&p, key, value, ok):
			p.Flags |= flagOf(key)
		default:
			s.t.Fatalf("%s has no %s", name, key)
		}
	}
	b := frameOf(channel, m)
	if name == "basic.publish" {
		b = amqp.AppendHeader(b, channel, uint64(len(body)), p.Append(nil))
		b = amqp.AppendBody(b, channel, []byte(body), frameMax)
	}
	return b
}

func (s *script) set(to any, key, value string, hasValue bool) bool {
	v := reflect.ValueOf(to).Elem().FieldByNameFunc(func(name string) bool {
		return strings.EqualFold(name, strings.ReplaceAll(key, "_", "")) && name != "Flags"
	})
	if !v.IsValid() {
		return false
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!hasValue || value == "true")
	case reflect.String:
		v.SetString(unquote(value))
	case reflect.Slice:
		t, rest := s.table(value)
		if rest != "" {
			s.t.Fatalf("surplus %q", rest)
		}
		v.Set(reflect.ValueOf(t))
	default:
		n, err := strconv.ParseUint(value, 10, 64)
		s.check(err)
		v.SetUint(n)
	}
	return true
}

// table reads {a=S:text b=I:5 c=A:[x,y] d=F:{...}}; the entries are separated by |.
func (s *script) table(text string) (t amqp.Table, rest string) {
	text = strings.TrimPrefix(text, "{")
	for text != "" && text[0] != '}' {
		var name, tag string
		name, text, _ = strings.Cut(strings.TrimPrefix(text, "|"), "=")
		tag, text, _ = strings.Cut(text, ":")
		var v any
		if tag == "F" {
			v, text = s.table(text)
		} else {
			end := strings.IndexAny(text, "|}")
			v, text = s.value(tag, text[:end]), text[end:]
		}
		t = append(t, amqp.Field{Name: name, Value: v})
	}
	return t, strings.TrimPrefix(text, "}")
}

func (s *script) value(tag, text string) any {
	n, _ := strconv.ParseInt(text, 10, 64)
	switch tag {
	case "S":
		return text
	case "I":
		return int32(n)
	case "l":
		return n
	case "t":
		return text == "true"
	case "V":
		return nil
	case "A":
		var a amqp.Array
		for _, w := range strings.Split(strings.Trim(text, "[]"), ",") {
			a = append(a, w)
		}
		return a
	}
	s.t.Fatalf("no tag %q", tag)
	return nil
}

func (s *script) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func methodNamed(name string) amqp.Method {
	for class := uint16(10); class <= 90; class += 5 {
		for id := uint16(10); id <= 120; id++ {
			if amqp.MethodName(class, id) == name {
				return amqp.NewMethod(class, id)
			}
		}
	}
	return nil
}

func flagOf(key string) uint16 {
	return map[string]uint16{
		"content_type": amqp.FlagContentType, "headers": amqp.FlagHeaders, "delivery_mode": amqp.FlagDeliveryMode,
		"priority": amqp.FlagPriority, "correlation_id": amqp.FlagCorrelationID, "reply_to": amqp.FlagReplyTo,
		"expiration": amqp.FlagExpiration, "message_id": amqp.FlagMessageID, "user_id": amqp.FlagUserID,
	}[key]
}

// fields splits at spaces outside quotation marks.
func fields(line string) []string {
	quoted := false
	return strings.FieldsFunc(line, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	})
}

func unquote(s string) string {
	if u, err := strconv.Unquote(s); err == nil {
		return u
	}
	return s
}
