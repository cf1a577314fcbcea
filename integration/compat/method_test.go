package compat

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/leveretmq/leveret/amqp"
)

// said is what a line has a client send.
type said struct {
	method amqp.Method
	frames []byte
}

// methodNamed finds a method of the protocol by its name.
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

// method makes the frames of a method, and of the content that basic.publish has with it.
func method(channel uint16, name string, args []string) (said, error) {
	m := methodNamed(name)
	if m == nil {
		return said{}, fmt.Errorf("no method %s", name)
	}
	var p amqp.Properties
	body, frameMax, bare := "", uint32(131072), false
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		var err error
		switch {
		case key == "body":
			body = text(value)
		case key == "octets": // a body of so many
			var n int
			if n, err = strconv.Atoi(value); err == nil {
				body = strings.Repeat("0123456789", n/10+1)[:n]
			}
		case key == "frames_of":
			var n uint64
			n, err = strconv.ParseUint(value, 10, 32)
			frameMax = uint32(n) + 8
		case key == "bare": // without its content
			bare = true
		default:
			var known bool
			if known, err = set(m, key, value, ok); !known {
				if known, err = set(&p, key, value, ok); known {
					p.Flags |= flagOf(key)
				}
			}
			if !known {
				err = fmt.Errorf("%s has no %s", name, key)
			}
		}
		if err != nil {
			return said{}, err
		}
	}
	b := amqp.AppendMethod(nil, channel, m)
	if name == "basic.publish" && !bare {
		b = amqp.AppendHeader(b, channel, uint64(len(body)), p.Append(nil))
		b = amqp.AppendBody(b, channel, []byte(body), frameMax)
	}
	return said{m, b}, nil
}

// header makes a content header by itself, whose flags and size need not be true.
func header(channel uint16, args []string) ([]byte, error) {
	h := []byte{0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "class", "weight", "size":
			n, err := strconv.ParseUint(value, 10, 40)
			if err != nil {
				return nil, err
			}
			switch key {
			case "class":
				h[0], h[1] = byte(n>>8), byte(n)
			case "weight":
				h[2], h[3] = byte(n>>8), byte(n)
			default:
				for i := range 8 {
					h[4+i] = byte(n >> (8 * (7 - i)))
				}
			}
		case "octets": // flags and properties
			b, err := hex.DecodeString(value)
			if err != nil {
				return nil, err
			}
			h = append(h, b...)
		default:
			return nil, fmt.Errorf("a content header has no %s", key)
		}
	}
	return amqp.AppendFrame(nil, amqp.Frame{Type: amqp.FrameHeader, Channel: channel, Payload: h}), nil
}

// octets reads text in quotation marks and hexadecimal.
func octets(args []string) (b []byte, err error) {
	for _, w := range args {
		if t, err := strconv.Unquote(w); err == nil {
			b = append(b, t...)
			continue
		}
		h, err := hex.DecodeString(w)
		if err != nil {
			return nil, err
		}
		b = append(b, h...)
	}
	return b, nil
}

// set gives a field of to its value; known is false when to has no such field.
func set(to any, key, value string, hasValue bool) (known bool, err error) {
	v := reflect.ValueOf(to).Elem().FieldByNameFunc(func(name string) bool {
		return strings.EqualFold(name, strings.ReplaceAll(key, "_", "")) && name != "Flags"
	})
	if !v.IsValid() {
		return false, nil
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!hasValue || value == "true")
	case reflect.String:
		v.SetString(text(value))
	case reflect.Slice:
		if v.Type() != reflect.TypeFor[amqp.Table]() {
			v.SetBytes([]byte(text(value)))
			return true, nil
		}
		r := reader{rest: value}
		t := r.table()
		if r.rest != "" {
			r.fail("surplus")
		}
		v.Set(reflect.ValueOf(t))
		return true, r.err
	default:
		n, err := strconv.ParseUint(value, 10, 64)
		v.SetUint(n)
		return true, err
	}
	return true, nil
}

