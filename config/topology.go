package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Topology is what is declared when the broker starts. A virtual host that is left out
// is /.
type Topology struct {
	VHosts           []VHost    `yaml:"vhosts,omitempty"`
	Users            []User     `yaml:"users,omitempty"`
	Policies         []Policy   `yaml:"policies,omitempty"`
	OperatorPolicies []Policy   `yaml:"operator_policies,omitempty"`
	Exchanges        []Exchange `yaml:"exchanges,omitempty"`
	Queues           []Queue    `yaml:"queues,omitempty"`
	Bindings         []Binding  `yaml:"bindings,omitempty"`
}

// VHost is a virtual host to create.
type VHost struct {
	Name string `yaml:"name"`
}

// User is a user to create, with either a password or the hash of one as RabbitMQ's
// definitions have it: base64 of a four-byte salt and the SHA-256 of salt and password.
type User struct {
	Name             string            `yaml:"name"`
	Password         string            `yaml:"password,omitempty"`
	PasswordHash     string            `yaml:"password_hash,omitempty"`
	Tags             []string          `yaml:"tags,omitempty,flow"`
	Permissions      []Permission      `yaml:"permissions,omitempty"`
	TopicPermissions []TopicPermission `yaml:"topic_permissions,omitempty"`
}

// Permission is what a user may do in a virtual host: three regular expressions that
// names must match. An empty one matches no name.
type Permission struct {
	VHost     string `yaml:"vhost"`
	Configure string `yaml:"configure"`
	Write     string `yaml:"write"`
	Read      string `yaml:"read"`
}

// TopicPermission is what a user may do with the routing keys of a topic exchange: two
// regular expressions, in which {username} and {vhost} stand for the names.
type TopicPermission struct {
	VHost    string `yaml:"vhost"`
	Exchange string `yaml:"exchange"`
	Write    string `yaml:"write"`
	Read     string `yaml:"read"`
}

// Policy is a policy or an operator policy to set.
type Policy struct {
	VHost   string `yaml:"vhost"`
	Name    string `yaml:"name"`
	Pattern string `yaml:"pattern"`
	// ApplyTo is all, queues, classic_queues, quorum_queues or exchanges.
	ApplyTo    string    `yaml:"apply_to"`
	Priority   int       `yaml:"priority,omitempty"`
	Definition Arguments `yaml:"definition"`
}

// Exchange is an exchange to declare. It is durable unless it says otherwise, and a
// direct exchange when it has no type.
type Exchange struct {
	VHost      string    `yaml:"vhost"`
	Name       string    `yaml:"name"`
	Type       string    `yaml:"type"`
	Durable    bool      `yaml:"durable"`
	AutoDelete bool      `yaml:"auto_delete,omitempty"`
	Internal   bool      `yaml:"internal,omitempty"`
	Arguments  Arguments `yaml:"arguments,omitempty"`
}

// Queue is a queue to declare. It is durable unless it says otherwise.
type Queue struct {
	VHost      string    `yaml:"vhost"`
	Name       string    `yaml:"name"`
	Durable    bool      `yaml:"durable"`
	AutoDelete bool      `yaml:"auto_delete,omitempty"`
	Arguments  Arguments `yaml:"arguments,omitempty"`
}

// Binding binds an exchange to either a queue or another exchange.
type Binding struct {
	VHost               string    `yaml:"vhost"`
	Exchange            string    `yaml:"exchange"`
	Queue               string    `yaml:"queue,omitempty"`
	DestinationExchange string    `yaml:"destination_exchange,omitempty"`
	RoutingKey          string    `yaml:"routing_key"`
	Arguments           Arguments `yaml:"arguments,omitempty"`
}

// defaultVHost is the virtual host of a declaration that names none. It is / whatever
// default_vhost says, so that a topology means the same in every installation.
const defaultVHost = "/"

// UnmarshalYAML reads a permission and gives it its defaults.
func (p *Permission) UnmarshalYAML(n *yaml.Node) error {
	type plain Permission
	*p = Permission{VHost: defaultVHost}
	return n.Decode((*plain)(p))
}

