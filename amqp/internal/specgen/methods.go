package main

import (
	"bytes"
	"fmt"
	"strings"
)

// borrowing is the one method whose strings alias the bytes it was decoded from: it is
// decoded once per message, and its strings have been looked up before the next read. They
// are the only names that need not be UTF-8: RabbitMQ does not check them, and there are
// publishers whose routing keys are not (W-28).
const borrowing = "BasicPublish"

// opaque are the methods that carry such a routing key on to a client.
var opaque = map[string]bool{"BasicReturn": true, "BasicDeliver": true, "BasicGetOk": true}

func writeMethods(b *bytes.Buffer, s *spec) {
	b.WriteString("import \"encoding/binary\"\n\n")
	b.WriteString("// NewMethod returns an empty method to decode into, or nil when the ids name none.\n")
	b.WriteString("func NewMethod(class, method uint16) Method {\nswitch uint32(class)<<16 | uint32(method) {\n")
	eachMethod(s, func(c class, m method) {
		fmt.Fprintf(b, "case %d<<16 | %d:\nreturn new(%s)\n", c.Index, m.Index, structName(c, m))
	})
	b.WriteString("}\nreturn nil\n}\n\n")

	b.WriteString("// MethodName returns a method's name, such as basic.publish, or \"\" when the ids name none.\n")
	b.WriteString("func MethodName(class, method uint16) string {\nswitch uint32(class)<<16 | uint32(method) {\n")
	eachMethod(s, func(c class, m method) {
		fmt.Fprintf(b, "case %d<<16 | %d:\nreturn %q\n", c.Index, m.Index, c.Name+"."+m.Name)
	})
	b.WriteString("}\nreturn \"\"\n}\n\n")

	eachMethod(s, func(c class, m method) { writeMethod(b, c, m) })
}

func eachMethod(s *spec, f func(c class, m method)) {
	for _, c := range s.Classes {
		for _, m := range c.Methods {
			f(c, m)
		}
	}
}

func structName(c class, m method) string { return goName(c.Name) + goName(m.Name) }

func writeMethod(b *bytes.Buffer, c class, m method) {
	name := structName(c, m)
	fmt.Fprintf(b, "// %s is %s.%s (%d.%d), sent by %s%s.\n", name, c.Name, m.Name, c.Index, m.Index, sender(c, m), content(m))
	if name == borrowing {
		b.WriteString("//\n// Its strings alias the bytes it was decoded from and are valid until those are reused.\n")
		b.WriteString("// They need not be UTF-8 (W-28).\n")
	}
	if opaque[name] {
		b.WriteString("//\n// The routing key need not be UTF-8 (W-28).\n")
	}
	fmt.Fprintf(b, "type %s struct {\n", name)
	for _, f := range m.Fields {
		if !f.Reserved {
			fmt.Fprintf(b, "%s %s\n", goName(f.Name), goTypes[f.Type])
		}
	}
	b.WriteString("}\n\n")

	fmt.Fprintf(b, "// ID returns %d and %d.\n", c.Index, m.Index)
	fmt.Fprintf(b, "func (m *%s) ID() (class, method uint16) { return %d, %d }\n\n", name, c.Index, m.Index)
	fmt.Fprintf(b, "// Name returns %s.%s.\n", c.Name, m.Name)
	fmt.Fprintf(b, "func (m *%s) Name() string { return %q }\n\n", name, c.Name+"."+m.Name)

	b.WriteString("// Decode reads the arguments, which are all of b; see Method.\n")
	fmt.Fprintf(b, "func (m *%s) Decode(b []byte) error {\nd := decoder{b: b}\n", name)
	writeDecode(b, m, name)
	fmt.Fprintf(b, "return d.end(b, %d, %d)\n}\n\n", c.Index, m.Index)

	b.WriteString("// Append appends the method's ids and arguments to dst.\n")
	fmt.Fprintf(b, "func (m *%s) Append(dst []byte) []byte {\n", name)
	fmt.Fprintf(b, "dst = append(dst, %d, %d, %d, %d)\n", c.Index>>8, c.Index&0xff, m.Index>>8, m.Index&0xff)
	writeAppend(b, m)
	b.WriteString("return dst\n}\n\n")
}

