package node

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/persistence"
	"github.com/leveretmq/leveret/policy"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// declare declares what a configuration wants to be there. What is there already has to
// be the same, so that declaring twice changes nothing; users and permissions are set to
// what t says. Its error has one line for each thing that cannot be had, a conflict with
// both sides of it.
func declare(now time.Time, b *broker.Broker, t config.Topology) error {
	return declareAll(now, b, t, func(err error) error { return err })
}

// CheckTopology tells whether the definitions that c names, and its topology after them, can be
// declared in a new broker. Bindings of the topology whose ends are not there are passed over,
// as they may be where it is for.
func CheckTopology(c config.Config) error {
	store := persistence.NewMemory(persistence.Options{})
	store.Start()
	defer store.Close()
	b := broker.New(brokerOptions(c, time.Now), store, store, rand.Reader)
	if err := b.Restore(time.Now(), topology.Catalog{}, store.Restore); err != nil {
		return err
	}
	if err := loadDefinitions(time.Now(), b, c, zerolog.Nop()); err != nil {
		return err
	}
	return declareAll(time.Now(), b, c.Topology, func(err error) error {
		var e *amqp.Error
		if errors.As(err, &e) && e.Code == amqp.ReplyNotFound {
			return nil
		}
		return err
	})
}

// declareAll declares t; unbound decides about a binding that was refused.
func declareAll(now time.Time, b *broker.Broker, t config.Topology, unbound func(error) error) error {
	var failed []error
	try := func(err error, format string, args ...any) {
		if err != nil {
			failed = append(failed, fmt.Errorf("topology: %s: %w", fmt.Sprintf(format, args...), err))
		}
	}
	for _, v := range t.VHosts {
		_, err := b.PutVHost(v.Name)
		try(err, "virtual host %q", v.Name)
	}
	for _, u := range t.Users {
		try(putUser(b, u), "user %q", u.Name)
	}
	var out queue.Effects
	for _, p := range t.Policies {
		try(setPolicy(now, p, b.VHost(p.VHost), (*broker.VHost).Policies, b.SetPolicy, &out), "policy %q", p.Name)
	}
	for _, p := range t.OperatorPolicies {
		try(setPolicy(now, p, b.VHost(p.VHost), (*broker.VHost).OperatorPolicies, b.SetOperatorPolicy, &out), "operator policy %q", p.Name)
	}
	for _, x := range t.Exchanges {
		try(declareExchange(b, x), "exchange %q", x.Name)
	}
	for _, q := range t.Queues {
		try(declareQueue(now, b, q, &out), "queue %q", q.Name)
	}
	if len(failed) == 0 {
		for _, bd := range t.Bindings {
			try(unbound(bind(b, bd)), "binding from %q to %q", bd.Exchange, cmp.Or(bd.Queue, bd.DestinationExchange))
		}
	}
	b.Flush(now, &out)
	return errors.Join(failed...)
}

// putUser makes a user as u says, and leaves alone one that is so already: a new salt for
// the same password would be a change at every start.
func putUser(b *broker.Broker, u config.User) error {
	want := auth.User{Name: u.Name, PasswordHash: u.PasswordHash, Algorithm: auth.SHA256, Tags: u.Tags}
	have, exists := b.User(u.Name)
	switch {
	case u.Password == "":
	case have.Verify(u.Password):
		want.PasswordHash, want.Algorithm = have.PasswordHash, have.Algorithm
	default:
		want.PasswordHash = b.HashPassword(u.Password)
	}
	if !exists || have.PasswordHash != want.PasswordHash || have.Algorithm != want.Algorithm || !slices.Equal(have.Tags, want.Tags) {
		if _, err := b.PutUser(want); err != nil {
			return err
		}
	}
	granted := b.Permissions()
	for _, p := range u.Permissions {
		want := auth.Permission{User: u.Name, VHost: p.VHost, Configure: p.Configure, Write: p.Write, Read: p.Read}
		if slices.Contains(granted, want) {
			continue
		}
		if _, err := b.PutPermission(want); err != nil {
			return err
		}
	}
	narrowed := b.TopicPermissions()
	for _, p := range u.TopicPermissions {
		want := auth.TopicPermission{User: u.Name, VHost: p.VHost, Exchange: p.Exchange, Write: p.Write, Read: p.Read}
		if slices.Contains(narrowed, want) {
			continue
		}
		if _, err := b.PutTopicPermission(want); err != nil {
			return err
		}
	}
	return nil
}

// setPolicy sets a policy of v, or an operator policy, unless it is so already. list are
// those that v has.
func setPolicy(now time.Time, p config.Policy, v *broker.VHost, list func(*broker.VHost) []policy.Policy,
	set func(time.Time, policy.Policy, *queue.Effects) (*broker.Commit, error), out *queue.Effects) error {
	want := policy.Policy{
		VHost:      p.VHost,
		Name:       p.Name,
		Pattern:    p.Pattern,
		ApplyTo:    policy.ApplyTo(p.ApplyTo),
		Priority:   p.Priority,
		Definition: table(p.Definition),
	}
	if v != nil && slices.ContainsFunc(list(v), func(have policy.Policy) bool { return reflect.DeepEqual(have, want) }) {
		return nil
	}
	_, err := set(now, want, out)
	return err
}

func declareExchange(b *broker.Broker, x config.Exchange) error {
	v, err := vhost(b, x.VHost)
	if err != nil {
		return err
	}
	_, err = v.DeclareExchange(exchange.Spec{
		Name:       x.Name,
		Type:       x.Type,
		Durable:    x.Durable,
		AutoDelete: x.AutoDelete,
		Internal:   x.Internal,
		Arguments:  table(x.Arguments),
	}, nil)
	return err
}

func declareQueue(now time.Time, b *broker.Broker, q config.Queue, out *queue.Effects) error {
	v, err := vhost(b, q.VHost)
	if err != nil {
		return err
	}
	_, _, err = v.DeclareQueue(now, nil, queue.Spec{
		Name:       q.Name,
		Durable:    q.Durable,
		AutoDelete: q.AutoDelete,
		Arguments:  table(q.Arguments),
	}, nil, out)
	return err
}

func bind(b *broker.Broker, d config.Binding) error {
	v, err := vhost(b, d.VHost)
	if err != nil {
		return err
	}
	bd := binding.Binding{
		Source:      d.Exchange,
		Destination: d.Queue,
		Kind:        binding.Queue,
		RoutingKey:  d.RoutingKey,
		Arguments:   table(d.Arguments),
	}
	if d.DestinationExchange != "" {
		bd.Destination, bd.Kind = d.DestinationExchange, binding.Exchange
	}
	_, err = v.Bind(nil, bd, nil)
	return err
}

func vhost(b *broker.Broker, name string) (*broker.VHost, error) {
	v := b.VHost(name)
	if v == nil {
		return nil, amqp.NotFound("no vhost '%s'", name)
	}
	return v, nil
}

// table is arguments from a file as a client would send them (DEF-5): an integer is an l,
// a fraction a d, text an S. A map has no order, so names come out sorted.
func table(arguments map[string]any) amqp.Table {
	var t amqp.Table
	for _, name := range slices.Sorted(maps.Keys(arguments)) {
		t = append(t, amqp.Field{Name: name, Value: value(arguments[name])})
	}
	return t
}

// value is one value of arguments, which config has made sure of: int64, float64, string,
// bool, or lists and maps of those.
func value(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return table(v)
	case []any:
		a := make(amqp.Array, len(v))
		for i := range v {
			a[i] = value(v[i])
		}
		return a
	default:
		return v
	}
}