// UnmarshalYAML reads a topic permission and gives it its defaults.
func (p *TopicPermission) UnmarshalYAML(n *yaml.Node) error {
	type plain TopicPermission
	*p = TopicPermission{VHost: defaultVHost}
	return n.Decode((*plain)(p))
}

// UnmarshalYAML reads a policy and gives it its defaults.
func (p *Policy) UnmarshalYAML(n *yaml.Node) error {
	type plain Policy
	*p = Policy{VHost: defaultVHost, ApplyTo: "all"}
	return n.Decode((*plain)(p))
}

// UnmarshalYAML reads an exchange and gives it its defaults.
func (x *Exchange) UnmarshalYAML(n *yaml.Node) error {
	type plain Exchange
	*x = Exchange{VHost: defaultVHost, Type: "direct", Durable: true}
	return n.Decode((*plain)(x))
}

// UnmarshalYAML reads a queue and gives it its defaults.
func (q *Queue) UnmarshalYAML(n *yaml.Node) error {
	type plain Queue
	*q = Queue{VHost: defaultVHost, Durable: true}
	return n.Decode((*plain)(q))
}

// UnmarshalYAML reads a binding and gives it its defaults.
func (b *Binding) UnmarshalYAML(n *yaml.Node) error {
	type plain Binding
	*b = Binding{VHost: defaultVHost}
	return n.Decode((*plain)(b))
}

// Arguments are the arguments of a declaration, with their keys in the case they were
// written in. A value is an int64, a float64, a string, a bool, a []any or a
// map[string]any of the same.
type Arguments map[string]any

// UnmarshalYAML reads arguments and refuses values that have no counterpart among them.
func (a *Arguments) UnmarshalYAML(n *yaml.Node) error {
	var raw map[string]any
	if err := n.Decode(&raw); err != nil {
		return err
	}
	*a = Arguments{}
	for key, value := range raw {
		v, err := argument(value)
		if err != nil {
			return fmt.Errorf("line %d: arguments: %s: %w", n.Line, key, err)
		}
		(*a)[key] = v
	}
	return nil
}

// argument is v with its integers as int64, lists and maps included.
func argument(v any) (any, error) {
	switch v := v.(type) {
	case int:
		return int64(v), nil
	case int64, float64, string, bool:
		return v, nil
	case []any:
		list := make([]any, len(v))
		for i := range v {
			item, err := argument(v[i])
			if err != nil {
				return nil, err
			}
			list[i] = item
		}
		return list, nil
	case map[string]any:
		m := make(map[string]any, len(v))
		for key := range v {
			item, err := argument(v[key])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			m[key] = item
		}
		return m, nil
	case uint64:
		return nil, fmt.Errorf("%d is larger than any integer in AMQP", v)
	case nil:
		return nil, fmt.Errorf("has no value")
	default:
		return nil, fmt.Errorf("%v is neither text nor a number, a bool, a list or a map; put it in quotes", v)
	}
}

// MarshalYAML writes arguments so that they are read back with the same types: YAML's
// encoder alone would write the float 1 as the integer 1. Keys come out sorted.
func (a Arguments) MarshalYAML() (any, error) {
	return writable(map[string]any(a)), nil
}

func writable(v any) any {
	switch v := v.(type) {
	case float64:
		n := &yaml.Node{}
		// Encoding a float64 cannot fail.
		_ = n.Encode(v)
		if _, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			n.Value, n.Tag = n.Value+".0", "!!float"
		}
		return n
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = writable(v[i])
		}
		return list
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			k, value := &yaml.Node{}, &yaml.Node{}
			k.SetString(key)
			if key == "<<" {
				// Bare, as the encoder would leave it, it means a merge.
				k.Style = yaml.SingleQuotedStyle
			}
			if err := value.Encode(writable(v[key])); err != nil {
				panic(fmt.Sprintf("config: argument %s: %v", key, err))
			}
			n.Content = append(n.Content, k, value)
		}
		return n
	}
	return v
}
