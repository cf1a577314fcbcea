package definitions

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/policy"
	"github.com/leveretmq/leveret/queue"
)

// Definitions is a file of definitions. A list that is nil is left out of it: those of one
// virtual host have no users, virtual hosts or permissions (DEF-6).
type Definitions struct {
	// Origin is what errors call them when they are one of several, such as the name of a file.
	Origin string `json:"-"`

	RabbitVersion   string `json:"rabbit_version,omitempty"`
	RabbitMQVersion string `json:"rabbitmq_version,omitempty"`
	ProductName     string `json:"product_name,omitempty"`
	ProductVersion  string `json:"product_version,omitempty"`

	Users            []User            `json:"users,omitzero"`
	VHosts           []VHost           `json:"vhosts,omitzero"`
	Permissions      []Permission      `json:"permissions,omitzero"`
	TopicPermissions []TopicPermission `json:"topic_permissions,omitzero"`
	Parameters       []Parameter       `json:"parameters,omitzero"`
	GlobalParameters []GlobalParameter `json:"global_parameters,omitzero"`
	Policies         []Policy          `json:"policies,omitzero"`
	Queues           []Queue           `json:"queues,omitzero"`
	Exchanges        []Exchange        `json:"exchanges,omitzero"`
	Bindings         []Binding         `json:"bindings,omitzero"`
}

// User is a user. Password is only imported: an export has the hash.
type User struct {
	Name         string  `json:"name"`
	PasswordHash *string `json:"password_hash,omitempty"`
	Password     *string `json:"password,omitempty"`
	Algorithm    string  `json:"hashing_algorithm,omitempty"`
	Tags         Tags    `json:"tags"`
	Limits       Limits  `json:"limits,omitzero"`
}

// Tags are a list of words. A text with commas in it is taken, too.
type Tags []string

// MarshalJSON implements json.Marshaler: there is no null.
func (t Tags) MarshalJSON() ([]byte, error) { return json.Marshal(append([]string{}, t...)) }

// UnmarshalJSON implements json.Unmarshaler.
func (t *Tags) UnmarshalJSON(b []byte) error {
	var list []string
	if err := json.Unmarshal(b, &list); err == nil {
		*t = list
		return nil
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return errors.New("tags are a list, or a text with commas")
	}
	*t = SplitTags(text)
	return nil
}

// SplitTags are the words of a text with commas between them.
func SplitTags(text string) Tags {
	tags := Tags{}
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word != "" && !slices.Contains(tags, word) {
			tags = append(tags, word)
		}
	}
	return tags
}

// Limits are limits as an object of names and numbers.
type Limits auth.Limits

// MarshalJSON implements json.Marshaler.
func (l Limits) MarshalJSON() ([]byte, error) {
	m := make(map[string]int64, len(l))
	for _, x := range l {
		m[x.Name] = x.Value
	}
	return json.Marshal(m)
}

// UnmarshalJSON implements json.Unmarshaler. An empty array has no limits in it.
func (l *Limits) UnmarshalJSON(b []byte) error {
	*l = Limits{}
	var none []struct{}
	if err := json.Unmarshal(b, &none); err == nil && len(none) == 0 {
		return nil
	}
	var m map[string]int64
	if err := json.Unmarshal(b, &m); err != nil {
		return errors.New("limits are an object of names and integers")
	}
	for name, value := range m {
		*l = Limits(auth.Limits(*l).With(name, value))
	}
	return nil
}

// VHost is a virtual host. Metadata has what stands beside it once more, and is what newer
// versions of RabbitMQ write; either is taken.
type VHost struct {
	Name             string         `json:"name"`
	Description      *string        `json:"description,omitempty"`
	Tags             *Tags          `json:"tags,omitempty"`
	DefaultQueueType *string        `json:"default_queue_type,omitempty"`
	Tracing          *bool          `json:"tracing,omitempty"`
	Metadata         *VHostMetadata `json:"metadata,omitempty"`
}

// VHostMetadata is what is said of a virtual host.
type VHostMetadata struct {
	Description      *string `json:"description,omitempty"`
	Tags             *Tags   `json:"tags,omitempty"`
	DefaultQueueType *string `json:"default_queue_type,omitempty"`
}

// Permission is an auth.Permission.
type Permission struct {
	User      string `json:"user"`
	VHost     string `json:"vhost"`
	Configure string `json:"configure"`
	Write     string `json:"write"`
	Read      string `json:"read"`
}

