package persistence

import (
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// views hands out the newest read transaction. Badger's new read transactions wait for
// commits under way, sync included, so the committer begins one after each commit, when
// none is, and all readers share it (S-26).
type views struct {
	db *badger.DB

	mu  sync.Mutex // a leaf; guards the fields below and every view's refs
	now *view
}

// view is one read transaction; only Get is used, which many goroutines may.
type view struct {
	txn   *badger.Txn
	group uint64 // the last one it sees
	refs  int
}

// renew begins a new read transaction after group was committed. The one before ends with
// its last reader.
func (v *views) renew(group uint64) {
	next := &view{txn: v.db.NewTransaction(false), group: group, refs: 1}
	v.mu.Lock()
	before := v.now
	v.now = next
	v.mu.Unlock()
	v.release(before)
}

// take returns the newest view, which must be released; nil after close.
func (v *views) take() *view {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.now != nil {
		v.now.refs++
	}
	return v.now
}

func (v *views) release(w *view) {
	if w == nil {
		return
	}
	v.mu.Lock()
	w.refs--
	ended := w.refs == 0
	v.mu.Unlock()
	if ended {
		w.txn.Discard()
	}
}

// close ends the newest view once its readers are done with it.
func (v *views) close() {
	v.mu.Lock()
	now := v.now
	v.now = nil
	v.mu.Unlock()
	v.release(now)
}
