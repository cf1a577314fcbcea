package auth

import (
	"cmp"
	"slices"
)

// The limits users and virtual hosts can have, by the names RabbitMQ gives them (LIM-2).
const (
	MaxConnections = "max-connections" // of a user, or to a virtual host
	MaxChannels    = "max-channels"    // of a user, over all of its connections
	// Of a virtual host, or of what a user has made in each. RabbitMQ knows only the queues of
	// virtual hosts.
	MaxQueues   = "max-queues"
	MaxBindings = "max-bindings"
)

// VHostLimits are the limits that a virtual host can have.
var VHostLimits = []string{MaxConnections, MaxQueues, MaxBindings}

// UserLimits are the limits that a user can have.
var UserLimits = []string{MaxConnections, MaxChannels, MaxQueues, MaxBindings}

// Limit is a number that something may reach and not exceed. 0 allows none, and a negative
// one is no limit, though it is kept.
type Limit struct {
	Name  string
	Value int64
}

// Limits are the limits of a user or a virtual host, by name. They are never changed.
type Limits []Limit

// Reached tells whether there is a limit of that name that count has come to, and which.
func (l Limits) Reached(name string, count int) (limit int64, reached bool) {
	for _, x := range l {
		if x.Name == name {
			return x.Value, x.Value >= 0 && int64(count) >= x.Value
		}
	}
	return 0, false
}

// With returns l with a limit added, or changed.
func (l Limits) With(name string, value int64) Limits {
	next := append(l.Without(name), Limit{name, value})
	slices.SortFunc(next, func(a, b Limit) int { return cmp.Compare(a.Name, b.Name) })
	return next
}

// Without returns l without the limit of that name.
func (l Limits) Without(name string) Limits {
	return slices.DeleteFunc(slices.Clone(l), func(x Limit) bool { return x.Name == name })
}
