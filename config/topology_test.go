package config

import (
	"reflect"
	"strings"
	"testing"
)

func TestTopologyIsReadWithItsDefaults(t *testing.T) {
	got := load(t, `
topology:
  vhosts: [{name: shop}]
  users:
    - name: shop
      password: s3cret
      tags: [administrator]
      permissions: [{vhost: shop, configure: "", write: "^orders", read: ".*"}, {read: ".*"}]
      topic_permissions: [{exchange: order_exchange, write: "^{username}", read: ".*"}]
  policies: [{name: limits, pattern: "^order", definition: {max-length: 5, overflow: reject-publish}}]
  operator_policies: [{vhost: shop, name: limits, pattern: "", apply_to: queues, priority: 2, definition: {expires: 1000}}]
  exchanges:
    - {name: order_exchange, type: topic, durable: true}
    - {name: plain}
    - {vhost: shop, name: plain, type: fanout, durable: false, auto_delete: true, internal: true}
  queues:
    - name: order_processing_queue
      durable: true
      arguments: {x-message-ttl: 300000, x-dead-letter-exchange: order_dlx}
    - {name: plain}
    - {name: passing, durable: false, auto_delete: true, vhost: shop}
  bindings:
    - {exchange: order_exchange, queue: order_processing_queue, routing_key: order.created}
    - {exchange: order_exchange, destination_exchange: plain, arguments: {x-match: all}, vhost: shop}
`).Topology
	want := Topology{
		VHosts: []VHost{{Name: "shop"}},
		Users: []User{{Name: "shop", Password: "s3cret", Tags: []string{"administrator"}, Permissions: []Permission{
			{VHost: "shop", Write: "^orders", Read: ".*"}, {VHost: "/", Read: ".*"},
		}, TopicPermissions: []TopicPermission{{VHost: "/", Exchange: "order_exchange", Write: "^{username}", Read: ".*"}}}},
		Policies: []Policy{{VHost: "/", Name: "limits", Pattern: "^order", ApplyTo: "all",
			Definition: Arguments{"max-length": int64(5), "overflow": "reject-publish"}}},
		OperatorPolicies: []Policy{{VHost: "shop", Name: "limits", ApplyTo: "queues", Priority: 2, Definition: Arguments{"expires": int64(1000)}}},
		Exchanges: []Exchange{
			{VHost: "/", Name: "order_exchange", Type: "topic", Durable: true},
			{VHost: "/", Name: "plain", Type: "direct", Durable: true},
			{VHost: "shop", Name: "plain", Type: "fanout", AutoDelete: true, Internal: true},
		},
		Queues: []Queue{
			{VHost: "/", Name: "order_processing_queue", Durable: true,
				Arguments: Arguments{"x-message-ttl": int64(300000), "x-dead-letter-exchange": "order_dlx"}},
			{VHost: "/", Name: "plain", Durable: true},
			{VHost: "shop", Name: "passing", AutoDelete: true},
		},
		Bindings: []Binding{
			{VHost: "/", Exchange: "order_exchange", Queue: "order_processing_queue", RoutingKey: "order.created"},
			{VHost: "shop", Exchange: "order_exchange", DestinationExchange: "plain", Arguments: Arguments{"x-match": "all"}},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestArgumentsKeepTheCaseOfKeysAndTheTypesOfValues(t *testing.T) {
	c := load(t, `
topology:
  queues:
    - name: Orders.EU
      arguments:
        X-Upper: 1
        camelCase.with.dots: -2
        float: 1.0
        half: 0.5
        text: "5"
        yes: true
        list: [1, A, {Inner: 2}]
        Map: {InnerKey: {Deep: x}}
`)
	want := Arguments{
		"X-Upper": int64(1), "camelCase.with.dots": int64(-2), "float": 1.0, "half": 0.5, "text": "5", "yes": true,
		"list": []any{int64(1), "A", map[string]any{"Inner": int64(2)}},
		"Map":  map[string]any{"InnerKey": map[string]any{"Deep": "x"}},
	}
	q := c.Topology.Queues[0]
	if q.Name != "Orders.EU" || !reflect.DeepEqual(q.Arguments, want) {
		t.Errorf("got  %q %#v\nwant %#v", q.Name, q.Arguments, want)
	}
}

func TestArgumentsWithoutACounterpartAreRefused(t *testing.T) {
	f := func(value, want string) {
		t.Helper()
		refused(t, "topology:\n  queues:\n    - name: a\n      arguments: {x-a: "+value+"}\n", "leveret.yaml", "x-a", want)
	}
	f("", "no value")
	f("[1, null]", "no value")
	f("{Inner: null}", "Inner")
	f("18446744073709551615", "larger than any integer")
	f("2026-01-02", "put it in quotes")
}

func TestTopologyThatNoBrokerCouldDeclareIsRefused(t *testing.T) {
	f := func(topology string, want ...string) {
		t.Helper()
		refused(t, "topology: {"+topology+"}", append(want, "leveret.yaml")...)
	}
	long := strings.Repeat("x", 256)
	f("vhosts: [{name: ''}]", "topology.vhosts[0]: has no name")
	f("queues: [{durable: true}]", "topology.queues[0]: has no name")
	f("queues: [{name: "+long+"}]", "topology.queues[0]: a name of 256 bytes")
	f("queues: [{name: a}, {name: a, vhost: /}]", "topology.queues[1]", "given before", "topology.queues[0]")
	f("exchanges: [{name: a, type: ''}]", "topology.exchanges[0]: has no type")
	f("users: [{name: a}]", "topology.users[0]", "neither")
	f("users: [{name: a, password: b, password_hash: c}]", "topology.users[0]", "both")
	f("users: [{name: a, password: b, permissions: [{read: a}, {vhost: /}]}]", "topology.users[0].permissions[1]")
	f("users: [{name: a, password: b, topic_permissions: [{exchange: x}, {exchange: x, vhost: /}]}]", "topology.users[0].topic_permissions[1]")
	f("policies: [{name: a}, {name: a}], operator_policies: [{name: a}]", "topology.policies[1]", "given before")
	f("bindings: [{exchange: a}]", "topology.bindings[0]", "one of queue and destination_exchange")
	f("bindings: [{exchange: a, queue: b, destination_exchange: c}]", "topology.bindings[0]", "one of")
	f("bindings: [{queue: b}]", "topology.bindings[0]: has no exchange")
	f("bindings: [{exchange: a, queue: b, routing_key: "+long+"}]", "a routing key of 256 bytes")

	load(t, "topology: {queues: [{name: a}, {name: a, vhost: b}], exchanges: [{name: a}]}")
}
