package persistence

import (
	"cmp"
	"slices"
	"time"

	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

// ackInterval is the least time between two writes of a queue's acknowledgement state
// that nothing else asks for. A lost acknowledgement is only a redelivery.
const ackInterval = 100 * time.Millisecond

// committer collects from the queues, has the backend write, and lets go of those who
// wait: one group after the other, each as large as what gathered while the one before
// was synced. Everything here belongs to its goroutine.
type committer struct {
	s        *Store
	group    group
	lastAcks time.Time

	// What was taken off the store's lists for this group.
	work      work
	spare     work
	touched   []queue.Collector // collected from, each once
	seen      map[queue.Collector]struct{}
	turn      []queue.Collector            // those to collect from now
	left      []queue.Collector            // not reached, or cut short: their turn comes next
	barred    map[queue.Collector]struct{} // those with a barrier
	sources   map[queue.Collector]int      // of the group's transfers: index into transfers
	transfers []settlement
	wakes     message.Wakes

	// known are the queues collected from in this run. At the end all of them are asked for
	// their delivery marks.
	known map[queue.ID]queue.Collector
}

// settlement is what a source is to settle because its letters arrived.
type settlement struct {
	source    queue.Collector
	positions []queue.Position
}

// work is one turn of the store's lists.
type work struct {
	enlisted, settled []queue.Collector
	barriers          []barrier
	units             []unit
	drops             []queue.ID
	suspects          [][]byte
	moves             *moveBatch
}

func (c *committer) init(s *Store) {
	c.s = s
	c.seen = make(map[queue.Collector]struct{})
	c.barred = make(map[queue.Collector]struct{})
	c.sources = make(map[queue.Collector]int)
	c.known = make(map[queue.ID]queue.Collector)
}

// run commits until the store is closed. There is no timer but for acknowledgement
// state that has nothing else to go with.
func (c *committer) run() {
	defer close(c.s.stopped)
	due := time.NewTimer(time.Hour)
	due.Stop()
	armed := false
	for {
		urgent, acks, cutting, closing := c.waiting()
		switch {
		case closing:
			c.finish()
			return
		case urgent:
			// What was settled goes along when its time has come, or into a backup.
			withAcks := acks && (cutting || time.Since(c.lastAcks) >= ackInterval)
			if withAcks {
				armed = false
				due.Stop()
			}
			c.commit(withAcks)
			continue
		case acks && !armed:
			armed = true
			due.Reset(ackInterval)
		}
		select {
		case <-c.s.wake:
		case <-due.C:
			armed = false
			c.commit(true)
		}
	}
}

// waiting tells what there is to do.
func (c *committer) waiting() (urgent, acks, cutting, closing bool) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.urgent(), len(c.s.settled) > 0, len(c.s.cuts) > 0, c.s.closing
}

// urgent tells whether there is anything but acknowledgement state. s.mu is held.
func (c *committer) urgent() bool {
	s := c.s
	return len(c.left)+len(s.enlisted)+len(s.barriers)+len(s.units)+len(s.drops)+len(s.suspects)+len(s.cuts) > 0 || s.moves != nil || s.reclaim.Load() || s.owed.Load()
}

// commit writes one group and answers those who waited for it. Once the store has failed
// it only answers.
func (c *committer) commit(withAcks bool) {
	g := &c.group
	g.reset(c.s.backend.next())
	g.now = time.Now()
	c.collect(g, withAcks)
	c.takeTopology(g)
	c.conclude(g)
	c.cut()
	if c.s.reclaim.Swap(false) && c.s.Err() == nil {
		if err := c.reclaim(); err != nil {
			c.s.fail(err)
		}
	}
}

// conclude writes the group that was collected and answers those who wait for it. If that
// fails, confirms stay unanswered: what is on disk is not known.
func (c *committer) conclude(g *group) {
	err := c.s.Err()
	if err == nil && !g.empty() {
		err = c.write(g)
	}
	if err != nil {
		c.s.fail(err)
		c.answer(err)
	} else {
		c.release(g)
	}
	c.forget()
}

