package management

import (
	"github.com/leveretmq/leveret/auth"
)

// listPermissions answers with those that which is true for.
func (c *call) listPermissions(which func(auth.Permission) bool) error {
	items := []item{}
	for _, p := range c.Broker.Permissions() {
		if which(p) {
			items = append(items, item{p.User, func() object { return describePermission(p) }})
		}
	}
	return c.list(items)
}

func describePermission(p auth.Permission) object {
	return object{"user": p.User, "vhost": p.VHost, "configure": p.Configure, "write": p.Write, "read": p.Read}
}

func (c *call) permissions() error {
	return c.listPermissions(func(auth.Permission) bool { return true })
}

func (c *call) vhostPermissions() error {
	return c.listPermissions(func(p auth.Permission) bool { return p.VHost == c.args[0] })
}

func (c *call) userPermissions() error {
	if _, ok := c.Broker.User(c.args[0]); !ok {
		return notFound
	}
	return c.listPermissions(func(p auth.Permission) bool { return p.User == c.args[0] })
}

// findPermission is the permission of the path.
func (c *call) findPermission() (auth.Permission, bool) {
	for _, p := range c.Broker.Permissions() {
		if p.VHost == c.args[0] && p.User == c.args[1] {
			return p, true
		}
	}
	return auth.Permission{}, false
}

func (c *call) permission() error {
	p, ok := c.findPermission()
	if !ok {
		return notFound
	}
	return c.one(describePermission(p))
}

func (c *call) putPermission() error {
	p := auth.Permission{VHost: c.args[0], User: c.args[1]}
	f, err := c.fields()
	if err != nil {
		return err
	}
	if err := firstOf(f.need("configure", "write", "read"), f.text("configure", &p.Configure), f.text("write", &p.Write), f.text("read", &p.Read)); err != nil {
		return err
	}
	_, there := c.findPermission()
	if err := c.set(c.Broker.PutPermission(p)); err != nil {
		return err
	}
	return c.made(!there)
}

func (c *call) deletePermission() error {
	if _, ok := c.Broker.User(c.args[1]); !ok {
		return notFound
	}
	if err := c.set(c.Broker.DeletePermission(c.args[1], c.args[0]), nil); err != nil {
		return err
	}
	return c.gone()
}

// topicPermissionsWhere are those that which is true for.
func (c *call) topicPermissionsWhere(which func(auth.TopicPermission) bool) []item {
	items := []item{}
	for _, p := range c.Broker.TopicPermissions() {
		if which(p) {
			items = append(items, item{p.User, func() object {
				return object{"user": p.User, "vhost": p.VHost, "exchange": p.Exchange, "write": p.Write, "read": p.Read}
			}})
		}
	}
	return items
}

func (c *call) topicPermissions() error {
	return c.list(c.topicPermissionsWhere(func(auth.TopicPermission) bool { return true }))
}

func (c *call) vhostTopicPermissions() error {
	return c.list(c.topicPermissionsWhere(func(p auth.TopicPermission) bool { return p.VHost == c.args[0] }))
}

func (c *call) userTopicPermissions() error {
	if _, ok := c.Broker.User(c.args[0]); !ok {
		return notFound
	}
	return c.list(c.topicPermissionsWhere(func(p auth.TopicPermission) bool { return p.User == c.args[0] }))
}

// ofPath tells whether a topic permission is of the user, the virtual host and, if there is
// one, the exchange of the path.
func (c *call) ofPath(p auth.TopicPermission) bool {
	return p.VHost == c.args[0] && p.User == c.args[1] && (len(c.args) < 3 || p.Exchange == exchangeName(c.args[2]))
}

func (c *call) topicPermission() error {
	found := c.topicPermissionsWhere(c.ofPath)
	if len(found) == 0 {
		return notFound
	}
	return c.list(found)
}

func (c *call) putTopicPermission() error {
	p := auth.TopicPermission{VHost: c.args[0], User: c.args[1]}
	f, err := c.fields()
	if err != nil {
		return err
	}
	if err := firstOf(f.need("exchange", "write", "read"), f.text("exchange", &p.Exchange), f.text("write", &p.Write), f.text("read", &p.Read)); err != nil {
		return err
	}
	there := len(c.topicPermissionsWhere(func(o auth.TopicPermission) bool {
		return o.User == p.User && o.VHost == p.VHost
	})) > 0
	if err := c.set(c.Broker.PutTopicPermission(p)); err != nil {
		return err
	}
	return c.made(!there)
}

func (c *call) deleteTopicPermission() error {
	if _, ok := c.Broker.User(c.args[1]); !ok {
		return notFound
	}
	var exchange *string
	if len(c.args) > 2 {
		name := exchangeName(c.args[2])
		exchange = &name
	}
	if err := c.set(c.Broker.DeleteTopicPermission(c.args[1], c.args[0], exchange), nil); err != nil {
		return err
	}
	return c.gone()
}
