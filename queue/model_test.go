package queue

import (
	"errors"
	"flag"
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/message"
)

var modelSeeds = flag.Int("model.seeds", 60, "how many seeds TestQueueAgreesWithANaiveModel runs")

// The model is a list of messages that is searched from end to end for every question.
// It does not say which consumer is next, only which message is: a queue that hands out
// another one, or keeps one while somebody has room, is wrong.
func TestQueueAgreesWithANaiveModel(t *testing.T) {
	seeds := *modelSeeds
	if testing.Short() {
		seeds = min(seeds, 10) // one goroutine: the race detector has nothing to find
	}
	for seed := range seeds {
		newModel(t, int64(seed)).run(1500)
	}
}

type modelState uint8

const (
	modelReady modelState = iota
	modelOut
	modelHeld    // came back, and waits
	modelLeaving // a letter of it is on its way
	modelGone
)

type modelMessage struct {
	body      string
	level     uint8
	seq       int // order of arrival
	expiry    int64
	state     modelState
	returned  int   // how often it came back
	collected int   // how often when acknowledgement state was last collected
	kept      int   // how often as the disk knows
	until     int64 // when it is ready again, while it is held
	delivered bool
	stored    bool // persistent in a durable queue
	confirmed bool
	refused   bool // by a length limit
	mourned   bool // there was a letter of it
	onDisk    bool // a commit had it
	position  Position
	letter    *Letter
}

type model struct {
	t     *testing.T
	seed  int64
	step  int
	rng   *rand.Rand
	spec  Spec
	q     *Queue
	out   Effects
	now   time.Time
	timer time.Time
	op    string

	messages  []*modelMessage
	byBody    map[string]*modelMessage
	byConfirm []*modelMessage
	consumers []*modelConsumer
	active    *modelConsumer // the single one, of a queue that has one
	published int

	group    uint64
	underway *Batch
	disk     map[Position]StoredPut // by level and sequence number
	states   map[uint8]State
	pages    diskPages
	counts   map[uint8]map[uint64]CountPage
	reads    []func()
	copies   copies
	spills   []func(error)
	puts     bool // the queue enlisted
	settled  bool
}

type modelConsumer struct {
	m      *model
	room   int // prefetch; 0 for no limit
	noAck  bool
	rank   int32 // x-priority
	holds  []*modelMessage
	closed bool // says no whatever its prefetch
}

func newModel(t *testing.T, seed int64) *model {
	m := &model{t: t, seed: seed, rng: rand.New(rand.NewSource(seed)), now: time.UnixMilli(1_000_000),
		byBody: map[string]*modelMessage{}, disk: map[Position]StoredPut{},
		states: map[uint8]State{}, pages: diskPages{}, counts: map[uint8]map[uint64]CountPage{}}
	m.spec = Spec{VHost: "/", Name: "q", Durable: m.rng.Intn(4) > 0}
	add := func(name string, v any) {
		m.spec.Arguments = append(m.spec.Arguments, amqp.Field{Name: name, Value: v})
	}
	switch {
	case m.spec.Durable && m.rng.Intn(3) == 0:
		add("x-queue-type", "quorum")
	case m.rng.Intn(3) == 0:
		add("x-max-priority", int64(1+m.rng.Intn(4)))
	}
	if m.rng.Intn(4) == 0 {
		add("x-single-active-consumer", true)
	}
	if m.rng.Intn(2) == 0 {
		add("x-dead-letter-exchange", "dlx")
	}
	if m.rng.Intn(3) == 0 {
		add("x-message-ttl", int64(m.rng.Intn(60)))
	}
	if m.rng.Intn(3) == 0 {
		add("x-max-length", int64(m.rng.Intn(12)))
	}
	if m.rng.Intn(4) == 0 {
		add("x-max-length-bytes", int64(m.rng.Intn(30)))
	}
	if m.rng.Intn(2) == 0 {
		add("x-overflow", []string{"drop-head", "reject-publish", "reject-publish-dlx"}[m.rng.Intn(3)])
	}
	if m.rng.Intn(4) == 0 {
		add("x-delivery-limit", int64(m.rng.Intn(3)))
	}
	if m.rng.Intn(3) == 0 {
		add("x-delayed-retry-type", []string{"all", "failed", "returned"}[m.rng.Intn(3)])
		add("x-delayed-retry-min", int64(1+m.rng.Intn(20)))
		if m.rng.Intn(2) == 0 {
			add("x-delayed-retry-max", int64(1+m.rng.Intn(60)))
		}
		if m.rng.Intn(2) == 0 {
			add("x-delayed-retry-multiplier", int64(1+m.rng.Intn(3)))
		}
	}
	o, err := ParseArguments(m.spec)
	if err != nil {
		t.Fatal(err)
	}
	m.q = New(1, m.spec, o, m)
	m.q.lateMillis = 1 // the model knows no better
	m.attach()
	return m
}

