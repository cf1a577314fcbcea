package definitions

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/leveretmq/leveret/amqp"
)

// maxArguments is how large a table may be, in octets as on the wire: no client could
// declare a larger one in a frame of the default size.
const maxArguments = 128 << 10

// Arguments is a table as JSON shows it: an object, whose members are in the order of their
// names (DEF-5). What JSON cannot tell apart comes back as the widest of its kind: integers
// as int64, other numbers as float64, octets as text.
type Arguments amqp.Table

// MarshalJSON implements json.Marshaler.
func (a Arguments) MarshalJSON() ([]byte, error) { return json.Marshal(Value(amqp.Table(a))) }

// UnmarshalJSON implements json.Unmarshaler. An empty array is an empty table, because that
// is how some encoders write one.
func (a *Arguments) UnmarshalJSON(b []byte) error {
	v, err := decode(b)
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case map[string]any:
		t, err := table(v)
		if err != nil {
			return err
		}
		if err := checkTable(t); err != nil {
			return err
		}
		*a = Arguments(t)
	case []any:
		if len(v) > 0 {
			return errors.New("an object is wanted, not an array")
		}
		*a = nil
	default:
		return errors.New("an object is wanted")
	}
	return nil
}

// checkTable refuses a table that could not come back from the disk.
func checkTable(t amqp.Table) error {
	b := amqp.AppendTable(nil, t)
	if len(b) > maxArguments {
		return fmt.Errorf("it has %d octets and may have %d", len(b), maxArguments)
	}
	if _, _, err := amqp.DecodeTable(b); err != nil {
		return err
	}
	return nil
}

// Value is a value of a table in terms of what package json encodes: maps, slices, strings,
// numbers, booleans and nil.
func Value(v any) any {
	switch v := v.(type) {
	case amqp.Table:
		m := make(map[string]any, len(v))
		for i := len(v) - 1; i >= 0; i-- { // look-ups take the first of a name
			m[v[i].Name] = Value(v[i].Value)
		}
		return m
	case amqp.Array:
		a := make([]any, len(v))
		for i := range v {
			a[i] = Value(v[i])
		}
		return a
	case []byte:
		return string(v)
	case amqp.Timestamp:
		return uint64(v)
	case amqp.Decimal:
		return float64(v.Value) / math.Pow10(int(v.Scale))
	case float32:
		return number(float64(v))
	case float64:
		return number(v)
	}
	return v
}

// number is f, or what stands for it where JSON has no number. One that is whole keeps its
// point, so that it comes back as what it was.
func number(f float64) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	if b, err := json.Marshal(f); err == nil && !bytes.ContainsAny(b, ".e") {
		return json.Number(string(b) + ".0")
	}
	return f
}

// decode reads one JSON value whose numbers stay as they are written.
func decode(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the value")
	}
	return v, nil
}

func table(m map[string]any) (amqp.Table, error) {
	t := make(amqp.Table, 0, len(m))
	for name, v := range m {
		if len(name) > 255 {
			return nil, fmt.Errorf("the name %.20q… is longer than 255 octets", name)
		}
		value, err := fieldValue(v)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		t = append(t, amqp.Field{Name: name, Value: value})
	}
	slices.SortFunc(t, func(a, b amqp.Field) int { return cmp.Compare(a.Name, b.Name) })
	return t, nil
}

// fieldValue is a value of JSON as one of a table (DEF-5).
func fieldValue(v any) (any, error) {
	switch v := v.(type) {
	case bool, string:
		return v, nil
	case json.Number:
		if !strings.ContainsAny(v.String(), ".eE") {
			return v.Int64()
		}
		return v.Float64()
	case map[string]any:
		return table(v)
	case []any:
		a := make(amqp.Array, len(v))
		for i := range v {
			value, err := fieldValue(v[i])
			if err != nil {
				return nil, err
			}
			a[i] = value
		}
		return a, nil
	}
	return nil, errors.New("null is no value of a table")
}
