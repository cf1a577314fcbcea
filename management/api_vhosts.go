package management

import (
	"net/http"

	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

func (c *call) vhosts() error {
	items := []item{}
	for _, v := range c.visible() {
		items = append(items, item{v.Name(), func() object { return c.describeVHost(v) }})
	}
	return c.list(items)
}

func (c *call) aVHost() error {
	v, err := c.vhost()
	if err != nil {
		return err
	}
	return c.one(c.describeVHost(v))
}

func (c *call) describeVHost(v *broker.VHost) object {
	s := v.Settings()
	defaultType := s.DefaultQueueType
	if defaultType == "" {
		defaultType = "undefined"
	}
	tags := append([]string{}, s.Tags...)
	o := object{
		"name":                    s.Name,
		"description":             s.Description,
		"tags":                    tags,
		"default_queue_type":      defaultType,
		"metadata":                object{"description": s.Description, "tags": tags},
		"tracing":                 s.Tracing,
		"protected_from_deletion": s.Protected,
		"cluster_state":           object{c.self().Name: "running"},
	}
	if s.DefaultQueueType != "" {
		o["metadata"].(object)["default_queue_type"] = s.DefaultQueueType
	}
	ready, out := depthOf(v)
	var received, sent uint64
	for _, session := range c.Broker.Sessions() {
		if d := session.Describe(); d.VHost == s.Name {
			received, sent = received+d.OctetsReceived, sent+d.OctetsSent
		}
	}
	c.count(o, ofLengths, vhostKey{s.Name, ofLengths}, lengths(ready, out))
	c.count(o, ofData, vhostKey{s.Name, ofData}, []counter{{"recv_oct", received}, {"send_oct", sent}})
	n := &v.Counters
	o["message_stats"] = c.count(object{}, ofMessages, vhostKey{s.Name, ofMessages}, append(
		publishing(n.MessagesReceived.Load(), n.MessagesConfirmed.Load(), n.MessagesUnroutableReturned.Load(), n.MessagesUnroutableDropped.Load()),
		consuming(sumOf(v.QueueTotals()))...))
	return o
}

// vhostKey is what the counters of a virtual host are remembered by.
type vhostKey struct {
	name string
	of   series
}

// putVHost makes a virtual host, in which its maker may do everything, or changes one.
func (c *call) putVHost() error {
	s := topology.VHost{Name: c.args[0]}
	there := c.Broker.VHost(s.Name)
	if there != nil {
		s = there.Settings()
	}
	f, err := c.fields()
	if err != nil {
		return err
	}
	if len(s.Name) > 255 {
		return badRequest("the name is longer than 255 octets")
	}
	if err := firstOf(f.text("description", &s.Description), f.tags("tags", &s.Tags), f.boolean("tracing", &s.Tracing),
		f.text("default_queue_type", &s.DefaultQueueType), f.boolean("protected_from_deletion", &s.Protected)); err != nil {
		return err
	}
	if s.DefaultQueueType == "undefined" {
		s.DefaultQueueType = ""
	}
	if err := c.set(c.Broker.SetVHost(s)); err != nil {
		return err
	}
	if there == nil && c.user != nil {
		if err := c.set(c.Broker.PutPermission(auth.Permission{User: c.user.Name, VHost: s.Name, Configure: ".*", Write: ".*", Read: ".*"})); err != nil {
			return err
		}
	}
	return c.made(there == nil)
}

func (c *call) deleteVHost() error {
	if c.Broker.VHost(c.args[0]) == nil {
		return notFound
	}
	if err := c.change(func(out *queue.Effects) (*broker.Commit, error) {
		return c.Broker.RemoveVHost(c.now, c.args[0], out)
	}); err != nil {
		return err
	}
	return c.gone()
}

func (c *call) protectVHost() error   { return c.setProtected(true) }
func (c *call) unprotectVHost() error { return c.setProtected(false) }

func (c *call) setProtected(protected bool) error {
	v, err := c.vhost()
	if err != nil {
		return err
	}
	s := v.Settings()
	s.Protected = protected
	if err := c.set(c.Broker.SetVHost(s)); err != nil {
		return err
	}
	return c.gone()
}

// startVHost has nothing to start: a virtual host of a node that runs does.
func (c *call) startVHost() error {
	if c.args[1] != c.self().Name {
		return notFound
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