func (m *model) attach() {
	m.q.Attach(func(f func(time.Time, *Effects)) { f(m.now, &m.out) })
}

func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("seed %d step %d (%s) %v: %s", m.seed, m.step, m.op, m.spec.Arguments, fmt.Sprintf(format, args...))
}

// The model is the queue's store.
func (m *model) Enlist(Collector)               { m.puts = true }
func (m *model) EnlistSettled(Collector)        { m.settled = true }
func (m *model) Barrier(Collector, func(error)) {}
func (m *model) Drop(ID)                        {}

// Read answers when the seed says so, with what is on disk then.
func (m *model) Read(_ ID, level uint8, r Range, done func([]RestoredMessage, error)) {
	m.reads = append(m.reads, func() {
		var found []RestoredMessage
		for p, put := range m.disk {
			if p.Level == level && p.Seq >= r.First && p.Seq <= r.Last {
				found = append(found, RestoredMessage{Seq: p.Seq, Expiry: put.Expiry, Message: put.Message})
			}
		}
		done(m.copies.read(found, level, r), nil)
	})
}

func (m *model) Spill(_ ID, level uint8, c []Copy, done func(error)) {
	m.spills = append(m.spills, m.copies.spill(level, c, done))
}

func (m *model) Forget(f Forgotten) { m.copies.forget(f) }

// spill lets the disk write some of what is to leave memory. Now and then it cannot.
func (m *model) spill() {
	for len(m.spills) > 0 && m.rng.Intn(4) > 0 {
		done := m.spills[0]
		m.spills = m.spills[1:]
		if m.rng.Intn(10) == 0 {
			done(errors.New("no room"))
		} else {
			done(nil)
		}
	}
}

// read lets the disk answer some of what it was asked.
func (m *model) read() {
	for len(m.reads) > 0 && m.rng.Intn(4) > 0 {
		r := m.reads[0]
		m.reads = m.reads[1:]
		r()
	}
}

func (m *model) pageOut() {
	m.q.PageOut(int64(m.rng.Intn(4000)), int64(m.rng.Intn(40)), &m.out)
}

func (m *model) Confirmed(seq uint64, ok bool, _ *message.Wakes) {
	x := m.byConfirm[seq]
	if ok == x.refused || x.confirmed {
		m.fail("%s confirmed ok=%v, before: %v, refused: %v", x.body, ok, x.confirmed, x.refused)
	}
	x.confirmed = true
}

// head is the message that goes next: the highest level, then the earliest.
func (m *model) head(expired bool) *modelMessage {
	var best *modelMessage
	for _, x := range m.messages {
		if x.state != modelReady || !expired && x.expiry != 0 && x.expiry <= m.now.UnixMilli() {
			continue
		}
		if best == nil || x.level > best.level || x.level == best.level && x.seq < best.seq {
			best = x
		}
	}
	return best
}

func (m *model) count(s modelState) (n int64) {
	for _, x := range m.messages {
		if x.state == s {
			n++
		}
	}
	return n
}

