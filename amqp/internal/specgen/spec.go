package main

import (
	"encoding/xml"
	"fmt"
	"os"
	"slices"
	"strings"
)

// spec is what the generator uses of the specification's XML.
type spec struct {
	Constants []constant `xml:"constant"`
	Domains   []domain   `xml:"domain"`
	Classes   []class    `xml:"class"`
}

type constant struct {
	Name  string `xml:"name,attr"`
	Value int    `xml:"value,attr"`
	Class string `xml:"class,attr"` // soft-error, hard-error or nothing
}

type domain struct {
	Name string `xml:"name,attr"`
	Type string `xml:"type,attr"`
}

type class struct {
	Name    string   `xml:"name,attr"`
	Index   int      `xml:"index,attr"`
	Fields  []field  `xml:"field"` // content properties, in the order of their flags
	Methods []method `xml:"method"`
}

type method struct {
	Name    string    `xml:"name,attr"`
	Index   int       `xml:"index,attr"`
	Content bool      `xml:"content,attr"`
	Chassis []chassis `xml:"chassis"`
	Fields  []field   `xml:"field"`
}

// chassis names a side that receives the method.
type chassis struct {
	Name string `xml:"name,attr"`
}

type field struct {
	Name     string `xml:"name,attr"`
	Domain   string `xml:"domain,attr"`
	Type     string `xml:"type,attr"`
	Reserved bool   `xml:"reserved,attr"`
}

// readSpec reads the XML at path, adds what it lacks, resolves domains to types and
// puts classes and methods in the order of their ids.
func readSpec(path string) (*spec, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := new(spec)
	if err := xml.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	s.amend()
	if err := s.resolve(); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return s, nil
}

// amend adds what RabbitMQ speaks and the XML leaves out or names otherwise.
func (s *spec) amend() {
	// Class access was taken out of the specification before 0-9-1, but old clients
	// still ask for a ticket and RabbitMQ still hands one out.
	if s.class("access") == nil {
		s.Classes = append(s.Classes, class{Name: "access", Index: 30, Methods: []method{
			{Name: "request", Index: 10, Chassis: []chassis{{"server"}}, Fields: []field{
				{Name: "realm", Type: "shortstr"},
				{Name: "exclusive", Type: "bit"},
				{Name: "passive", Type: "bit"},
				{Name: "active", Type: "bit"},
				{Name: "write", Type: "bit"},
				{Name: "read", Type: "bit"},
			}},
			{Name: "request-ok", Index: 11, Chassis: []chassis{{"client"}}, Fields: []field{
				{Name: "ticket", Type: "short"},
			}},
		}})
	}
	// The last property is reserved in 0-9-1; it was cluster-id in 0-9, and brokers
	// still carry it under that name (W-40).
	basic := s.class("basic")
	for i := range basic.Fields {
		if basic.Fields[i].Name == "reserved" {
			basic.Fields[i].Name = "cluster-id"
		}
	}
	// confirm.select alone spells no-wait as one word.
	for _, c := range s.Classes {
		for _, m := range c.Methods {
			for i := range m.Fields {
				if m.Fields[i].Name == "nowait" {
					m.Fields[i].Name = "no-wait"
				}
			}
		}
	}
}

func (s *spec) class(name string) *class {
	for i := range s.Classes {
		if s.Classes[i].Name == name {
			return &s.Classes[i]
		}
	}
	return nil
}

func (s *spec) resolve() error {
	types := make(map[string]string)
	for _, d := range s.Domains {
		types[d.Name] = d.Type
	}
	resolve := func(fields []field) error {
		for i := range fields {
			f := &fields[i]
			if f.Type == "" {
				f.Type = types[f.Domain]
			}
			if _, known := goTypes[f.Type]; !known {
				return fmt.Errorf("field %s has unknown type %q (domain %q)", f.Name, f.Type, f.Domain)
			}
		}
		return nil
	}
	for _, c := range s.Classes {
		if err := resolve(c.Fields); err != nil {
			return err
		}
		for _, m := range c.Methods {
			if err := resolve(m.Fields); err != nil {
				return fmt.Errorf("%s.%s: %w", c.Name, m.Name, err)
			}
		}
		slices.SortFunc(c.Methods, func(a, b method) int { return a.Index - b.Index })
	}
	slices.SortFunc(s.Classes, func(a, b class) int { return a.Index - b.Index })
	return nil
}

// goTypes is the Go type of each of the specification's elementary types. A bit has
// one only as a field; on the wire it shares an octet.
var goTypes = map[string]string{
	"bit":       "bool",
	"octet":     "uint8",
	"short":     "uint16",
	"long":      "uint32",
	"longlong":  "uint64",
	"shortstr":  "string",
	"longstr":   "string",
	"timestamp": "Timestamp",
	"table":     "Table",
}

// goName turns a name of the specification into an exported one: "start-ok" is
// StartOk, "class-id" is ClassID.
func goName(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "-") {
		if word == "id" {
			b.WriteString("ID")
			continue
		}
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}
