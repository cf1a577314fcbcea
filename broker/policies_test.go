package broker

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/policy"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

func define(pairs ...any) amqp.Table {
	var t amqp.Table
	for i := 0; i < len(pairs); i += 2 {
		t = append(t, amqp.Field{Name: pairs[i].(string), Value: pairs[i+1]})
	}
	return t
}

// policy sets a policy of / and carries out what that sets off.
func (n *node) policy(name, pattern string, definition amqp.Table, more ...func(*policy.Policy)) {
	n.Helper()
	p := policy.Policy{VHost: "/", Name: name, Pattern: pattern, Definition: definition}
	for _, f := range more {
		f(&p)
	}
	if _, err := n.b.SetPolicy(n.now, p, &n.out); err != nil {
		n.Fatalf("policy %q: %v", name, err)
	}
	n.b.Flush(n.now, &n.out)
}

func priority(x int) func(*policy.Policy) { return func(p *policy.Policy) { p.Priority = x } }

func (n *node) operatorPolicy(name, pattern string, definition amqp.Table) {
	n.Helper()
	p := policy.Policy{VHost: "/", Name: name, Pattern: pattern, Definition: definition}
	if _, err := n.b.SetOperatorPolicy(n.now, p, &n.out); err != nil {
		n.Fatalf("operator policy %q: %v", name, err)
	}
	n.b.Flush(n.now, &n.out)
}

func (n *node) deletePolicy(name string) {
	n.Helper()
	if _, err := n.b.DeletePolicy(n.now, "/", name, &n.out); err != nil {
		n.Fatalf("delete policy %q: %v", name, err)
	}
	n.b.Flush(n.now, &n.out)
}

// applied is which policies a queue says apply to it.
func (n *node) applied(name string) string {
	n.Helper()
	a, ok := n.v.QueuePolicies(name)
	if !ok {
		n.Fatalf("no queue %q", name)
	}
	text := "-"
	if a.Policy != nil {
		text = a.Policy.Name
	}
	if a.Operator != nil {
		text += " " + a.Operator.Name
	}
	return text + fmt.Sprint(" ", a.Definition)
}

// POL-1, LEN-2, DLX-1
func TestLimitByPolicyDropsAtOnceAndGoesWithIt(t *testing.T) {
	n := newNode(t)
	n.queue("dead")
	n.queue("q")
	n.queue("other")
	for _, body := range []string{"a", "b", "c", "d"} {
		n.publish("", "q", body, amqp.Properties{})
		n.publish("", "other", body, amqp.Properties{})
	}
	n.policy("p", "^q", define("max-length", int64(2), "dead-letter-exchange", "", "dead-letter-routing-key", "dead"))
	if got := n.applied("q"); got != `p {dead-letter-exchange=S:"", dead-letter-routing-key=S:"dead", max-length=l:2}` {
		t.Errorf("applied: got %s", got)
	}
	n.publish("", "q", "e", amqp.Properties{})
	if got := n.bodies("dead"); got != "a b c" {
		t.Errorf("dead letters: got %s", got)
	}
	n.deletePolicy("p")
	n.publish("", "q", "f", amqp.Properties{})
	n.publish("", "q", "g", amqp.Properties{})
	if got := n.bodies("q") + ", " + n.bodies("other") + ", " + n.bodies("dead"); got != "d e f g, a b c d, " {
		t.Errorf("got %s", got)
	}
	if got := n.applied("q"); got != "- {}" {
		t.Errorf("applied without policies: got %s", got)
	}
}

