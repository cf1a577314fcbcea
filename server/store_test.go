package server

import (
	"errors"
	"sync"

	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// memory is a store that forgets: it commits as soon as it can and keeps nothing.
type memory struct {
	work chan struct{}
	done sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	ids   uint64
	dirty map[queue.Collector]struct{}
	waits []func(error)
	held  bool // commits wait
	end   bool
}

func newMemory() *memory {
	m := &memory{work: make(chan struct{}, 1), dirty: make(map[queue.Collector]struct{})}
	m.done.Go(m.run)
	return m
}

func (m *memory) add(c queue.Collector, done func(error)) {
	m.mu.Lock()
	if c != nil {
		m.dirty[c] = struct{}{}
	}
	if done != nil {
		m.waits = append(m.waits, done)
	}
	m.mu.Unlock()
	poke(m.work)
}

func (m *memory) Enlist(c queue.Collector)                    { m.add(c, nil) }
func (m *memory) EnlistSettled(c queue.Collector)             { m.add(c, nil) }
func (m *memory) Barrier(c queue.Collector, done func(error)) { m.add(c, done) }
func (m *memory) Drop(queue.ID)                               {}
func (m *memory) Write(_ topology.Unit, done func(error))     { m.add(nil, done) }

// Read fails: nothing here has so many messages that any leave memory.
func (m *memory) Read(_ queue.ID, _ uint8, _ queue.Range, done func([]queue.RestoredMessage, error)) {
	m.add(nil, func(error) { done(nil, errors.New("nothing is kept")) })
}

func (m *memory) Spill(_ queue.ID, _ uint8, _ []queue.Copy, done func(error)) {
	m.add(nil, func(error) { done(errors.New("nothing is kept")) })
}

func (m *memory) Forget(queue.Forgotten) {}

func (m *memory) NextID() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ids++
	return m.ids
}

// hold stops commits, or lets them go on.
func (m *memory) hold(held bool) {
	m.mu.Lock()
	m.held = held
	m.mu.Unlock()
	poke(m.work)
}

func (m *memory) close() {
	m.mu.Lock()
	m.end = true
	m.mu.Unlock()
	poke(m.work)
	m.done.Wait()
}

func (m *memory) run() {
	for group := uint64(1); ; group++ {
		<-m.work
		m.mu.Lock()
		if m.end {
			m.mu.Unlock()
			return
		}
		if m.held {
			m.mu.Unlock()
			continue
		}
		dirty, waits := m.dirty, m.waits
		m.dirty, m.waits = make(map[queue.Collector]struct{}), nil
		m.mu.Unlock()
		b := queue.Batch{Group: group}
		for c := range dirty {
			c.Collect(&b)
			c.CollectSettled(&b, nil)
		}
		var wakes message.Wakes
		for c := range dirty {
			c.Stored(group, &wakes)
		}
		for _, done := range waits {
			done(nil)
		}
		wakes.Wake()
	}
}