func sender(c class, m method) string {
	client, server := false, false
	for _, ch := range m.Chassis {
		server = server || ch.Name == "client"
		client = client || ch.Name == "server"
	}
	// The XML lists both sides for connection.blocked and update-secret-ok the wrong
	// one, but only the server sends them.
	if c.Name == "connection" {
		switch m.Name {
		case "blocked", "unblocked", "update-secret-ok":
			client, server = false, true
		case "update-secret":
			client, server = true, false
		}
	}
	switch {
	case client && server:
		return "either side"
	case client:
		return "the client"
	}
	return "the server"
}

func content(m method) string {
	if m.Content {
		return " and followed by content"
	}
	return ""
}

func writeDecode(b *bytes.Buffer, m method, name string) {
	declared := false
	for i := 0; i < len(m.Fields); {
		f := m.Fields[i]
		if f.Type == "bit" {
			run := bitRun(m.Fields[i:])
			assign := "="
			if !declared {
				assign, declared = ":=", true
			}
			if allReserved(run) {
				b.WriteString("d.octet()\n")
			} else {
				fmt.Fprintf(b, "bits %s d.octet()\n", assign)
			}
			for n, f := range run {
				if !f.Reserved {
					fmt.Fprintf(b, "m.%s = bits&%d != 0\n", goName(f.Name), 1<<n)
				}
			}
			i += len(run)
			continue
		}
		read := f.Type
		switch {
		case f.Reserved && f.Type == "shortstr":
			read = "skipShortstr"
		case f.Reserved && f.Type == "longstr":
			read = "skipLongstr"
		case f.Type == "shortstr" && name == borrowing:
			read = "borrowedShortstr"
		case f.Type == "shortstr" && opaque[name] && f.Name == "routing-key":
			read = "shortstr"
		case f.Type == "shortstr":
			read = "name"
		}
		if f.Reserved {
			fmt.Fprintf(b, "d.%s()\n", read)
		} else {
			fmt.Fprintf(b, "m.%s = d.%s()\n", goName(f.Name), read)
		}
		i++
	}
}

func writeAppend(b *bytes.Buffer, m method) {
	for i := 0; i < len(m.Fields); {
		f := m.Fields[i]
		if f.Type == "bit" {
			run := bitRun(m.Fields[i:])
			var terms []string
			for n, f := range run {
				switch {
				case f.Reserved:
				case n == 0:
					terms = append(terms, fmt.Sprintf("bit(m.%s)", goName(f.Name)))
				default:
					terms = append(terms, fmt.Sprintf("bit(m.%s)<<%d", goName(f.Name), n))
				}
			}
			if terms == nil {
				terms = []string{"0"}
			}
			fmt.Fprintf(b, "dst = append(dst, %s)\n", strings.Join(terms, "|"))
			i += len(run)
			continue
		}
		if f.Reserved {
			zero := map[string]string{"short": "0, 0", "shortstr": "0", "longstr": "0, 0, 0, 0"}[f.Type]
			fmt.Fprintf(b, "dst = append(dst, %s)\n", zero)
		} else {
			b.WriteString(appendField(f, "m"))
		}
		i++
	}
}

// bitRun returns the bits at the start of fields that share an octet (W-30).
func bitRun(fields []field) []field {
	n := 0
	for n < len(fields) && n < 8 && fields[n].Type == "bit" {
		n++
	}
	return fields[:n]
}

func allReserved(fields []field) bool {
	for _, f := range fields {
		if !f.Reserved {
			return false
		}
	}
	return true
}

// appendField is the line that appends a field other than a bit.
func appendField(f field, receiver string) string {
	value := receiver + "." + goName(f.Name)
	switch f.Type {
	case "octet":
		return fmt.Sprintf("dst = append(dst, %s)\n", value)
	case "short":
		return fmt.Sprintf("dst = binary.BigEndian.AppendUint16(dst, %s)\n", value)
	case "long":
		return fmt.Sprintf("dst = binary.BigEndian.AppendUint32(dst, %s)\n", value)
	case "longlong":
		return fmt.Sprintf("dst = binary.BigEndian.AppendUint64(dst, %s)\n", value)
	case "timestamp":
		return fmt.Sprintf("dst = binary.BigEndian.AppendUint64(dst, uint64(%s))\n", value)
	case "shortstr":
		return fmt.Sprintf("dst = appendShortstr(dst, %s)\n", value)
	case "longstr":
		return fmt.Sprintf("dst = appendLongstr(dst, %s)\n", value)
	}
	return fmt.Sprintf("dst = AppendTable(dst, %s)\n", value)
}