// takeQueues takes the lists of queues. Whoever enlists from now on waits for the next
// group.
func (c *committer) takeQueues(withAcks bool) {
	s, w := c.s, &c.work
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enlisted, w.enlisted = c.spare.enlisted[:0], s.enlisted
	s.barriers, w.barriers = c.spare.barriers[:0], s.barriers
	if withAcks {
		s.settled, w.settled = c.spare.settled[:0], s.settled
		c.spare.settled = nil
	}
}

// takeTopology takes what is not collected from queues. It comes after the last Collect
// and is written first, so that nothing is stored for a queue whose record is not
// (S-3).
func (c *committer) takeTopology(g *group) {
	s, w := c.s, &c.work
	s.mu.Lock()
	s.units, w.units = c.spare.units[:0], s.units
	s.drops, w.drops = c.spare.drops[:0], s.drops
	n := min(len(s.suspects), suspectsPerGroup)
	w.suspects, s.suspects = s.suspects[:n], s.suspects[n:]
	w.moves, s.moves = s.moves, nil
	s.mu.Unlock()
	for i := range w.units {
		g.units = append(g.units, w.units[i].Unit)
	}
	for _, id := range w.drops {
		g.drops = append(g.drops, id)
		delete(c.known, id)
	}
	g.suspects = w.suspects
	if w.moves != nil {
		g.moves = append(g.moves, w.moves.moves...)
		g.bury = len(g.moves) == 0
	}
	g.bury = s.owed.Swap(false) || g.bury
}

// suspectsPerGroup is how many of the sweep's keys one group looks at.
const suspectsPerGroup = 1000

// collect takes the lists of queues and fills the group: messages of the enlisted queues
// until it is full, all of those a barrier waits for, the settlements that go with them
// (S-9), and acknowledgement state whose time has come. What settles transfers comes
// before any other state, which may be newer and then replaces it.
//
// After something was done together everything is collected, past the group's limits,
// and its settlements go with its messages (S-7).
func (c *committer) collect(g *group, withAcks bool) {
	c.s.gate.Lock()
	defer c.s.gate.Unlock()
	whole := c.s.whole.Swap(false)
	c.takeQueues(withAcks || whole)
	if c.s.Err() != nil {
		c.left = nil
		return
	}
	w, b := &c.work, &g.batch
	if whole {
		b.MaxBytes, b.MaxPuts = 0, 0
	}
	c.collectEnlisted(b)
	c.collectBarriers(b)
	c.settleTransfers(b)
	g.withPuts = len(b.States)
	for q := range c.barred {
		q.CollectSettled(b, nil)
	}
	clear(c.barred)
	if w.settled != nil {
		c.lastAcks = g.now
	}
	for _, q := range w.settled {
		c.touch(q)
		q.CollectSettled(b, nil)
	}
	if whole {
		g.withPuts = len(b.States)
	}
}

func (c *committer) collectEnlisted(b *queue.Batch) {
	c.turn = append(append(c.turn[:0], c.left...), c.work.enlisted...)
	c.left = c.left[:0]
	reached := 0
	for ; reached < len(c.turn) && !b.Full(); reached++ {
		q := c.turn[reached]
		c.touch(q)
		if q.Collect(b) {
			c.left = append(c.left, q)
		}
	}
	if reached < len(c.turn) {
		// Those that were cut short go to the tail (S-23).
		c.left = append(append([]queue.Collector(nil), c.turn[reached:]...), c.left...)
	}
	clear(c.turn)
}

// collectBarriers collects all of the queues that someone waits for, past the group's
// limits.
func (c *committer) collectBarriers(b *queue.Batch) {
	bytes, puts := b.MaxBytes, b.MaxPuts
	b.MaxBytes, b.MaxPuts = 0, 0
	for i := range c.work.barriers {
		q := c.work.barriers[i].collector
		if _, ok := c.barred[q]; !ok {
			c.barred[q] = struct{}{}
			c.touch(q)
			q.Collect(b)
		}
	}
	b.MaxBytes, b.MaxPuts = bytes, puts
}

