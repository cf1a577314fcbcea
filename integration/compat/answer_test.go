package compat

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/leveretmq/leveret/amqp"
)

// namesMade are the names that servers make up.
var namesMade = regexp.MustCompile(`amq\.(gen-|ctag-|rabbitmq\.reply-to\.)[A-Za-z0-9_.=+/-]+`)

var (
	octetDump  = regexp.MustCompile(`octets = <<.*?>>`)
	wrapped    = regexp.MustCompile(`,\\n +`)
	deathTime  = regexp.MustCompile(`time=T:\d+`)
	aName      = regexp.MustCompile(`(amq\.(?:gen-|ctag-|rabbitmq\.reply-to\.))\((\d+)\)`)
	properties = regexp.MustCompile(`\b(cluster_name|copyright|information|platform|version|product_name|product_version)=S:"[^"]*"`)
)

// mask hides in an answer what cannot be the same.
func (s *side) mask(text string) string {
	text = namesMade.ReplaceAllStringFunc(text, func(made string) string {
		prefix := namesMade.FindStringSubmatch(made)[1]
		return fmt.Sprintf("amq.%s(%d)", prefix, slices.Index(s.names, made)+1)
	})
	// How octets are written in an error text is Erlang's business (W-10).
	text = wrapped.ReplaceAllString(octetDump.ReplaceAllString(text, "octets = <<…>>"), ",")
	text = deathTime.ReplaceAllString(text, "time=T:(now)")
	return properties.ReplaceAllString(text, "$1=S:(its own)")
}

// unmask puts the name that the server made for amq.gen-(1).
func (s *side) unmask(text string) string {
	return aName.ReplaceAllStringFunc(text, func(masked string) string {
		n, err := strconv.Atoi(aName.FindStringSubmatch(masked)[2])
		if err != nil || n < 1 || n > len(s.names) {
			return masked
		}
		return s.names[n-1]
	})
}

// The streams of a channel, in the order an answer has them.
const (
	replies = iota
	deliveries
	publishing
	streams
)

func stream(f amqp.Frame) int {
	switch amqp.MethodName(f.MethodID()) {
	case "basic.deliver", "basic.consume-ok", "basic.cancel-ok", "basic.cancel":
		return deliveries
	case "basic.return", "basic.ack", "basic.nack", "tx.commit-ok":
		return publishing
	}
	return replies
}

// answer is everything heard since the step began, one line for each frame, masked, in an
// order that does not depend on what happened at the same time.
func (s *side) answer() string {
	type key struct {
		conn    string
		channel uint16
		stream  int
	}
	lines := make(map[key][]string)
	confirms := make(map[key]map[string][]uint64)
	content := make(map[key]int) // the stream that a channel's content belongs to
	flush := func(k key) {
		for _, what := range []string{"basic.ack", "basic.nack"} {
			tags := confirms[k][what]
			if len(tags) > 0 {
				slices.Sort(tags)
				lines[k] = append(lines[k], fmt.Sprintf("%s ch=%d %s %d", k.conn, k.channel, what, tags))
			}
		}
		delete(confirms, k)
	}
	for _, h := range s.step {
		k := key{conn: h.conn, channel: h.channel}
		switch {
		case h.text != "":
			lines[k] = append(lines[k], h.conn+" "+h.text)
			continue
		case h.frame.Type != amqp.FrameMethod:
			k.stream = content[key{conn: h.conn, channel: h.channel}]
		default:
			k.stream = stream(h.frame)
			content[key{conn: h.conn, channel: h.channel}] = k.stream
		}
		if h.settled != nil {
			if confirms[k] == nil {
				confirms[k] = make(map[string][]uint64)
			}
			what := amqp.MethodName(h.frame.MethodID())
			confirms[k][what] = append(confirms[k][what], h.settled...)
			continue
		}
		flush(k)
		lines[k] = append(lines[k], h.conn+" "+render(h.frame))
	}
	for k := range confirms {
		flush(k)
	}
	keys := make([]key, 0, len(lines))
	for k := range lines {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		if c := strings.Compare(a.conn, b.conn); c != 0 {
			return c
		}
		return (int(a.channel)-int(b.channel))*streams + a.stream - b.stream
	})
	var all []string
	for _, k := range keys {
		all = append(all, lines[k]...)
	}
	return s.mask(strings.Join(all, "\n"))
}

// render is a frame's text with its tables sorted: their order is no promise (W-42, DLX-8).
func render(f amqp.Frame) string {
	switch f.Type {
	case amqp.FrameHeader:
		h := f.ContentHeader()
		var p amqp.Properties
		if p.Decode(h.Properties) == nil && p.Headers != nil {
			p.Headers = sorted(p.Headers).(amqp.Table)
			framed := amqp.AppendHeader(nil, f.Channel, h.BodySize, p.Append(nil))
			if again, _, err := amqp.ParseFrame(framed, 0); err == nil {
				return again.String()
			}
		}
	case amqp.FrameMethod:
		if m, ok := decode(f).(*amqp.ConnectionStart); ok {
			m.ServerProperties = sorted(m.ServerProperties).(amqp.Table)
			mechanisms := strings.Fields(m.Mechanisms)
			slices.Sort(mechanisms)
			m.Mechanisms = strings.Join(mechanisms, " ")
			if again, _, err := amqp.ParseFrame(amqp.AppendMethod(nil, f.Channel, m), 0); err == nil {
				return again.String()
			}
		}
	}
	return f.String()
}

func sorted(v any) any {
	switch v := v.(type) {
	case amqp.Table:
		t := v.Sorted()
		for i := range t {
			t[i].Value = sorted(t[i].Value)
		}
		return t
	case amqp.Array:
		a := slices.Clone(v)
		for i := range a {
			a[i] = sorted(a[i])
		}
		return a
	}
	return v
}
