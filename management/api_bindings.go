package management

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"net/url"
	"slices"
	"strings"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/definitions"
	"github.com/leveretmq/leveret/exchange"
)

// bindingsIn are the bindings of a virtual host, those of the default exchange to every
// queue included (EX-24).
func bindingsIn(v *broker.VHost) []binding.Binding {
	var all []binding.Binding
	for _, q := range v.Queues() {
		all = append(all, implied(q.Name()))
	}
	return append(all, definitions.SortedBindings(v)...)
}

func implied(queue string) binding.Binding {
	return binding.Binding{Source: exchange.Default, Destination: queue, Kind: binding.Queue, RoutingKey: queue}
}

func (c *call) bindings() error {
	vhosts, err := c.within()
	if err != nil {
		return err
	}
	return c.listBindings(vhosts, func(binding.Binding) bool { return true })
}

// listBindings answers with the bindings that which is true for.
func (c *call) listBindings(vhosts []*broker.VHost, which func(binding.Binding) bool) error {
	items := []item{}
	for _, v := range vhosts {
		for _, b := range bindingsIn(v) {
			if which(b) {
				items = append(items, item{b.Source, func() object { return describeBinding(v, b) }})
			}
		}
	}
	return c.list(items)
}

func (c *call) bindingsFromExchange() error {
	v, x, err := c.anExchange()
	if err != nil {
		return err
	}
	return c.listBindings([]*broker.VHost{v}, func(b binding.Binding) bool { return b.Source == x.Name() })
}

func (c *call) bindingsToExchange() error {
	v, x, err := c.anExchange()
	if err != nil {
		return err
	}
	return c.listBindings([]*broker.VHost{v}, func(b binding.Binding) bool { return b.Kind == binding.Exchange && b.Destination == x.Name() })
}

func (c *call) bindingsToQueue() error {
	v, q, err := c.aQueue()
	if err != nil {
		return err
	}
	return c.listBindings([]*broker.VHost{v}, func(b binding.Binding) bool { return b.Kind == binding.Queue && b.Destination == q.Name() })
}

func describeBinding(v *broker.VHost, b binding.Binding) object {
	return object{
		"source":           b.Source,
		"vhost":            v.Name(),
		"destination":      b.Destination,
		"destination_type": b.Kind.String(),
		"routing_key":      b.RoutingKey,
		"arguments":        definitions.Value(b.Arguments),
		"properties_key":   propertiesKey(b),
	}
}

// propertiesKey is what a binding is called among those of the same two ends: its routing
// key as it is written in a form, and what distinguishes its arguments.
func propertiesKey(b binding.Binding) string {
	key := strings.ReplaceAll(url.QueryEscape(b.RoutingKey), "~", "%7E")
	switch {
	case len(b.Arguments) > 0:
		return key + "~" + argumentsHash(b.Arguments)
	case key == "":
		return "~"
	}
	return key
}

// argumentsHash is the same for the same arguments in any order, and for nobody to
// understand. RabbitMQ's has the same look.
func argumentsHash(t amqp.Table) string {
	h := fnv.New32a()
	_, _ = h.Write(amqp.AppendTable(nil, t.Sorted())) // it never fails
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, h.Sum32()))
}

// ends are the two ends of a binding in a path.
type ends struct {
	source, destination string
	kind                binding.Kind
}

func toQueue(f func(*call, ends) error) func(*call) error {
	return func(c *call) error { return f(c, ends{exchangeName(c.args[1]), c.args[2], binding.Queue}) }
}

func toExchange(f func(*call, ends) error) func(*call) error {
	return func(c *call) error {
		return f(c, ends{exchangeName(c.args[1]), exchangeName(c.args[2]), binding.Exchange})
	}
}

func (e ends) of(b binding.Binding) bool {
	return b.Source == e.source && b.Kind == e.kind && b.Destination == e.destination
}

// there tells whether there are both ends.
func (e ends) there(v *broker.VHost) bool {
	if v.FindExchange(e.source) == nil {
		return false
	}
	if e.kind == binding.Exchange {
		return v.FindExchange(e.destination) != nil
	}
	return v.FindQueue(e.destination) != nil
}

func (c *call) bindingsBetween(e ends) error {
	v, err := c.vhost()
	if err != nil {
		return err
	}
	if !e.there(v) {
		return notFound
	}
	return c.listBindings([]*broker.VHost{v}, e.of)
}

// bind makes a binding. Where it then is stands in Location.
func (c *call) bind(e ends) error {
	v, err := c.vhost()
	if err != nil {
		return err
	}
	b := binding.Binding{Source: e.source, Destination: e.destination, Kind: e.kind, By: c.by()}
	f, err := c.fields()
	if err != nil {
		return err
	}
	if err := firstOf(f.text("routing_key", &b.RoutingKey), f.arguments("arguments", &b.Arguments)); err != nil {
		return err
	}
	if len(b.RoutingKey) > 255 {
		return badRequest("the routing key is longer than 255 octets")
	}
	if err := c.set(v.Bind(nil, b, c.permit(v.Name()))); err != nil {
		return err
	}
	c.w.Header().Set("Location", segment(e.destination)+"/"+segment(propertiesKey(b)))
	return c.made(true)
}

// segment is a name as it stands in a path. A plus is escaped, too: some take it for a blank.
func segment(name string) string { return strings.ReplaceAll(url.PathEscape(name), "+", "%2B") }

// aBinding is the binding of the path.
func (c *call) aBinding(e ends) (*broker.VHost, binding.Binding, error) {
	v, err := c.vhost()
	if err != nil {
		return nil, binding.Binding{}, err
	}
	name := c.args[3]
	all := bindingsIn(v)
	i := slices.IndexFunc(all, func(b binding.Binding) bool {
		if !e.of(b) {
			return false
		}
		// Some clients escape the key that they were told once more for the path, others do not.
		key := propertiesKey(b)
		plain, err := url.PathUnescape(key)
		return key == name || err == nil && plain == name
	})
	if i < 0 {
		return nil, binding.Binding{}, notFound
	}
	return v, all[i], nil
}

func (c *call) binding(e ends) error {
	v, b, err := c.aBinding(e)
	if err != nil {
		return err
	}
	return c.one(describeBinding(v, b))
}

func (c *call) unbind(e ends) error {
	v, b, err := c.aBinding(e)
	if err != nil {
		return err
	}
	if err := c.set(v.Unbind(nil, b, c.permit(v.Name()))); err != nil {
		return err
	}
	return c.gone()
}
