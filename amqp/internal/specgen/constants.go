package main

import (
	"bytes"
	"fmt"
	"strings"
)

func writeConstants(b *bytes.Buffer, s *spec) {
	b.WriteString("// Frame types, the smallest frame_max a peer may ask for, and the octet that ends a frame.\nconst (\n")
	for _, c := range s.Constants {
		if strings.HasPrefix(c.Name, "frame-") && c.Class == "" {
			fmt.Fprintf(b, "%s = %d\n", goName(c.Name), c.Value)
		}
	}
	b.WriteString(")\n\n")

	b.WriteString("// Reply codes of channel.close, connection.close and basic.return.\nconst (\n")
	for _, c := range replyCodes(s) {
		comment := ""
		if c.Class != "" {
			comment = " // " + strings.TrimSuffix(c.Class, "-error")
		}
		fmt.Fprintf(b, "Reply%s uint16 = %d%s\n", goName(strings.TrimPrefix(c.Name, "reply-")), c.Value, comment)
	}
	b.WriteString(")\n\n")

	b.WriteString("// ReplyName returns a reply code's symbolic name, such as NO_ROUTE, or \"\" when there is no such code.\n")
	b.WriteString("func ReplyName(code uint16) string {\nswitch code {\n")
	for _, c := range replyCodes(s) {
		fmt.Fprintf(b, "case %d:\nreturn %q\n", c.Value, strings.ToUpper(strings.ReplaceAll(c.Name, "-", "_")))
	}
	b.WriteString("}\nreturn \"\"\n}\n\n")

	b.WriteString("// Class ids.\nconst (\n")
	for _, c := range s.Classes {
		fmt.Fprintf(b, "Class%s uint16 = %d\n", goName(c.Name), c.Index)
	}
	b.WriteString(")\n\n")

	b.WriteString("// Method ids. They are unique within their class only.\nconst (\n")
	for _, c := range s.Classes {
		for _, m := range c.Methods {
			fmt.Fprintf(b, "Method%s uint16 = %d\n", structName(c, m), m.Index)
		}
	}
	b.WriteString(")\n")
}

func replyCodes(s *spec) []constant {
	var codes []constant
	for _, c := range s.Constants {
		if c.Class != "" || strings.HasPrefix(c.Name, "reply-") {
			codes = append(codes, c)
		}
	}
	return codes
}
