package broker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// disk is both stores of a broker under test. It writes when the test says so.
type disk struct {
	t        *testing.T
	unstored atomic.Int64

	mu       sync.Mutex // for tests that publish from several goroutines
	ids      uint64
	group    uint64
	records  []topology.Record
	units    []unit
	enlisted []queue.Collector
	settled  []queue.Collector
	barriers []barrier
	dropped  []queue.ID
	stored   map[queue.ID][]queue.StoredPut
	kept     kept
	reads    []func()
	onWrite  func(topology.Unit)
	broken   error
}

// kept is what exchanges have on disk.
type kept struct {
	histories map[queue.ID]queue.History
	windows   []queue.Window
}

type unit struct {
	topology.Unit
	done func(error)
}

type barrier struct {
	c    queue.Collector
	done func(error)
}

func (d *disk) NextID() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ids++
	return d.ids
}

func (d *disk) Write(u topology.Unit, done func(error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.onWrite != nil {
		d.onWrite(u)
	}
	d.units = append(d.units, unit{u, done})
}

func (d *disk) Enlist(c queue.Collector)        { note(d, &d.enlisted, c) }
func (d *disk) EnlistSettled(c queue.Collector) { note(d, &d.settled, c) }
func (d *disk) Drop(id queue.ID)                { note(d, &d.dropped, id) }
func (d *disk) AddUnstored(n int64)             { d.unstored.Add(n) }
func (d *disk) Barrier(c queue.Collector, done func(error)) {
	note(d, &d.barriers, barrier{c, done})
}

func note[T any](d *disk, list *[]T, x T) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*list = append(*list, x)
}

// commit writes what there is, topology first (S-3), and wakes whoever waited for it.
func (d *disk) commit() {
	d.group++
	b := queue.Batch{Group: d.group}
	collected := d.enlisted
	for _, x := range d.barriers {
		collected = append(collected, x.c)
	}
	d.enlisted = nil
	for _, c := range collected {
		c.Collect(&b)
		c.CollectSettled(&b, nil)
	}
	for _, t := range b.Transfers {
		t.Source().CollectSettled(&b, []queue.Position{t.Position()})
		collected = append(collected, t.Source())
	}
	for _, c := range d.settled {
		c.CollectSettled(&b, nil)
		collected = append(collected, c)
	}
	d.settled = nil
	d.unstored.Add(-int64(b.Bytes))
	units, barriers := d.units, d.barriers
	d.units, d.barriers = nil, nil
	if d.broken != nil {
		for _, u := range units {
			u.done(d.broken)
		}
		return
	}
	for _, u := range units {
		d.apply(u.Unit)
	}
	if d.stored == nil {
		d.stored = make(map[queue.ID][]queue.StoredPut)
	}
	for _, p := range b.Puts {
		d.stored[p.Queue] = append(d.stored[p.Queue], p)
	}
	d.applyStates(b.States)
	d.kept.apply(&b, d.dropped)
	for _, u := range units {
		u.done(nil)
	}
	var wakes message.Wakes
	for _, c := range collected {
		c.Stored(d.group, &wakes)
	}
	for _, x := range barriers {
		x.done(nil)
	}
	wakes.Wake()
}

// commitSettled writes acknowledgement states and nothing else, as a committer may whose
// group is full.
func (d *disk) commitSettled() {
	var b queue.Batch
	for _, c := range d.settled {
		c.CollectSettled(&b, nil)
	}
	d.settled = nil
	d.applyStates(b.States)
}

func (d *disk) applyStates(states []queue.State) {
	for _, s := range states {
		for _, r := range s.Settled {
			d.stored[s.Queue] = slices.DeleteFunc(d.stored[s.Queue], func(p queue.StoredPut) bool {
				return p.Level == s.Level && p.Seq >= r.First && p.Seq <= r.Last
			})
		}
	}
}

func (k *kept) apply(b *queue.Batch, dropped []queue.ID) {
	for _, h := range b.Histories {
		if k.histories == nil {
			k.histories = make(map[queue.ID]queue.History)
		}
		k.histories[h.ID] = h
	}
	for _, w := range b.Windows {
		if len(w.Seen) > 0 {
			k.windows = append(k.windows, queue.Window{ID: w.ID, Record: w.Record, Seen: w.Seen})
		}
		for _, record := range w.Dead {
			k.windows = slices.DeleteFunc(k.windows, func(s queue.Window) bool { return s.ID == w.ID && s.Record == record })
		}
	}
	for _, id := range dropped {
		delete(k.histories, id)
		k.windows = slices.DeleteFunc(k.windows, func(s queue.Window) bool { return s.ID == id })
	}
}

