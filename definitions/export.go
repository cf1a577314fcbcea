package definitions

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/policy"
)

// Versions are what an export says it comes from.
type Versions struct {
	Compat  string // the version of RabbitMQ that the format is that of
	Product string // what made it
	Version string // and which of them
}

// Export returns everything declared in b. Exclusive queues, exchanges that are there
// anyway and what is bound to either are left out (DEF-3).
func Export(b *broker.Broker, v Versions) Definitions {
	d := Definitions{
		RabbitVersion:    v.Compat,
		RabbitMQVersion:  v.Compat,
		ProductName:      v.Product,
		ProductVersion:   v.Version,
		Users:            []User{},
		VHosts:           []VHost{},
		Permissions:      []Permission{},
		TopicPermissions: []TopicPermission{},
		GlobalParameters: []GlobalParameter{},
	}
	d.begin()
	for _, u := range b.Users() {
		d.Users = append(d.Users, UserOf(u))
	}
	for _, p := range b.Permissions() {
		d.Permissions = append(d.Permissions, Permission(p))
	}
	for _, p := range b.TopicPermissions() {
		d.TopicPermissions = append(d.TopicPermissions, TopicPermission(p))
	}
	for _, p := range b.GlobalParameters() {
		if ofNode(p.Name) {
			continue
		}
		d.GlobalParameters = append(d.GlobalParameters, GlobalParameter{Name: p.Name, Value: json.RawMessage(p.Value)})
	}
	for _, v := range b.VHosts() {
		d.VHosts = append(d.VHosts, vhostOf(v))
		d.add(v, v.Name())
	}
	return d
}

// ExportVHost returns what is declared in a virtual host, without saying in which (DEF-6).
func ExportVHost(v *broker.VHost, versions Versions) Definitions {
	d := Definitions{
		RabbitVersion:   versions.Compat,
		RabbitMQVersion: versions.Compat,
		ProductName:     versions.Product,
		ProductVersion:  versions.Version,
	}
	d.begin()
	d.add(v, "")
	return d
}

// begin makes the lists that every export has.
func (d *Definitions) begin() {
	d.Parameters, d.Policies = []Parameter{}, []Policy{}
	d.Queues, d.Exchanges, d.Bindings = []Queue{}, []Exchange{}, []Binding{}
}

// UserOf is u in this form.
func UserOf(u auth.User) User {
	hash := u.PasswordHash
	return User{
		Name:         u.Name,
		PasswordHash: &hash,
		Algorithm:    cmp.Or(u.Algorithm, auth.SHA256),
		Tags:         u.Tags,
		Limits:       append(Limits{}, u.Limits...),
	}
}

func vhostOf(v *broker.VHost) VHost {
	s := v.Settings()
	tags := append(Tags{}, s.Tags...)
	out := VHost{Name: s.Name, Description: &s.Description, Tags: &tags}
	out.Metadata = &VHostMetadata{Description: out.Description, Tags: out.Tags}
	if s.DefaultQueueType != "" {
		out.DefaultQueueType, out.Metadata.DefaultQueueType = &s.DefaultQueueType, &s.DefaultQueueType
	}
	if s.Tracing {
		out.Tracing = &s.Tracing
	}
	return out
}

// add adds what is declared in v, under the name of its virtual host.
func (d *Definitions) add(v *broker.VHost, vhost string) {
	d.addParameters(v, vhost)
	for _, p := range v.Policies() {
		out := PolicyOf(p)
		out.VHost = vhost
		d.Policies = append(d.Policies, out)
	}
	exclusive := make(map[string]bool)
	for _, q := range v.Queues() {
		s := q.Spec()
		if s.Exclusive {
			exclusive[s.Name] = true
			continue
		}
		d.Queues = append(d.Queues, Queue{Name: s.Name, VHost: vhost, Durable: s.Durable, AutoDelete: s.AutoDelete, Arguments: Arguments(s.Arguments)})
	}
	for _, x := range v.Exchanges() {
		s := x.Spec()
		if isPredeclared(s.Name) {
			continue
		}
		d.Exchanges = append(d.Exchanges, Exchange{
			Name: s.Name, VHost: vhost, Type: s.Type,
			Durable: s.Durable, AutoDelete: s.AutoDelete, Internal: s.Internal, Arguments: Arguments(s.Arguments),
		})
	}
	for _, b := range SortedBindings(v) {
		if b.Kind == binding.Queue && exclusive[b.Destination] {
			continue
		}
		d.Bindings = append(d.Bindings, Binding{
			Source: b.Source, VHost: vhost, Destination: b.Destination, DestinationType: b.Kind.String(),
			RoutingKey: b.RoutingKey, Arguments: Arguments(b.Arguments),
		})
	}
}

func isPredeclared(name string) bool {
	return name == exchange.Default || strings.HasPrefix(name, "amq.")
}

// SortedBindings are the bindings of v in an order that does not depend on when they were
// made: by source, destination, routing key and arguments.
func SortedBindings(v *broker.VHost) []binding.Binding {
	all := v.Bindings()
	slices.SortFunc(all, func(a, b binding.Binding) int {
		if c := cmp.Or(
			cmp.Compare(a.Source, b.Source),
			cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(a.Destination, b.Destination),
			cmp.Compare(a.RoutingKey, b.RoutingKey),
		); c != 0 || len(a.Arguments)+len(b.Arguments) == 0 {
			return c
		}
		return cmp.Compare(a.Key(), b.Key())
	})
	return all
}

// addParameters adds what RabbitMQ keeps as parameters: operator policies and limits.
func (d *Definitions) addParameters(v *broker.VHost, vhost string) {
	for _, p := range Parameters(v) {
		p.VHost = vhost
		d.Parameters = append(d.Parameters, p)
	}
}

// Parameters are the parameters of a virtual host, by component and name.
func Parameters(v *broker.VHost) []Parameter {
	var all []Parameter
	for _, p := range v.OperatorPolicies() {
		all = append(all, Parameter{Value: operatorValue(p), VHost: v.Name(), Component: OperatorPolicies, Name: p.Name})
	}
	if limits := v.Settings().Limits; len(limits) > 0 {
		all = append(all, Parameter{Value: encoded(Limits(limits)), VHost: v.Name(), Component: VHostLimits, Name: limitsName})
	}
	return all
}

// operator is the value of the parameter that an operator policy is.
type operator struct {
	Pattern    string    `json:"pattern"`
	Definition Arguments `json:"definition"`
	Priority   int       `json:"priority"`
	ApplyTo    string    `json:"apply-to"`
}

func operatorValue(p policy.Policy) json.RawMessage {
	return encoded(operator{Pattern: p.Pattern, Definition: Arguments(p.Definition), Priority: p.Priority, ApplyTo: string(p.ApplyTo)})
}

// encoded is v, which can be encoded, as JSON.
func encoded(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic("definitions: " + err.Error())
	}
	return b
}
