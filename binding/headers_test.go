package binding

import (
	"bytes"
	"fmt"
	"math"
	"math/rand"
	"slices"
	"testing"

	"github.com/leveretmq/leveret/amqp"
)

// EX-33 to EX-36
func TestHeadersMatchArguments(t *testing.T) {
	f := func(arguments, headers amqp.Table, want bool) {
		t.Helper()
		var h Headers
		h.Add(Binding{Arguments: arguments}, &Destination{})
		if got := len(h.Match(nil, entries(headers))) == 1; got != want {
			t.Errorf("binding %v, headers %v: got %v, want %v", arguments, headers, got, want)
		}
		if got := naiveHeaders(arguments, headers); got != want {
			t.Errorf("binding %v, headers %v: the naive twin says %v, want %v", arguments, headers, got, want)
		}
	}
	two := T("a", "1", "b", "2")
	with := func(xMatch string, t amqp.Table) amqp.Table { return append(T("x-match", xMatch), t...) }

	// EX-33: all when it is not said, any, and names that begin with x-.
	f(two, two, true)
	f(two, T("b", "2", "c", "3", "a", "1"), true)
	f(two, T("a", "1"), false)
	f(two, T("a", "1", "b", "3"), false)
	f(two, nil, false)
	f(with("all", two), two, true)
	f(with("all", two), T("a", "1"), false)
	f(with("any", two), T("a", "1"), true)
	f(with("any", two), T("a", "2", "b", "2"), true)
	f(with("any", two), T("a", "2", "b", "1"), false)
	f(with("any", two), nil, false)
	x := T("x-a", "1", "b", "2")
	f(with("all", x), T("b", "2"), true)
	f(with("all-with-x", x), T("b", "2"), false)
	f(with("all-with-x", x), T("b", "2", "x-a", "1"), true)
	f(with("any", x), T("x-a", "1"), false)
	f(with("any-with-x", x), T("x-a", "1"), true)
	f(with("any-with-x", nil), T("x-match", "any-with-x"), false)
	f(T("X-a", "1"), nil, false)
	f(T("X-a", "1"), T("X-a", "1"), true)

	// EX-34: void asks for presence only; an empty string is a value.
	f(T("a", nil), T("a", "whatever"), true)
	f(T("a", nil), T("a", nil), true)
	f(T("a", nil), T("b", "1"), false)
	f(T("a", "1"), T("a", nil), false)
	f(T("a", ""), T("a", "1"), false)
	f(T("a", ""), T("a", ""), true)
	f(with("any", T("a", nil)), T("a", int32(3)), true)
	f(T("a", nil, "b", "2"), T("a", int32(3), "b", "2"), true)

	// EX-35: all of nothing is everything, any of nothing is nothing.
	f(nil, nil, true)
	f(nil, two, true)
	f(with("all", nil), two, true)
	f(with("all-with-x", nil), nil, true)
	f(T("x-a", "1"), nil, true)
	f(with("any", nil), two, false)
	f(with("any-with-x", nil), nil, false)
	f(with("any", T("x-a", "1")), T("x-a", "1"), false)

	// EX-36, as decided: numbers by value, whatever their type.
	one := func(a, b any, want bool) {
		t.Helper()
		f(T("n", a), T("n", b), want)
		f(T("n", b), T("n", a), want)
	}
	ones := []any{int8(1), uint8(1), int16(1), uint16(1), int32(1), uint32(1), int64(1), float32(1), 1.0, amqp.Timestamp(1)}
	for _, a := range ones {
		for _, b := range ones {
			one(a, b, true)
		}
		one(a, int64(2), false)
		one(a, 1.5, false)
		one(a, "1", false)
		one(a, true, false)
		one(a, amqp.Decimal{Value: 1}, false)
	}
	one(int8(-1), int64(-1), true)
	one(int8(-1), -1.0, true)
	one(int8(-1), uint8(255), false)
	one(int64(-1), amqp.Timestamp(math.MaxUint64), false)
	one(float32(1.5), 1.5, true)
	one(float32(0.1), 0.1, false)
	one(math.Copysign(0, -1), int8(0), true)
	one(amqp.Timestamp(1<<63), float64(1<<63), true)
	one(int64(math.MinInt64), float64(-1<<63), true)
	one(int64(math.MaxInt64), float64(1<<63), false)
	one(int64(1<<53+1), float64(1<<53), false)
	one(math.Inf(1), math.Inf(1), true)
	one(math.Inf(1), math.Inf(-1), false)
	one(1e300, 1e300, true)

	// Strings by octets; everything else only by its like.
	one("v", []byte("v"), true)
	one("v", "V", false)
	one(true, true, true)
	one(true, false, false)
	one(amqp.Decimal{Scale: 1, Value: 10}, amqp.Decimal{Scale: 1, Value: 10}, true)
	one(amqp.Decimal{Scale: 1, Value: 10}, amqp.Decimal{Value: 1}, false)
	f(T("a", "1"), T("A", "1"), false)

	// Tables and arrays by entries, order and the types within.
	one(T("a", int32(1)), T("a", int32(1)), true)
	one(T("a", int32(1)), T("a", int64(1)), false)
	one(T("a", "1", "b", "2"), T("b", "2", "a", "1"), false)
	one(amqp.Array{"a", int8(1)}, amqp.Array{"a", int8(1)}, true)
	one(amqp.Array{"a", int8(1)}, amqp.Array{int8(1), "a"}, false)
	one(amqp.Array{"a"}, amqp.Array{[]byte("a")}, false)
	one(amqp.Array{T("a", nil)}, amqp.Array{T("a", nil)}, true)
	one(amqp.Array{}, T(), false)
	one(amqp.Array{"a"}, "a", false)

	// Of headers with the same name the first counts.
	f(T("a", "1"), T("a", "1", "a", "2"), true)
	f(T("a", "1"), T("a", "2", "a", "1"), false)
	f(T("a", "1", "a", "2"), T("a", "1", "a", "2"), false)
	f(with("any", T("a", "1", "a", "2")), T("a", "2"), true)
}

