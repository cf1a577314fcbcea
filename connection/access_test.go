package connection

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
)

// need is one permission that an operation asks for: a word for the kind of permission, and
// what the refusal calls it.
type need struct{ op, what string }

func (n need) name() string { return strings.Split(n.what, "'")[1] }

// The table of 11.2, PERM-1 to PERM-3 and PERM-6: every operation is refused for the first of
// its permissions that is missing, whether or not what it is about is there, and done when
// it has just those.
func TestEveryOperationAsksForItsPermissions(t *testing.T) {
	queue := func(op, name string) need { return need{op, "queue '" + name + "' in vhost '/'"} }
	exchange := func(op, name string) need { return need{op, "exchange '" + name + "' in vhost '/'"} }
	argument := func(name, value string) amqp.Table { return amqp.Table{{Name: name, Value: value}} }

	publish := func(m *amqp.BasicPublish) []byte { return content(1, m, amqp.Properties{}, "", 4096) }
	for _, c := range []struct {
		what   string
		send   []byte
		method amqp.Method // of the refusal
		needs  []need
	}{
		{"exchange.declare", frameOf(1, &amqp.ExchangeDeclare{Exchange: "new", Type: "fanout"}), &amqp.ExchangeDeclare{},
			[]need{exchange("configure", "new")}},
		{"exchange.declare with an alternate exchange", frameOf(1, &amqp.ExchangeDeclare{Exchange: "new2", Type: "fanout", Arguments: argument("alternate-exchange", "ae")}), &amqp.ExchangeDeclare{},
			[]need{exchange("configure", "new2"), exchange("read", "new2"), exchange("write", "ae")}},
		{"exchange.declare of one that is there", frameOf(1, &amqp.ExchangeDeclare{Exchange: "withae", Type: "fanout", Arguments: argument("alternate-exchange", "ae")}), &amqp.ExchangeDeclare{},
			[]need{exchange("configure", "withae")}},
		{"exchange.declare passive", frameOf(1, &amqp.ExchangeDeclare{Exchange: "x", Passive: true}), &amqp.ExchangeDeclare{}, nil},
		{"exchange.delete", frameOf(1, &amqp.ExchangeDelete{Exchange: "missing"}), &amqp.ExchangeDelete{},
			[]need{exchange("configure", "missing")}},
		{"exchange.bind", frameOf(1, &amqp.ExchangeBind{Destination: "y", Source: "x"}), &amqp.ExchangeBind{},
			[]need{exchange("write", "y"), exchange("read", "x")}},
		{"exchange.unbind", frameOf(1, &amqp.ExchangeUnbind{Destination: "y", Source: "missing"}), &amqp.ExchangeUnbind{},
			[]need{exchange("write", "y"), exchange("read", "missing")}},
		{"queue.declare", frameOf(1, &amqp.QueueDeclare{Queue: "newq"}), &amqp.QueueDeclare{},
			[]need{queue("configure", "newq")}},
		{"queue.declare with a dead-letter exchange", frameOf(1, &amqp.QueueDeclare{Queue: "newq2", Arguments: argument("x-dead-letter-exchange", "dlx")}), &amqp.QueueDeclare{},
			[]need{queue("configure", "newq2"), queue("read", "newq2"), exchange("write", "dlx")}},
		{"queue.declare with the default exchange for dead letters", frameOf(1, &amqp.QueueDeclare{Queue: "newq3", Arguments: argument("x-dead-letter-exchange", "")}), &amqp.QueueDeclare{},
			[]need{queue("configure", "newq3"), queue("read", "newq3"), exchange("write", "amq.default")}},
		{"queue.declare of one that is there", frameOf(1, &amqp.QueueDeclare{Queue: "withdlx", Arguments: argument("x-dead-letter-exchange", "dlx")}), &amqp.QueueDeclare{},
			[]need{queue("configure", "withdlx")}},
		{"queue.declare passive", frameOf(1, &amqp.QueueDeclare{Queue: "q", Passive: true}), &amqp.QueueDeclare{}, nil},
		{"queue.delete", frameOf(1, &amqp.QueueDelete{Queue: "missing"}), &amqp.QueueDelete{},
			[]need{queue("configure", "missing")}},
		{"queue.bind", frameOf(1, &amqp.QueueBind{Queue: "q", Exchange: "x"}), &amqp.QueueBind{},
			[]need{queue("write", "q"), exchange("read", "x")}},
		{"queue.unbind", frameOf(1, &amqp.QueueUnbind{Queue: "missing", Exchange: "x"}), &amqp.QueueUnbind{},
			[]need{queue("write", "missing"), exchange("read", "x")}},
		{"queue.purge", frameOf(1, &amqp.QueuePurge{Queue: "q"}), &amqp.QueuePurge{}, []need{queue("read", "q")}},
		{"basic.get", frameOf(1, &amqp.BasicGet{Queue: "q"}), &amqp.BasicGet{}, []need{queue("read", "q")}},
		{"basic.consume", frameOf(1, &amqp.BasicConsume{Queue: "q"}), &amqp.BasicConsume{}, []need{queue("read", "q")}},
		{"basic.publish", publish(&amqp.BasicPublish{Exchange: "x"}), &amqp.BasicPublish{}, []need{exchange("write", "x")}},
		{"basic.publish to a queue", publish(&amqp.BasicPublish{RoutingKey: "q"}), &amqp.BasicPublish{}, []need{exchange("write", "amq.default")}},
		{"tx.select, basic.publish", append(frameOf(1, &amqp.TxSelect{}), publish(&amqp.BasicPublish{Exchange: "x"})...), &amqp.BasicPublish{}, []need{exchange("write", "x")}},
		{"basic.qos", frameOf(1, &amqp.BasicQos{PrefetchCount: 1}), &amqp.BasicQos{}, nil},
		{"basic.cancel", frameOf(1, &amqp.BasicCancel{ConsumerTag: "c"}), &amqp.BasicCancel{}, nil},
		{"basic.recover", frameOf(1, &amqp.BasicRecover{Requeue: true}), &amqp.BasicRecover{}, nil},
		{"confirm.select", frameOf(1, &amqp.ConfirmSelect{}), &amqp.ConfirmSelect{}, nil},
		{"direct reply-to", frameOf(1, &amqp.BasicConsume{Queue: "amq.rabbitmq.reply-to", NoAck: true}), &amqp.BasicConsume{}, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			r := newRig(t)
			g := r.open(1)
			for _, m := range []amqp.Method{
				&amqp.ExchangeDeclare{Exchange: "x", Type: "fanout"}, &amqp.ExchangeDeclare{Exchange: "y", Type: "fanout"},
				&amqp.ExchangeDeclare{Exchange: "withae", Type: "fanout", Arguments: argument("alternate-exchange", "ae")},
				&amqp.QueueDeclare{Queue: "q"},
				&amqp.QueueDeclare{Queue: "withdlx", Arguments: argument("x-dead-letter-exchange", "dlx")},
			} {
				g.send(frameOf(1, m))
			}
			for missing := range c.needs {
				k := r.as(c.needs, missing)
				k.send(c.send)
				class, method := c.method.ID()
				want := fmt.Sprintf(`ch=1 channel.close{reply_code=403 reply_text="ACCESS_REFUSED - %s access to %s refused for user 'u'" class_id=%d method_id=%d}`,
					c.needs[missing].op, c.needs[missing].what, class, method)
				if got := k.lines(); len(got) == 0 || got[len(got)-1] != want {
					t.Errorf("without %v: got\n\t%s\nwant\n\t%s", c.needs[missing], strings.Join(got, "\n\t"), want)
				}
			}
			k := r.as(c.needs, -1)
			k.send(c.send)
			for _, line := range k.lines() {
				if strings.Contains(line, ".close{") {
					t.Errorf("with all of its permissions: got %s", line)
				}
			}
		})
	}
}

