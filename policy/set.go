package policy

import (
	"cmp"
	"slices"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/pattern"
)

// Set is the policies of one virtual host, or its operator policies, ready to be asked. It
// is immutable, and nil is a set without any.
type Set struct {
	ranked []*compiled // by falling priority, then by name
}

type compiled struct {
	policy  Policy
	pattern *pattern.Pattern
	kinds   [kindCount]bool // what it applies to, if the name matches
}

// With returns the set with p, which was checked, in place of the one of its name. The
// error is Check's, about a pattern.
func (s *Set) With(p Policy) (*Set, error) {
	names, err := pattern.Compile(p.Pattern)
	if err != nil {
		return nil, err
	}
	next := s.Without(p.Name)
	c := &compiled{policy: p, pattern: names}
	for k := range Kind(kindCount) {
		c.kinds[k] = p.ApplyTo.covers(k) && applicable(&p, k)
	}
	next.ranked = append(next.ranked, c)
	// RabbitMQ leaves open which of two with one priority applies; here it is the first by
	// name.
	slices.SortFunc(next.ranked, func(a, b *compiled) int {
		return cmp.Or(cmp.Compare(b.policy.Priority, a.policy.Priority), cmp.Compare(a.policy.Name, b.policy.Name))
	})
	return next, nil
}

// Without returns the set without the policy of that name.
func (s *Set) Without(name string) *Set {
	next := new(Set)
	if s == nil {
		return next
	}
	for _, c := range s.ranked {
		if c.policy.Name != name {
			next.ranked = append(next.ranked, c)
		}
	}
	return next
}

// Find returns the policy of that name, or nil. It must not be changed.
func (s *Set) Find(name string) *Policy {
	if s == nil {
		return nil
	}
	for _, c := range s.ranked {
		if c.policy.Name == name {
			return &c.policy
		}
	}
	return nil
}

// All returns the policies by name.
func (s *Set) All() []Policy {
	if s == nil {
		return nil
	}
	all := make([]Policy, 0, len(s.ranked))
	for _, c := range s.ranked {
		all = append(all, c.policy)
	}
	slices.SortFunc(all, func(a, b Policy) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Match returns the policy that applies to the thing of kind k and that name, or nil
// (POL-1). The same policy of the same set, or of one made from it, is the same pointer.
func (s *Set) Match(k Kind, name string) *Policy {
	if s == nil {
		return nil
	}
	for _, c := range s.ranked {
		if c.matches(k, name) {
			return &c.policy
		}
	}
	return nil
}

// Concerns tells whether the policy named policy matches the thing of kind k and that name,
// whether or not another one comes before it.
func (s *Set) Concerns(policy string, k Kind, name string) bool {
	if s == nil {
		return false
	}
	for _, c := range s.ranked {
		if c.policy.Name == policy {
			return c.matches(k, name)
		}
	}
	return false
}

func (c *compiled) matches(k Kind, name string) bool {
	return c.kinds[k] && c.pattern.Matches(name)
}

// Rules are the policies and the operator policies of a virtual host.
type Rules struct{ User, Operator *Set }

// Applied is what applies to one queue or exchange. The policies are nil when there are
// none; nothing in it may be changed.
type Applied struct {
	Policy, Operator *Policy
	Definition       amqp.Table // what the two come to
}

// Apply returns what applies to the thing of kind k and that name.
func (r Rules) Apply(k Kind, name string) Applied {
	a := Applied{Policy: r.User.Match(k, name), Operator: r.Operator.Match(k, name)}
	a.Definition = Merge(a.Policy, a.Operator)
	return a
}

// Same tells whether a and b are of the same policies.
func (a Applied) Same(b Applied) bool { return a.Policy == b.Policy && a.Operator == b.Operator }
