package management

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/definitions"
	"github.com/leveretmq/leveret/policy"
	"github.com/leveretmq/leveret/queue"
)

// policyKind is policies, or operator policies.
type policyKind struct {
	of     func(*broker.VHost) []policy.Policy
	set    func(*broker.Broker, *call, policy.Policy, *queue.Effects) (*broker.Commit, error)
	remove func(*broker.Broker, *call, string, string, *queue.Effects) (*broker.Commit, error)
}

// kind tells which of the two a path is about.
func (c *call) kind() policyKind {
	if c.operators {
		return policyKind{
			of: (*broker.VHost).OperatorPolicies,
			set: func(b *broker.Broker, c *call, p policy.Policy, out *queue.Effects) (*broker.Commit, error) {
				return b.SetOperatorPolicy(c.now, p, out)
			},
			remove: func(b *broker.Broker, c *call, vhost, name string, out *queue.Effects) (*broker.Commit, error) {
				return b.DeleteOperatorPolicy(c.now, vhost, name, out)
			},
		}
	}
	return policyKind{
		of: (*broker.VHost).Policies,
		set: func(b *broker.Broker, c *call, p policy.Policy, out *queue.Effects) (*broker.Commit, error) {
			return b.SetPolicy(c.now, p, out)
		},
		remove: func(b *broker.Broker, c *call, vhost, name string, out *queue.Effects) (*broker.Commit, error) {
			return b.DeletePolicy(c.now, vhost, name, out)
		},
	}
}

// operators is f for operator policies.
func operators(f func(*call) error) func(*call) error {
	return func(c *call) error {
		c.operators = true
		return f(c)
	}
}

func (c *call) policies() error {
	vhosts, err := c.within()
	if err != nil {
		return err
	}
	items := []item{}
	for _, v := range vhosts {
		for _, p := range c.kind().of(v) {
			items = append(items, item{p.Name, func() object { return describePolicy(p) }})
		}
	}
	return c.list(items)
}

func describePolicy(p policy.Policy) object {
	return object{
		"vhost": p.VHost, "name": p.Name, "pattern": p.Pattern, "apply-to": string(p.ApplyTo),
		"definition": definitions.Value(p.Definition), "priority": p.Priority,
	}
}

// findPolicy is the policy of the path.
func (c *call) findPolicy() (policy.Policy, error) {
	v, err := c.vhost()
	if err != nil {
		return policy.Policy{}, err
	}
	for _, p := range c.kind().of(v) {
		if p.Name == c.args[1] {
			return p, nil
		}
	}
	return policy.Policy{}, notFound
}

func (c *call) policy() error {
	p, err := c.findPolicy()
	if err != nil {
		return err
	}
	return c.one(describePolicy(p))
}

func (c *call) putPolicy() error {
	f, err := c.fields()
	if err != nil {
		return err
	}
	return c.setPolicy(f, c.args[0], c.args[1])
}

// setPolicy sets the policy that f describes.
func (c *call) setPolicy(f fields, vhost, name string) error {
	if err := f.need("pattern", "definition"); err != nil {
		return err
	}
	p := policy.Policy{VHost: vhost, Name: name}
	apply, priority := "", int64(0)
	if err := firstOf(f.text("pattern", &p.Pattern), f.text("apply-to", &apply), f.integer("priority", &priority), f.arguments("definition", &p.Definition)); err != nil {
		return err
	}
	p.ApplyTo, p.Priority = policy.ApplyTo(apply), int(priority)
	v := c.Broker.VHost(vhost)
	there := false
	if v != nil {
		for _, o := range c.kind().of(v) {
			there = there || o.Name == name
		}
	}
	if err := c.change(func(out *queue.Effects) (*broker.Commit, error) { return c.kind().set(c.Broker, c, p, out) }); err != nil {
		return err
	}
	return c.made(!there)
}

func (c *call) deletePolicy() error {
	p, err := c.findPolicy()
	if err != nil {
		return err
	}
	if err := c.change(func(out *queue.Effects) (*broker.Commit, error) {
		return c.kind().remove(c.Broker, c, p.VHost, p.Name, out)
	}); err != nil {
		return err
	}
	return c.gone()
}

