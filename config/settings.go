package config

import (
	"reflect"
	"strings"
)

// topologyKey is the one section that is not made of settings.
const topologyKey = "topology"

// setting is one field of Config that can be set: a leaf of the tree of sections.
type setting struct {
	key   string       // dotted, such as amqp.frame_max
	owner reflect.Type // the struct it is a field of, for its documentation
	field reflect.StructField
	index []int // from Config to the field
}

// value is where s is kept in c.
func (s setting) value(c *Config) reflect.Value {
	return reflect.ValueOf(c).Elem().FieldByIndex(s.index)
}

// variable is the name of s in the environment.
func (s setting) variable() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
}

func (s setting) tag(name string) string { return s.field.Tag.Get(name) }

// settings are all of them, in the order of the struct, which is that of print.
func settings() []setting {
	var all []setting
	var walk func(t reflect.Type, prefix string, index []int)
	walk = func(t reflect.Type, prefix string, index []int) {
		for i := range t.NumField() {
			f := t.Field(i)
			key := f.Tag.Get("key")
			if key == "-" || key == topologyKey {
				continue
			}
			at := append(append([]int(nil), index...), i)
			if f.Type.Kind() == reflect.Struct {
				walk(f.Type, prefix+key+".", at)
				continue
			}
			all = append(all, setting{key: prefix + key, owner: t, field: f, index: at})
		}
	}
	walk(reflect.TypeFor[Config](), "", nil)
	return all
}
