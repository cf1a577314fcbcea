package amqp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

func randomTable(r *rand.Rand, depth int) Table {
	t := make(Table, r.IntN(6))
	for i := range t {
		t[i] = Field{Name: randomName(r), Value: randomValue(r, depth)}
	}
	return t
}

func randomValue(r *rand.Rand, depth int) any {
	kinds := 17
	if depth <= 0 {
		kinds -= 2
	}
	n := r.Uint64() >> r.IntN(64)
	switch r.IntN(kinds) {
	case 0:
		return nil
	case 1:
		return n&1 == 0
	case 2:
		return int8(n)
	case 3:
		return uint8(n)
	case 4:
		return int16(n)
	case 5:
		return uint16(n)
	case 6:
		return int32(n)
	case 7:
		return uint32(n)
	case 8:
		return int64(n)
	case 9:
		return math.Float32frombits(uint32(n))
	case 10:
		return math.Float64frombits(n)
	case 11:
		return Decimal{Scale: uint8(n), Value: r.Uint32()}
	case 12:
		return randomName(r)
	case 13:
		return []byte(randomName(r))
	case 14:
		return Timestamp(n)
	case 15:
		a := make(Array, r.IntN(4))
		for i := range a {
			a[i] = randomValue(r, depth-1)
		}
		return a
	}
	return randomTable(r, depth-1)
}

func TestATableDecodesToWhatWasAppended(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 4))
	for range 2000 {
		want := randomTable(r, 4)
		b := AppendTable(nil, want)
		got, n, err := DecodeTable(append(b, 0xAA))
		if err != nil || n != len(b) || !got.Equal(want) {
			t.Fatalf("got %v, n=%d, err=%v, want %v", got, n, err, want)
		}
		if again := AppendTable(nil, got); !bytes.Equal(again, b) {
			t.Fatalf("got\n%x, want\n%x", again, b)
		}
	}
}

// W-50, and bit-exact where RabbitMQ would refuse: NaN and the infinities.
func TestEveryTypeKeepsItsBits(t *testing.T) {
	f := func(v any, typeName string) {
		t.Helper()
		b := AppendTable(nil, Table{{"v", v}})
		got, _, err := DecodeTable(b)
		if err != nil || !got.Equal(Table{{"v", v}}) || !bytes.Equal(AppendTable(nil, got), b) {
			t.Errorf("got %v, err=%v, want %v", got, err, v)
		}
		if name := TypeName(got[0].Value); name != typeName {
			t.Errorf("%v: got type %s, want %s", v, name, typeName)
		}
	}
	f(nil, "void")
	f(true, "bool")
	f(false, "bool")
	f(int8(math.MinInt8), "byte")
	f(uint8(math.MaxUint8), "unsignedbyte")
	f(int16(math.MinInt16), "short")
	f(uint16(math.MaxUint16), "unsignedshort")
	f(int32(math.MinInt32), "signedint")
	f(uint32(math.MaxUint32), "unsignedint")
	f(int64(math.MinInt64), "long")
	f(int64(math.MaxInt64), "long")
	f(math.Float32frombits(0x7fc00001), "float")
	f(float32(math.Inf(-1)), "float")
	f(math.Float64frombits(0x7ff8000000000001), "double")
	f(math.Copysign(0, -1), "double")
	f(Decimal{Scale: 255, Value: math.MaxUint32}, "decimal")
	f("", "longstr")
	f("\x00\xff", "longstr")
	f([]byte{}, "binary")
	f([]byte{0, 255}, "binary")
	f(Timestamp(math.MaxUint64), "timestamp")
	f(Array{}, "array")
	f(Array{nil, Array{Table{}}}, "array")
	f(Table{}, "table")
	f(Table{{"", nil}, {"", true}}, "table")
}

