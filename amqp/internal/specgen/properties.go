package main

import (
	"bytes"
	"fmt"
)

func writeProperties(b *bytes.Buffer, s *spec) {
	fields := s.class("basic").Fields
	b.WriteString("import \"encoding/binary\"\n\n")

	b.WriteString("// Property flags, in the order the properties follow them (W-40).\nconst (\n")
	for i, f := range fields {
		fmt.Fprintf(b, "Flag%s uint16 = %#x\n", goName(f.Name), 0x8000>>i)
	}
	b.WriteString(")\n\n")
	fmt.Fprintf(b, "// knownFlags has every property's flag.\nconst knownFlags uint16 = %#x\n\n", 0xffff&^(0xffff>>len(fields)))

	b.WriteString(`// Properties are the content properties of a message.
//
// A property is there when its flag is set in Flags, whatever its field holds.
`)
	b.WriteString("type Properties struct {\n")
	for _, f := range fields {
		fmt.Fprintf(b, "%s %s\n", goName(f.Name), goTypes[f.Type])
	}
	b.WriteString("\nFlags uint16 // which of the above are there\n}\n\n")

	b.WriteString(`// Decode reads the flags and the properties, which are all of b. Strings are not checked
// for UTF-8 (W-28). It fails as W-41: hard 501 for flags of a second word, missing or
// surplus octets, hard 502 for headers that cannot be read.
`)
	b.WriteString("func (p *Properties) Decode(b []byte) error {\nd := decoder{b: b}\n*p = Properties{Flags: d.flags()}\n")
	for _, f := range fields {
		fmt.Fprintf(b, "if p.Flags&Flag%s != 0 {\np.%s = d.%s()\n}\n", goName(f.Name), goName(f.Name), f.Type)
	}
	b.WriteString("return d.endProperties(b)\n}\n\n")

	b.WriteString("// Append appends the flags and the properties they name to dst.\n")
	b.WriteString("func (p *Properties) Append(dst []byte) []byte {\ndst = binary.BigEndian.AppendUint16(dst, p.Flags&knownFlags)\n")
	for _, f := range fields {
		fmt.Fprintf(b, "if p.Flags&Flag%s != 0 {\n%s}\n", goName(f.Name), appendField(f, "p"))
	}
	b.WriteString("return dst\n}\n")
}