func (d *disk) apply(u topology.Unit) {
	there := make(map[string]bool)
	for _, r := range d.records {
		there[recordKey(r)] = true
	}
	for _, r := range u.Deletes {
		if !there[recordKey(r)] {
			d.t.Errorf("deleted what is not on disk: %s", recordKey(r))
		}
	}
	replaced := make(map[string]bool)
	for _, r := range append(slices.Clone(u.Deletes), u.Puts...) {
		replaced[recordKey(r)] = true
	}
	d.records = slices.DeleteFunc(d.records, func(r topology.Record) bool { return replaced[recordKey(r)] })
	d.records = append(d.records, u.Puts...)
}

func (d *disk) catalog() topology.Catalog {
	var c topology.Catalog
	for _, r := range d.records {
		switch r := r.(type) {
		case topology.VHost:
			c.VHosts = append(c.VHosts, r)
		case topology.User:
			c.Users = append(c.Users, r)
		case topology.Permission:
			c.Permissions = append(c.Permissions, r)
		case topology.TopicPermission:
			c.TopicPermissions = append(c.TopicPermissions, r)
		case topology.Policy:
			c.Policies = append(c.Policies, r)
		case topology.GlobalParameter:
			c.GlobalParameters = append(c.GlobalParameters, r)
		case topology.Exchange:
			c.Exchanges = append(c.Exchanges, r)
		case topology.Queue:
			c.Queues = append(c.Queues, r)
		case topology.Binding:
			c.Bindings = append(c.Bindings, r)
		}
	}
	for _, h := range d.kept.histories {
		c.Histories = append(c.Histories, h)
	}
	c.Windows = d.kept.windows
	return c
}

// Read is answered by get.
func (d *disk) Read(id queue.ID, level uint8, r queue.Range, done func([]queue.RestoredMessage, error)) {
	d.reads = append(d.reads, func() {
		var found []queue.RestoredMessage
		for _, p := range d.stored[id] {
			if p.Level == level && p.Seq >= r.First && p.Seq <= r.Last {
				found = append(found, queue.RestoredMessage{Seq: p.Seq, Expiry: p.Expiry, Message: p.Message})
			}
		}
		done(found, nil)
	})
}

// Spill takes nothing: what is never stored stays in memory here.
func (d *disk) Spill(_ queue.ID, _ uint8, _ []queue.Copy, done func(error)) {
	d.reads = append(d.reads, func() { done(errors.New("nothing is kept")) })
}

func (d *disk) Forget(queue.Forgotten) {}

func (d *disk) restored(id queue.ID) (queue.Restored, error) {
	var r queue.Restored
	for _, p := range d.stored[id] {
		i := slices.IndexFunc(r.Levels, func(l queue.RestoredLevel) bool { return l.Level == p.Level })
		if i < 0 {
			i = len(r.Levels)
			r.Levels = append(r.Levels, queue.RestoredLevel{Level: p.Level, Head: 1})
		}
		level := &r.Levels[i]
		level.Runs = append(level.Runs, queue.Run{
			Range:     queue.Range{First: p.Seq, Last: p.Seq},
			Count:     1,
			Bytes:     int64(p.Message.BodyBytes()),
			MinExpiry: p.Expiry,
		})
		level.Next = p.Seq + 1
	}
	return r, nil
}

func recordKey(r topology.Record) string {
	switch r := r.(type) {
	case topology.VHost:
		return "vhost " + r.Name
	case topology.User:
		return "user " + r.Name
	case topology.Permission:
		return fmt.Sprintf("permission %s %s", r.User, r.VHost)
	case topology.TopicPermission:
		return fmt.Sprintf("topic permission %s %s %s", r.User, r.VHost, r.Exchange)
	case topology.Policy:
		return fmt.Sprintf("policy %v %s %s", r.Operator, r.VHost, r.Name)
	case topology.GlobalParameter:
		return "global parameter " + r.Name
	case topology.Exchange:
		return fmt.Sprintf("exchange %s %s %d", r.Spec.VHost, r.Spec.Name, r.ID)
	case topology.Queue:
		return fmt.Sprintf("queue %s %s %d", r.Spec.VHost, r.Spec.Name, r.ID)
	case topology.Binding:
		return fmt.Sprintf("binding %s %d %d %q", r.VHost, r.SourceID, r.DestinationID, r.Binding.Key())
	}
	panic("unknown record")
}

// has reports whether a record whose key begins with prefix is on disk.
func (d *disk) has(prefix string) bool {
	return slices.ContainsFunc(d.records, func(r topology.Record) bool { return strings.HasPrefix(recordKey(r), prefix) })
}

// start is when every test begins.
var start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// node is a broker under test with its default virtual host.
type node struct {
	*testing.T
	b      *Broker
	v      *VHost
	disk   *disk
	out    queue.Effects
	router Router
	now    time.Time
}

func newNode(t *testing.T) *node {
	t.Helper()
	return restart(t, &disk{})
}

// restart makes a broker of what is on d, as after a crash.
func restart(t *testing.T, d *disk) *node {
	t.Helper()
	return restartAt(t, d, start, DefaultOptions())
}

func restartAt(t *testing.T, d *disk, now time.Time, o Options) *node {
	t.Helper()
	*d = disk{t: t, ids: d.ids, group: d.group, records: d.records, stored: d.stored, kept: d.kept}
	n := &node{T: t, disk: d, now: now}
	n.b = New(o, d, d, rand.NewChaCha8([32]byte{}))
	if err := n.b.Restore(n.now, d.catalog(), d.restored); err != nil {
		t.Fatalf("restore: %v", err)
	}
	d.commit()
	n.v = n.b.VHost("/")
	return n
}

func (n *node) exchange(name, typ string, more ...func(*exchange.Spec)) *exchange.Exchange {
	n.Helper()
	s := exchange.Spec{Name: name, Type: typ, Durable: true}
	for _, f := range more {
		f(&s)
	}
	if _, err := n.v.DeclareExchange(s, nil); err != nil {
		n.Fatalf("declare exchange %q: %v", name, err)
	}
	return n.v.exchanges.find(name).x
}

func autoDelete(s *exchange.Spec) { s.AutoDelete = true }
func transient(s *exchange.Spec)  { s.Durable = false }
func alternate(to string) func(*exchange.Spec) {
	return func(s *exchange.Spec) { s.Arguments = s.Arguments.With("alternate-exchange", to) }
}

func (n *node) queue(name string, more ...func(*queue.Spec)) *queue.Queue {
	n.Helper()
	s := queue.Spec{Name: name, Durable: true}
	for _, f := range more {
		f(&s)
	}
	q, _, err := n.v.DeclareQueue(n.now, "me", s, nil, &n.out)
	if err != nil {
		n.Fatalf("declare queue %q: %v", name, err)
	}
	return q
}

func with(name string, value any) func(*queue.Spec) {
	return func(s *queue.Spec) { s.Arguments = s.Arguments.With(name, value) }
}
func exclusive(s *queue.Spec)               { s.Exclusive = true }
func transientQueue(s *queue.Spec)          { s.Durable = false }
func autoDeleteQueue(s *queue.Spec)         { s.AutoDelete = true }
func deadLetter(x string) func(*queue.Spec) { return with("x-dead-letter-exchange", x) }
func deadLetterKey(k string) func(*queue.Spec) {
	return with("x-dead-letter-routing-key", k)
}

func (n *node) bind(source, kind, destination, key string) {
	n.Helper()
	if _, err := n.v.Bind("me", bindingOf(source, kind, destination, key), nil); err != nil {
		n.Fatalf("bind %q to %q: %v", destination, source, err)
	}
}

func (n *node) unbind(source, kind, destination, key string) {
	n.Helper()
	if _, err := n.v.Unbind("me", bindingOf(source, kind, destination, key), nil); err != nil {
		n.Fatalf("unbind %q from %q: %v", destination, source, err)
	}
}

func bindingOf(source, kind, destination, key string) binding.Binding {
	b := binding.Binding{Source: source, Destination: destination, RoutingKey: key}
	if kind == "exchange" {
		b.Kind = binding.Exchange
	}
	return b
}

// publish publishes a persistent message with the given properties, and carries out what
// that sets off.
func (n *node) publish(to, key, body string, p amqp.Properties) bool {
	n.Helper()
	return n.publishConfirmed(to, n.message(to, key, body, p), nil)
}

func (n *node) publishConfirmed(to string, m *message.Message, c *message.Confirm) bool {
	n.Helper()
	x, err := n.v.ExchangeForPublish(to)
	if err != nil {
		n.Fatalf("publish to %q: %v", to, err)
	}
	routed := n.v.Publish(n.now, &n.router, x, m, c, &n.out)
	c.Release(&n.out.Wakes)
	n.b.Flush(n.now, &n.out)
	return routed
}

func (n *node) message(to, key, body string, p amqp.Properties) *message.Message {
	n.Helper()
	p.DeliveryMode, p.Flags = 2, p.Flags|amqp.FlagDeliveryMode
	if p.Headers != nil {
		p.Flags |= amqp.FlagHeaders
	}
	if p.Expiration != "" {
		p.Flags |= amqp.FlagExpiration
	}
	m, err := message.New(message.Content{
		Exchange: to, RoutingKey: key, Properties: p.Append(nil), Body: []byte(body), More: moreKeys(p.Headers),
	})
	if err != nil {
		n.Fatalf("message: %v", err)
	}
	return m
}

func moreKeys(h amqp.Table) *message.MoreKeys {
	list := func(name string) (keys []string) {
		v, _ := h.Get(name)
		a, _ := v.(amqp.Array)
		for _, e := range a {
			keys = append(keys, e.(string))
		}
		return keys
	}
	if cc, bcc := list("CC"), list("BCC"); cc != nil || bcc != nil {
		return &message.MoreKeys{CC: cc, BCC: bcc}
	}
	return nil
}

// take gets everything ready in a queue, without acknowledgement.
func (n *node) take(name string) (all []*message.Message) {
	n.Helper()
	q, _, err := n.v.Queue("me", name)
	if err != nil {
		n.Fatalf("take: %v", err)
	}
	for {
		d, ok := n.get(q, true)
		if !ok {
			break
		}
		all = append(all, d.Message)
	}
	n.b.Flush(n.now, &n.out)
	return all
}

// bodies is what is ready in a queue, and takes it.
func (n *node) bodies(name string) string {
	n.Helper()
	var all []string
	for _, m := range n.take(name) {
		all = append(all, string(m.Body()))
	}
	return strings.Join(all, " ")
}

// reject gets the first message of a queue and rejects it.
func (n *node) reject(name string) {
	n.Helper()
	q, _, err := n.v.Queue("me", name)
	if err != nil {
		n.Fatalf("reject: %v", err)
	}
	d, ok := n.get(q, false)
	if !ok {
		n.Fatalf("nothing to reject in %q", name)
	}
	q.Reject(n.now, []queue.Position{d.Position}, false, &n.out)
	n.b.Flush(n.now, &n.out)
}

// wait lets time pass and everything happen that is due meanwhile.
func (n *node) wait(d time.Duration) {
	n.Helper()
	until := n.now.Add(d)
	for range 10000 {
		next := n.b.Tick(n.now, &n.out)
		if next.IsZero() || next.After(until) {
			n.now = until
			n.b.Tick(n.now, &n.out)
			return
		}
		if next.After(n.now) {
			n.now = next
		}
	}
	n.Fatal("something is always due at once")
}

// refused checks that err is the reply a client is to see.
func refused(t *testing.T, err error, want string) {
	t.Helper()
	var e *amqp.Error
	switch {
	case want == "" && err != nil:
		t.Errorf("got %v, want no error", err)
	case want != "" && !errors.As(err, &e):
		t.Errorf("got error %v, want %s", err, want)
	case want != "":
		kind := "soft"
		if e.Hard {
			kind = "hard"
		}
		if got := fmt.Sprintf("%s %d %s", kind, e.Code, e.Text); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// get takes a message from q, which may have to be read first.
func (n *node) get(q *queue.Queue, noAck bool) (queue.Delivery, bool) {
	for {
		d, _, got := q.Get(n.now, noAck, &n.out)
		if got != queue.GotLater {
			return d, got == queue.GotMessage
		}
		n.answerReads()
	}
}

func (n *node) answerReads() {
	for len(n.disk.reads) > 0 {
		read := n.disk.reads[0]
		n.disk.reads = n.disk.reads[1:]
		read()
	}
}
