package exchange

import (
	"strconv"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

const (
	typeDeduplication = "x-message-deduplication"

	cacheSize        = "x-cache-size"
	cacheTTL         = "x-cache-ttl"
	cachePersistence = "x-cache-persistence"
)

// Deduplication is what an exchange of the type x-message-deduplication was told (EX-56).
// The type itself is a fanout: whether a message has been seen before is decided by the
// broker, which knows when and where it is stored.
type Deduplication struct {
	Size int           // how many values are remembered at most
	TTL  time.Duration // for how long; 0 for as long as there is room
	Disk bool          // over a restart too
}

// Deduplication returns the arguments of an exchange of that type, and whether it is one.
func (s *Spec) Deduplication() (d Deduplication, ok bool) {
	if t, err := s.routing(); err != nil || t.name != typeDeduplication {
		return d, false
	}
	size, _ := s.number(cacheSize)
	ttl, _ := s.number(cacheTTL)
	persistence, _ := s.text(cachePersistence)
	d.Size = int(min(size, 1<<31-2)) // a value has a number of 32 bits
	d.TTL = time.Duration(min(ttl, maxCacheTTL)) * time.Millisecond
	d.Disk = s.Durable && persistence == "disk"
	return d, true
}

// maxCacheTTL is ten years, in milliseconds.
const maxCacheTTL = 315_360_000_000

// number reads an argument that may be a number or the digits of one.
func (s *Spec) number(argument string) (n int64, ok bool) {
	v, _ := s.Arguments.Get(argument)
	return Number(v)
}

// Number reads a whole number, or the digits of one.
func Number(v any) (n int64, ok bool) {
	if digits, text := v.(string); text {
		n, err := strconv.ParseInt(digits, 10, 64)
		return n, err == nil
	}
	return amqp.AsInt64(v)
}

// checkDeduplication refuses what the plugin refuses, and sizes and times in digits that are
// not positive, which it accepts only to fail with them later.
func checkDeduplication(s *Spec) error {
	if n, ok := s.number(cacheSize); !ok || n < 1 {
		return amqp.PreconditionFailed("Missing or invalid argument, '%s' must be an integer greater than 0", cacheSize)
	}
	if _, there := s.Arguments.Get(cacheTTL); there {
		if n, ok := s.number(cacheTTL); !ok || n < 1 {
			return amqp.PreconditionFailed("Invalid argument, '%s' must be an integer greater than 0", cacheTTL)
		}
	}
	if v, there := s.Arguments.Get(cachePersistence); there && v != "disk" && v != "memory" {
		return amqp.PreconditionFailed("Invalid argument, '%s' must be either 'disk' or 'memory'", cachePersistence)
	}
	return nil
}
