package broker

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

func TestExchangeDeclareChecksInRabbitMQsOrder(t *testing.T) {
	n := newNode(t)
	n.exchange("x", "direct", alternate("ae"))
	denied := func(what string) Permit {
		return func(a Access) error {
			if asked := fmt.Sprintf("%v %v %s", a.Op, a.Kind, a.Name); asked == what {
				return amqp.AccessRefused("no %s", asked)
			}
			return nil
		}
	}
	f := func(s exchange.Spec, deny, want string) {
		t.Helper()
		_, err := n.v.DeclareExchange(s, denied(deny))
		refused(t, err, want)
	}
	spec := func(name, typ string, arguments ...amqp.Field) exchange.Spec {
		return exchange.Spec{Name: name, Type: typ, Durable: true, Arguments: arguments}
	}
	ae := amqp.Field{Name: "alternate-exchange", Value: "ae"}
	number := amqp.Field{Name: "alternate-exchange", Value: int32(1)}

	// EX-5: the type comes before the name, the name before permissions.
	f(spec("", "nonsense"), "", "soft 406 PRECONDITION_FAILED - unknown exchange type 'nonsense'")
	f(spec("", "direct"), "configure exchange ", "soft 403 ACCESS_REFUSED - operation not permitted on the default exchange")
	f(spec("x", "fanout"), "configure exchange x", "soft 403 ACCESS_REFUSED - no configure exchange x")
	f(spec("x", "fanout"), "", "soft 406 PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'x' in vhost '/': received 'fanout' but current is 'direct'")
	f(spec("x", "direct"), "", "soft 406 PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange 'x' in vhost '/': received none but current is the value 'ae' of type 'longstr'")
	// What is there needs no permission on its alternate exchange.
	f(spec("x", "direct", ae), "write exchange ae", "")
	f(spec("\rx\n", "direct", ae), "", "") // EX-2
	// EX-3
	f(spec("amq.new", "direct", number), "", "soft 403 ACCESS_REFUSED - exchange name 'amq.new' contains reserved prefix 'amq.*'")
	f(spec("amq.topic", "topic"), "", "")
	f(spec("new", "direct", number), "", "soft 406 PRECONDITION_FAILED - invalid type 'signedint' for arg 'alternate-exchange' in exchange 'new' in vhost '/'")
	f(spec("new", "direct", ae), "read exchange new", "soft 403 ACCESS_REFUSED - no read exchange new")
	f(spec("new", "direct", ae), "write exchange ae", "soft 403 ACCESS_REFUSED - no write exchange ae")
	f(spec("new", "direct", ae), "", "")
}

func TestPassiveExchangeDeclareFindsWhatIsThere(t *testing.T) {
	n := newNode(t)
	f := func(name, want string) {
		t.Helper()
		_, _, err := n.v.Exchange(name)
		refused(t, err, want)
	}
	f("amq.direct", "")
	f("amq.rabbitmq.trace", "")
	f("amq.\ntopic", "")
	f("", "soft 403 ACCESS_REFUSED - operation not permitted on the default exchange")
	f("nowhere", "soft 404 NOT_FOUND - no exchange 'nowhere' in vhost '/'")
}

func TestExchangeForPublishRefusesInternalAndMissing(t *testing.T) {
	n := newNode(t)
	f := func(name, want string) {
		t.Helper()
		_, err := n.v.ExchangeForPublish(name)
		refused(t, err, want)
	}
	f("", "")
	f("amq.fanout", "")
	f("amq.rabbitmq.trace", "soft 403 ACCESS_REFUSED - cannot publish to internal exchange 'amq.rabbitmq.trace' in vhost '/'")
	f("nowhere", "soft 404 NOT_FOUND - no exchange 'nowhere' in vhost '/'")
}

func TestExchangeDelete(t *testing.T) {
	n := newNode(t)
	n.exchange("source", "fanout")
	n.disk.commit()
	n.exchange("middle", "fanout")
	n.queue("q")
	n.bind("source", "exchange", "middle", "")
	n.bind("source", "queue", "q", "")
	f := func(name string, ifUnused bool, want string) {
		t.Helper()
		_, err := n.v.DeleteExchange(name, ifUnused, nil)
		refused(t, err, want)
	}
	// EX-8
	f("", false, "soft 403 ACCESS_REFUSED - operation not permitted on the default exchange")
	f("amq.topic", false, "soft 403 ACCESS_REFUSED - deletion of system exchange 'amq.topic' in vhost '/' not allowed")
	f("amq.nowhere", false, "soft 403 ACCESS_REFUSED - deletion of system exchange 'amq.nowhere' in vhost '/' not allowed")
	f("nowhere", true, "")
	f("source", true, "soft 406 PRECONDITION_FAILED - exchange 'source' in vhost '/' in use")
	f("middle", true, "") // being a destination is not being used
	if got := len(n.v.Bindings()); got != 1 {
		t.Errorf("after the middle exchange went: %d bindings, want 1", got)
	}
	f("source", false, "")
	if got := len(n.v.Bindings()); got != 0 {
		t.Errorf("after the source went: %d bindings, want 0", got)
	}
	n.disk.commit()
	if n.disk.has("binding") {
		t.Error("bindings are left on disk")
	}
	_, err := n.v.ExchangeForPublish("source")
	refused(t, err, "soft 404 NOT_FOUND - no exchange 'source' in vhost '/'")
}

