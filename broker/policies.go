package broker

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/leveretmq/leveret/policy"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// SetPolicy sets a policy of p.VHost, or replaces the one of its name, and lets it act on
// the queues and exchanges that it, or its predecessor, applies to (POL-1). What that sets
// off is left in out. The error is a *Refusal with RabbitMQ's text.
func (b *Broker) SetPolicy(now time.Time, p policy.Policy, out *queue.Effects) (*Commit, error) {
	p, err := policy.Check(p)
	if err != nil {
		return nil, refuse(Invalid, "%v", err)
	}
	return b.setPolicy(now, topology.Policy{Policy: p}, out)
}

// SetOperatorPolicy is SetPolicy for operator policies (POL-5).
func (b *Broker) SetOperatorPolicy(now time.Time, p policy.Policy, out *queue.Effects) (*Commit, error) {
	p, err := policy.CheckOperator(p)
	if err != nil {
		return nil, refuse(Invalid, "%v", err)
	}
	return b.setPolicy(now, topology.Policy{Policy: p, Operator: true}, out)
}

func (b *Broker) setPolicy(now time.Time, p topology.Policy, out *queue.Effects) (*Commit, error) {
	v := b.VHost(p.VHost)
	if v == nil {
		return nil, noVHost()
	}
	if p.Name == "" {
		return nil, refuse(Invalid, "a policy has to have a name")
	}
	return v.changePolicies(now, p, topology.Unit{Puts: []topology.Record{p}}, func(s *policy.Set) (*policy.Set, error) {
		next, err := s.With(p.Policy)
		if err != nil {
			return nil, refuse(Invalid, "%v", err)
		}
		return next, nil
	}, out)
}

// DeletePolicy takes a policy of a virtual host away, and its effect with it. If there is
// none of that name, the error is a *Refusal.
func (b *Broker) DeletePolicy(now time.Time, vhost, name string, out *queue.Effects) (*Commit, error) {
	return b.deletePolicy(now, topology.Policy{Policy: policy.Policy{VHost: vhost, Name: name}}, out)
}

// DeleteOperatorPolicy is DeletePolicy for operator policies.
func (b *Broker) DeleteOperatorPolicy(now time.Time, vhost, name string, out *queue.Effects) (*Commit, error) {
	return b.deletePolicy(now, topology.Policy{Policy: policy.Policy{VHost: vhost, Name: name}, Operator: true}, out)
}

func (b *Broker) deletePolicy(now time.Time, p topology.Policy, out *queue.Effects) (*Commit, error) {
	v := b.VHost(p.VHost)
	if v == nil {
		return nil, noVHost()
	}
	return v.changePolicies(now, p, topology.Unit{Deletes: []topology.Record{p}}, func(s *policy.Set) (*policy.Set, error) {
		if s.Find(p.Name) == nil {
			return nil, refuse(NotFound, "Not Found")
		}
		return s.Without(p.Name), nil
	}, out)
}

// Policies returns the policies of the virtual host, by name. They must not be changed.
func (v *VHost) Policies() []policy.Policy { return v.policies().User.All() }

// OperatorPolicies returns the operator policies of the virtual host, by name. They must
// not be changed.
func (v *VHost) OperatorPolicies() []policy.Policy { return v.policies().Operator.All() }

// QueuePolicies returns what policies apply to a queue, and whether there is the queue.
func (v *VHost) QueuePolicies(name string) (policy.Applied, bool) {
	n := v.queues.find(name)
	if n == nil {
		return policy.Applied{}, false
	}
	return n.policies(), true
}

// ExchangePolicies returns what policies apply to an exchange, and whether there is the
// exchange.
func (v *VHost) ExchangePolicies(name string) (policy.Applied, bool) {
	n := v.exchanges.find(name)
	if n == nil {
		return policy.Applied{}, false
	}
	return n.policies(), true
}

func (v *VHost) policies() policy.Rules {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.rules
}

// changePolicies writes a unit with p, makes another set of the one p belongs to, and has
// it act on what is there. One at a time does so, from the write to the last queue, so that
// an earlier change is never the last to arrive. The topology is locked only while the set
// is exchanged: what is declared from then on has the new one.
func (v *VHost) changePolicies(now time.Time, p topology.Policy, u topology.Unit, change func(*policy.Set) (*policy.Set, error), out *queue.Effects) (*Commit, error) {
	v.applying.Lock()
	defer v.applying.Unlock()
	v.mu.Lock()
	if err := v.down(); err != nil {
		v.mu.Unlock()
		return nil, noVHost()
	}
	set := &v.rules.User
	if p.Operator {
		set = &v.rules.Operator
	}
	next, err := change(*set)
	if err != nil {
		v.mu.Unlock()
		return nil, err
	}
	c := v.b.write(u)
	*set = next
	rules := v.rules
	v.mu.Unlock()

	concerned := func(k policy.Kind, name string, is policy.Applied) bool {
		of := is.Policy
		if p.Operator {
			of = is.Operator
		}
		return of != nil && of.Name == p.Name || next.Concerns(p.Name, k, name)
	}
	v.applyToQueues(now, rules, concerned, out)
	v.applyToExchanges(rules, concerned)
	return c, nil
}