// exceeds tells whether what is ready is more than the limits allow, with one more message
// of so many bytes if there is one. What is past its deadline counts if it is asked to.
func (m *model) exceeds(due bool, more int64, bytes int64) bool {
	count := more
	for _, x := range m.messages {
		if x.state == modelReady && (due || x.expiry == 0 || x.expiry > m.now.UnixMilli()) {
			count++
			bytes += int64(len(x.body))
		}
	}
	o := m.q.options
	return o.MaxLength != None && count > o.MaxLength || o.MaxLengthBytes != None && bytes > o.MaxLengthBytes
}

// chosen is who becomes the single active consumer when there is none: the highest priority,
// then the earliest (SAC-2).
func (m *model) chosen() *modelConsumer {
	var best *modelConsumer
	for _, c := range m.consumers {
		if best == nil || c.rank > best.rank {
			best = c
		}
	}
	return best
}

// follow checks who is the single active consumer (SAC-1 to SAC-3).
func (m *model) follow() {
	if !m.q.options.SingleActiveConsumer {
		return
	}
	var is *modelConsumer
	for _, s := range m.q.Subscriptions() {
		if s.Active {
			if is != nil {
				m.fail("two consumers are active")
			}
			is = s.Consumer.(*modelConsumer)
		}
	}
	was := m.active
	if !slices.Contains(m.consumers, was) {
		was = nil
	}
	switch {
	case is == was:
		if was != nil && m.q.options.Type == Quorum && m.chosen().rank > was.rank && len(was.holds) == 0 {
			m.fail("%+v does not make way for %+v", was, m.chosen())
		}
	case was == nil:
		if want := m.chosen(); is != want {
			m.fail("the active consumer is %+v, want %+v", is, want)
		}
	case m.q.options.Type != Quorum || is == nil || is.rank <= was.rank || len(was.holds) > 0:
		m.fail("the active consumer is %+v in the place of %+v", is, was)
	}
	m.active = is
}

func (c *modelConsumer) hasRoom() bool {
	return !c.closed && (c.noAck || c.room == 0 || len(c.holds) < c.room)
}

func (c *modelConsumer) Deliver(d Delivery, _ *Effects) bool {
	if !c.hasRoom() {
		return false
	}
	m := c.m
	if m.q.options.SingleActiveConsumer && m.active != nil && m.active != c && slices.Contains(m.consumers, m.active) &&
		(m.q.options.Type != Quorum || c.rank <= m.active.rank || len(m.active.holds) > 0) {
		m.fail("%s went to a consumer that is not active", d.Message.Body())
	}
	x := m.taken(d)
	if c.noAck {
		x.state = modelGone
	} else {
		x.position = d.Position
		c.holds = append(c.holds, x)
	}
	return true
}

// taken checks that d is the message that had to go next.
func (m *model) taken(d Delivery) *modelMessage {
	x := m.byBody[string(d.Message.Body())]
	if want := m.head(false); x != want {
		m.fail("delivered %+v, want %+v", x, want)
	}
	if want := x.returned > 0 || x.delivered; d.Redelivered != want {
		m.fail("%s delivered with redelivered=%v, want %v", x.body, d.Redelivered, want)
	}
	if d.ShowCount && int(d.Count) != x.returned {
		m.fail("%s delivered with count %d, want %d", x.body, d.Count, x.returned)
	}
	x.state, x.delivered = modelOut, true
	return x
}

func (m *model) run(steps int) {
	ops := modelOps{
		{"publish", 30, m.publish},
		{"consume", 3, m.consume},
		{"cancel", 2, m.cancel},
		{"settle", 25, m.settle},
		{"get", 5, m.get},
		{"room", 6, m.changeRoom},
		{"wait", 10, m.wait},
		{"purge", 1, m.purge},
		{"letters", 10, m.arrive},
		{"collect", 12, m.collect},
		{"commit", 12, m.commit},
		{"read", 12, m.read},
		{"page out", 6, m.pageOut},
		{"spill", 8, m.spill},
		{"restart", 1, m.restart},
	}
	for m.step = range steps {
		ops.one(m.rng, &m.op)
		m.carryOut()
		m.verify()
	}
}

// modelOps are what may happen next in a model, by how often.
type modelOps []struct {
	name   string
	weight int
	do     func()
}

// one does one of them, and says before which.
func (ops modelOps) one(rng *rand.Rand, op *string) {
	total := 0
	for _, o := range ops {
		total += o.weight
	}
	n := rng.Intn(total)
	for _, o := range ops {
		if n -= o.weight; n < 0 {
			*op = o.name
			o.do()
			return
		}
	}
}

func (m *model) publish() {
	m.published++
	x := &modelMessage{body: fmt.Sprint(m.published), seq: m.published}
	p := amqp.Properties{Flags: amqp.FlagDeliveryMode, DeliveryMode: 2}
	if m.rng.Intn(4) == 0 {
		p.DeliveryMode = 1
	}
	if m.rng.Intn(2) == 0 {
		p.Priority, p.Flags = uint8(m.rng.Intn(6)), p.Flags|amqp.FlagPriority
		x.level = min(p.Priority, m.q.options.MaxPriority)
	}
	quorum := m.q.options.Type == Quorum
	if quorum && p.Priority > 4 { // PRI-5
		x.level = 1
	}
	ttl := int64(-1)
	if m.q.options.MessageTTL >= 0 {
		ttl = m.q.options.MessageTTL.Milliseconds()
	}
	if m.rng.Intn(4) == 0 {
		own := int64(m.rng.Intn(80))
		p.Expiration, p.Flags = fmt.Sprint(own), p.Flags|amqp.FlagExpiration
		if ttl < 0 || own < ttl {
			ttl = own
		}
	}
	if ttl >= 0 {
		x.expiry = m.now.UnixMilli() + ttl
		if ttl == 0 {
			x.expiry++ // whoever has room at this moment may have it (TTL-4)
		}
	}
	x.stored = m.spec.Durable && (p.DeliveryMode == 2 || quorum) // QQ-4
	msg, err := message.New(message.Content{Properties: p.Append(nil), Body: []byte(x.body)})
	if err != nil {
		m.fail("%v", err)
	}
	m.byBody[x.body] = x
	c := message.NewConfirm(m, uint64(len(m.byConfirm)))
	m.byConfirm = append(m.byConfirm, x)
	var may, must bool // be refused (LEN-3)
	if m.q.options.Overflow != DropHead {
		size := int64(len(x.body))
		may, must = m.exceeds(true, 1, size), m.exceeds(false, 1, size)
	}
	m.messages = append(m.messages, x)
	if must {
		x.state, x.refused = modelGone, true
	}
	taken := m.q.Publish(m.now, Put{Message: msg, Confirm: c}, &m.out)
	if taken && must || !taken && !may {
		m.fail("%s was taken: %v, and could be refused: %v, had to be: %v", x.body, taken, may, must)
	}
	if !taken {
		x.state, x.refused = modelGone, true
	}
	if ttl == 0 {
		x.expiry--
	}
	c.Release(&m.out.Wakes)
}

func (m *model) consume() {
	if len(m.consumers) > 4 {
		return
	}
	c := &modelConsumer{m: m, room: m.rng.Intn(4), noAck: m.rng.Intn(5) == 0, rank: int32(m.rng.Intn(2))}
	m.consumers = append(m.consumers, c)
	if err := m.q.Consume(m.now, c, ConsumeOptions{NoAck: c.noAck, Priority: c.rank}, &m.out); err != nil {
		m.fail("%v", err)
	}
}

func (m *model) cancel() {
	if len(m.consumers) == 0 {
		return
	}
	i := m.rng.Intn(len(m.consumers))
	c := m.consumers[i]
	m.consumers = slices.Delete(m.consumers, i, i+1)
	m.q.Cancel(m.now, c, &m.out)
	m.giveBack(c.holds, true)
}