// POL-1, POL-5, LEN-7
func TestQueuesFollowTheirPolicies(t *testing.T) {
	n := newNode(t)
	q := n.queue("q", with("x-max-length", int32(8)))
	f := func(want string, length int64) {
		t.Helper()
		if got := n.applied("q"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got := q.Options().MaxLength; got != length {
			t.Errorf("max-length: got %d, want %d", got, length)
		}
	}
	n.policy("low", ".*", define("max-length", int64(9)))
	f("low {max-length=l:9}", 8)
	n.policy("high", "q", define("max-length", int64(7)), priority(5))
	f("high {max-length=l:7}", 7)
	n.operatorPolicy("o", "q", define("max-length", int64(3)))
	f("high o {max-length=l:3}", 3)
	n.policy("high", "elsewhere", define("max-length", int64(1)), priority(5)) // it matches no more
	f("low o {max-length=l:3}", 3)
	n.policy("low", ".*", define("overflow", "reject-publish"))
	f(`low o {max-length=l:3, overflow=S:"reject-publish"}`, 3)
	if _, err := n.b.DeleteOperatorPolicy(n.now, "/", "o", &n.out); err != nil {
		t.Fatal(err)
	}
	f(`low {overflow=S:"reject-publish"}`, 8)
	n.deletePolicy("low")
	f("- {}", 8)

	// What is declared later has them from the start.
	n.policy("p", "^new", define("message-ttl", int64(5), "max-length", int64(1)))
	if o := n.queue("new").Options(); o.MessageTTL != 5*time.Millisecond || o.MaxLength != 1 {
		t.Errorf("a new queue: got %+v", o)
	}
	if got := n.applied("new"); got != "p {max-length=l:1, message-ttl=l:5}" {
		t.Errorf("a new queue: got %s", got)
	}
	if o := n.queue("newq", with("x-queue-type", "quorum")).Options(); o.MaxLength != 1 || o.DeliveryLimit != 20 {
		t.Errorf("a new quorum queue: got %+v", o)
	}
}

// EX-12
func TestAlternateExchangeByPolicy(t *testing.T) {
	n := newNode(t)
	n.exchange("x", "direct")
	n.exchange("named", "direct", alternate("nowhere"))
	n.exchange("ae", "fanout")
	n.queue("q")
	n.bind("ae", "queue", "q", "")
	if n.publish("x", "k", "1", amqp.Properties{}) {
		t.Error("routed without an alternate exchange")
	}
	n.policy("p", "", define("alternate-exchange", "ae"))
	if !n.publish("x", "k", "2", amqp.Properties{}) || !n.publish("x", "k", "3", amqp.Properties{}) {
		t.Error("the policy's alternate exchange is not used")
	}
	if n.publish("named", "k", "4", amqp.Properties{}) {
		t.Error("the policy won over the argument")
	}
	n.exchange("later", "headers")
	if !n.publish("later", "k", "5", amqp.Properties{}) {
		t.Error("an exchange declared later has no alternate exchange")
	}
	if a, ok := n.v.ExchangePolicies("later"); !ok || a.Policy == nil || a.Policy.Name != "p" {
		t.Errorf("applied: got %+v", a)
	}
	n.deletePolicy("p")
	if n.publish("x", "k", "6", amqp.Properties{}) {
		t.Error("the alternate exchange stayed")
	}
	if got := n.bodies("q"); got != "2 3 5" {
		t.Errorf("got %s", got)
	}
}

func TestPoliciesAreThereAfterARestart(t *testing.T) {
	n := newNode(t)
	n.exchange("x", "direct")
	n.queue("q")
	n.policy("p", "", define("max-length", int64(2), "alternate-exchange", "amq.fanout"), priority(-7))
	n.policy("gone", "", define("max-length", int64(1)))
	n.deletePolicy("gone")
	n.operatorPolicy("o", "q", define("message-ttl", int64(60_000)))
	for _, body := range []string{"a", "b", "c"} {
		n.publish("", "q", body, amqp.Properties{})
	}
	n.disk.commit()
	n = restart(t, n.disk)
	if got := n.applied("q"); got != `p o {alternate-exchange=S:"amq.fanout", max-length=l:2, message-ttl=l:60000}` {
		t.Errorf("got %s", got)
	}
	if a, ok := n.v.exchanges.find("x").x.AlternateExchange(); a != "amq.fanout" || !ok {
		t.Errorf("alternate exchange: got %q", a)
	}
	if p, o := n.v.Policies(), n.v.OperatorPolicies(); len(p) != 1 || p[0].Priority != -7 || len(o) != 1 || o[0].Name != "o" {
		t.Errorf("got %+v and %+v", p, o)
	}
}

func TestRefusedPoliciesChangeNothing(t *testing.T) {
	n := newNode(t)
	f := func(err error, kind RefusalKind, want string) {
		t.Helper()
		var r *Refusal
		if !errors.As(err, &r) || r.Kind != kind || r.Error() != want {
			t.Errorf("got %v, want kind %d, %q", err, kind, want)
		}
	}
	set := func(p policy.Policy) error {
		_, err := n.b.SetPolicy(n.now, p, &n.out)
		return err
	}
	one := define("max-length", int64(1))
	f(set(policy.Policy{VHost: "nowhere", Name: "p", Definition: one}), NotFound, "vhost_not_found")
	f(set(policy.Policy{VHost: "/", Name: "p"}), Invalid, "Validation failed\n\nno policy provided\n")
	f(set(policy.Policy{VHost: "/", Definition: one}), Invalid, "a policy has to have a name")
	_, err := n.b.SetOperatorPolicy(n.now, policy.Policy{VHost: "/", Name: "o", Definition: define("queue-mode", "lazy")}, &n.out)
	f(err, Invalid, "Validation failed\n\n[{<<\"queue-mode\">>,<<\"lazy\">>}] are not recognised policy settings\n")
	_, err = n.b.DeletePolicy(n.now, "/", "p", &n.out)
	f(err, NotFound, "Not Found")
	_, err = n.b.DeleteOperatorPolicy(n.now, "nowhere", "p", &n.out)
	f(err, NotFound, "vhost_not_found")
	if len(n.v.Policies())+len(n.v.OperatorPolicies()) != 0 || n.disk.has("policy") {
		t.Error("something was set")
	}
}

// A virtual host's policies go with it, and do not come back with another of its name.
func TestPoliciesGoWithTheirVirtualHost(t *testing.T) {
	n := newNode(t)
	for range 2 {
		if _, err := n.b.PutVHost("v"); err != nil {
			t.Fatal(err)
		}
		v := n.b.VHost("v")
		if len(v.Policies()) != 0 {
			t.Error("a new virtual host has policies")
		}
		if _, err := n.b.SetPolicy(n.now, policy.Policy{VHost: "v", Name: "p", Definition: define("max-length", int64(1))}, &n.out); err != nil {
			t.Fatal(err)
		}
		n.b.DeleteVHost(n.now, "v", &n.out)
		if _, err := v.changePolicies(n.now, topology.Policy{Policy: policy.Policy{VHost: "v", Name: "p"}}, topology.Unit{},
			func(s *policy.Set) (*policy.Set, error) { return s, nil }, &n.out); err == nil {
			t.Error("a virtual host that is gone was given a policy")
		}
	}
	n.disk.commit()
	if n.disk.has("policy") {
		t.Error("left on disk")
	}
	// What a crash between the units leaves.
	n.disk.records = append(n.disk.records, topology.Policy{Policy: policy.Policy{VHost: "v", Name: "p", Definition: define("max-length", int64(1))}})
	if n = restart(t, n.disk); n.disk.has("policy") {
		t.Error("a policy without its virtual host stayed on disk")
	}
}

func TestPoliciesChangeWhileQueuesComeAndGo(t *testing.T) {
	n := newNode(t)
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			var out queue.Effects
			for j := range 60 {
				name := fmt.Sprintf("q%d-%d", i, j)
				if _, _, err := n.v.DeclareQueue(start, nil, queue.Spec{Name: name, Durable: true}, nil, &out); err != nil {
					t.Error(err)
				}
				if j%3 == 0 {
					if _, _, err := n.v.DeleteQueue(start, nil, name, queue.DeleteOptions{}, nil, &out); err != nil {
						t.Error(err)
					}
				}
				n.b.Flush(start, &out)
			}
		})
	}
	for i := range 2 {
		wg.Go(func() {
			var out queue.Effects
			for j := range 60 {
				p := policy.Policy{VHost: "/", Name: fmt.Sprint("p", i), Pattern: "q", Priority: j % 3, Definition: define("max-length", int64(100*i+j))}
				if _, err := n.b.SetPolicy(start, p, &out); err != nil {
					t.Error(err)
				}
				n.b.Flush(start, &out)
			}
		})
	}
	wg.Wait()
	rules := n.v.policies()
	for _, q := range n.v.Queues() {
		a, _ := n.v.QueuePolicies(q.Name())
		want := rules.Apply(policy.ClassicQueue, q.Name())
		limit, _ := want.Definition.Get("max-length")
		if !a.Same(want) || q.Options().MaxLength != limit {
			t.Fatalf("%v: has %v and a limit of %d, want %v", q, a.Policy, q.Options().MaxLength, want.Policy)
		}
	}
}
