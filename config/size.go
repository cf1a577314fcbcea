package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes.
type Size int64

// The binary multiples a Size is usually written in.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

// sizeUnits are the units ParseSize knows, in lower case. A letter alone is binary,
// as in rabbitmq.conf.
var sizeUnits = map[string]Size{
	"": 1, "b": 1,
	"k": KiB, "kib": KiB, "kb": 1e3,
	"m": MiB, "mib": MiB, "mb": 1e6,
	"g": GiB, "gib": GiB, "gb": 1e9,
}

// ParseSize reads a number of bytes such as 4096, 64MiB, 1.5GiB or 1GB. KiB, MiB and GiB
// are powers of 1024, and so are K, M and G; KB, MB and GB are powers of 1000. Upper and
// lower case are the same.
func ParseSize(s string) (Size, error) {
	digits := strings.TrimSpace(s)
	cut := strings.IndexFunc(digits, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	unit := ""
	if cut >= 0 {
		digits, unit = digits[:cut], strings.ToLower(strings.TrimSpace(digits[cut:]))
	}
	multiple, known := sizeUnits[unit]
	if digits == "" || !known {
		return 0, fmt.Errorf("%q is not a size such as 65536, 64KiB or 1GB", s)
	}
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
		if n > math.MaxInt64/int64(multiple) {
			return 0, fmt.Errorf("%q is more bytes than can be counted", s)
		}
		return Size(n) * multiple, nil
	}
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size such as 65536, 64KiB or 1GB", s)
	}
	f *= float64(multiple)
	if f >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is more bytes than can be counted", s)
	}
	if f != math.Trunc(f) {
		return 0, fmt.Errorf("%q is not a whole number of bytes", s)
	}
	return Size(f), nil
}

// String writes s in the largest binary unit that leaves a whole number, so that
// ParseSize gives s back.
func (s Size) String() string {
	for _, u := range []struct {
		size Size
		name string
	}{{GiB, "GiB"}, {MiB, "MiB"}, {KiB, "KiB"}} {
		if s != 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}