// EX-9
func TestAutoDeleteExchangesGoWithTheirLastBinding(t *testing.T) {
	there := func(n *node, names ...string) string {
		var found []string
		for _, name := range names {
			if n.v.exchanges.find(name) != nil {
				found = append(found, name)
			}
		}
		return strings.Join(found, " ")
	}
	build := func(t *testing.T) *node {
		n := newNode(t)
		for _, x := range []string{"a", "b", "c", "never"} {
			n.exchange(x, "fanout", autoDelete)
		}
		n.exchange("kept", "fanout")
		n.queue("q")
		n.bind("c", "queue", "q", "")
		n.bind("b", "exchange", "c", "")
		n.bind("a", "exchange", "b", "")
		n.bind("kept", "exchange", "c", "")
		return n
	}
	f := func(what string, act func(n *node), want string) {
		t.Helper()
		n := build(t)
		act(n)
		if got := there(n, "a", "b", "c", "kept", "never"); got != want {
			t.Errorf("%s: left %q, want %q", what, got, want)
		}
		n.disk.commit()
		// The disk holds what memory holds.
		again := restart(t, n.disk)
		if got := there(again, "a", "b", "c", "kept", "never"); got != want {
			t.Errorf("%s, then a restart: left %q, want %q", what, got, want)
		}
		if got, want := len(again.v.Bindings()), len(n.v.Bindings()); got != want {
			t.Errorf("%s, then a restart: %d bindings, want %d", what, got, want)
		}
	}
	f("nothing", func(*node) {}, "a b c kept never")
	f("unbind", func(n *node) { n.unbind("c", "queue", "q", "") }, "kept never")
	f("unbind in the middle", func(n *node) { n.unbind("a", "exchange", "b", "") }, "b c kept never")
	f("queue deleted", func(n *node) {
		if _, _, err := n.v.DeleteQueue(n.now, "me", "q", queue.DeleteOptions{}, nil, &n.out); err != nil {
			n.Fatal(err)
		}
	}, "kept never")
	f("destination deleted", func(n *node) {
		if _, err := n.v.DeleteExchange("c", false, nil); err != nil {
			n.Fatal(err)
		}
	}, "kept never")
	f("second binding left", func(n *node) {
		n.bind("c", "queue", "q", "two")
		n.unbind("c", "queue", "q", "")
	}, "a b c kept never")
	f("cycle", func(n *node) {
		n.bind("c", "exchange", "a", "")
		n.unbind("c", "queue", "q", "")
		n.unbind("c", "exchange", "a", "")
	}, "kept never")
}

func TestBindingsNeedBothEnds(t *testing.T) {
	n := newNode(t)
	n.exchange("x", "headers")
	n.queue("q")
	n.queue("mine", exclusive)
	f := func(owner Owner, b binding.Binding, want string) {
		t.Helper()
		_, err := n.v.Bind(owner, b, nil)
		refused(t, err, want)
	}
	// EX-21: the source is named first.
	f("me", bindingOf("", "queue", "q", "k"), "soft 403 ACCESS_REFUSED - operation not permitted on the default exchange")
	f("me", bindingOf("x", "exchange", "", "k"), "soft 403 ACCESS_REFUSED - operation not permitted on the default exchange")
	f("me", bindingOf("no", "queue", "none", "k"), "soft 404 NOT_FOUND - no exchange 'no' in vhost '/'")
	f("me", bindingOf("x", "queue", "none", "k"), "soft 404 NOT_FOUND - no queue 'none' in vhost '/'")
	f("me", bindingOf("x", "exchange", "none", "k"), "soft 404 NOT_FOUND - no exchange 'none' in vhost '/'")
	// EX-23
	locked := "soft 405 RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' in vhost '/'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration."
	f("you", bindingOf("x", "queue", "mine", "k"), locked)
	f("me", bindingOf("x", "queue", "mine", "k"), "")
	f("me", bindingOf("x", "queue", "mine", "k"), "") // EX-20
	wrong := bindingOf("x", "queue", "q", "k")
	wrong.Arguments = amqp.Table{{Name: "x-match", Value: "most"}}
	f("me", wrong, `soft 406 PRECONDITION_FAILED - Invalid x-match field value <<"most">>; expected all, any, all-with-x, or any-with-x`)
	if got := len(n.v.Bindings()); got != 1 {
		t.Errorf("%d bindings, want 1", got)
	}
	// EX-22: what is not there is unbound by anybody; what is there is not.
	g := func(owner Owner, b binding.Binding, want string) {
		t.Helper()
		_, err := n.v.Unbind(owner, b, nil)
		refused(t, err, want)
	}
	g("you", bindingOf("x", "queue", "mine", "other"), "")
	g("you", bindingOf("no", "queue", "none", "k"), "")
	g("you", bindingOf("x", "queue", "mine", "k"), locked)
	g("me", bindingOf("", "queue", "mine", "k"), "soft 403 ACCESS_REFUSED - operation not permitted on the default exchange")
	g("me", bindingOf("x", "queue", "mine", "k"), "")
	if got := len(n.v.Bindings()); got != 0 {
		t.Errorf("%d bindings, want 0", got)
	}
}

