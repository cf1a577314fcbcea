package node

import (
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// held is a runtime of which a part is garbage.
type held struct {
	live, garbage, allocated int64
	released                 int
}

func (h *held) Held() int64      { return h.live + h.garbage }
func (h *held) Allocated() int64 { return h.allocated }
func (h *held) Release()         { h.garbage, h.released = 0, h.released+1 }

func TestMemoryIsGivenBackWhenACrowdHasGone(t *testing.T) {
	const mib = 1 << 20
	h := &held{live: 40 * mib}
	r := &releaser{memory: h, left: h.Held()}
	now := time.Unix(0, 0)
	pass := func(seconds int, rate int64, want int) {
		t.Helper()
		for range seconds {
			h.allocated += rate
			now = now.Add(r.look(now, zerolog.Nop()))
		}
		if h.released != want {
			t.Errorf("got memory released %d times, want %d", h.released, want)
		}
	}
	pass(60, 1000, 0) // nothing has grown
	h.live = 400 * mib
	pass(5, 50*mib, 0)
	h.live, h.garbage = 41*mib, 359*mib // the crowd is gone
	pass(60, 6*mib, 0)                  // others are busy, so the runtime collects by itself
	pass(2, 1*mib, 0)
	pass(10, 1*mib, 1)
	pass(600, 1*mib, 1) // there is no more to have
	h.garbage = 15 * mib
	pass(60, 1000, 1) // not worth it
	h.live, h.garbage = 400*mib, 10*mib
	pass(60, 1000, 2)
	pass(600, 1000, 2) // what is in use is not asked for again and again
	h.garbage = 90 * mib
	pass(60, 1000, 2) // less than a quarter
	h.garbage = 110 * mib
	pass(60, 1000, 3)
	h.live = 30 * mib // by itself
	pass(60, 1000, 3)
	h.garbage = 40 * mib
	pass(60, 1000, 4)
}