// settle acknowledges, returns or rejects some of what is out.
func (m *model) settle() {
	if len(m.consumers) == 0 {
		return
	}
	c := m.consumers[m.rng.Intn(len(m.consumers))]
	m.rng.Shuffle(len(c.holds), func(i, j int) { c.holds[i], c.holds[j] = c.holds[j], c.holds[i] })
	some := slices.Clone(c.holds[:min(m.rng.Intn(4), len(c.holds))])
	c.holds = slices.Clone(c.holds[len(some):])
	switch m.rng.Intn(4) {
	case 0:
		m.giveBack(some, true)
	case 1:
		m.giveBack(some, false)
	default:
		var ps []Position
		for _, x := range some {
			x.state = modelGone
			ps = append(ps, x.position)
		}
		m.q.Ack(m.now, ps, &m.out)
	}
}

func (m *model) giveBack(some []*modelMessage, requeue bool) {
	var ps []Position
	failed := !requeue || m.rng.Intn(2) == 0
	for _, x := range some {
		ps = append(ps, x.position)
		limit := m.q.options.DeliveryLimit
		switch {
		case requeue && (limit == None || int64(x.returned) < limit):
			if x.expiry != 0 && x.expiry <= m.now.UnixMilli() {
				m.dies(x)
				continue
			}
			x.state = modelReady
			x.returned++
			if wait := m.retryAfter(failed, x.returned); wait > 0 {
				x.state, x.until = modelHeld, m.now.UnixMilli()+wait
			}
		default:
			m.dies(x)
		}
	}
	if failed {
		m.q.Reject(m.now, ps, requeue, &m.out)
	} else {
		m.q.Return(m.now, ps, &m.out)
	}
}

// retryAfter is how long a message waits that came back for the n-th time (QQ-6).
func (m *model) retryAfter(failed bool, n int) int64 {
	argument := func(name string) (v any) {
		v, _ = m.spec.Arguments.Get("x-delayed-retry-" + name)
		return v
	}
	switch argument("type") {
	case nil:
		return 0
	case "failed":
		if !failed {
			return 0
		}
	case "returned":
		if failed {
			return 0
		}
	}
	wait := argument("min").(int64)
	if by, ok := argument("multiplier").(int64); ok {
		for range min(n-1, 30) {
			wait *= by
		}
	} else {
		wait *= int64(n)
	}
	if most, ok := argument("max").(int64); ok {
		wait = min(wait, most)
	}
	return wait
}

// expire lets the queue do what is due.
func (m *model) expire() {
	now := m.now.UnixMilli()
	for _, x := range m.messages {
		if x.state == modelHeld && (x.until <= now || x.expiry != 0 && x.expiry <= now) {
			x.state = modelReady
		}
	}
	m.timer = m.q.Expire(m.now, &m.out)
}

// dies: it leaves with a letter, or goes.
func (m *model) dies(x *modelMessage) {
	x.state = modelGone
	if m.q.options.DeadLetter {
		x.state = modelLeaving
	}
}

func (m *model) get() {
	want := m.head(false)
	d, _, got := m.q.Get(m.now, true, &m.out)
	if got == GotLater && m.q.WhenRead(func(error) {}) && len(m.reads) > 0 {
		return
	}
	if (got == GotMessage) != (want != nil) {
		m.fail("get: %v, want %+v", got, want)
	}
	if got == GotMessage {
		m.taken(d).state = modelGone
	}
}

func (m *model) changeRoom() {
	if len(m.consumers) == 0 {
		return
	}
	c := m.consumers[m.rng.Intn(len(m.consumers))]
	if c.closed = !c.closed; !c.closed {
		m.q.Resume(m.now, c, &m.out)
	}
}

