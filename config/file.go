package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// layer is what one file, or the environment, sets.
type layer struct {
	values   map[string]any    // by key; a string or a []string
	origin   map[string]string // by key: where it stands, such as leveret.yaml:12
	topology *yaml.Node        // nil when the layer has none
}

func newLayer() *layer {
	return &layer{values: map[string]any{}, origin: map[string]string{}}
}

// nested is the values of l as viper wants them: a map for each section.
func (l *layer) nested() map[string]any {
	root := map[string]any{}
	for key, value := range l.values {
		section, name, inside := strings.Cut(key, ".")
		if !inside {
			root[key] = value
			continue
		}
		m, ok := root[section].(map[string]any)
		if !ok {
			m = map[string]any{}
			root[section] = m
		}
		m[name] = value
	}
	return root
}

// readFile reads the layer at path. found is false when nothing is there.
func readFile(path string) (l *layer, found bool, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("config: read configuration: %w", err)
	}
	l, err = parseFile(path, b)
	return l, true, err
}

// parseFile walks the document b and refuses every key that is not a setting.
func parseFile(path string, b []byte) (*layer, error) {
	w := &fileWalk{path: path, layer: newLayer(), settings: settings()}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return w.layer, nil
	case err != nil:
		return nil, fmt.Errorf("config: %s: %w", path, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("config: %s: more than one document", path)
	}
	// Decoding everything once finds what a walk of nodes does not: keys given twice and
	// anchors that contain themselves.
	var probe any
	if err := doc.Decode(&probe); err != nil {
		return nil, fmt.Errorf("config: %s: %w", path, err)
	}
	if len(doc.Content) > 0 {
		w.section("", doc.Content[0])
	}
	return w.layer, errors.Join(w.errs...)
}

// fileWalk collects a layer, and everything wrong with it, from the nodes of one file.
type fileWalk struct {
	path     string
	layer    *layer
	settings []setting
	errs     []error
}

func (w *fileWalk) refuse(n *yaml.Node, format string, args ...any) {
	w.errs = append(w.errs, fmt.Errorf("config: %s:%d: %s", w.path, n.Line, fmt.Sprintf(format, args...)))
}

// section reads the mapping n, whose keys begin with prefix: nothing, or a section and a dot.
func (w *fileWalk) section(prefix string, n *yaml.Node) {
	n = resolve(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		w.refuse(n, "%s holds settings, each on a line below it", describe(strings.TrimSuffix(prefix, ".")))
		return
	}
	for _, p := range pairs(n) {
		key := prefix + p.key.Value
		switch i := slices.IndexFunc(w.settings, func(s setting) bool { return s.key == key }); {
		case i >= 0:
			w.setting(w.settings[i], p.key, resolve(p.value))
		case key == topologyKey:
			w.topology(p.value)
		case slices.ContainsFunc(w.settings, func(s setting) bool { return strings.HasPrefix(s.key, key+".") }):
			w.section(key+".", p.value)
		default:
			near, _ := nearest(key, knownKeys())
			w.refuse(p.key, "unknown key %s; the nearest there is: %s", key, near)
		}
	}
}

func describe(section string) string {
	if section == "" {
		return "the file"
	}
	return section
}

// setting takes the value of s as it was written: 007 stays a password of three letters.
func (w *fileWalk) setting(s setting, key, n *yaml.Node) {
	var value any
	switch {
	case isNull(n):
		return
	case n.Kind == yaml.ScalarNode:
		value = n.Value
	case n.Kind == yaml.SequenceNode && s.field.Type == listType:
		list := []string{}
		for _, item := range n.Content {
			if item = resolve(item); item.Kind != yaml.ScalarNode || isNull(item) {
				w.refuse(item, "%s: an entry is not a single value", s.key)
				return
			}
			list = append(list, item.Value)
		}
		value = list
	case n.Kind == yaml.SequenceNode:
		w.refuse(n, "%s: a list stands where one value belongs", s.key)
		return
	default:
		w.refuse(n, "%s: a map stands where a value belongs", s.key)
		return
	}
	w.layer.values[s.key] = value
	w.layer.origin[s.key] = fmt.Sprintf("%s:%d", w.path, key.Line)
}

func (w *fileWalk) topology(n *yaml.Node) {
	n = resolve(n)
	if isNull(n) {
		return
	}
	before := len(w.errs)
	w.checkKeys(topologyKey, n, reflect.TypeFor[Topology]())
	if len(w.errs) > before {
		return
	}
	if err := n.Decode(new(Topology)); err != nil {
		w.errs = append(w.errs, fmt.Errorf("config: %s: topology: %w", w.path, err))
		return
	}
	w.layer.topology = n
	w.layer.origin[topologyKey] = w.path
}

// checkKeys refuses keys below n that t has no field for. Maps, which is arguments, have
// the keys they have.
func (w *fileWalk) checkKeys(at string, n *yaml.Node, t reflect.Type) {
	n = resolve(n)
	switch {
	case isNull(n):
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for i, item := range n.Content {
			w.checkKeys(fmt.Sprintf("%s[%d]", at, i), item, t.Elem())
		}
	case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
		fields := map[string]reflect.Type{}
		var known []string
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
			fields[name] = t.Field(i).Type
			known = append(known, name)
		}
		for _, p := range pairs(n) {
			if ft, ok := fields[p.key.Value]; ok {
				w.checkKeys(at+"."+p.key.Value, p.value, ft)
				continue
			}
			near, _ := nearest(p.key.Value, known)
			w.refuse(p.key, "unknown key %s.%s; the nearest there is: %s", at, p.key.Value, near)
		}
	case t.Kind() == reflect.Slice:
		w.refuse(n, "%s: a list belongs here", at)
	case t.Kind() == reflect.Struct:
		w.refuse(n, "%s: a map such as {name: …} belongs here", at)
	}
}

// knownKeys are all keys that may be written in a file, down to the lists of topology.
func knownKeys() []string {
	var known []string
	for _, s := range settings() {
		if section, _, inside := strings.Cut(s.key, "."); inside && !slices.Contains(known, section) {
			known = append(known, section)
		}
		known = append(known, s.key)
	}
	known = append(known, topologyKey)
	t := reflect.TypeFor[Topology]()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		known = append(known, topologyKey+"."+name)
	}
	return known
}

type pair struct{ key, value *yaml.Node }

// pairs are the entries of the mapping n, those it merges with << included.
func pairs(n *yaml.Node) []pair {
	var own, merged []pair
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Tag != "!!merge" {
			own = append(own, pair{key, value})
			continue
		}
		sources := []*yaml.Node{resolve(value)}
		if sources[0].Kind == yaml.SequenceNode {
			sources = sources[0].Content
		}
		for _, source := range sources {
			merged = append(merged, pairs(resolve(source))...)
		}
	}
	for _, p := range merged {
		if !slices.ContainsFunc(own, func(o pair) bool { return o.key.Value == p.key.Value }) {
			own = append(own, p)
		}
	}
	return own
}

func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// isNull tells a key with nothing behind it, as is left when all its settings are
// commented out; it sets nothing.
func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }
