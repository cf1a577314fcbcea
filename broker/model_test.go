package broker

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/queue"
)

// model is a virtual host's topology, kept the plain way.
type model struct {
	exchanges map[string]exchange.Spec
	queues    map[string]bool // by whether they are durable
	bindings  []binding.Binding
}

// reached is where a message goes: every exchange that can be come to, and what is bound
// to it. Bindings of the model are all to direct and fanout exchanges.
func (m *model) reached(from, key string) string {
	visited := map[string]bool{from: true}
	queues := map[string]bool{}
	for work := []string{from}; len(work) > 0; work = work[1:] {
		x, some := m.exchanges[work[0]], false
		for _, b := range m.bindings {
			if b.Source != x.Name || x.Type == "direct" && b.RoutingKey != key {
				continue
			}
			some = true
			if b.Kind == binding.Queue {
				queues[b.Destination] = true
			} else if !visited[b.Destination] {
				visited[b.Destination] = true
				work = append(work, b.Destination)
			}
		}
		if ae, ok := x.AlternateExchange(); ok && !some && !visited[ae] {
			if _, there := m.exchanges[ae]; there {
				visited[ae] = true
				work = append(work, ae)
			}
		}
	}
	var all []string
	for q := range queues {
		all = append(all, q)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (m *model) unbind(which func(binding.Binding) bool) {
	touched := map[string]bool{}
	m.bindings = slices.DeleteFunc(m.bindings, func(b binding.Binding) bool {
		gone := which(b)
		if gone {
			touched[b.Source] = true
		}
		return gone
	})
	for name := range touched {
		from := func(b binding.Binding) bool { return b.Source == name }
		if m.exchanges[name].AutoDelete && !slices.ContainsFunc(m.bindings, from) {
			m.deleteExchange(name)
		}
	}
}

func (m *model) deleteExchange(name string) {
	delete(m.exchanges, name)
	m.bindings = slices.DeleteFunc(m.bindings, func(b binding.Binding) bool { return b.Source == name })
	m.unbind(func(b binding.Binding) bool { return b.Kind == binding.Exchange && b.Destination == name })
}

func (m *model) clone() *model {
	return &model{maps.Clone(m.exchanges), maps.Clone(m.queues), slices.Clone(m.bindings)}
}

// crash forgets what is not durable, all at once.
func (m *model) crash() {
	durable := func(b binding.Binding) bool {
		if !m.exchanges[b.Source].Durable {
			return false
		}
		if b.Kind == binding.Exchange {
			return m.exchanges[b.Destination].Durable
		}
		return m.queues[b.Destination]
	}
	m.bindings = slices.DeleteFunc(m.bindings, func(b binding.Binding) bool { return !durable(b) })
	for name, x := range m.exchanges {
		if !x.Durable {
			delete(m.exchanges, name)
		}
	}
	for name, durable := range m.queues {
		if !durable {
			delete(m.queues, name)
		}
	}
}

// EX-8, EX-9, EX-12, EX-26, EX-27, DUR-1: whatever is declared, bound, deleted and lost in
// a crash, messages go where the plain model says.
func TestRoutingAgreesWithAPlainModel(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			n := newNode(t)
			m := &model{exchanges: map[string]exchange.Spec{}, queues: map[string]bool{}}
			saved := m.clone()
			xs, qs, keys := []string{"x0", "x1", "x2", "x3", "x4"}, []string{"q0", "q1", "q2"}, []string{"k", "l"}
			pick := func(s []string) string { return s[r.IntN(len(s))] }
			for step := range 300 {
				switch r.IntN(12) {
				case 0, 1, 2:
					s := exchange.Spec{VHost: "/", Name: pick(xs), Type: pick([]string{"direct", "fanout"}), Durable: r.IntN(2) == 0, AutoDelete: r.IntN(2) == 0}
					if r.IntN(3) == 0 {
						s.Arguments = amqp.Table{{Name: "alternate-exchange", Value: pick(xs)}}
					}
					_, err := n.v.DeclareExchange(s, nil)
					if _, there := m.exchanges[s.Name]; !there {
						if err != nil {
							t.Fatalf("step %d: %v", step, err)
						}
						m.exchanges[s.Name] = s
					}
				case 3:
					name := pick(qs)
					durable := r.IntN(2) == 0
					if _, there := m.queues[name]; !there {
						n.queue(name, func(s *queue.Spec) { s.Durable = durable })
						m.queues[name] = durable
					}
				case 4, 5, 6, 7:
					b := bindingOf(pick(xs), "queue", pick(qs), pick(keys))
					_, there := m.queues[b.Destination]
					if r.IntN(3) == 0 {
						b.Kind, b.Destination = binding.Exchange, pick(xs)
						_, there = m.exchanges[b.Destination]
					}
					_, sourceThere := m.exchanges[b.Source]
					_, err := n.v.Bind("me", b, nil)
					if (err == nil) != (there && sourceThere) {
						t.Fatalf("step %d: bind %v: %v", step, b, err)
					}
					same := func(o binding.Binding) bool { return o.Key() == b.Key() }
					if err == nil && !slices.ContainsFunc(m.bindings, same) {
						m.bindings = append(m.bindings, b)
					}
				case 8:
					if len(m.bindings) > 0 {
						b := m.bindings[r.IntN(len(m.bindings))]
						if _, err := n.v.Unbind("me", b, nil); err != nil {
							t.Fatalf("step %d: %v", step, err)
						}
						m.unbind(func(o binding.Binding) bool { return o.Key() == b.Key() })
					}
				case 9:
					if name := pick(xs); r.IntN(2) == 0 {
						if _, err := n.v.DeleteExchange(name, false, nil); err != nil {
							t.Fatalf("step %d: %v", step, err)
						}
						m.deleteExchange(name)
					}
				case 10:
					if name := pick(qs); r.IntN(3) == 0 {
						if _, _, err := n.v.DeleteQueue(n.now, "me", name, queue.DeleteOptions{}, nil, &n.out); err != nil {
							t.Fatalf("step %d: %v", step, err)
						}
						delete(m.queues, name)
						m.unbind(func(b binding.Binding) bool { return b.Kind == binding.Queue && b.Destination == name })
					}
				case 11:
					if r.IntN(3) > 0 {
						n.disk.commit()
						saved = m.clone()
					}
					if r.IntN(4) == 0 { // what was not committed is lost
						n = restart(t, n.disk)
						m = saved.clone()
						m.crash()
						saved = m.clone()
					}
				}
				if got, want := len(n.v.Bindings()), len(m.bindings); got != want {
					t.Fatalf("step %d: %d bindings, want %d", step, got, want)
				}
				if got, want := len(n.v.Exchanges())-7, len(m.exchanges); got != want {
					t.Fatalf("step %d: %d exchanges, want %d", step, got, want)
				}
				for _, from := range xs {
					if _, there := m.exchanges[from]; !there || r.IntN(2) == 0 {
						continue
					}
					key := pick(keys)
					n.publish(from, key, "m", amqp.Properties{})
					var got []string
					for _, q := range n.v.Queues() {
						switch n.bodies(q.Name()) {
						case "":
						case "m":
							got = append(got, q.Name())
						default:
							t.Fatalf("step %d: %s got more than one copy", step, q.Name())
						}
					}
					if want := m.reached(from, key); strings.Join(got, " ") != want {
						t.Fatalf("step %d: from %s with %s: reached %q, want %q", step, from, key, got, want)
					}
				}
			}
		})
	}
}

// Publishing needs no lock that declaring holds. The race detector watches; that nothing
// is lost or delivered twice is counted.
func TestPublishingWhileTheTopologyChanges(t *testing.T) {
	n := newNode(t)
	n.queue("steady")
	n.queue("dead")
	n.exchange("x", "topic")
	n.bind("x", "queue", "steady", "#")
	const publishers, each = 3, 300
	var all sync.WaitGroup
	for range publishers {
		all.Go(func() {
			var r Router
			var out queue.Effects
			for i := range each {
				x, err := n.v.ExchangeForPublish("x")
				if err != nil {
					t.Error(err)
					return
				}
				m := n.message("x", fmt.Sprint("k", i%3), "m", amqp.Properties{})
				if !n.v.Publish(start, &r, x, m, nil, &out) {
					t.Error("not routed")
				}
				n.b.Flush(start, &out)
				n.b.Tick(start.Add(time.Duration(i)*time.Millisecond), &out)
			}
		})
	}
	for c := range 2 {
		all.Go(func() {
			var out queue.Effects
			name := fmt.Sprint("coming and going ", c)
			for i := range each {
				spec := queue.Spec{Name: name, AutoDelete: true, Arguments: amqp.Table{
					{Name: "x-message-ttl", Value: int32(1)},
					{Name: "x-dead-letter-exchange", Value: ""},
					{Name: "x-dead-letter-routing-key", Value: "dead"},
				}}
				if _, _, err := n.v.DeclareQueue(start, nil, spec, nil, &out); err != nil {
					t.Error(err)
				}
				if _, err := n.v.Bind(nil, bindingOf("x", "queue", name, fmt.Sprint("k", i%3)), nil); err != nil {
					t.Error(err)
				}
				n.b.Flush(start, &out)
				if _, _, err := n.v.DeleteQueue(start, nil, name, queue.DeleteOptions{}, nil, &out); err != nil {
					t.Error(err)
				}
				n.b.Flush(start, &out)
				n.v.Queues()
				n.v.Bindings()
			}
		})
	}
	all.Wait()
	if got := len(n.take("steady")); got != publishers*each {
		t.Errorf("steady got %d messages, want %d", got, publishers*each)
	}
	if got := len(n.v.Bindings()); got != 1 {
		t.Errorf("%d bindings are left, want 1", got)
	}
}
