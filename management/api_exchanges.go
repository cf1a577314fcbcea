package management

import (
	"weak"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/definitions"
	"github.com/leveretmq/leveret/exchange"
)

// defaultExchange is what the default exchange is called in paths.
const defaultExchange = "amq.default"

// exchangeName is the name of an exchange in a path.
func exchangeName(segment string) string {
	if segment == defaultExchange {
		return exchange.Default
	}
	return segment
}

func (c *call) exchanges() error {
	vhosts, err := c.within()
	if err != nil {
		return err
	}
	items := []item{}
	for _, v := range vhosts {
		for _, x := range v.Exchanges() {
			items = append(items, item{x.Name(), func() object { return c.describeExchange(v, x) }})
		}
	}
	return c.list(items)
}

// anExchange is the exchange of the path.
func (c *call) anExchange() (*broker.VHost, *exchange.Exchange, error) {
	v, err := c.vhost()
	if err != nil {
		return nil, nil, err
	}
	x := v.FindExchange(exchangeName(c.args[1]))
	if x == nil {
		return nil, nil, notFound
	}
	return v, x, nil
}

func (c *call) exchange() error {
	v, x, err := c.anExchange()
	if err != nil {
		return err
	}
	o := c.describeExchange(v, x)
	o["incoming"], o["outgoing"] = []any{}, []any{}
	return c.one(o)
}

func (c *call) describeExchange(v *broker.VHost, x *exchange.Exchange) object {
	s := x.Spec()
	o := object{
		"name":        s.Name,
		"vhost":       s.VHost,
		"type":        s.Type,
		"durable":     s.Durable,
		"auto_delete": s.AutoDelete,
		"internal":    s.Internal,
		"arguments":   definitions.Value(s.Arguments),
	}
	applied, _ := v.ExchangePolicies(s.Name)
	if applied.Policy != nil {
		o["policy"] = applied.Policy.Name
	}
	if applied.Operator != nil {
		o["operator_policy"] = applied.Operator.Name
	}
	if q := v.Delayed(s.Name); q != nil {
		o["messages_delayed"], _ = q.Counts() // EX-55
	}
	if c.r.URL.Query().Get("disable_stats") != "true" {
		o["message_stats"] = c.count(object{}, ofMessages, exchangeKey(x), []counter{{"publish_in", x.PublishedIn.Load()}, {"publish_out", x.PublishedOut.Load()}})
	}
	return o
}

// declareExchange makes an exchange, or finds it equivalent.
func (c *call) declareExchange() error {
	v, err := c.vhost()
	if err != nil {
		return err
	}
	spec := exchange.Spec{Name: exchangeName(c.args[1]), Type: "direct"}
	f, err := c.fields()
	if err != nil {
		return err
	}
	if err := firstOf(f.text("type", &spec.Type), f.boolean("durable", &spec.Durable), f.boolean("auto_delete", &spec.AutoDelete),
		f.boolean("internal", &spec.Internal), f.arguments("arguments", &spec.Arguments)); err != nil {
		return err
	}
	there := v.FindExchange(spec.Name) != nil
	if err := c.set(v.DeclareExchange(spec, c.permit(v.Name()))); err != nil {
		return err
	}
	return c.made(!there)
}

func (c *call) deleteExchange() error {
	v, x, err := c.anExchange()
	if err != nil {
		return err
	}
	ifUnused := c.r.URL.Query().Get("if-unused") == "true"
	if err := c.set(v.DeleteExchange(x.Name(), ifUnused, c.permit(v.Name()))); err != nil {
		return err
	}
	return c.gone()
}

// exchangeKey is what an exchange's counters are known by.
func exchangeKey(x *exchange.Exchange) weak.Pointer[exchange.Exchange] { return weak.Make(x) }
