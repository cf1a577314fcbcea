package exchange

import (
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// EX-56
func TestDeduplicationIsToldItsSizeAndTime(t *testing.T) {
	spec := func(arguments ...amqp.Field) *Spec {
		return &Spec{Type: "x-message-deduplication", Durable: true, Arguments: arguments}
	}
	size := func(v any) amqp.Field { return amqp.Field{Name: "x-cache-size", Value: v} }
	ttl := func(v any) amqp.Field { return amqp.Field{Name: "x-cache-ttl", Value: v} }
	persistence := func(v any) amqp.Field { return amqp.Field{Name: "x-cache-persistence", Value: v} }

	f := func(s *Spec, want Deduplication) {
		t.Helper()
		got, ok := s.Deduplication()
		if err := s.CheckArguments(); err != nil || !ok || got != want {
			t.Errorf("%v: got %+v, %v, %v, want %+v", s.Arguments, got, ok, err, want)
		}
	}
	f(spec(size(int32(10))), Deduplication{Size: 10})
	f(spec(size("10"), ttl("250")), Deduplication{Size: 10, TTL: 250 * time.Millisecond})
	f(spec(size(int64(1)<<40), ttl(int64(1)<<60)), Deduplication{Size: 1<<31 - 2, TTL: maxCacheTTL * time.Millisecond})
	f(spec(size(int8(1)), persistence("memory")), Deduplication{Size: 1})
	f(spec(size(int8(1)), persistence("disk")), Deduplication{Size: 1, Disk: true})
	transient := spec(size(int8(1)), persistence("disk"))
	transient.Durable = false
	f(transient, Deduplication{Size: 1})

	g := func(want string, arguments ...amqp.Field) {
		t.Helper()
		refused(t, spec(arguments...).CheckArguments(), 406, "PRECONDITION_FAILED - "+want)
	}
	badSize := "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0"
	g(badSize)
	for _, v := range []any{int32(0), int32(-1), "", "ten", "0", 1.5, true, nil} {
		g(badSize, size(v))
		g("Invalid argument, 'x-cache-ttl' must be an integer greater than 0", size("1"), ttl(v))
	}
	for _, v := range []any{"", "Disk", true, nil} {
		g("Invalid argument, 'x-cache-persistence' must be either 'disk' or 'memory'", size("1"), persistence(v))
	}
	if _, ok := (&Spec{Type: "fanout"}).Deduplication(); ok {
		t.Error("a fanout deduplicates")
	}
}