func (m *model) wait() {
	end := m.now.Add(time.Duration(m.rng.Intn(30)) * time.Millisecond)
	for !m.timer.IsZero() && !m.timer.After(end) || len(m.reads) > 0 {
		if len(m.reads) > 0 {
			// What is on disk expires when it has been read.
			r := m.reads[0]
			m.reads = m.reads[1:]
			r()
			m.carryOut()
			continue
		}
		if m.timer.After(m.now) {
			m.now = m.timer
		}
		m.expire()
		m.carryOut()
	}
	m.now = end
	for _, x := range m.messages {
		if x.state == modelReady && x.expiry != 0 && x.expiry <= m.now.UnixMilli() {
			m.fail("%s was due at %d, it is %d", x.body, x.expiry, m.now.UnixMilli())
		}
	}
}

func (m *model) purge() {
	want := m.count(modelReady) + m.count(modelHeld)
	for _, x := range m.messages {
		if x.state == modelReady || x.state == modelHeld {
			x.state = modelGone
		}
	}
	if n := m.q.Purge(m.now, &m.out); int64(n) != want {
		m.fail("purged %d, want %d", n, want)
	}
}

// arrive lets some letters end in their targets.
func (m *model) arrive() {
	for _, x := range m.messages {
		if x.letter != nil && m.rng.Intn(2) == 0 {
			l := x.letter
			x.letter, x.state = nil, modelGone
			l.Confirm.Release(&m.out.Wakes)
			l.Transfer.Release(&m.out)
		}
	}
}

func (m *model) collect() {
	if m.underway != nil {
		return
	}
	m.group++
	b := &Batch{Group: m.group, MaxPuts: m.rng.Intn(6)}
	m.puts = m.q.Collect(b)
	if m.rng.Intn(3) > 0 {
		m.q.CollectSettled(b, nil)
		m.settled = false
		for _, x := range m.messages {
			x.collected = x.returned
		}
	}
	m.underway = b
}

// diskPages are the acknowledgement pages on a model's disk, by level and number.
type diskPages map[uint8]map[uint64]Page

// put writes the pages that a state brings, and deletes those that it says are dead.
func (d diskPages) put(s State) {
	if d[s.Level] == nil {
		d[s.Level] = map[uint64]Page{}
	}
	for _, p := range s.Pages {
		d[s.Level][p.Number] = p
	}
	for n := range d[s.Level] {
		if n < s.DeadPages {
			delete(d[s.Level], n)
		}
	}
}

// commit puts what was collected on the model's disk.
func (m *model) commit() {
	b := m.underway
	if b == nil {
		return
	}
	m.underway = nil
	for _, p := range b.Puts {
		m.disk[Position{Seq: p.Seq, Level: p.Level}] = p
		m.byBody[string(p.Message.Body())].onDisk = true
	}
	for _, s := range b.States {
		m.states[s.Level] = s
		m.pages.put(s)
		if m.counts[s.Level] == nil {
			m.counts[s.Level] = map[uint64]CountPage{}
		}
		for _, p := range s.Counts {
			if m.counts[s.Level][p.Number] = p; len(p.Counts) == 0 {
				delete(m.counts[s.Level], p.Number)
			}
		}
	}
	for _, x := range m.messages {
		x.kept = x.collected
	}
	var w message.Wakes
	m.q.Stored(b.Group, &w)
}

