package policy

import (
	"slices"
	"strings"

	"github.com/leveretmq/leveret/amqp"
)

// Merge is the effective definition of a policy and an operator policy, either of which may
// be missing (POL-5): limits are the smaller of the two, and a key that only one has is
// that one's. It is sorted by key.
func Merge(user, operator *Policy) amqp.Table {
	switch {
	case operator == nil && user == nil:
		return nil
	case operator == nil:
		return user.Definition
	case user == nil:
		return operator.Definition
	}
	merged := slices.Clone(user.Definition)
	for _, f := range operator.Definition {
		i := slices.IndexFunc(merged, func(m amqp.Field) bool { return m.Name == f.Name })
		if i < 0 {
			merged = append(merged, f)
			continue
		}
		merged[i].Value = keys[f.Name].merge(merged[i].Value, f.Value)
	}
	slices.SortFunc(merged, func(a, b amqp.Field) int { return strings.Compare(a.Name, b.Name) })
	return merged
}

func smaller(a, b any) any {
	x, _ := amqp.AsInt64(a)
	y, _ := amqp.AsInt64(b)
	if y < x {
		return b
	}
	return a
}

func operators(_, operator any) any { return operator }

// stricter is the smaller of two limits of which a negative one is no limit.
func stricter(a, b any) any {
	x, _ := amqp.AsInt64(a)
	y, _ := amqp.AsInt64(b)
	if x < 0 || y >= 0 && y < x {
		return b
	}
	return a
}