func TestTheTwoSpellingsThatAreNotKept(t *testing.T) {
	f := func(in, want []byte) {
		t.Helper()
		table, err := ParseBareTable(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendBareTable(nil, table); !bytes.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f([]byte("\x01aL\xff\xff\xff\xff\xff\xff\xff\xfe"), []byte("\x01al\xff\xff\xff\xff\xff\xff\xff\xfe"))
	f([]byte("\x01at\x07"), []byte("\x01at\x01"))
}

// A19, C13, C14 of the catalogue of bad input: a hard 502.
func TestATableThatCannotBeReadIsASyntaxError(t *testing.T) {
	f := func(b []byte, text string) {
		t.Helper()
		got, n, err := DecodeTable(b)
		var e *Error
		if !errors.As(err, &e) || e.Code != ReplySyntaxError || !e.Hard || got != nil || n != 0 {
			t.Fatalf("%q: got %v, n=%d, err=%v, want a hard 502", b, got, n, err)
		}
		if e.Text != "SYNTAX_ERROR - "+text {
			t.Errorf("%q: got %s, want %s", b, e.Text, text)
		}
	}
	f([]byte{}, "field table has no length")
	f([]byte{0, 0, 0}, "field table has no length")
	f([]byte{0, 0, 0, 1}, "field table announces 1 octets where 0 are left")
	f([]byte{255, 255, 255, 255, 0}, "field table announces 4294967295 octets where 1 are left")
	f([]byte("\x00\x00\x00\x02\x01a"), "field table ends within an entry")
	f([]byte("\x00\x00\x00\x02\x05a"), "field table ends within an entry")
	f([]byte("\x00\x00\x00\x03\x01az"), "unknown field type 'z' in table")
	f([]byte("\x00\x00\x00\x03\x01al"), "field table ends within an entry")
	f([]byte("\x00\x00\x00\x05\x01aS\x00\x00"), "field table ends within an entry")
	f([]byte("\x00\x00\x00\x07\x01aS\x00\x00\x00\x01"), "field table announces 1 octets where 0 are left")
	f([]byte("\x00\x00\x00\x08\x01aA\x00\x00\x00\x01z"), "unknown field type 'z' in table")
	f([]byte("\x00\x00\x00\x0a\x01aF\x00\x00\x00\x03\x01bz"), "unknown field type 'z' in table")
	f(AppendTable(nil, nested(33)), "field table nested deeper than 32")
	f(AppendTable(nil, Table{{"a", nestedArray(32)}}), "field array nested deeper than 32")
	f(AppendTable(nil, nested(10000)), "field table nested deeper than 32")
	for _, table := range []Table{nested(32), {{"a", nestedArray(31)}}} {
		if got, _, err := DecodeTable(AppendTable(nil, table)); err != nil || !got.Equal(table) {
			t.Errorf("nested 32 deep: got %v, err=%v", got, err)
		}
	}
}

func nested(depth int) Table {
	t := Table{}
	for range depth - 1 {
		t = Table{{"n", t}}
	}
	return t
}

func nestedArray(depth int) Array {
	a := Array{}
	for range depth - 1 {
		a = Array{a}
	}
	return a
}

func TestCuttingATableAnywhereIsASyntaxError(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 5))
	for range 200 {
		b := AppendTable(nil, randomTable(r, 3))
		for n := range b {
			if _, _, err := DecodeTable(b[:n]); err == nil {
				t.Fatalf("%x: got no error", b[:n])
			}
		}
	}
}

// W-51.
func TestTheFirstOfSeveralEntriesIsFound(t *testing.T) {
	table := Table{{"a", int64(1)}, {"b", "two"}, {"a", int64(3)}}
	if v, ok := table.Get("a"); v != int64(1) || !ok {
		t.Errorf("got %v, %t, want 1", v, ok)
	}
	raw := AppendTable(nil, table)[4:]
	tag, value, ok := FindHeader(raw, "a")
	if v := DecodeValue(tag, value); tag != 'l' || v != int64(1) || !ok {
		t.Errorf("got %c %v, %t, want l 1", tag, v, ok)
	}
	if tag, value, ok := FindHeader(raw, "b"); tag != 'S' || string(value) != "two" || !ok {
		t.Errorf("got %c %q, %t, want S two", tag, value, ok)
	}
	if _, _, ok := FindHeader(raw, "c"); ok {
		t.Error("got an entry that is not there")
	}
	if _, _, ok := FindHeader(nil, ""); ok {
		t.Error("got an entry of an empty table")
	}
}

