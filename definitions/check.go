package definitions

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/policy"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// maxName is how long a name may be in AMQP, in octets.
const maxName = 255

// item is what an error calls something.
func item(kind, name, vhost string) string {
	s := kind
	if name != "" || kind != "limits" {
		s += " '" + name + "'"
	}
	return s + " in vhost '" + vhost + "'"
}

func (u User) item() string     { return "user '" + u.Name + "'" }
func (v VHost) item() string    { return "vhost '" + v.Name + "'" }
func (q Queue) item() string    { return item("queue", q.Name, q.VHost) }
func (x Exchange) item() string { return item("exchange", x.Name, x.VHost) }
func (p Policy) item() string   { return item("policy", p.Name, p.VHost) }
func (p Permission) item() string {
	return item("permission of user", p.User, p.VHost)
}

func (p TopicPermission) item() string {
	return item("topic permission of user '"+p.User+"' for exchange", p.Exchange, p.VHost)
}
func (p Parameter) item() string       { return item("parameter of "+p.Component, p.Name, p.VHost) }
func (g GlobalParameter) item() string { return "global parameter '" + g.Name + "'" }
func (b Binding) item() string {
	return item(fmt.Sprintf("binding from exchange '%s' to %s '%s' with key", b.Source, b.DestinationType, b.Destination), b.RoutingKey, b.VHost)
}

// checker knows what there would be after an import, as far as it has looked.
type checker struct {
	b      *broker.Broker
	users  map[string]bool
	vhosts map[string]*checkedVHost
	parameters
}

// checkedVHost is a virtual host after an import.
type checkedVHost struct {
	there     *broker.VHost // nil for a new one
	existing  int           // queues that are there
	limits    auth.Limits
	queueType string                // what queues are that do not say
	queues    map[string]queue.Type // that are new
	exchanges map[string]*exchange.Exchange
}

func newChecker(b *broker.Broker) *checker {
	c := &checker{b: b, users: make(map[string]bool), vhosts: make(map[string]*checkedVHost)}
	for _, u := range b.Users() {
		c.users[u.Name] = true
	}
	for _, v := range b.VHosts() {
		c.addVHost(v.Name(), v)
	}
	return c
}

func (c *checker) addVHost(name string, there *broker.VHost) {
	v := &checkedVHost{there: there, queues: make(map[string]queue.Type), exchanges: make(map[string]*exchange.Exchange)}
	if there != nil {
		s := there.Settings()
		v.limits, v.queueType, v.existing = s.Limits, s.DefaultQueueType, len(there.Queues())
	}
	c.vhosts[name] = v
}

// check says why d cannot be imported, or nil. It goes in the order of the import, so that
// what an item needs is known by then.
func (c *checker) check(d *Definitions) error {
	for _, f := range []func(*Definitions) error{
		c.checkUsers, c.checkVHosts, c.checkPermissions, c.checkGlobals, c.checkParameters, c.checkPolicies, c.checkExchanges, c.checkQueues, c.checkBindings,
	} {
		if err := f(d); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) checkGlobals(d *Definitions) error {
	return each(d.GlobalParameters, func(g GlobalParameter) error {
		if ofNode(g.Name) {
			return nil
		}
		return broker.CheckGlobalParameter(g.record())
	})
}

// each calls f for all items and says of which one it does not like.
func each[T interface{ item() string }](items []T, f func(T) error) error {
	for _, x := range items {
		if err := f(x); err != nil {
			return &Error{Item: x.item(), Err: err}
		}
	}
	return nil
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("it has no name")
	case len(name) > maxName:
		return fmt.Errorf("its name is longer than %d octets", maxName)
	case !utf8.ValidString(name):
		return errors.New("its name is not UTF-8")
	}
	return nil
}