// PERM-3, PERM-6
func TestPermissionsComeBeforeExistence(t *testing.T) {
	n := newNode(t)
	if _, err := n.b.PutUser(auth.User{Name: "u"}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.b.PutPermission(auth.Permission{User: "u", VHost: "/", Configure: "^c", Write: "^w", Read: "^r"}); err != nil {
		t.Fatal(err)
	}
	permit := n.b.Permit("u", "/")
	refuse := func(op, what string) string {
		return "soft 403 ACCESS_REFUSED - " + op + " access to " + what + " in vhost '/' refused for user 'u'"
	}
	bind := func(source, kind, destination, want string) {
		t.Helper()
		_, err := n.v.Bind("me", bindingOf(source, kind, destination, ""), permit)
		refused(t, err, want)
		_, err = n.v.Unbind("me", bindingOf(source, kind, destination, ""), permit)
		if !strings.Contains(want, "404") { // unbinding the missing is fine
			refused(t, err, want)
		}
	}
	bind("x", "queue", "q", refuse("write", "queue 'q'"))
	bind("x", "exchange", "y", refuse("write", "exchange 'y'"))
	bind("x", "queue", "w", refuse("read", "exchange 'x'"))
	bind("r", "queue", "w", "soft 404 NOT_FOUND - no exchange 'r' in vhost '/'")

	_, _, err := n.v.DeleteQueue(n.now, "me", "q", queue.DeleteOptions{}, permit, &n.out)
	refused(t, err, refuse("configure", "queue 'q'"))
	_, err = n.v.DeleteExchange("x", false, permit)
	refused(t, err, refuse("configure", "exchange 'x'"))
	refused(t, permit(Access{Op: auth.Write, Kind: binding.Exchange}), refuse("write", "exchange 'amq.default'")) // PERM-2

	declare := func(name, dlx, want string) {
		t.Helper()
		s := queue.Spec{Name: name, Arguments: amqp.Table{{Name: "x-dead-letter-exchange", Value: dlx}}}
		_, _, err := n.v.DeclareQueue(n.now, "me", s, permit, &n.out)
		refused(t, err, want)
	}
	declare("q", "w", refuse("configure", "queue 'q'"))
	declare("c", "w", refuse("read", "queue 'c'"))
	if _, err := n.b.PutPermission(auth.Permission{User: "u", VHost: "/", Configure: "^c", Write: "^w", Read: "^[cr]"}); err != nil {
		t.Fatal(err)
	}
	declare("c", "x", refuse("write", "exchange 'x'"))
	declare("c", "w", "")
}

func TestQueueDeclare(t *testing.T) {
	n := newNode(t)
	f := func(owner Owner, s queue.Spec, want string) {
		t.Helper()
		_, _, err := n.v.DeclareQueue(n.now, owner, s, nil, &n.out)
		refused(t, err, want)
	}
	locked := func(q string) string {
		return "soft 405 RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '" + q + "' in vhost '/'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration."
	}
	f("me", queue.Spec{Name: "q", Durable: true}, "")
	f("me", queue.Spec{Name: "\nq\r", Durable: true}, "") // EX-2
	f("you", queue.Spec{Name: "q", Durable: true}, "")
	f("me", queue.Spec{Name: "q"}, "soft 406 PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'")
	f("me", queue.Spec{Name: "q", Exclusive: true}, locked("q"))

	f("me", queue.Spec{Name: "mine", Exclusive: true, Durable: true}, "")
	f("me", queue.Spec{Name: "mine", Exclusive: true}, "")
	f("me", queue.Spec{Name: "mine"}, locked("mine"))
	f("you", queue.Spec{Name: "mine", Exclusive: true}, locked("mine"))
	if q, _, _ := n.v.Queue("me", "mine"); q.Spec().Durable {
		t.Error("an exclusive queue shows as durable")
	}

	// Q-3, ERR-12
	f("me", queue.Spec{Name: "amq.gen-mine"}, "soft 403 ACCESS_REFUSED - queue name 'amq.gen-mine' contains reserved prefix 'amq.*'")
	quorum := amqp.Table{{Name: "x-queue-type", Value: "quorum"}}
	f("me", queue.Spec{Durable: true, Arguments: quorum}, "soft 406 PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_quorum_queue")
	f("me", queue.Spec{Name: "bad", Arguments: amqp.Table{{Name: "x-dead-letter-exchange", Value: true}}},
		"soft 406 PRECONDITION_FAILED - invalid type 'bool' for arg 'x-dead-letter-exchange' in queue 'bad' in vhost '/'")
	f("me", queue.Spec{Name: "bad", Arguments: amqp.Table{{Name: "x-expires", Value: int32(0)}}},
		"soft 406 PRECONDITION_FAILED - invalid arg 'x-expires' for queue 'bad' in vhost '/': {value_zero,0}")
	if n.v.queues.find("bad") != nil {
		t.Error("a refused queue is there")
	}
	q, _, err := n.v.DeclareQueue(n.now, "me", queue.Spec{}, nil, &n.out)
	if err != nil || len(q.Name()) != 30 || !strings.HasPrefix(q.Name(), "amq.gen-") {
		t.Fatalf("server-named: got %v, %v", q, err)
	}
	other, _, _ := n.v.DeclareQueue(n.now, "me", queue.Spec{}, nil, &n.out)
	if other == q {
		t.Error("two server-named queues are one")
	}
	_, _, err = n.v.DeclareQueuePassive(n.now, "me", q.Name(), &n.out)
	refused(t, err, "")
	_, _, err = n.v.DeclareQueuePassive(n.now, "me", "", &n.out)
	refused(t, err, "soft 404 NOT_FOUND - no queue '' in vhost '/'")
	_, _, err = n.v.DeclareQueuePassive(n.now, "you", "mine", &n.out)
	refused(t, err, locked("mine"))
}

func TestQueueDelete(t *testing.T) {
	n := newNode(t)
	n.queue("q")
	n.queue("quorum", with("x-queue-type", "quorum"))
	n.publish("", "q", "a", amqp.Properties{})
	f := func(owner Owner, name string, o queue.DeleteOptions, ready int, want string) {
		t.Helper()
		got, _, err := n.v.DeleteQueue(n.now, owner, name, o, nil, &n.out)
		refused(t, err, want)
		if got != ready {
			t.Errorf("%s: %d messages went, want %d", name, got, ready)
		}
	}
	both := queue.DeleteOptions{IfUnused: true, IfEmpty: true}
	f("me", "missing", both, 0, "")
	q, _, _ := n.v.Queue("me", "q")
	c := &consumer{}
	if err := q.Consume(n.now, c, queue.ConsumeOptions{}, &n.out); err != nil {
		t.Fatal(err)
	}
	f("me", "q", queue.DeleteOptions{IfUnused: true}, 0, "soft 406 PRECONDITION_FAILED - queue 'q' in vhost '/' in use")
	q.Cancel(n.now, c, &n.out)
	n.publish("", "q", "b", amqp.Properties{})
	f("me", "q", both, 0, "soft 406 PRECONDITION_FAILED - queue 'q' in vhost '/' not empty")
	f("me", "quorum", both, 0, "hard 540 NOT_IMPLEMENTED - cannot delete queue 'quorum' in vhost '/'. queue.delete operations with if-unused flag set are not supported by quorum queues")
	f("me", "q", queue.DeleteOptions{}, 1, "") // a is out and not counted
	n.queue("mine", exclusive)
	f("you", "mine", queue.DeleteOptions{}, 0, "soft 405 RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' in vhost '/'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration.")
	f("me", "mine", queue.DeleteOptions{}, 0, "")
	if n.publish("", "q", "c", amqp.Properties{}) {
		t.Error("a message reached a queue that was deleted")
	}
	if len(n.disk.dropped) != 2 {
		t.Errorf("dropped %v from the store, want two queues", n.disk.dropped)
	}
}

// consumer takes every message and remembers that its queue went.
type consumer struct {
	got  []queue.Delivery
	gone int
	full bool
}

func (c *consumer) Deliver(d queue.Delivery, _ *queue.Effects) bool {
	if c.full {
		return false
	}
	c.got = append(c.got, d)
	return true
}

func (c *consumer) QueueGone(*queue.Effects) { c.gone++ }

//
func TestConsumersOfADeletedQueueAreTold(t *testing.T) {
	n := newNode(t)
	q := n.queue("q")
	c := &consumer{}
	if err := q.Consume(n.now, c, queue.ConsumeOptions{}, &n.out); err != nil {
		t.Fatal(err)
	}
	if _, _, err := n.v.DeleteQueue(n.now, "me", "q", queue.DeleteOptions{}, nil, &n.out); err != nil {
		t.Fatal(err)
	}
	n.b.Flush(n.now, &n.out)
	if c.gone != 1 {
		t.Errorf("told %d times, want once", c.gone)
	}
}

//
func TestAutoDeleteQueueGoesWithItsLastConsumer(t *testing.T) {
	n := newNode(t)
	q := n.queue("q", autoDeleteQueue)
	n.bind("amq.direct", "queue", "q", "k")
	n.disk.commit()
	one, two := &consumer{}, &consumer{}
	for _, c := range []*consumer{one, two} {
		if err := q.Consume(n.now, c, queue.ConsumeOptions{}, &n.out); err != nil {
			t.Fatal(err)
		}
	}
	q.Cancel(n.now, one, &n.out)
	n.b.Flush(n.now, &n.out)
	if n.v.queues.find("q") == nil {
		t.Fatal("gone with a consumer left")
	}
	q.Cancel(n.now, two, &n.out)
	n.b.Flush(n.now, &n.out)
	if n.v.queues.find("q") != nil || len(n.v.Bindings()) != 0 {
		t.Fatal("still there without consumers")
	}
	n.disk.commit()
	if n.disk.has("queue / q") || n.disk.has("binding") {
		t.Error("still on disk")
	}
	if one.gone+two.gone != 0 {
		t.Error("a consumer that had left was told")
	}
}

func TestAutoDeleteQueueStaysWhenSomebodyConsumesFirst(t *testing.T) {
	n := newNode(t)
	q := n.queue("q", autoDeleteQueue)
	one, two := &consumer{}, &consumer{}
	if err := q.Consume(n.now, one, queue.ConsumeOptions{}, &n.out); err != nil {
		t.Fatal(err)
	}
	var late queue.Effects
	q.Cancel(n.now, one, &late) // and before that is carried out …
	if err := q.Consume(n.now, two, queue.ConsumeOptions{}, &n.out); err != nil {
		t.Fatal(err)
	}
	n.b.CarryOut(n.now, &late)
	if n.v.queues.find("q") == nil {
		t.Error("deleted under a consumer")
	}
}

//
func TestExclusiveQueuesGoWithTheirConnection(t *testing.T) {
	n := newNode(t)
	n.exchange("x", "fanout", autoDelete)
	n.queue("a", exclusive)
	n.queue("b", exclusive)
	n.queue("kept")
	n.bind("x", "queue", "a", "")
	if _, _, err := n.v.DeleteQueue(n.now, "me", "b", queue.DeleteOptions{}, nil, &n.out); err != nil {
		t.Fatal(err)
	}
	n.v.Release(n.now, "you", &n.out)
	if n.v.queues.find("a") == nil {
		t.Fatal("somebody else's connection took it along")
	}
	n.v.Release(n.now, "me", &n.out)
	if n.v.queues.find("a") != nil || n.v.queues.find("kept") == nil || n.v.exchanges.find("x") != nil {
		t.Error("want a and x gone, and kept kept")
	}
	if len(n.v.exclusive) != 0 {
		t.Errorf("owners remembered: %v", n.v.exclusive)
	}
	if c := n.v.Release(n.now, "me", &n.out); c != nil {
		t.Error("the second release has something to wait for")
	}
}

// S-3
func TestRecordIsHandedOverBeforeTheChangeShows(t *testing.T) {
	n := newNode(t)
	n.queue("old")
	n.exchange("gone", "direct")
	n.bind("gone", "queue", "old", "k")
	writes := 0
	n.disk.onWrite = func(u topology.Unit) {
		writes++
		for _, r := range u.Puts {
			switch r := r.(type) {
			case topology.Exchange:
				if n.v.exchanges.find(r.Spec.Name) != nil {
					t.Errorf("exchange %q shows already", r.Spec.Name)
				}
			case topology.Queue:
				if n.v.queues.find(r.Spec.Name) != nil {
					t.Errorf("queue %q shows already", r.Spec.Name)
				}
			case topology.Binding:
				if routes(n, r.Binding) {
					t.Errorf("binding %v routes already", r.Binding)
				}
			}
		}
		for _, r := range u.Deletes {
			switch r := r.(type) {
			case topology.Exchange:
				if n.v.exchanges.find(r.Spec.Name) == nil {
					t.Errorf("exchange %q is gone already", r.Spec.Name)
				}
			case topology.Queue:
				if n.v.queues.find(r.Spec.Name) == nil {
					t.Errorf("queue %q is gone already", r.Spec.Name)
				}
			case topology.Binding:
				if n.v.exchanges.find(r.Binding.Source) != nil && r.Binding.Source != "gone" && !routes(n, r.Binding) {
					t.Errorf("binding %v is gone already", r.Binding)
				}
			}
		}
	}
	n.exchange("x", "direct")
	n.queue("q")
	n.bind("x", "queue", "q", "k")
	n.unbind("x", "queue", "q", "k")
	n.bind("x", "queue", "q", "k")
	if _, err := n.v.DeleteExchange("gone", false, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := n.v.DeleteQueue(n.now, "me", "q", queue.DeleteOptions{}, nil, &n.out); err != nil {
		t.Fatal(err)
	}
	if writes != 7 {
		t.Errorf("%d writes, want 7", writes)
	}
}

func routes(n *node, b binding.Binding) bool {
	m := n.message(b.Source, b.RoutingKey, "", amqp.Properties{})
	for _, d := range n.v.exchanges.find(b.Source).x.Route(m, nil) {
		if d.Name == b.Destination {
			return true
		}
	}
	return false
}

// S-4
func TestRepliesWaitForTheCommitTheyRestOn(t *testing.T) {
	n := newNode(t)
	waits := func(what string, c *Commit, want bool) {
		t.Helper()
		if got := c.Then(func(error) {}); got != want {
			t.Errorf("%s: waits %v, want %v", what, got, want)
		}
	}
	declare := func() *Commit {
		_, c, err := n.v.DeclareQueue(n.now, "you", queue.Spec{Name: "q", Durable: true}, nil, &n.out)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	x := exchange.Spec{Name: "x", Type: "topic", Durable: true}
	declareX := func() *Commit {
		c, err := n.v.DeclareExchange(x, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	bind := func(key string) *Commit {
		c, err := n.v.Bind("me", bindingOf("x", "queue", "q", key), nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, on := range []string{"first", "again"} {
		waits(on+" queue", declare(), true)
		waits(on+" exchange", declareX(), true)
		waits(on+" binding", bind("k"), true)
	}
	_, c, _ := n.v.Queue("me", "q")
	waits("use of the queue", c, true)
	_, c, _ = n.v.Exchange("x")
	waits("passive exchange", c, true)

	n.disk.commit()
	waits("queue on disk", declare(), false)
	waits("exchange on disk", declareX(), false)
	waits("binding on disk", bind("k"), false)
	_, c, _ = n.v.Queue("me", "q")
	waits("use of the queue on disk", c, false)

	// What is not durable has nothing to wait for.
	_, c, _ = n.v.DeclareQueue(n.now, "me", queue.Spec{Name: "t"}, nil, &n.out)
	waits("transient queue", c, false)
	c, _ = n.v.Bind("me", bindingOf("x", "queue", "t", "k"), nil)
	waits("binding of a transient queue", c, false)
	c, _ = n.v.Unbind("me", bindingOf("x", "queue", "t", "k"), nil)
	waits("unbinding a transient queue", c, false)

	// A second delete of the same thing answers no sooner than the first.
	for _, on := range []string{"first", "again"} {
		c, _ = n.v.Unbind("me", bindingOf("x", "queue", "q", "k"), nil)
		waits(on+" unbind", c, true)
	}
	for _, on := range []string{"first", "again"} {
		_, c, _ = n.v.DeleteQueue(n.now, "me", "q", queue.DeleteOptions{}, nil, &n.out)
		waits(on+" queue delete", c, true)
		c, _ = n.v.DeleteExchange("x", false, nil)
		waits(on+" exchange delete", c, true)
	}
	n.disk.commit()
	_, c, _ = n.v.DeleteQueue(n.now, "me", "q", queue.DeleteOptions{}, nil, &n.out)
	waits("delete of what is long gone", c, false)
}

func TestCommitTellsItsEndToEverybodyOnce(t *testing.T) {
	n := newNode(t)
	told := 0
	_, c, err := n.v.DeclareQueue(n.now, "me", queue.Spec{Name: "q", Durable: true}, nil, &n.out)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if !c.Then(func(err error) {
			if err != nil {
				t.Errorf("got %v", err)
			}
			told++
		}) {
			t.Error("nothing to wait for")
		}
	}
	n.disk.commit()
	n.disk.commit()
	if told != 2 {
		t.Errorf("told %d times, want twice", told)
	}
	if c.Then(func(error) { t.Error("called although there is nothing to wait for") }) {
		t.Error("waits for what is on disk")
	}
}

func TestFailedCommitIsNeverTakenForADoneOne(t *testing.T) {
	n := newNode(t)
	_, c, err := n.v.DeclareQueue(n.now, "me", queue.Spec{Name: "q", Durable: true}, nil, &n.out)
	if err != nil {
		t.Fatal(err)
	}
	var got []error
	note := func(err error) { got = append(got, err) }
	c.Then(note)
	n.disk.broken = errors.New("no space")
	n.disk.commit()
	_, c, _ = n.v.DeclareQueue(n.now, "you", queue.Spec{Name: "q", Durable: true}, nil, &n.out)
	if !c.Then(note) {
		t.Error("the second declare found it on disk")
	}
	if len(got) != 2 || got[0] != n.disk.broken || got[1] != n.disk.broken {
		t.Errorf("got %v, want the failure twice", got)
	}
}

// EX-11, EX-27, DUR-1, DUR-3
func TestWhatIsDurableComesBack(t *testing.T) {
	n := newNode(t)
	n.exchange("x", "topic")
	n.exchange("fleeting", "topic", transient)
	n.queue("q", with("x-max-length", int32(5)))
	n.queue("mine", exclusive)
	n.queue("t", transientQueue)
	n.bind("x", "queue", "q", "a.*")
	n.bind("x", "queue", "t", "#")
	n.bind("x", "queue", "mine", "#")
	n.bind("fleeting", "queue", "q", "#")
	n.bind("x", "exchange", "fleeting", "#")
	n.bind("amq.topic", "exchange", "x", "#")
	n.publish("amq.topic", "a.b", "1", amqp.Properties{})
	n.publish("x", "a.c", "2", amqp.Properties{})
	n.disk.commit()
	n.unbind("fleeting", "queue", "q", "#") // was never stored, so nothing is to be deleted
	n.bind("fleeting", "queue", "q", "#")
	n.disk.commit()

	n = restart(t, n.disk)
	var queues []string
	for _, q := range n.v.Queues() {
		queues = append(queues, q.Name())
	}
	if got, want := strings.Join(queues, " "), "q"; got != want {
		t.Errorf("queues: got %q, want %q", got, want)
	}
	if n.v.exchanges.find("fleeting") != nil || n.v.exchanges.find("x") == nil {
		t.Error("want x back and fleeting gone")
	}
	if got := len(n.v.Bindings()); got != 2 {
		t.Errorf("%d bindings, want 2: %v", got, n.v.Bindings())
	}
	if got, want := n.bodies("q"), "1 2"; got != want {
		t.Errorf("messages: got %q, want %q", got, want)
	}
	if !n.publish("amq.topic", "a.d", "3", amqp.Properties{}) || n.bodies("q") != "3" {
		t.Error("the restored bindings do not route")
	}
	q, _, _ := n.v.Queue("me", "q")
	if got := q.Options().MaxLength; got != 5 {
		t.Errorf("max-length: got %d, want 5", got)
	}
	// Incarnations are not handed out twice.
	if next := n.queue("new"); next.ID() <= q.ID() {
		t.Errorf("new id %d after %d", next.ID(), q.ID())
	}
}

// S-5
func TestBindingOfAPredecessorIsGarbage(t *testing.T) {
	n := newNode(t)
	n.exchange("x", "direct")
	n.queue("q")
	n.bind("x", "queue", "q", "k")
	n.disk.commit()
	// The queue was deleted and declared again, and the power went before the binding's
	// own delete was written.
	for i, r := range n.disk.records {
		if q, ok := r.(topology.Queue); ok {
			q.ID = queue.ID(n.disk.NextID())
			n.disk.records[i] = q
		}
	}
	n = restart(t, n.disk)
	if got := n.v.Bindings(); len(got) != 0 {
		t.Errorf("restored %v", got)
	}
	if n.publish("x", "k", "m", amqp.Properties{}) {
		t.Error("it routes")
	}
	if n.disk.has("binding") {
		t.Error("it is still on disk")
	}
}

// S-5: of what goes in several units, the owner goes first.
func TestQueueWithManyBindingsIsDeletedInSeveralUnits(t *testing.T) {
	n := newNode(t)
	n.queue("q")
	for i := range 2*deletesAWrite + 10 {
		n.bind("amq.topic", "queue", "q", fmt.Sprint(i))
	}
	n.disk.commit()
	var units []topology.Unit
	n.disk.onWrite = func(u topology.Unit) { units = append(units, u) }
	_, c, err := n.v.DeleteQueue(n.now, "me", "q", queue.DeleteOptions{}, nil, &n.out)
	if err != nil {
		t.Fatal(err)
	}
	if len(units) != 3 {
		t.Fatalf("%d units, want 3", len(units))
	}
	if _, first := units[0].Deletes[0].(topology.Queue); !first {
		t.Errorf("first to go is %T, want the queue (S-5)", units[0].Deletes[0])
	}
	n.disk.units[0].done(nil)
	n.disk.units[1].done(nil)
	if !c.Then(func(error) {}) {
		t.Error("answered before the last unit")
	}
	n.disk.commit()
	if n.disk.has("binding") {
		t.Error("bindings are left")
	}
}

func TestDeletedVirtualHostTakesEverythingAlong(t *testing.T) {
	n := newNode(t)
	if _, err := n.b.PutVHost("v"); err != nil {
		t.Fatal(err)
	}
	n.v = n.b.VHost("v")
	if _, err := n.b.PutPermission(auth.Permission{User: "guest", VHost: "v", Configure: ".*", Write: ".*", Read: ".*"}); err != nil {
		t.Fatal(err)
	}
	inside, outside := &session{user: "guest", vhost: "v"}, &session{user: "guest", vhost: "/"}
	for _, s := range []*session{inside, outside} {
		if _, err := n.b.Open(s); err != nil {
			t.Fatal(err)
		}
	}
	n.exchange("x", "fanout", autoDelete)
	q := n.queue("q")
	n.bind("x", "queue", "q", "")
	c := &consumer{}
	if err := q.Consume(n.now, c, queue.ConsumeOptions{}, &n.out); err != nil {
		t.Fatal(err)
	}
	n.disk.commit()
	n.b.DeleteVHost(n.now, "v", &n.out)
	n.b.Flush(n.now, &n.out)
	n.disk.commit()

	if n.b.VHost("v") != nil || n.b.HasAccess("guest", "v") || !n.b.HasAccess("guest", "/") {
		t.Error("want v gone with its permissions, and the other left alone")
	}
	for _, r := range n.disk.records {
		if strings.Contains(recordKey(r), " v") {
			t.Errorf("left on disk: %s", recordKey(r))
		}
	}
	if c.gone != 1 {
		t.Errorf("consumer told %d times, want once", c.gone)
	}
	refused(t, inside.closed, "hard 320 CONNECTION_FORCED - vhost 'v' is down") // C-33
	if outside.closed != nil {
		t.Error("a connection elsewhere was closed")
	}
	_, _, err := n.v.DeclareQueue(n.now, "me", queue.Spec{Name: "late"}, nil, &n.out)
	refused(t, err, "hard 320 CONNECTION_FORCED - vhost 'v' is down")
}

// session is a connection as the broker sees it.
type session struct {
	user, vhost string
	closed      error
}

func (s *session) Channels() []ChannelInfo  { return nil }
func (s *session) Describe() SessionInfo    { return SessionInfo{User: s.user, VHost: s.vhost} }
func (s *session) Close(reason *amqp.Error) { s.closed = reason }

// TTL-9, TTL-10
func TestQueueWithoutUseExpires(t *testing.T) {
	n := newNode(t)
	n.queue("q", with("x-expires", int32(1000)), deadLetter(""), deadLetterKey("dead"))
	n.queue("dead")
	n.publish("", "q", "m", amqp.Properties{})
	n.b.Flush(n.now, &n.out)
	there := func(want bool) {
		t.Helper()
		if got := n.v.queues.find("q") != nil; got != want {
			t.Fatalf("at +%v: there %v, want %v", n.now.Sub(start), got, want)
		}
	}
	n.wait(900 * time.Millisecond)
	there(true)
	if _, _, err := n.v.DeclareQueuePassive(n.now, "me", "q", &n.out); err != nil { // use
		t.Fatal(err)
	}
	n.b.Flush(n.now, &n.out)
	n.wait(900 * time.Millisecond)
	there(true)
	n.queue("q", with("x-expires", int32(1000)), deadLetter(""), deadLetterKey("dead")) // use
	n.b.Flush(n.now, &n.out)
	n.wait(900 * time.Millisecond)
	there(true)
	c := &consumer{full: true}
	q, _, _ := n.v.Queue("me", "q")
	if err := q.Consume(n.now, c, queue.ConsumeOptions{}, &n.out); err != nil {
		t.Fatal(err)
	}
	n.b.Flush(n.now, &n.out)
	n.wait(time.Hour)
	there(true) // a consumer stops the clock
	q.Cancel(n.now, c, &n.out)
	n.b.Flush(n.now, &n.out)
	n.wait(999 * time.Millisecond)
	there(true)
	n.wait(time.Millisecond)
	there(false)
	if got := n.bodies("dead"); got != "" {
		t.Errorf("dead-lettered %q", got)
	}
}