// settleTransfers has the sources of the batch's dead letters settle them in this same
// batch.
func (c *committer) settleTransfers(b *queue.Batch) {
	for _, t := range b.Transfers {
		source := t.Source()
		i, ok := c.sources[source]
		if !ok {
			i = len(c.transfers)
			c.sources[source] = i
			c.transfers = append(c.transfers, settlement{source: source})
		}
		c.transfers[i].positions = append(c.transfers[i].positions, t.Position())
	}
	for i := range c.transfers {
		c.touch(c.transfers[i].source)
		c.transfers[i].source.CollectSettled(b, c.transfers[i].positions)
	}
	clear(c.sources)
	clear(c.transfers)
	c.transfers = c.transfers[:0]
}

// touch notes that a queue has something in this group.
func (c *committer) touch(q queue.Collector) {
	if _, ok := c.seen[q]; ok {
		return
	}
	c.seen[q] = struct{}{}
	c.touched = append(c.touched, q)
	// A queue that was deleted may still be on the list of those with acknowledgements when its
	// drop has passed, which is when it is forgotten; it has no marks to ask for.
	if d, ok := q.(interface{ Deleted() bool }); ok && d.Deleted() {
		return
	}
	c.known[q.ID()] = q
}

func (c *committer) write(g *group) error {
	st := &c.s.stats
	start := time.Now()
	st.commitStart.Store(start.UnixNano())
	err := c.s.backend.write(g)
	st.commitStart.Store(0)
	st.commitNanos.Add(int64(time.Since(start)))
	if err != nil {
		return err
	}
	if d, ok := c.s.backend.(*disk); ok && d.owed {
		c.s.owed.Store(true)
	}
	// A failure that was heard of while the group was written counts, whatever Commit said.
	if err := c.s.Err(); err != nil {
		return err
	}
	st.groups.Add(1)
	st.messages.Add(uint64(len(g.batch.Puts)))
	st.bytes.Add(uint64(g.batch.Bytes))
	return nil
}

// release tells everyone that the group is on disk: the queues, which let their confirms
// go, then those who declared, then the barriers, and at the end whoever has something
// to send now. Nothing is locked.
func (c *committer) release(g *group) {
	for _, q := range c.touched {
		q.Stored(g.batch.Group, &c.wakes)
	}
	if g.batch.Bytes > 0 {
		c.s.AddUnstored(-int64(g.batch.Bytes))
	}
	c.answer(nil)
	c.wakes.Wake()
}

// answer tells those who wait for more than a confirm.
func (c *committer) answer(err error) {
	for i := range c.work.units {
		if done := c.work.units[i].done; done != nil {
			done(err)
		}
	}
	for i := range c.work.barriers {
		c.work.barriers[i].done(err)
	}
}

// forget lets go of everything the group held.
func (c *committer) forget() {
	w := &c.work
	clear(w.enlisted)
	clear(w.settled)
	clear(w.barriers)
	clear(w.units)
	if w.moves != nil {
		close(w.moves.done)
	}
	clear(c.touched)
	clear(c.seen)
	c.touched = c.touched[:0]
	c.spare = work{enlisted: w.enlisted, barriers: w.barriers, units: w.units, drops: w.drops, settled: c.spare.settled}
	if w.settled != nil {
		c.spare.settled = w.settled
	}
	*w = work{}
	c.group.reset(0)
}

// finish writes what is left, and then the acknowledgement state and delivery marks of
// every queue, with the mark of a clean end.
func (c *committer) finish() {
	for !c.ended() {
		c.commit(true)
	}
	g := &c.group
	g.reset(c.s.backend.next())
	g.now, g.clean = time.Now(), true
	known := make([]queue.Collector, 0, len(c.known))
	for _, q := range c.known {
		known = append(known, q)
	}
	slices.SortFunc(known, func(a, b queue.Collector) int { return cmp.Compare(a.ID(), b.ID()) })
	for _, q := range known {
		c.touch(q)
		q.CollectSettled(&g.batch, nil)
	}
	c.takeTopology(g)
	c.conclude(g)
}

// ended closes the store if there is nothing left to do.
func (c *committer) ended() bool {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.urgent() || len(s.settled) > 0 {
		return false
	}
	s.closed = true
	s.openRoom()
	return true
}
