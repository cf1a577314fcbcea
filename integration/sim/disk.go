package sim

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// disk is a store whose collecting, committing and reporting are steps of their own.
// What was committed survives a power loss; everything else does not.
type disk struct {
	nextID uint64

	// Waiting to be collected.
	units    []unit
	enlisted []queue.Collector
	settled  []queue.Collector
	barriers []barrier
	drops    []queue.ID
	reads    []func()
	spills   []func() // writing and forgetting copies, one after the other
	copies   []spilled
	listed   map[queue.Collector]bool // in enlisted
	due      map[queue.Collector]bool // in settled

	full  bool                  // nothing is spilled
	onPut func(queue.StoredPut) // for traces

	group uint64
	going *group // collected, not reported

	content
}

type unit struct {
	topology.Unit
	done func(error)
}

type barrier struct {
	c    queue.Collector
	done func(error)
}

type group struct {
	batch     queue.Batch
	units     []unit
	drops     []queue.ID
	barriers  []barrier
	collected []queue.Collector
	committed bool
}

// content is what is on the platters.
type content struct {
	records map[string]topology.Record
	puts    map[place]queue.StoredPut
	states  map[levelKey]queue.State
	pages   map[levelKey]map[uint64]queue.Page
	counts  map[place]uint32 // how often messages came back
	clean   bool
}

type levelKey struct {
	queue queue.ID
	level uint8
}

type place struct {
	levelKey
	seq uint64
}

func newDisk() *disk {
	d := &disk{nextID: 1}
	d.content = content{
		records: map[string]topology.Record{},
		puts:    map[place]queue.StoredPut{},
		states:  map[levelKey]queue.State{},
		pages:   map[levelKey]map[uint64]queue.Page{},
		counts:  map[place]uint32{},
	}
	d.lose()
	return d
}

// lose drops everything that is not on the platters.
func (d *disk) lose() {
	d.units, d.enlisted, d.settled, d.barriers, d.drops, d.reads, d.going = nil, nil, nil, nil, nil, nil, nil
	d.spills, d.copies = nil, nil
	d.listed, d.due = map[queue.Collector]bool{}, map[queue.Collector]bool{}
}

// powerLoss is what a new run finds. Numbers that were given out and never reached the
// platters may be given out again.
func (d *disk) powerLoss() {
	d.lose()
	d.nextID = 1
	for _, r := range d.records {
		switch r := r.(type) {
		case topology.Exchange:
			d.nextID = max(d.nextID, r.ID+1)
		case topology.Queue:
			d.nextID = max(d.nextID, uint64(r.ID)+1)
		}
	}
	for k := range d.states {
		d.nextID = max(d.nextID, uint64(k.queue)+1)
	}
	for p := range d.puts {
		d.nextID = max(d.nextID, uint64(p.queue)+1)
	}
}

// NextID implements topology.Store.
func (d *disk) NextID() uint64 {
	d.nextID++
	return d.nextID - 1
}

// Write implements topology.Store.
func (d *disk) Write(u topology.Unit, done func(error)) {
	d.units = append(d.units, unit{u, done})
}

// Enlist implements queue.Store.
func (d *disk) Enlist(c queue.Collector) {
	if !d.listed[c] {
		d.listed[c] = true
		d.enlisted = append(d.enlisted, c)
	}
}

// EnlistSettled implements queue.Store.
func (d *disk) EnlistSettled(c queue.Collector) {
	if !d.due[c] {
		d.due[c] = true
		d.settled = append(d.settled, c)
	}
}

// Barrier implements queue.Store.
func (d *disk) Barrier(c queue.Collector, done func(error)) {
	d.barriers = append(d.barriers, barrier{c, done})
}

// Drop implements queue.Store.
func (d *disk) Drop(id queue.ID) { d.drops = append(d.drops, id) }

// Read implements queue.Store. It answers when the seed says so, with what is on disk
// then.
func (d *disk) Read(id queue.ID, level uint8, r queue.Range, done func([]queue.RestoredMessage, error)) {
	d.reads = append(d.reads, func() {
		var found []queue.RestoredMessage
		for p, put := range d.puts {
			if p.queue == id && p.level == level && p.seq >= r.First && p.seq <= r.Last {
				found = append(found, queue.RestoredMessage{Seq: p.seq, Expiry: put.Expiry, Redelivered: put.Redelivered, Message: put.Message})
			}
		}
		found = d.readCopies(found, levelKey{id, level}, r)
		slices.SortFunc(found, func(a, b queue.RestoredMessage) int { return cmp.Compare(a.Seq, b.Seq) })
		done(found, nil)
	})
}

