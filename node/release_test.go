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
	takes                    time.Duration
}

func (h *held) Held() int64      { return h.live + h.garbage }
func (h *held) Allocated() int64 { return h.allocated }

func (h *held) Release() time.Duration {
	h.garbage, h.released = 0, h.released+1
	return h.takes
}

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
	h.garbage = 3 * mib
	pass(600, 1000, 1) // not worth it
	h.garbage = 5 * mib
	pass(60, 1000, 2)
	h.live, h.garbage = 400*mib, 10*mib
	pass(9, 1000, 2)
	pass(30, 1000, 3)
	pass(600, 1000, 3) // what is in use is not asked for again and again
	h.garbage = 20 * mib
	pass(600, 1000, 3) // less than a sixteenth
	h.garbage, h.takes = 30*mib, 5*time.Second
	pass(60, 1000, 4)
	h.garbage = 30 * mib
	pass(400, 1000, 4) // it took so long
	pass(100, 1000, 5)
	h.live, h.takes = 30*mib, 0 // by itself
	pass(600, 1000, 5)
	h.garbage = 5 * mib
	pass(60, 1000, 6)
}
