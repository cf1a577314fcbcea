package bench

import "sync"

// gate keeps producers from getting too far ahead of consumers. It counts deliveries.
type gate struct {
	mu     sync.Mutex
	moved  sync.Cond
	room   int
	waits  int // producers waiting
	least  int // the room they wait for
	closed bool
}

func newGate(room int) *gate {
	g := &gate{room: room, least: max(1, room/4)}
	g.moved.L = &g.mu
	return g
}

// take waits for room and takes up to most of it, in multiples of unit. It returns 0
// when the gate has been closed. Who had to wait is let in only when there is room for
// much, so that what is written next is not a message at a time.
func (g *gate) take(most, unit int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.room < unit && !g.closed {
		g.waits++
		g.moved.Wait()
		g.waits--
	}
	if g.closed {
		return 0
	}
	n := min(most, g.room/unit*unit)
	g.room -= n
	return n
}

// give returns the room of n deliveries.
func (g *gate) give(n int) {
	g.mu.Lock()
	g.room += n
	wake := g.waits > 0 && g.room >= g.least
	g.mu.Unlock()
	if wake {
		g.moved.Broadcast()
	}
}

// close lets everyone in, with nothing.
func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.moved.Broadcast()
}