// read answers the oldest read.
func (d *disk) read() {
	if len(d.reads) > 0 {
		r := d.reads[0]
		d.reads = d.reads[1:]
		r()
	}
}

func (d *disk) idle() bool {
	return len(d.reads)+len(d.spills)+len(d.units)+len(d.enlisted)+len(d.settled)+len(d.barriers)+len(d.drops) == 0 && d.going == nil
}

// collect starts a group, of at most puts messages; withSettled takes the
// acknowledgement states along.
func (d *disk) collect(puts int, withSettled bool) {
	if d.going != nil {
		return
	}
	d.group++
	g := &group{batch: queue.Batch{Group: d.group, MaxPuts: puts}}
	b := &g.batch

	enlisted := d.enlisted
	d.enlisted = nil
	for _, c := range enlisted {
		delete(d.listed, c)
		g.collected = append(g.collected, c)
		if c.Collect(b) {
			d.Enlist(c)
		}
	}
	g.barriers, d.barriers = d.barriers, nil
	for _, br := range g.barriers {
		// All of it, however full the group is: somebody waits for it.
		b.MaxPuts = 0
		br.c.Collect(b)
		g.collected = append(g.collected, br.c)
		br.c.CollectSettled(b, nil)
	}
	d.settleTransfers(b)
	if withSettled {
		due := d.settled
		d.settled = nil
		for _, c := range due {
			delete(d.due, c)
			c.CollectSettled(b, nil)
		}
	}
	// After the last message was collected: whatever it went into is declared by now, and
	// the records are written in the same group (S-3).
	g.units, d.units = d.units, nil
	g.drops, d.drops = d.drops, nil
	d.going = g
}

func (d *disk) settleTransfers(b *queue.Batch) {
	var sources []queue.Collector
	done := map[queue.Collector][]queue.Position{}
	for _, t := range b.Transfers {
		s := t.Source()
		if done[s] == nil {
			sources = append(sources, s)
		}
		done[s] = append(done[s], t.Position())
	}
	for _, s := range sources {
		s.CollectSettled(b, done[s])
	}
}

// commit puts the group on the platters.
func (d *disk) commit() {
	g := d.going
	if g == nil || g.committed {
		return
	}
	g.committed = true
	d.clean = false
	for _, u := range g.units {
		for _, r := range u.Deletes {
			delete(d.records, recordKey(r))
		}
		for _, r := range u.Puts {
			d.records[recordKey(r)] = r
		}
	}
	for _, p := range g.batch.Puts {
		if d.onPut != nil {
			d.onPut(p)
		}
		d.puts[place{levelKey{p.Queue, p.Level}, p.Seq}] = p
	}
	for _, s := range g.batch.States {
		d.state(s)
	}
	for _, id := range g.drops {
		d.dropNow(id)
	}
}

func (d *disk) state(s queue.State) {
	k := levelKey{s.Queue, s.Level}
	if was := d.states[k]; s.Head < was.Head || s.Next < was.Next || s.DeliveredTo < was.DeliveredTo {
		panic(fmt.Sprintf("sim: state of queue %d went back from %+v to %+v", s.Queue, was, s))
	}
	s.HadConsumer = s.HadConsumer || d.states[k].HadConsumer
	d.states[k] = s
	if d.pages[k] == nil {
		d.pages[k] = map[uint64]queue.Page{}
	}
	for _, p := range s.Pages {
		d.pages[k][p.Number] = p
	}
	for n := range d.pages[k] {
		if n < s.DeadPages {
			delete(d.pages[k], n)
		}
	}
	for _, page := range s.Counts {
		for p := range d.counts {
			if p.levelKey == k && p.seq/queue.CountPositions == page.Number {
				delete(d.counts, p)
			}
		}
		for _, c := range page.Counts {
			d.counts[place{k, c.Seq}] = c.N
		}
	}
	for _, r := range s.Settled {
		for seq := r.First; seq <= r.Last; seq++ {
			p := place{k, seq}
			delete(d.puts, p)
		}
	}
}

func (d *disk) dropNow(id queue.ID) {
	for p := range d.puts {
		if p.queue == id {
			delete(d.puts, p)
		}
	}
	for p := range d.counts {
		if p.queue == id {
			delete(d.counts, p)
		}
	}
	for k := range d.states {
		if k.queue == id {
			delete(d.states, k)
			delete(d.pages, k)
		}
	}
}

// report tells everyone who waits for the group.
func (d *disk) report() {
	g := d.going
	if g == nil || !g.committed {
		return
	}
	d.going = nil
	var wakes message.Wakes
	for _, c := range g.collected {
		c.Stored(g.batch.Group, &wakes)
	}
	for _, u := range g.units {
		u.done(nil)
	}
	for _, br := range g.barriers {
		br.done(nil)
	}
	wakes.Wake()
}