func (c *checker) checkUsers(d *Definitions) error {
	return each(d.Users, func(u User) error {
		if err := checkName(u.Name); err != nil {
			return err
		}
		if u.PasswordHash != nil {
			if err := auth.CheckHash(*u.PasswordHash, u.Algorithm); err != nil {
				return err
			}
		}
		for _, l := range u.Limits {
			if !slices.Contains(auth.UserLimits, l.Name) {
				return fmt.Errorf("there is no limit %q", l.Name)
			}
		}
		c.users[u.Name] = true
		return nil
	})
}

func (c *checker) checkVHosts(d *Definitions) error {
	return each(d.VHosts, func(v VHost) error {
		if err := checkName(v.Name); err != nil {
			return err
		}
		if c.vhosts[v.Name] == nil {
			c.addVHost(v.Name, nil)
		}
		for _, t := range []*string{v.DefaultQueueType, (&v).metadataType()} {
			if t != nil {
				if err := broker.CheckDefaultQueueType(known(*t)); err != nil {
					return err
				}
			}
		}
		is := c.vhosts[v.Name]
		is.queueType = v.over(topology.VHost{DefaultQueueType: is.queueType}).DefaultQueueType
		return nil
	})
}

func (v *VHost) metadataType() *string {
	if v.Metadata == nil {
		return nil
	}
	return v.Metadata.DefaultQueueType
}

// known is a default queue type, without the word that stood for none.
func known(t string) string {
	if t == "undefined" {
		return ""
	}
	return t
}

// vhost finds a virtual host, which has to be there by then.
func (c *checker) vhost(name string) (*checkedVHost, error) {
	if v := c.vhosts[name]; v != nil {
		return v, nil
	}
	return nil, fmt.Errorf("there is no vhost '%s'", name)
}

func (c *checker) checkGrantee(user, vhost string) error {
	if !c.users[user] {
		return fmt.Errorf("there is no user '%s'", user)
	}
	_, err := c.vhost(vhost)
	return err
}

func (c *checker) checkPermissions(d *Definitions) error {
	if err := each(d.Permissions, func(p Permission) error {
		if err := c.checkGrantee(p.User, p.VHost); err != nil {
			return err
		}
		_, err := auth.Permission(p).Compile()
		return err
	}); err != nil {
		return err
	}
	return each(d.TopicPermissions, func(p TopicPermission) error {
		if err := c.checkGrantee(p.User, p.VHost); err != nil {
			return err
		}
		_, err := auth.TopicPermission(p).Compile()
		return err
	})
}

// checkParameters takes operator policies and limits out of the parameters.
func (c *checker) checkParameters(d *Definitions) error {
	return each(d.Parameters, func(p Parameter) error {
		v, err := c.vhost(p.VHost)
		if err != nil {
			return err
		}
		switch p.Component {
		case OperatorPolicies:
			var o operator
			if err := json.Unmarshal(p.Value, &o); err != nil {
				return err
			}
			operator, err := policy.CheckOperator(policy.Policy{
				VHost: p.VHost, Name: p.Name, Pattern: o.Pattern, ApplyTo: policy.ApplyTo(o.ApplyTo),
				Definition: amqp.Table(o.Definition), Priority: o.Priority,
			})
			if err != nil {
				return err
			}
			c.operators = append(c.operators, operator)
			return checkName(p.Name)
		case VHostLimits:
			var l Limits
			if err := json.Unmarshal(p.Value, &l); err != nil {
				return err
			}
			for _, x := range l {
				if !slices.Contains(auth.VHostLimits, x.Name) {
					return fmt.Errorf("there is no limit %q", x.Name)
				}
				v.limits = v.limits.With(x.Name, x.Value)
			}
			c.limits = append(c.limits, vhostLimits{p.VHost, auth.Limits(l)})
			return nil
		}
		return fmt.Errorf("component %s not found", p.Component)
	})
}

func (c *checker) checkPolicies(d *Definitions) error {
	return each(d.Policies, func(p Policy) error {
		if err := checkName(p.Name); err != nil {
			return err
		}
		if _, err := c.vhost(p.VHost); err != nil {
			return err
		}
		_, err := policy.Check(p.Policy())
		return err
	})
}

