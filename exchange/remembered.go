package exchange

import (
	"hash/maphash"
	"math/bits"
	"strings"
	"sync/atomic"

	"github.com/leveretmq/leveret/binding"
)

// remembered are answers that took longer to find than they take to look up, by routing key.
// They are used by any number of Routes at once, and forgotten whenever the bindings change.
//
// An answer may stand in one of a few neighbouring places. If there is none for a key, one in
// so many is noted, in place of another: who sends each key only once pays little for it, and
// keys that come again are found before long.
type remembered struct {
	seed   maphash.Seed
	marks  []atomic.Uint32 // of the answers in the same places, so that others are not looked at
	places []atomic.Pointer[answer]
	missed atomic.Uint32
	used   atomic.Bool
}

// answer is where a key leads to. It does not change.
type answer struct {
	key string
	to  []*binding.Destination
}

const (
	// rememberFrom is how many bindings make it worth remembering.
	rememberFrom = 16
	// rememberMost is how many answers there are at most. Each takes a hundred bytes and more.
	rememberMost = 4096
	// rememberOften is how many keys are not found until one of them is noted.
	rememberOften = 8
	// neighbours is how many places there are for a key.
	neighbours = 4
	// rememberLength is how many destinations an answer has at most.
	rememberLength = 32
)

// fit makes room for the answers of so many bindings, if that is worth it.
func (r *remembered) fit(bindings int) {
	if bindings < rememberFrom || bindings <= len(r.places)/neighbours || len(r.places) == rememberMost {
		return
	}
	if r.places == nil {
		r.seed = maphash.MakeSeed()
	}
	n := min(2*neighbours<<bits.Len(uint(bindings-1)), rememberMost)
	r.marks, r.places = make([]atomic.Uint32, n), make([]atomic.Pointer[answer], n)
}

// forget forgets all answers.
func (r *remembered) forget() {
	if r.used.Load() {
		r.used.Store(false)
		clear(r.marks)
		clear(r.places)
	}
}

// place is the first place for key, and its mark there.
func (r *remembered) place(key string) (at int, mark uint32) {
	h := maphash.String(r.seed, key)
	return int(h) & (len(r.places) - 1) &^ (neighbours - 1), uint32(h>>32) | 1
}

// find appends to dst where key leads to, if that is known.
func (r *remembered) find(key string, dst []*binding.Destination) ([]*binding.Destination, bool) {
	if r.places == nil {
		return dst, false
	}
	at, mark := r.place(key)
	for i := at; i < at+neighbours; i++ {
		if r.marks[i].Load() != mark {
			continue
		}
		// Mark and answer are not written together, so the key decides.
		if a := r.places[i].Load(); a != nil && a.key == key {
			return append(dst, a.to...), true
		}
	}
	return dst, false
}

// note remembers now and then that key leads to to, which was not known.
func (r *remembered) note(key string, to []*binding.Destination) {
	if r.places == nil || len(to) > rememberLength {
		return
	}
	n := r.missed.Add(1)
	if n%rememberOften != 0 {
		return
	}
	at, mark := r.place(key)
	// A free place is taken first, and then one after the other.
	i := at + int(n/rememberOften)%neighbours
	for j := at; j < at+neighbours; j++ {
		if r.marks[j].Load() == 0 {
			i = j
			break
		}
	}
	r.used.Store(true)
	r.places[i].Store(&answer{key: strings.Clone(key), to: append([]*binding.Destination(nil), to...)})
	r.marks[i].Store(mark)
}