func TestARawTableIsWalkedInWireOrder(t *testing.T) {
	f := func(raw []byte, want string) {
		t.Helper()
		var got []string
		for {
			name, tag, value, rest, ok := NextEntry(raw)
			if !ok {
				break
			}
			got = append(got, string(name)+"="+string(tag)+string(value))
			raw = rest
		}
		if strings.Join(got, " ") != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(AppendTable(nil, Table{{"b", "x"}, {"a", true}, {"b", nil}})[4:], "b=Sx a=t\x01 b=V")
	f(nil, "")
	f([]byte("\x01aV\x05b"), "a=V") // not well formed: it ends there
	f([]byte("\x01aV\x01bz"), "a=V")
}

func TestAnArrayCanBeReadWithoutDecodingIt(t *testing.T) {
	raw := AppendTable(nil, Table{{"CC", Array{"one", int64(2), "three"}}})[4:]
	tag, value, _ := FindHeader(raw, "CC")
	var keys []string
	if n := testing.AllocsPerRun(10, func() {
		for tag, v := range Elements(value) {
			if tag == 'S' && string(v) == "three" {
				break
			}
		}
	}); n != 0 {
		t.Errorf("got %v allocations, want none", n)
	}
	for tag, v := range Elements(value) {
		keys = append(keys, string(tag)+string(v))
	}
	if got := strings.Join(keys, " "); tag != 'A' || got != "Sone l\x00\x00\x00\x00\x00\x00\x00\x02 Sthree" {
		t.Errorf("got %c %q", tag, got)
	}
}

func TestTablesAreEqualWhenTheyAreWrittenAlike(t *testing.T) {
	f := func(a, b Table, want bool) {
		t.Helper()
		if got := a.Equal(b); got != want {
			t.Errorf("%v and %v: got %t, want %t", a, b, got, want)
		}
	}
	nan := math.NaN()
	f(nil, Table{}, true)
	f(Table{{"a", nil}}, Table{{"a", nil}}, true)
	f(Table{{"a", nan}}, Table{{"a", nan}}, true)
	f(Table{{"a", 0.0}}, Table{{"a", math.Copysign(0, -1)}}, false)
	f(Table{{"a", int64(1)}}, Table{{"a", int32(1)}}, false)
	f(Table{{"a", "x"}}, Table{{"a", []byte("x")}}, false)
	f(Table{{"a", []byte("x")}}, Table{{"a", []byte("x")}}, true)
	f(Table{{"a", nil}}, Table{{"a", Array{}}}, false)
	f(Table{{"a", Array{Table{{"b", true}}}}}, Table{{"a", Array{Table{{"b", true}}}}}, true)
	f(Table{{"a", nil}, {"b", nil}}, Table{{"b", nil}, {"a", nil}}, false)
	f(Table{{"a", nil}, {"b", nil}}, Table{{"b", nil}, {"a", nil}}.Sorted(), true)
	f(Table{{"a", nil}}, Table{{"a", nil}, {"a", nil}}, false)
}

func TestChangingATableLeavesTheOldOne(t *testing.T) {
	old := Table{{"a", int64(1)}, {"b", int64(2)}, {"a", int64(3)}}
	f := func(got Table, want string) {
		t.Helper()
		if got.String() != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if old.String() != "{a=l:1, b=l:2, a=l:3}" {
			t.Errorf("the old table became %s", old)
		}
	}
	f(old.With("a", "x"), `{a=S:"x", b=l:2, a=l:3}`)
	f(old.With("c", nil), "{a=l:1, b=l:2, a=l:3, c=V}")
	f(old.Without("a"), "{b=l:2}")
	f(old.Without("c"), "{a=l:1, b=l:2, a=l:3}")
	f(Table(nil).With("c", true), "{c=t:true}")
	f(old.Sorted(), "{a=l:1, a=l:3, b=l:2}")
}

func TestOnlyTheIntegerTypesAreIntegers(t *testing.T) {
	f := func(v any, want int64, wantOK bool) {
		t.Helper()
		if got, ok := AsInt64(v); got != want || ok != wantOK {
			t.Errorf("%T: got %d, %t, want %d, %t", v, got, ok, want, wantOK)
		}
	}
	f(int8(-1), -1, true)
	f(uint8(255), 255, true)
	f(int16(-1), -1, true)
	f(uint16(65535), 65535, true)
	f(int32(-1), -1, true)
	f(uint32(math.MaxUint32), math.MaxUint32, true)
	f(int64(math.MinInt64), math.MinInt64, true)
	f(nil, 0, false)
	f(true, 0, false)
	f("1", 0, false)
	f(1.0, 0, false)
	f(Timestamp(1), 0, false)
	f(Decimal{Value: 1}, 0, false)
}

func TestATablePrintsOnOneLine(t *testing.T) {
	f := func(table Table, want string) {
		t.Helper()
		if got := table.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(nil, "{}")
	f(Table{{"x-match", "all"}, {"n", int8(-3)}, {"f", 1.5}, {"d", Decimal{2, 314}}, {"v", nil}},
		`{x-match=S:"all", n=b:-3, f=d:1.5, d=D:2/314, v=V}`)
	f(Table{{"a", Array{uint8(1), []byte("\x00"), Table{{"t", Timestamp(9)}}}}}, `{a=A:[B:1, x:"\x00", F:{t=T:9}]}`)
	f(Table{{"", true}, {"a\nb", false}, {"\xff", nil}}, `{""=t:true, "a\nb"=t:false, "\xff"=V}`)
}

func TestAValueOfNoFieldTypeIsABug(t *testing.T) {
	defer func() {
		if r := recover(); r != "amqp: a field table cannot hold int" {
			t.Errorf("got panic %v", r)
		}
	}()
	AppendTable(nil, Table{{"a", 1}})
}

// W-52: the length is in octets, of everything after it, and no more than there are.
func TestATablesLengthIsInOctets(t *testing.T) {
	inner := Table{{Name: "ü", Value: "日"}, {Name: "n", Value: int64(1)}}
	const octets = (1 + 2 + 1 + 4 + 3) + (1 + 1 + 1 + 8)
	args := Table{{Name: "t", Value: inner}}
	declare := AppendMethod(nil, 1, &QueueDeclare{Queue: "q", Arguments: args})
	payload := declare[7 : len(declare)-1]
	// class, method, ticket, queue, bits; then the length of the table, its name and tag, and
	// the length of the table in it.
	at := 2 + 2 + 2 + 2 + 1
	if got := binary.BigEndian.Uint32(payload[at:]); got != 1+1+1+4+octets {
		t.Errorf("got a length of %d, want %d", got, 1+1+1+4+octets)
	}
	within := at + 4 + 3
	if got := binary.BigEndian.Uint32(payload[within:]); got != octets {
		t.Errorf("got a length of %d within, want %d", got, octets)
	}
	var m QueueDeclare
	if err := m.Decode(payload[4:]); err != nil || !m.Arguments.Equal(args) {
		t.Errorf("got %v, %v, want it back", m.Arguments, err)
	}
	for _, wrong := range []struct{ at, by int }{{at, 1}, {at, -1}, {within, 1}, {within, -1}, {at, 1 << 30}, {within, 1 << 30}} {
		b := bytes.Clone(payload)
		binary.BigEndian.PutUint32(b[wrong.at:], binary.BigEndian.Uint32(b[wrong.at:])+uint32(wrong.by))
		if err := m.Decode(b[4:]); err == nil {
			t.Errorf("a length that is off by %d at %d was taken", wrong.by, wrong.at)
		}
	}
}