func (c *checker) checkExchanges(d *Definitions) error {
	return each(d.Exchanges, func(x Exchange) error {
		if err := checkName(x.Name); err != nil {
			return err
		}
		v, err := c.vhost(x.VHost)
		if err != nil || v.exchange(x.VHost, x.Name) != nil {
			return err // one that is there stays as it is
		}
		if err := broker.CheckExchange(x.Spec()); err != nil {
			return err
		}
		v.exchanges[x.Name], err = exchange.New(x.Spec(), noChance)
		return err
	})
}

// noChance is the entropy of exchanges that are only asked what may be bound to them.
func noChance() uint64 { return 0 }

// exchange finds an exchange that there is, or will be.
func (v *checkedVHost) exchange(vhost, name string) *exchange.Exchange {
	if x := v.exchanges[name]; x != nil {
		return x
	}
	if v.there != nil {
		x, _, err := v.there.Exchange(name)
		if err != nil {
			return nil
		}
		return x
	}
	for _, spec := range exchange.Predeclared(vhost) {
		if spec.Name == name && name != exchange.Default {
			x, err := exchange.New(spec, noChance)
			if err != nil {
				return nil
			}
			return x
		}
	}
	return nil
}

func (c *checker) checkQueues(d *Definitions) error {
	return each(d.Queues, func(q Queue) error {
		if err := checkName(q.Name); err != nil {
			return err
		}
		v, err := c.vhost(q.VHost)
		if err != nil || v.queue(q.Name) {
			return err
		}
		typ, err := broker.CheckQueue(q.Spec(), v.queueType)
		if err != nil {
			return err
		}
		if limit, reached := v.limits.Reached(auth.MaxQueues, v.existing+len(v.queues)); reached {
			return fmt.Errorf("the virtual host may not have more than %d queues", limit)
		}
		v.queues[q.Name] = typ
		return nil
	})
}

// queue tells whether there is a queue, or will be.
func (v *checkedVHost) queue(name string) bool {
	if _, found := v.queues[name]; found {
		return true
	}
	if v.there == nil {
		return false
	}
	_, there := v.there.QueuePolicies(name)
	return there
}

func (c *checker) checkBindings(d *Definitions) error {
	return each(d.Bindings, func(b Binding) error {
		v, err := c.vhost(b.VHost)
		if err != nil {
			return err
		}
		made, err := b.Binding()
		if err != nil {
			return err
		}
		if len(b.RoutingKey) > maxName {
			return fmt.Errorf("its key is longer than %d octets", maxName)
		}
		if err := v.checkDestination(b.VHost, made); err != nil || b.isImplied() {
			return err
		}
		source := v.exchange(b.VHost, b.Source)
		if source == nil {
			return fmt.Errorf("there is no exchange '%s'", b.Source)
		}
		if err := source.ValidateBinding(made); err != nil || made.Kind != binding.Queue {
			return err
		}
		return source.ValidateQueue(v.queueTypeOf(made.Destination).String())
	})
}

// queueTypeOf is the type of a queue that there is, or will be.
func (v *checkedVHost) queueTypeOf(name string) queue.Type {
	if typ, found := v.queues[name]; found {
		return typ
	}
	if q, _, err := v.there.Queue(nil, name); err == nil {
		return q.Options().Type
	}
	return queue.Classic // it has just gone
}

func (v *checkedVHost) checkDestination(vhost string, b binding.Binding) error {
	if b.Kind == binding.Exchange {
		if v.exchange(vhost, b.Destination) == nil {
			return fmt.Errorf("there is no exchange '%s'", b.Destination)
		}
		return nil
	}
	if !v.queue(b.Destination) {
		return fmt.Errorf("there is no queue '%s'", b.Destination)
	}
	if _, found := v.queues[b.Destination]; found || v.there == nil {
		return nil
	}
	_, _, err := v.there.Queue(nil, b.Destination) // it may be exclusive
	return err
}