// parameters are what RabbitMQ keeps as such: operator policies, and limits of virtual
// hosts.
func (c *call) parameters() error {
	component := ""
	if len(c.args) > 0 {
		component = c.args[0]
	}
	return c.listParameters(c.visible(), component)
}

func (c *call) listParameters(vhosts []*broker.VHost, component string) error {
	items := []item{}
	for _, v := range vhosts {
		for _, p := range definitions.Parameters(v) {
			if component == "" || p.Component == component {
				items = append(items, item{p.Name, func() object { return describeParameter(p) }})
			}
		}
	}
	return c.list(items)
}

func describeParameter(p definitions.Parameter) object {
	return object{"vhost": p.VHost, "component": p.Component, "name": p.Name, "value": p.Value}
}

// second is the virtual host that stands behind a component in the path.
func (c *call) second() (*broker.VHost, error) {
	name := c.args[1]
	if !c.sees(name) {
		return nil, notAuthorised("User not authorised to access virtual host")
	}
	v := c.Broker.VHost(name)
	if v == nil {
		return nil, notFound
	}
	return v, nil
}

func (c *call) vhostParameters() error {
	v, err := c.second()
	if err != nil {
		return err
	}
	return c.listParameters([]*broker.VHost{v}, c.args[0])
}

func (c *call) vhostParameter() error {
	v, err := c.second()
	if err != nil {
		return err
	}
	for _, p := range definitions.Parameters(v) {
		if p.Component == c.args[0] && p.Name == c.args[2] {
			return c.one(describeParameter(p))
		}
	}
	return notFound
}

// putParameter sets an operator policy, or the limits of a virtual host, as the parameter that
// it is for RabbitMQ. No other component is known, and policies have a path of their own.
func (c *call) putParameter() error {
	v, err := c.second()
	if err != nil {
		return err
	}
	switch c.args[0] {
	case definitions.OperatorPolicies, definitions.VHostLimits:
	case "policy":
		return badRequest("policies may not be set using this method")
	default:
		return badRequest("Validation failed\n\ncomponent %s not found\n", c.args[0])
	}
	if !administrator.allows(c) {
		return administrator.lacking()
	}
	f, err := c.fields()
	if err != nil {
		return err
	}
	if err := f.need("value"); err != nil {
		return err
	}
	value := fields{}
	if err := json.Unmarshal(f["value"], &value); err != nil {
		return badRequest("value should be an object")
	}
	if c.args[0] == definitions.VHostLimits {
		return c.replaceLimits(v, value)
	}
	c.operators = true
	return c.setPolicy(value, v.Name(), c.args[2])
}

// replaceLimits gives a virtual host these limits and no others.
func (c *call) replaceLimits(v *broker.VHost, value fields) error {
	was := v.Settings().Limits
	limits := make(map[string]int64, len(value))
	for name := range value {
		var n int64
		if err := value.integer(name, &n); err != nil {
			return err
		}
		limits[name] = n
	}
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		if err := c.set(c.Broker.SetVHostLimit(v.Name(), name, limits[name])); err != nil {
			return err
		}
	}
	for _, l := range was {
		if _, stays := limits[l.Name]; stays {
			continue
		}
		if err := c.set(c.Broker.ClearVHostLimit(v.Name(), l.Name)); err != nil {
			return err
		}
	}
	return c.made(len(was) == 0)
}

// deleteParameter takes away what putParameter sets.
func (c *call) deleteParameter() error {
	v, err := c.second()
	if err != nil {
		return err
	}
	there := slices.ContainsFunc(definitions.Parameters(v), func(p definitions.Parameter) bool {
		return p.Component == c.args[0] && p.Name == c.args[2]
	})
	switch {
	case !there:
		return notFound
	case !administrator.allows(c):
		return administrator.lacking()
	case c.args[0] == definitions.VHostLimits:
		return c.replaceLimits(v, fields{})
	}
	if err := c.change(func(out *queue.Effects) (*broker.Commit, error) {
		return c.Broker.DeleteOperatorPolicy(c.now, v.Name(), c.args[2], out)
	}); err != nil {
		return err
	}
	return c.gone()
}