// restart throws away everything but the disk.
func (m *model) restart() {
	var r Restored
	found := map[string]bool{}
	for level := range m.q.options.levels() {
		s := m.states[uint8(level)]
		rl := RestoredLevel{Level: uint8(level), Head: max(s.Head, 1), Next: max(s.Next, 1)}
		var known acks
		known.head = 1
		var pages []Page
		for _, p := range m.pages[uint8(level)] {
			pages = append(pages, p)
		}
		known.restore(rl.Head, pages)
		rl.Pages = pages
		for _, p := range m.counts[uint8(level)] {
			rl.Counts = append(rl.Counts, CountPage{p.Number, slices.Clone(p.Counts)})
		}
		var seqs []uint64
		for p := range m.disk {
			if int(p.Level) == level {
				rl.Next = max(rl.Next, p.Seq+1)
				if !known.has(p.Seq) {
					seqs = append(seqs, p.Seq)
				}
			}
		}
		slices.Sort(seqs)
		for _, seq := range seqs {
			p := m.disk[Position{Seq: seq, Level: uint8(level)}]
			found[string(p.Message.Body())] = true
			run := Run{Range: Range{First: seq, Last: seq}, Count: 1, Bytes: int64(p.Message.BodyBytes()), MinExpiry: p.Expiry}
			if n := len(rl.Runs); n > 0 && m.rng.Intn(3) > 0 {
				rl.Runs[n-1], _ = join(rl.Runs[n-1], run)
			} else {
				rl.Runs = append(rl.Runs, run)
			}
		}
		rl.AllRedelivered = true
		r.Levels = append(r.Levels, rl)
	}
	for body := range found {
		// One that was settled may be back: its settlement was not on disk yet.
		if x := m.byBody[body]; !slices.Contains(m.messages, x) {
			m.messages = append(m.messages, x)
		}
	}
	for _, x := range m.messages {
		switch {
		case x.stored && x.confirmed && x.state != modelGone && !found[x.body]:
			m.fail("%s was confirmed and is lost: %+v", x.body, x)
		case found[x.body]:
			x.state, x.letter, x.delivered, x.returned = modelReady, nil, true, x.kept
			x.onDisk, x.collected = true, x.kept
		default:
			x.state, x.letter = modelGone, nil
		}
	}
	m.q = New(1, m.spec, m.q.Options(), m)
	m.q.lateMillis = 1 // the model knows no better
	m.attach()
	m.reads, m.spills, m.copies = nil, nil, copies{}
	m.underway, m.consumers, m.active, m.out, m.timer = nil, nil, nil, Effects{}, time.Time{}
	m.q.Restore(m.now, r, &m.out)
	if m.spec.Durable {
		m.q.CollectSettled(&Batch{}, nil)
	}
}

func (m *model) carryOut() {
	m.out.Letters = nil
	for letters, ok := m.q.TakeLetters(nil, false); ok; letters, ok = m.q.TakeLetters(nil, true) {
		for _, l := range letters {
			x := m.byBody[string(l.Message.Body())]
			switch {
			case l.Reason == Expired && x.state == modelReady:
				if x.expiry == 0 || x.expiry > m.now.UnixMilli() {
					m.fail("%s expired at %d, due %d", x.body, m.now.UnixMilli(), x.expiry)
				}
			case l.Reason == MaxLength && x.refused:
				if m.q.options.Overflow != RejectPublishDLX || x.letter != nil {
					m.fail("a letter of %+v, which was refused", x) // LEN-4
				}
				x.letter, x.mourned = &l, true
				continue
			case l.Reason == MaxLength:
				if want := m.head(false); x != want {
					m.fail("dropped %s, want %+v", x.body, want)
				}
			case x.state != modelLeaving:
				m.fail("a letter of %+v, %v", x, l.Reason)
			}
			x.state = modelLeaving
			x.letter, x.mourned = &l, true
		}
	}
	if n := len(m.messages); m.op == "publish" && m.q.options.Overflow == RejectPublishDLX && m.q.options.DeadLetter && m.messages[n-1].refused && !m.messages[n-1].mourned {
		m.fail("%s was refused without a letter", m.messages[n-1].body) // LEN-4
	}
	SettleTransfers(&m.out)
	if !m.q.options.DeadLetter {
		m.dropSilently()
	}
	for _, tm := range m.out.Timers {
		if m.timer.IsZero() || tm.At.Before(m.timer) {
			m.timer = tm.At
		}
	}
	m.out = Effects{}
}