// EX-36: clients write some values in more than one way.
func TestHeadersAreEqualHoweverTheyAreWritten(t *testing.T) {
	f := func(argument any, header string) {
		t.Helper()
		var h Headers
		h.Add(Binding{Arguments: amqp.Table{{Name: "a", Value: argument}}}, &Destination{})
		if got := h.Match(nil, []byte("\x01a"+header)); len(got) != 1 {
			t.Errorf("%v and %q: got no match, want one", argument, header)
		}
	}
	f(int64(1), "L\x00\x00\x00\x00\x00\x00\x00\x01")
	f(true, "t\x02")
	f(amqp.Array{int64(1), true}, "A\x00\x00\x00\x0bL\x00\x00\x00\x00\x00\x00\x00\x01t\x02")
}

// EX-33
func TestHeadersAgreeWithNaiveMatcher(t *testing.T) {
	for seed := range int64(25) {
		r := rand.New(rand.NewSource(seed))
		names := []string{"a", "b", "c", "d", "x-a", "x-b", "X-c"}
		values := []any{nil, "1", "2", []byte("1"), int32(1), int64(1), 1.0, 1.5, amqp.Timestamp(1), true,
			amqp.Table{{Name: "a", Value: "1"}}, amqp.Array{"1"}}
		table := func(most int) amqp.Table {
			t := make(amqp.Table, r.Intn(most+1))
			for i := range t {
				t[i] = amqp.Field{Name: names[r.Intn(len(names))], Value: values[r.Intn(len(values))]}
			}
			return t
		}
		ds := someDestinations(1 + r.Intn(60))
		type bound struct {
			binding Binding
			to      *Destination
		}
		var h Headers
		var all []bound
		for range 400 {
			if len(all) > 0 && r.Intn(3) == 0 {
				i := r.Intn(len(all))
				h.Remove(all[i].binding, all[i].to)
				all = slices.Delete(all, i, i+1)
			} else {
				arguments := table(3)
				if x := []string{"", "all", "any", "all-with-x", "any-with-x"}[r.Intn(5)]; x != "" {
					arguments = append(arguments, amqp.Field{Name: "x-match", Value: x})
				}
				b := bound{Binding{RoutingKey: fmt.Sprint(r.Intn(2)), Arguments: arguments}, ds[r.Intn(len(ds))]}
				h.Add(b.binding, b.to)
				all = append(all, b)
			}
			headers := table(5)
			want := map[*Destination]bool{}
			for _, b := range all {
				if naiveHeaders(b.binding.Arguments, headers) {
					want[b.to] = true
				}
			}
			if got := h.Match(nil, entries(headers)); !sameDestinations(got, want) {
				t.Fatalf("seed %d: headers %v: got %d destinations, want %d", seed, headers, len(got), len(want))
			}
		}
		for _, b := range all {
			h.Remove(b.binding, b.to)
			h.Remove(b.binding, &Destination{}) // never added
		}
		if len(h.entries)+len(h.names)+len(h.pairs)+len(h.always.each) > 0 || len(h.free) != h.numbers {
			t.Fatalf("seed %d: after removing everything, %d entries, %d names, %d pairs and %d others are left",
				seed, len(h.entries), len(h.names), len(h.pairs), len(h.always.each))
		}
	}
}

// EX-20: bindings that differ in what a headers exchange ignores are bindings still.
func TestHeadersBindingStaysUntilItsLastTwinIsRemoved(t *testing.T) {
	var h Headers
	d := &Destination{Name: "q"}
	arguments := amqp.Table{{Name: "a", Value: "1"}}
	h.Add(Binding{RoutingKey: "k", Arguments: arguments}, d)
	h.Add(Binding{RoutingKey: "l", Arguments: arguments}, d)
	h.Remove(Binding{RoutingKey: "k", Arguments: arguments}, d)
	if got := h.Match(nil, entries(arguments)); len(got) != 1 {
		t.Errorf("one of two removed: got %v, want [q]", names(got))
	}
	h.Remove(Binding{RoutingKey: "l", Arguments: arguments}, d)
	if got := h.Match(nil, entries(arguments)); len(got) != 0 {
		t.Errorf("both removed: got %v, want none", names(got))
	}
}

