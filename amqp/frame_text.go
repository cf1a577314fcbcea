package amqp

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode"
)

// String is the frame on one line, the same for the same bytes:
//
//	ch=1 basic.publish{exchange="" routing_key="q" mandatory=false immediate=false}
//	ch=1 HEADER class=60 weight=0 size=2 flags=3000 headers={h=S:"x"} delivery_mode=2
//	ch=1 BODY "hi"
//	ch=0 HEARTBEAT
//
// Table values carry their tag. A long body shows its beginning and its size, and what
// carries a password shows only its size.
func (f Frame) String() string {
	dst := fmt.Appendf(nil, "ch=%d ", f.Channel)
	switch {
	case f.Type == FrameMethod && len(f.Payload) >= 4:
		dst = f.appendMethodText(dst)
	case f.Type == FrameHeader && len(f.Payload) >= contentHeaderSize:
		dst = f.appendHeaderText(dst)
	case f.Type == FrameBody:
		dst = appendBodyText(append(dst, "BODY "...), f.Payload)
	case f.Type == FrameHeartbeat && len(f.Payload) == 0:
		dst = append(dst, "HEARTBEAT"...)
	default:
		dst = fmt.Appendf(dst, "type %d %s", f.Type, dump(f.Payload, maxDump))
	}
	return string(dst)
}

func (f Frame) appendMethodText(dst []byte) []byte {
	class, method := f.MethodID()
	m, args := NewMethod(class, method), f.Payload[4:]
	if m == nil {
		return fmt.Appendf(dst, "method %d.%d %s", class, method, dump(args, maxDump))
	}
	dst = append(append(dst, m.Name()...), '{')
	if m.Decode(args) != nil {
		return fmt.Appendf(dst, "undecodable %s}", dump(args, maxDump))
	}
	fields := reflect.ValueOf(m).Elem()
	for i := range fields.NumField() {
		if i > 0 {
			dst = append(dst, ' ')
		}
		name := fields.Type().Field(i).Name
		if secret(m, name) {
			dst = fmt.Appendf(dst, "%s=(%d octets)", snake(name), fields.Field(i).Len())
			continue
		}
		dst = appendFieldText(dst, name, fields.Field(i))
	}
	return append(dst, '}')
}

// secret reports whether an argument may hold a password.
func secret(m Method, field string) bool {
	switch m.(type) {
	case *ConnectionStartOk, *ConnectionSecureOk:
		return field == "Response"
	case *ConnectionUpdateSecret:
		return field == "NewSecret"
	}
	return false
}

func (f Frame) appendHeaderText(dst []byte) []byte {
	h := f.ContentHeader()
	dst = fmt.Appendf(dst, "HEADER class=%d weight=%d size=%d ", h.Class, h.Weight, h.BodySize)
	var p Properties
	if p.Decode(h.Properties) != nil {
		return fmt.Appendf(dst, "undecodable %s", dump(h.Properties, maxDump))
	}
	dst = fmt.Appendf(dst, "flags=%04x", p.Flags)
	fields := reflect.ValueOf(p)
	// The properties are the first fields, in the order of their flags.
	for i := 0; knownFlags&(0x8000>>i) != 0; i++ {
		if p.Has(0x8000 >> i) {
			dst = appendFieldText(append(dst, ' '), fields.Type().Field(i).Name, fields.Field(i))
		}
	}
	return dst
}

func appendFieldText(dst []byte, name string, v reflect.Value) []byte {
	dst = append(append(dst, snake(name)...), '=')
	switch v := v.Interface().(type) {
	case string:
		return strconv.AppendQuote(dst, v)
	case Table:
		return appendTableText(dst, v)
	default:
		return fmt.Append(dst, v)
	}
}

func appendBodyText(dst, body []byte) []byte {
	if len(body) <= maxDump {
		return strconv.AppendQuote(dst, string(body))
	}
	dst = strconv.AppendQuote(dst, string(body[:maxDump]))
	return fmt.Appendf(dst, "... (%d octets)", len(body))
}

// String is the table on one line, its values with their tags: {n=l:1, s=S:"x"}.
func (t Table) String() string { return string(appendTableText(nil, t)) }

func appendTableText(dst []byte, t Table) []byte {
	dst = append(dst, '{')
	for i, f := range t {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(appendNameText(dst, f.Name), '=')
		dst = appendValueText(dst, f.Value)
	}
	return append(dst, '}')
}

// appendNameText leaves ordinary names as they are and quotes the others, so that a
// name cannot pass for several entries or break the line.
func appendNameText(dst []byte, name string) []byte {
	strange := func(r rune) bool {
		return !unicode.IsPrint(r) || strings.ContainsRune(" =,:{}[]\"\ufffd", r)
	}
	if name == "" || strings.ContainsFunc(name, strange) {
		return strconv.AppendQuote(dst, name)
	}
	return append(dst, name...)
}

func appendValueText(dst []byte, v any) []byte {
	tag := tagOf(v)
	if v == nil {
		return append(dst, tag)
	}
	dst = append(dst, tag, ':')
	switch v := v.(type) {
	case string:
		return strconv.AppendQuote(dst, v)
	case []byte:
		return strconv.AppendQuote(dst, string(v))
	case Decimal:
		return fmt.Appendf(dst, "%d/%d", v.Scale, v.Value)
	case Table:
		return appendTableText(dst, v)
	case Array:
		dst = append(dst, '[')
		for i, e := range v {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = appendValueText(dst, e)
		}
		return append(dst, ']')
	default:
		return fmt.Append(dst, v)
	}
}

// snake turns a field's name into the way it is written in logs: RoutingKey is
// routing_key, ClassID is class_id.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 && unicode.IsLower(rune(name[i-1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