// as logs in as a user with the permissions of needs, save for the one missing, of which it
// has the two others.
func (r *rig) as(needs []need, missing int) *rigConn {
	r.t.Helper()
	if _, err := r.b.PutUser(auth.User{Name: "u", PasswordHash: r.b.HashPassword("u")}); err != nil {
		r.t.Fatal(err)
	}
	patterns := map[string]string{}
	for i, n := range needs {
		for _, op := range []string{"configure", "write", "read"} {
			if (op == n.op) != (i == missing) {
				patterns[op] += "|^" + regexp.QuoteMeta(n.name()) + "$"
			}
		}
	}
	p := auth.Permission{User: "u", VHost: "/", Configure: "^-" + patterns["configure"], Write: "^-" + patterns["write"], Read: "^-" + patterns["read"]}
	if _, err := r.b.PutPermission(p); err != nil {
		r.t.Fatal(err)
	}
	return r.login("u", 1)
}

// PERM-5: a change acts on the next thing that a client does, on channels that are open and
// on others; who is deleted is put out. RabbitMQ goes on honouring what a channel remembers.
func TestChangedPermissionActsAtOnce(t *testing.T) {
	r := newRig(t)
	g := r.open(1)
	g.send(frameOf(1, &amqp.ExchangeDeclare{Exchange: "x", Type: "topic"}))
	g.send(frameOf(1, &amqp.QueueDeclare{Queue: "q"}))
	g.send(frameOf(1, &amqp.QueueBind{Queue: "q", Exchange: "x", RoutingKey: "#"}))
	write := []need{{"write", "exchange 'x' in vhost '/'"}}
	k := r.as(write, -1)
	publish := content(1, &amqp.BasicPublish{Exchange: "x", RoutingKey: "k"}, amqp.Properties{}, "m", 0)
	refusal := `ch=1 channel.close{reply_code=403 reply_text="ACCESS_REFUSED - write access to exchange 'x' in vhost '/' refused for user 'u'" class_id=60 method_id=40}`
	again := func() {
		k.send(frameOf(1, &amqp.ChannelCloseOk{}))
		k.send(frameOf(1, &amqp.ChannelOpen{}))
		k.want(`ch=1 channel.open-ok{}`)
	}
	change := func(write string) {
		t.Helper()
		if _, err := r.b.PutPermission(auth.Permission{User: "u", VHost: "/", Write: write}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 { // so that it is remembered
		k.send(publish)
	}
	k.want()
	change("^y$")
	k.send(publish)
	k.want(refusal)
	again()
	k.send(publish)
	k.want(refusal)
	change("^x$")
	again()
	k.send(publish)
	k.want()
	r.b.DeletePermission("u", "/")
	k.send(publish)
	k.want(refusal)
	change("^x$")
	again()
	k.send(publish)
	if _, err := r.b.PutTopicPermission(auth.TopicPermission{User: "u", VHost: "/", Exchange: "x", Write: "^l$"}); err != nil {
		t.Fatal(err)
	}
	k.want()
	k.send(publish)
	k.want(`ch=1 channel.close{reply_code=403 reply_text="ACCESS_REFUSED - write access to topic 'k' in exchange 'x' in vhost '/' refused for user 'u'" class_id=60 method_id=40}`)
	again()
	r.b.DeleteUser("u")
	r.settle()
	k.want(`ch=0 connection.close{reply_code=320 reply_text="CONNECTION_FORCED - user 'u' is deleted" class_id=0 method_id=0}`)
	if n := r.b.VHost("/").Queues()[0].Stats().Ready; n != 5 {
		t.Errorf("got %d messages, want the five that were allowed", n)
	}
}
