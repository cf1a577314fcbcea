package config

import (
	"bytes"
	_ "embed" // the source of Config, for its comments
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

//go:embed config.go
var source string

// comments are the comments of the fields of the structs in config.go, by Struct.Field.
var comments = sync.OnceValue(func() map[string]string {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", source, parser.ParseComments)
	if err != nil {
		panic(fmt.Sprintf("config: own source: %v", err))
	}
	found := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if st, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range st.Fields.List {
				found[spec.Name.Name+"."+f.Names[0].Name] = strings.TrimSpace(f.Doc.Text())
			}
		}
		return false
	})
	return found
})

// comment is what the comment of the field of s says, with its limits.
func (s setting) comment() string {
	text := comments()[s.owner.Name()+"."+s.field.Name]
	if words := s.tag("oneof"); words != "" {
		one := "One of "
		if s.field.Type == listType {
			one = "Each is one of "
		}
		text += "\n" + one + strings.Join(strings.Fields(words), ", ") + "."
	}
	if s.tag("min") != "" && s.tag("max") != "" {
		text += "\nFrom " + s.tag("min") + " to " + s.tag("max") + "."
	}
	return text
}

// Print writes c as a file that Load reads back, with what each setting means above it.
// In place of a secret that is not the default it writes <masked>, which Load refuses.
func (c Config) Print(w io.Writer) error {
	var b bytes.Buffer
	if err := c.print(&b, masked); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// print writes c with mask in place of secrets, or with the secrets when mask is empty.
func (c *Config) print(b *bytes.Buffer, mask string) error {
	fallback := Default()
	root := reflect.TypeFor[Config]()
	section := ""
	for _, s := range settings() {
		indent := ""
		if name, _, inside := strings.Cut(s.key, "."); inside {
			indent = "  "
			if name != section {
				section = name
				writeComment(b, "", comments()["Config."+root.Field(s.index[0]).Name])
				fmt.Fprintf(b, "%s:\n", name)
			}
		}
		value := s.show(c)
		if mask != "" && s.tag("secret") != "" && !reflect.DeepEqual(value, s.show(&fallback)) {
			value = mask
		}
		writeComment(b, indent, s.comment())
		line, err := s.line(value)
		if err != nil {
			return err
		}
		b.WriteString(indent)
		b.Write(line)
		b.WriteByte('\n')
	}
	topology, _ := root.FieldByName("Topology")
	writeComment(b, "", comments()["Config."+topology.Name])
	enc := yaml.NewEncoder(b)
	enc.SetIndent(2)
	if err := enc.Encode(map[string]any{topologyKey: c.Topology.masked(mask)}); err != nil {
		return err
	}
	return enc.Close()
}

func writeComment(b *bytes.Buffer, indent, text string) {
	for line := range strings.Lines(text + "\n") {
		fmt.Fprintf(b, "%s# %s", indent, line)
	}
}

// line is the setting s with value, on one line.
func (s setting) line(value any) ([]byte, error) {
	n := &yaml.Node{}
	if err := n.Encode(value); err != nil {
		return nil, err
	}
	n.Style |= yaml.FlowStyle
	if s.field.Type.Kind() == reflect.Int {
		n = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: fmt.Sprint(value)}
	}
	key := &yaml.Node{}
	key.SetString(lastPart(s.key))
	return yaml.Marshal(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{key, n}})
}

// masked is t with mask in place of what only its users may know.
func (t Topology) masked(mask string) Topology {
	if mask == "" {
		return t
	}
	t.Users = slices.Clone(t.Users)
	for i := range t.Users {
		if t.Users[i].Password != "" {
			t.Users[i].Password = mask
		}
		if t.Users[i].PasswordHash != "" {
			t.Users[i].PasswordHash = mask
		}
	}
	return t
}
