package management

import (
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/definitions"
)

func (c *call) vhostLimits() error {
	vhosts, err := c.within()
	if err != nil {
		return err
	}
	items := []item{}
	for _, v := range vhosts {
		if limits := v.Settings().Limits; len(limits) > 0 {
			items = append(items, item{v.Name(), func() object { return object{"vhost": v.Name(), "value": definitions.Limits(limits)} }})
		}
	}
	return c.list(items)
}

// userLimits are those of all users, for those who may see users, or of oneself.
func (c *call) userLimits() error {
	items := []item{}
	for _, u := range c.Broker.Users() {
		if len(c.args) > 0 && u.Name != c.args[0] || len(u.Limits) == 0 {
			continue
		}
		if !monitor.allows(c) && u.Name != c.user.Name {
			continue
		}
		items = append(items, item{u.Name, func() object { return object{"user": u.Name, "value": definitions.Limits(u.Limits)} }})
	}
	return c.list(items)
}

// allows is may for whoever calls.
func (a access) allows(c *call) bool { return c.user == nil || a.may(c.user) }

// limit reads the value of a limit, and sets it.
func (c *call) limit(set func(of, name string, value int64) (*broker.Commit, error)) error {
	f, err := c.fields()
	if err != nil {
		return err
	}
	var value int64
	if err := firstOf(f.need("value"), f.integer("value", &value)); err != nil {
		return err
	}
	if err := c.set(set(c.args[0], c.args[1], value)); err != nil {
		return err
	}
	return c.gone()
}

func (c *call) putVHostLimit() error { return c.limit(c.Broker.SetVHostLimit) }
func (c *call) putUserLimit() error  { return c.limit(c.Broker.SetUserLimit) }

func (c *call) deleteVHostLimit() error {
	if err := c.set(c.Broker.ClearVHostLimit(c.args[0], c.args[1])); err != nil {
		return err
	}
	return c.gone()
}

func (c *call) deleteUserLimit() error {
	if err := c.set(c.Broker.ClearUserLimit(c.args[0], c.args[1])); err != nil {
		return err
	}
	return c.gone()
}