// queuesAtOnce is how many queues get other policies before what that set off is carried
// out.
const queuesAtOnce = 64

// applyToQueues has rules act on the queues that are concerned, in the order of their names.
// A queue that is deleted meanwhile does not mind.
func (v *VHost) applyToQueues(now time.Time, rules policy.Rules, concerned func(policy.Kind, string, policy.Applied) bool, out *queue.Effects) {
	var found []*queueNode
	v.queues.each(func(n *queueNode) {
		if concerned(n.kind, n.q.Name(), n.policies()) {
			found = append(found, n)
		}
	})
	slices.SortFunc(found, func(a, b *queueNode) int { return cmp.Compare(a.q.Name(), b.q.Name()) })
	for i, n := range found {
		spec := n.q.Spec()
		is := rules.Apply(n.kind, spec.Name)
		if is.Same(n.policies()) {
			continue
		}
		n.applied.Store(&is)
		n.q.SetOptions(now, v.b.timed(resolve(spec, is)), out)
		if i%queuesAtOnce == queuesAtOnce-1 {
			v.b.CarryOut(now, out)
		}
	}
}

// applyToExchanges has rules act on the exchanges that are concerned.
func (v *VHost) applyToExchanges(rules policy.Rules, concerned func(policy.Kind, string, policy.Applied) bool) {
	v.exchanges.each(func(n *exchangeNode) {
		was := n.policies()
		if !concerned(policy.Exchange, n.x.Name(), was) {
			return
		}
		is := rules.Apply(policy.Exchange, n.x.Name())
		if !is.Same(was) {
			n.apply(is)
		}
	})
	v.generation.Add(1) // alternate exchanges may have changed
}

// applyTo gives a new exchange the policies there are. v.mu is held.
func (v *VHost) applyTo(n *exchangeNode) {
	if is := v.rules.Apply(policy.Exchange, n.x.Name()); is.Policy != nil || is.Operator != nil {
		n.apply(is)
	}
}

func (n *exchangeNode) apply(is policy.Applied) {
	alternate, _ := is.Definition.Get("alternate-exchange")
	name, ok := alternate.(string)
	n.x.SetPolicyAlternate(name, ok)
	n.applied.Store(&is)
}

// newQueueOptions is what a new queue acts on, under the policies there are. v.mu is held.
func (v *VHost) newQueueOptions(spec queue.Spec, o queue.Options) (queue.Options, *policy.Applied) {
	is := v.rules.Apply(kindOf(o.Type), spec.Name)
	if is.Policy == nil && is.Operator == nil {
		return o, nil
	}
	return resolve(spec, is), &is
}

// resolve is queue.Resolve for arguments that were checked before.
func resolve(spec queue.Spec, is policy.Applied) queue.Options {
	o, err := queue.Resolve(spec, is.Definition)
	if err != nil {
		panic(fmt.Sprintf("broker: arguments of queue %q that were fine: %v", spec.Name, err))
	}
	return o
}

func kindOf(t queue.Type) policy.Kind {
	if t == queue.Quorum {
		return policy.QuorumQueue
	}
	return policy.ClassicQueue
}

// restorePolicies takes the policies from their records, of which those without a virtual
// host are garbage.
func (b *Broker) restorePolicies(c topology.Catalog) (garbage []topology.Record, err error) {
	for _, p := range c.Policies {
		v := b.vhosts[p.VHost]
		if v == nil {
			garbage = append(garbage, p)
			continue
		}
		set := &v.rules.User
		if p.Operator {
			set = &v.rules.Operator
		}
		if *set, err = (*set).With(p.Policy); err != nil {
			return nil, fmt.Errorf("restore policy %q of vhost %q: %w", p.Name, p.VHost, err)
		}
	}
	return garbage, nil
}

// policyRecords are the records of all policies of the virtual host, for them to be
// deleted.
func (v *VHost) policyRecords() []topology.Record {
	rules := v.policies()
	var records []topology.Record
	for _, p := range rules.User.All() {
		records = append(records, topology.Policy{Policy: p})
	}
	for _, p := range rules.Operator.All() {
		records = append(records, topology.Policy{Policy: p, Operator: true})
	}
	return records
}
