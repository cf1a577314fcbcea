package management

import (
	"encoding/json"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/topology"
)

// allGlobals are the global parameters with the one that is not the broker's to keep.
func (c *call) allGlobals() []topology.GlobalParameter {
	return append(c.Broker.GlobalParameters(), topology.GlobalParameter{
		Name: broker.ClusterID, Value: `"rabbitmq-cluster-id-` + c.self().ClusterID + `"`,
	})
}

func describeGlobal(p topology.GlobalParameter) object {
	return object{"name": p.Name, "value": json.RawMessage(p.Value)}
}

func (c *call) globalParameters() error {
	items := []item{}
	for _, p := range c.allGlobals() {
		items = append(items, item{p.Name, func() object { return describeGlobal(p) }})
	}
	return c.list(items)
}

func (c *call) globalParameter() error {
	for _, p := range c.allGlobals() {
		if p.Name == c.args[0] {
			return c.one(describeGlobal(p))
		}
	}
	return notFound
}

func (c *call) putGlobalParameter() error {
	f, err := c.fields()
	if err != nil {
		return err
	}
	if err := f.need("value"); err != nil {
		return err
	}
	return c.setGlobal(c.args[0], f["value"])
}

// setGlobal answers whether there was none of that name.
func (c *call) setGlobal(name string, value json.RawMessage) error {
	there := false
	for _, p := range c.allGlobals() {
		there = there || p.Name == name
	}
	if err := c.set(c.Broker.SetGlobalParameter(topology.GlobalParameter{Name: name, Value: string(value)})); err != nil {
		return err
	}
	return c.made(!there)
}

func (c *call) deleteGlobalParameter() error {
	if err := c.set(c.Broker.DeleteGlobalParameter(c.args[0])); err != nil {
		return err
	}
	return c.gone()
}

func (c *call) clusterName() error { return c.one(object{"name": c.Broker.ClusterName()}) }

func (c *call) putClusterName() error {
	f, err := c.fields()
	if err != nil {
		return err
	}
	if err := f.need("name"); err != nil {
		return err
	}
	return c.setGlobal(broker.ClusterName, f["name"])
}