// TopicPermission is an auth.TopicPermission.
type TopicPermission struct {
	User     string `json:"user"`
	VHost    string `json:"vhost"`
	Exchange string `json:"exchange"`
	Write    string `json:"write"`
	Read     string `json:"read"`
}

// Parameter is something that belongs to a virtual host and to a part of the broker.
type Parameter struct {
	Value     json.RawMessage `json:"value"`
	VHost     string          `json:"vhost,omitempty"`
	Component string          `json:"component"`
	Name      string          `json:"name"`
}

// The components of parameters that mean something here.
const (
	OperatorPolicies = "operator_policy"
	VHostLimits      = "vhost-limits"
	// limitsName is what the one parameter with the limits of a virtual host is called.
	limitsName = "limits"
)

// GlobalParameter is something that belongs to the whole cluster.
type GlobalParameter struct {
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"`
}

// Policy is a policy.
type Policy struct {
	VHost      string    `json:"vhost,omitempty"`
	Name       string    `json:"name"`
	Pattern    string    `json:"pattern"`
	ApplyTo    string    `json:"apply-to"`
	Definition Arguments `json:"definition"`
	Priority   int       `json:"priority"`
}

// PolicyOf is p in this form.
func PolicyOf(p policy.Policy) Policy {
	return Policy{VHost: p.VHost, Name: p.Name, Pattern: p.Pattern, ApplyTo: string(p.ApplyTo), Definition: Arguments(p.Definition), Priority: p.Priority}
}

// Policy is what p stands for; it is not checked.
func (p Policy) Policy() policy.Policy {
	return policy.Policy{VHost: p.VHost, Name: p.Name, Pattern: p.Pattern, ApplyTo: policy.ApplyTo(p.ApplyTo), Definition: amqp.Table(p.Definition), Priority: p.Priority}
}

// Queue is a queue. Type is only imported, and is the argument x-queue-type where there is
// none.
type Queue struct {
	Name       string    `json:"name"`
	VHost      string    `json:"vhost,omitempty"`
	Type       string    `json:"type,omitempty"`
	Durable    bool      `json:"durable"`
	AutoDelete bool      `json:"auto_delete"`
	Arguments  Arguments `json:"arguments"`
}

// Spec is what q stands for.
func (q Queue) Spec() queue.Spec {
	s := queue.Spec{VHost: q.VHost, Name: q.Name, Durable: q.Durable, AutoDelete: q.AutoDelete, Arguments: amqp.Table(q.Arguments)}
	const key = "x-queue-type"
	if _, there := s.Arguments.Get(key); !there && q.Type != "" && q.Type != "classic" {
		s.Arguments = s.Arguments.With(key, q.Type)
	}
	return s
}

// Exchange is an exchange.
type Exchange struct {
	Name       string    `json:"name"`
	VHost      string    `json:"vhost,omitempty"`
	Type       string    `json:"type"`
	Durable    bool      `json:"durable"`
	AutoDelete bool      `json:"auto_delete"`
	Internal   bool      `json:"internal"`
	Arguments  Arguments `json:"arguments"`
}

// Spec is what x stands for.
func (x Exchange) Spec() exchange.Spec {
	return exchange.Spec{VHost: x.VHost, Name: x.Name, Type: x.Type, Durable: x.Durable, AutoDelete: x.AutoDelete, Internal: x.Internal, Arguments: amqp.Table(x.Arguments)}
}

// Binding is a binding.
type Binding struct {
	Source          string    `json:"source"`
	VHost           string    `json:"vhost,omitempty"`
	Destination     string    `json:"destination"`
	DestinationType string    `json:"destination_type"`
	RoutingKey      string    `json:"routing_key"`
	Arguments       Arguments `json:"arguments"`
}

// Binding is what b stands for, or the error that it leads to nothing there is.
func (b Binding) Binding() (binding.Binding, error) {
	out := binding.Binding{Source: b.Source, Destination: b.Destination, RoutingKey: b.RoutingKey, Arguments: amqp.Table(b.Arguments)}
	switch b.DestinationType {
	case "queue":
		out.Kind = binding.Queue
	case "exchange":
		out.Kind = binding.Exchange
	default:
		return out, fmt.Errorf("destination_type is %q and has to be queue or exchange", b.DestinationType)
	}
	return out, nil
}