func text(s string) string {
	if u, err := strconv.Unquote(s); err == nil {
		return u
	}
	return s
}

func flagOf(key string) uint16 {
	return map[string]uint16{
		"content_type": amqp.FlagContentType, "content_encoding": amqp.FlagContentEncoding, "headers": amqp.FlagHeaders,
		"delivery_mode": amqp.FlagDeliveryMode, "priority": amqp.FlagPriority, "correlation_id": amqp.FlagCorrelationID,
		"reply_to": amqp.FlagReplyTo, "expiration": amqp.FlagExpiration, "message_id": amqp.FlagMessageID,
		"timestamp": amqp.FlagTimestamp, "type": amqp.FlagType, "user_id": amqp.FlagUserID, "app_id": amqp.FlagAppID,
		"cluster_id": amqp.FlagClusterID,
	}[key]
}

// reader reads tables as amqp.Table.String writes them: {n=l:1, a=A:[S:"x", V]}.
type reader struct {
	rest string
	err  error
}

func (r *reader) fail(why string) {
	if r.err == nil {
		r.err = fmt.Errorf("%s at %q", why, r.rest)
	}
	r.rest = ""
}

func (r *reader) eat(prefix string) bool {
	rest, ok := strings.CutPrefix(r.rest, prefix)
	r.rest = rest
	return ok
}

func (r *reader) table() (t amqp.Table) {
	if !r.eat("{") {
		r.fail("no {")
	}
	t = amqp.Table{}
	for r.err == nil && !r.eat("}") {
		if r.eat(", ") || r.rest == "" {
			if r.rest == "" {
				r.fail("no }")
			}
			continue
		}
		name := r.until("=")
		r.eat("=")
		t = append(t, amqp.Field{Name: name, Value: r.value()})
	}
	return t
}

// until takes a word, or a text in quotation marks.
func (r *reader) until(ends string) string {
	if q, err := strconv.QuotedPrefix(r.rest); err == nil {
		r.rest = r.rest[len(q):]
		return text(q)
	}
	i := strings.IndexAny(r.rest, ends)
	if i < 0 {
		i = len(r.rest)
	}
	w := r.rest[:i]
	r.rest = r.rest[i:]
	return w
}

func (r *reader) value() any {
	tag := r.until(":,]}")
	if tag == "V" {
		return nil
	}
	if !r.eat(":") {
		r.fail("no : after a tag")
		return nil
	}
	switch tag {
	case "F":
		return r.table()
	case "A":
		a := amqp.Array{}
		if !r.eat("[") {
			r.fail("no [")
		}
		for r.err == nil && !r.eat("]") {
			if !r.eat(", ") {
				a = append(a, r.value())
			}
			if r.rest == "" {
				r.fail("no ]")
			}
		}
		return a
	}
	w := r.until(",]}")
	v, err := scalar(tag, w)
	if err != nil {
		r.err = err
	}
	return v
}

func scalar(tag, w string) (any, error) {
	switch tag {
	case "t":
		return strconv.ParseBool(w)
	case "S":
		return w, nil
	case "x":
		return []byte(w), nil
	case "f":
		f, err := strconv.ParseFloat(w, 32)
		return float32(f), err
	case "d":
		return strconv.ParseFloat(w, 64)
	case "T":
		n, err := strconv.ParseUint(w, 10, 64)
		return amqp.Timestamp(n), err
	case "D":
		var d amqp.Decimal
		_, err := fmt.Sscanf(w, "%d/%d", &d.Scale, &d.Value)
		return d, err
	}
	n, err := strconv.ParseInt(w, 10, 64)
	switch tag {
	case "b":
		return int8(n), err
	case "B":
		return uint8(n), err
	case "s":
		return int16(n), err
	case "u":
		return uint16(n), err
	case "I":
		return int32(n), err
	case "i":
		return uint32(n), err
	case "l":
		return n, err
	}
	return nil, fmt.Errorf("no tag %q", tag)
}