// ERR-24
func TestXMatchOfNoMeaningIsRefused(t *testing.T) {
	f := func(v any, want string) {
		t.Helper()
		_, err := ParseXMatch(amqp.Table{{Name: "x-match", Value: v}})
		if err == nil || err.Error() != "PRECONDITION_FAILED - "+want {
			t.Errorf("x-match %v: got %v, want %s", v, err, want)
		}
	}
	f("some", `Invalid x-match field value <<"some">>; expected all, any, all-with-x, or any-with-x`)
	f("All", `Invalid x-match field value <<"All">>; expected all, any, all-with-x, or any-with-x`)
	f("", `Invalid x-match field value <<>>; expected all, any, all-with-x, or any-with-x`)
	f(`"`, `Invalid x-match field value <<"\"">>; expected all, any, all-with-x, or any-with-x`)
	f("\x01\xff", `Invalid x-match field value <<1,255>>; expected all, any, all-with-x, or any-with-x`)
	f(int32(1), `Invalid x-match field type signedint (value 1); expected longstr`)
	f(true, `Invalid x-match field type bool (value true); expected longstr`)
	f(nil, `Invalid x-match field type void (value undefined); expected longstr`)
	f([]byte("all"), `Invalid x-match field type binary (value <<"all">>); expected longstr`)
}

// headersBindings returns n bindings for all of two headers, the second of which tells
// them apart, and the headers of a message for one of them.
func headersBindings(n int) (h *Headers, headers []byte) {
	h = new(Headers)
	ds := someDestinations(10)
	for i := range n {
		h.Add(Binding{Arguments: amqp.Table{
			{Name: "x-match", Value: "all"}, {Name: "format", Value: "pdf"}, {Name: "customer", Value: int64(i)},
		}}, ds[i%len(ds)])
	}
	return h, entries(amqp.Table{
		{Name: "format", Value: "pdf"}, {Name: "customer", Value: int32(n / 2)},
		{Name: "trace-id", Value: "0af7651916cd43dd8448eb211c80319c"}, {Name: "attempt", Value: int32(1)},
	})
}

func BenchmarkHeadersMatch(b *testing.B) {
	for _, n := range []int{100, 10000, 100000} {
		b.Run(fmt.Sprintf("bindings=%d", n), func(b *testing.B) {
			h, headers := headersBindings(n)
			var dst []*Destination
			b.ReportAllocs()
			for b.Loop() {
				dst = h.Match(dst[:0], headers)
			}
			if len(dst) != 1 {
				b.Fatalf("got %d destinations, want 1", len(dst))
			}
		})
	}
}

// T is a table of names and values by turns.
func T(namesAndValues ...any) (t amqp.Table) {
	for i := 0; i < len(namesAndValues); i += 2 {
		t = append(t, amqp.Field{Name: namesAndValues[i].(string), Value: namesAndValues[i+1]})
	}
	return t
}

// entries is t as amqp.ScanProperties would leave it.
func entries(t amqp.Table) []byte {
	if t == nil {
		return nil
	}
	return amqp.AppendTable(nil, t)[4:]
}

// naiveHeaders goes through the arguments as the rules read.
func naiveHeaders(arguments, headers amqp.Table) bool {
	x, err := ParseXMatch(arguments)
	if err != nil {
		panic(err)
	}
	for _, a := range arguments {
		if !x.counts(a.Name) {
			continue
		}
		v, there := headers.Get(a.Name)
		matches := there && (a.Value == nil || naiveEqual(a.Value, v))
		if matches == x.Any {
			return matches
		}
	}
	return !x.Any
}

func naiveEqual(a, b any) bool {
	an, aIsNumber := naiveNumber(a)
	bn, bIsNumber := naiveNumber(b)
	as, aIsString := naiveString(a)
	bs, bIsString := naiveString(b)
	switch {
	case aIsNumber && bIsNumber:
		return an == bn
	case aIsNumber || bIsNumber:
		return false
	case aIsString && bIsString:
		return as == bs
	}
	return bytes.Equal(amqp.AppendTable(nil, amqp.Table{{Value: a}}), amqp.AppendTable(nil, amqp.Table{{Value: b}}))
}

// naiveNumber writes a number out in full, so that equal numbers give equal strings.
func naiveNumber(v any) (string, bool) {
	if n, ok := amqp.AsInt64(v); ok {
		return fmt.Sprint(n), true
	}
	switch v := v.(type) {
	case amqp.Timestamp:
		return fmt.Sprint(uint64(v)), true
	case float32:
		return naiveNumber(float64(v))
	case float64:
		if v == 0 {
			return "0", true
		}
		if v == math.Trunc(v) {
			return fmt.Sprintf("%.0f", v), true
		}
		return fmt.Sprint(v), true
	}
	return "", false
}

func naiveString(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case []byte:
		return string(v), true
	}
	return "", false
}