// catalog is everything declared.
func (d *disk) catalog() (c topology.Catalog) {
	keys := make([]string, 0, len(d.records))
	for k := range d.records {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		switch r := d.records[k].(type) {
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
	return c
}

// restore is what a queue finds when it comes back.
func (d *disk) restore(id queue.ID) (r queue.Restored, err error) {
	levels := map[uint8]*queue.RestoredLevel{}
	at := func(n uint8) *queue.RestoredLevel {
		if levels[n] == nil {
			levels[n] = &queue.RestoredLevel{Level: n, Head: 1, Next: 1}
		}
		return levels[n]
	}
	had := false
	for k, s := range d.states {
		if k.queue != id {
			continue
		}
		l := at(k.level)
		l.Head, l.Next, l.DeliveredTo = s.Head, max(s.Next, s.DeliveredTo+1), s.DeliveredTo
		had = had || s.HadConsumer
		for _, p := range d.pages[k] {
			l.Pages = append(l.Pages, p)
		}
	}
	for p, put := range d.puts {
		if p.queue != id {
			continue
		}
		l := at(p.level)
		l.Next = max(l.Next, p.seq+1)
		if p.seq >= l.Head && !onPage(l.Pages, p.seq) {
			l.Runs = append(l.Runs, queue.Run{
				Range:     queue.Range{First: p.seq, Last: p.seq},
				Count:     1,
				Bytes:     int64(put.Message.BodyBytes()),
				MinExpiry: put.Expiry,
			})
		}
	}
	for p, n := range d.counts {
		if l := levels[p.level]; p.queue == id && l != nil {
			addCount(l, queue.Count{Seq: p.seq, N: n})
		}
	}
	for n := range 256 {
		if l := levels[uint8(n)]; l != nil {
			l.AllRedelivered = had && !d.clean
			slices.SortFunc(l.Pages, func(a, b queue.Page) int { return cmp.Compare(a.Number, b.Number) })
			slices.SortFunc(l.Runs, func(a, b queue.Run) int { return cmp.Compare(a.First, b.First) })
			l.Runs = merged(l.Runs)
			r.Levels = append(r.Levels, *l)
		}
	}
	return r, nil
}

// addCount puts a count in its place.
func addCount(l *queue.RestoredLevel, c queue.Count) {
	number := c.Seq / queue.CountPositions
	i := slices.IndexFunc(l.Counts, func(p queue.CountPage) bool { return p.Number == number })
	if i < 0 {
		i = len(l.Counts)
		l.Counts = append(l.Counts, queue.CountPage{Number: number})
	}
	p := &l.Counts[i]
	p.Counts = append(p.Counts, c)
	slices.SortFunc(p.Counts, func(a, b queue.Count) int { return cmp.Compare(a.Seq, b.Seq) })
}

func onPage(pages []queue.Page, seq uint64) bool {
	for _, p := range pages {
		if p.Number == seq/queue.PagePositions {
			i := seq % queue.PagePositions
			return p.Bits[i/64]&(1<<(i%64)) != 0
		}
	}
	return false
}

func recordKey(r topology.Record) string {
	switch r := r.(type) {
	case topology.VHost:
		return "vhost " + r.Name
	case topology.User:
		return "user " + r.Name
	case topology.Permission:
		return "permission " + r.User + " " + r.VHost
	case topology.TopicPermission:
		return "topic permission " + r.User + " " + r.VHost + " " + r.Exchange
	case topology.Policy:
		return fmt.Sprint("policy ", r.Operator, " ", r.VHost, " ", r.Name)
	case topology.GlobalParameter:
		return "global parameter " + r.Name
	case topology.Exchange:
		return fmt.Sprintf("exchange %d", r.ID)
	case topology.Queue:
		return fmt.Sprintf("queue %d", r.ID)
	case topology.Binding:
		return fmt.Sprintf("binding %d %d %s", r.SourceID, r.DestinationID, r.Binding.Key())
	}
	panic(fmt.Sprintf("sim: a record of type %T", r))
}

// merged makes runs of neighbours, some dozen messages each.
func merged(single []queue.Run) (runs []queue.Run) {
	for _, r := range single {
		n := len(runs)
		if n == 0 || runs[n-1].Count >= 24 {
			runs = append(runs, r)
			continue
		}
		last := &runs[n-1]
		last.Last = r.Last
		last.Count++
		last.Bytes += r.Bytes
		if r.MinExpiry != 0 && (last.MinExpiry == 0 || r.MinExpiry < last.MinExpiry) {
			last.MinExpiry = r.MinExpiry
		}
	}
	return runs
}
