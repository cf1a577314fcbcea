package broker

import (
	"sync"
	"sync/atomic"
)

// Commit is a change to the topology on its way to disk. A nil Commit is one that there
// is nothing to wait for.
type Commit struct {
	mu      sync.Mutex
	ended   bool
	err     error
	waiting []func(error)
	holder  *declaring
}

// declaring is the commit that something is declared with, nil once that is on disk: what is
// declared does not hold on to it for ever. Load is safe without a lock.
type declaring struct{ c atomic.Pointer[Commit] }

// Load returns the commit, which may have ended by now.
func (d *declaring) Load() *Commit { return d.c.Load() }

// Store is for who declares. It is called once.
func (d *declaring) Store(c *Commit) {
	d.c.Store(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holder = d
	c.letGo()
}

// letGo has whatever was declared with c forget it, if it is on disk. c.mu is held.
func (c *Commit) letGo() {
	if c.ended && c.err == nil && c.holder != nil {
		c.holder.c.Store(nil)
		c.holder = nil
	}
}

// Then has done called when the change is on disk, or with the error that kept it from
// getting there. It reports false, and done is never called, when the change is on disk
// already. done is called from the store's committer, or by Then itself after a failure,
// with nothing locked; it may have been called before Then returns.
func (c *Commit) Then(done func(error)) (waiting bool) {
	if c == nil {
		return false
	}
	c.mu.Lock()
	switch {
	case !c.ended:
		c.waiting = append(c.waiting, done)
		c.mu.Unlock()
	case c.err != nil:
		c.mu.Unlock()
		done(c.err)
	default:
		c.mu.Unlock()
		return false
	}
	return true
}

// end is what the store calls.
func (c *Commit) end(err error) {
	c.mu.Lock()
	c.ended, c.err = true, err
	waiting := c.waiting
	c.waiting = nil
	c.letGo()
	c.mu.Unlock()
	for _, done := range waiting {
		done(err)
	}
}

// pending returns c while it is under way or failed, and nil once it is on disk.
func (c *Commit) pending() *Commit {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended && c.err == nil {
		return nil
	}
	return c
}
