package node

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/persistence"
	"github.com/leveretmq/leveret/policy"
	"github.com/leveretmq/leveret/topology"
)

// load reads the section topology of a configuration file.
func load(t *testing.T, text string) config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "leveret.yaml")
	if err := os.WriteFile(file, []byte("topology:\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Sources{File: file})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newBroker(t *testing.T) *broker.Broker {
	t.Helper()
	store := persistence.NewMemory(persistence.Options{})
	store.Start()
	t.Cleanup(func() { store.Close() })
	b := broker.New(brokerOptions(config.Default(), time.Now), store, store, rand.Reader)
	if err := b.Restore(time.Now(), topology.Catalog{}, store.Restore); err != nil {
		t.Fatal(err)
	}
	return b
}

const shop = `
  vhosts:
    - name: shop
  users:
    - name: shop
      password: secret
      tags: [monitoring]
      permissions:
        - {vhost: shop, configure: "", write: "^orders$", read: "^orders$"}
      topic_permissions:
        - {vhost: shop, exchange: events, write: "^{username}[.]", read: ""}
  policies:
    - {vhost: shop, name: limits, pattern: "^ord", apply_to: queues, definition: {max-length: 3, message-ttl: 60000}}
  operator_policies:
    - {vhost: shop, name: limits, pattern: "^ord", priority: 3, definition: {max-length: 2}}
  exchanges:
    - {vhost: shop, name: events, type: topic, arguments: {alternate-exchange: rest}}
    - {vhost: shop, name: rest, type: fanout, internal: true, durable: false}
  queues:
    - vhost: shop
      name: orders
      arguments: {x-max-length: 5, x-dead-letter-exchange: "", note: {b: 1.5, a: [true, text, 7]}}
  bindings:
    - {vhost: shop, exchange: events, queue: orders, routing_key: "order.*"}
    - {vhost: shop, exchange: events, destination_exchange: rest, routing_key: "#", arguments: {k: 1}}
`

func TestTopologyIsDeclaredAsWritten(t *testing.T) { // DEF-5
	b := newBroker(t)
	if err := declare(time.Now(), b, load(t, shop).Topology); err != nil {
		t.Fatal(err)
	}
	v := b.VHost("shop")
	if v == nil {
		t.Fatal("got no virtual host shop")
	}
	if got := len(v.Bindings()); got != 2 {
		t.Errorf("got %d bindings, want 2", got)
	}
	q := v.Queues()[0]
	want := amqp.Table{
		{Name: "note", Value: amqp.Table{{Name: "a", Value: amqp.Array{true, "text", int64(7)}}, {Name: "b", Value: 1.5}}},
		{Name: "x-dead-letter-exchange", Value: ""},
		{Name: "x-max-length", Value: int64(5)},
	}
	if spec := q.Spec(); spec.Name != "orders" || !spec.Durable || !spec.Arguments.Equal(want) {
		t.Errorf("got %+v, want a durable queue orders with %v", spec, want)
	}
	if o := q.Options(); o.MaxLength != 2 || o.MessageTTL != time.Minute {
		t.Errorf("got %+v, want the limits of the policies", o)
	}
	if got := b.TopicPermissions(); len(got) != 1 || got[0].Exchange != "events" {
		t.Errorf("got topic permissions %+v", got)
	}
	x, _, err := v.Exchange("rest")
	if err != nil {
		t.Fatal(err)
	}
	if spec := x.Spec(); spec.Type != "fanout" || spec.Durable || !spec.Internal {
		t.Errorf("got %+v, want a transient internal fanout exchange", spec)
	}
	if err := b.CheckPassword("shop", "secret", false); err != nil {
		t.Error(err)
	}
	if !b.HasTag("shop", auth.Monitoring) || !b.Allowed("shop", "shop", auth.Write, "orders") || b.Allowed("shop", "shop", auth.Configure, "orders") {
		t.Errorf("got user %v with %+v, want monitoring, and to write and read orders", b.Tags("shop"), b.Permissions())
	}
}

func TestDeclaringAgainChangesNothing(t *testing.T) {
	b := newBroker(t)
	topology := load(t, shop).Topology
	var hash string
	var applied policy.Applied
	for i := range 2 {
		if err := declare(time.Now(), b, topology); err != nil {
			t.Fatal(err)
		}
		u, _ := b.User("shop")
		if hash != "" && u.PasswordHash != hash {
			t.Error("got another hash of the same password")
		}
		hash = u.PasswordHash
		is, _ := b.VHost("shop").QueuePolicies("orders")
		if i > 0 && !is.Same(applied) {
			t.Error("got other policies that say the same")
		}
		applied = is
	}
	if created := b.Counters.QueuesCreated.Load(); created != 1 {
		t.Errorf("got %d queues made, want 1", created)
	}
}

func TestUsersAreSetToWhatIsWritten(t *testing.T) {
	b := newBroker(t)
	for _, password := range []string{"first", "second"} {
		c := load(t, "  users:\n    - {name: guest, password: "+password+"}\n")
		if err := declare(time.Now(), b, c.Topology); err != nil {
			t.Fatal(err)
		}
		if err := b.CheckPassword("guest", password, true); err != nil {
			t.Error(err)
		}
	}
	if err := b.CheckPassword("guest", "guest", true); err == nil {
		t.Error("got in with the password of before")
	}
	if b.HasTag("guest", auth.Administrator) {
		t.Error("got an administrator, want what is written: no tags")
	}
	if !b.HasAccess("guest", "/") {
		t.Error("got no access, want permissions that are not mentioned to stay")
	}
}

func TestConflictsNameBothSides(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		b := newBroker(t)
		if err := declare(time.Now(), b, load(t, shop).Topology); err != nil {
			t.Fatal(err)
		}
		err := declare(time.Now(), b, load(t, text).Topology)
		if err == nil {
			t.Fatal("got no error, want a conflict")
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != len(want) {
			t.Fatalf("got %q, want %d errors", lines, len(want))
		}
		for i := range want {
			if !strings.Contains(lines[i], want[i]) {
				t.Errorf("got %q, want it to say %q", lines[i], want[i])
			}
		}
	}
	f(`
  exchanges:
    - {vhost: shop, name: events, type: fanout}
  queues:
    - {vhost: shop, name: orders, arguments: {x-max-length: 6, x-dead-letter-exchange: ""}}
`,
		"received 'fanout' but current is 'topic'",
		"received '6' but current is '5'")
	f("  queues:\n    - {vhost: none, name: q}\n", "no vhost 'none'")
	f("  queues:\n    - {name: q, arguments: {x-max-length: -1}}\n", "invalid arg 'x-max-length' for queue 'q' in vhost '/'")
	f("  exchanges:\n    - {name: x, type: unheard-of}\n", "unknown exchange type 'unheard-of'")
	f("  bindings:\n    - {exchange: amq.topic, queue: none}\n", "no queue 'none' in vhost '/'")
	f("  users:\n    - {name: u, password_hash: '!'}\n", `user "u"`)
	f("  users:\n    - {name: u, password: p, permissions: [{vhost: /, configure: '('}]}\n", `user "u"`)
}

func TestConfigurationInReadmeCanBeDeclared(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(readme), "\ntopology:\n")
	text, _, _ = strings.Cut(text, "```")
	c := load(t, text)
	if len(c.Topology.Bindings) == 0 {
		t.Fatalf("got no bindings from\n%s", text)
	}
	if err := CheckTopology(c); err != nil {
		t.Error(err)
	}
}

func TestTopologyIsCheckedWithoutABroker(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		err := CheckTopology(load(t, text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f(shop, "")
	f("  bindings:\n    - {exchange: there-already, queue: q}\n", "")
	f("  bindings:\n    - {exchange: amq.headers, queue: q, arguments: {x-match: 1}}\n  queues:\n    - name: q\n", "x-match")
	f("  queues:\n    - {name: q, arguments: {x-queue-type: stream}}\n", "stream")
}