// dropSilently takes out of the model what the queue has dropped without a letter: what
// is past its deadline, and what is too many.
func (m *model) dropSilently() {
	// Which of several due ones have gone already cannot be seen: let all of them go.
	m.expire()
	for m.dueReady() && len(m.reads) > 0 {
		r := m.reads[0]
		m.reads = m.reads[1:]
		r()
		m.expire()
	}
	ready := m.q.Stats().Ready
	for _, x := range m.messages {
		if m.count(modelReady) > ready && x.state == modelReady && x.expiry != 0 && x.expiry <= m.now.UnixMilli() {
			x.state = modelGone
		}
	}
	if o := m.q.options; o.Overflow == DropHead && (o.MaxLength != None || o.MaxLengthBytes != None) {
		for m.count(modelReady) > ready {
			m.head(true).state = modelGone
		}
	}
}

// waits tells whether the queue waits for the disk.
func (m *model) waits() bool {
	if m.q.contents == nil {
		return false
	}
	for i := range m.q.levels {
		if m.q.levels[i].reading.active {
			return len(m.reads) > 0
		}
	}
	return false
}

// dueReady tells whether something ready is past its deadline.
func (m *model) dueReady() bool {
	return slices.ContainsFunc(m.messages, func(x *modelMessage) bool {
		return x.state == modelReady && x.expiry != 0 && x.expiry <= m.now.UnixMilli()
	})
}

// weigh counts what is held in memory.
func (m *model) weigh() {
	if m.q.contents == nil {
		return
	}
	var held int64
	for i := range m.q.levels {
		lv := &m.q.levels[i]
		for _, r := range []*ready{&lv.ready, &lv.back} {
			var ram int64
			for _, b := range r.blocks[r.start:] {
				for _, e := range b.entries[b.lo:b.hi] {
					if e.msg != nil {
						ram += int64(e.msg.Size())
					}
				}
			}
			if ram != r.ram {
				m.fail("a list has %d bytes in memory and says %d", ram, r.ram)
			}
			held += ram
		}
	}
	for i := range len(m.q.slots.pages) * slotsPerPage {
		if sl := m.q.slots.at(uint32(i)); sl.state != slotFree && sl.state != slotLeaving && sl.entry.msg != nil {
			held += int64(sl.entry.msg.Size())
		}
	}
	if held != m.q.ram {
		m.fail("the queue holds %d bytes in memory and says %d", held, m.q.ram)
	}
}

func (m *model) verify() {
	s := m.q.Stats()
	if want := m.count(modelReady); s.Ready != want {
		m.fail("%d ready, want %d", s.Ready, want)
	}
	if want := m.count(modelHeld); s.Delayed != want {
		m.fail("%d held, want %d", s.Delayed, want)
	}
	if want := m.count(modelOut); s.Unacknowledged != want {
		m.fail("%d unacknowledged, want %d", s.Unacknowledged, want)
	}
	for _, x := range m.messages {
		if x.stored && x.confirmed && !x.onDisk && x.state != modelGone {
			m.fail("%s is confirmed and only in memory: %+v", x.body, x)
		}
	}
	m.follow()
	for _, c := range m.consumers {
		if m.q.options.SingleActiveConsumer && (c != m.active || m.q.options.Type == Quorum && m.chosen().rank > c.rank) {
			continue // SAC-5; or it makes way for another (SAC-3)
		}
		if h := m.head(false); h != nil && c.hasRoom() && !m.waits() {
			m.fail("%s is kept back from a consumer that has room", h.body)
		}
	}
	if m.op == "publish" && !m.waits() && m.messages[len(m.messages)-1].state == modelReady && m.exceeds(true, 0, 0) {
		m.fail("%d ready are more than the limits allow", s.Ready)
	}
	if s.Ready+s.Unacknowledged+s.Delayed == 0 && len(m.reads)+len(m.spills) == 0 && m.copies.written() > 0 {
		m.fail("%d copies of nothing are kept", m.copies.written())
	}
	m.weigh()
	if len(m.messages) > 400 {
		m.messages = slices.DeleteFunc(m.messages, func(x *modelMessage) bool { return x.state == modelGone })
	}
}
