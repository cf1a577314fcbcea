package node

import (
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/rs/zerolog"
)

// The runtime collects garbage when as much again has been allocated as was in use, and gives
// memory back a little at a time. After a crowd has gone a broker that has little to do allocates
// so little that what the crowd has left stays for minutes, and would look like a leak.

const (
	// releaseLeast is how many bytes more than before are worth it: the runtime has as much of
	// garbage before it looks for any. Of a large heap a sixteenth has to be.
	releaseLeast = 4 << 20
	// releasePause is how long memory is not given back again at least, and releaseCost how many
	// times as long as that took: a hundredth of the time is spent with it at most.
	releasePause = time.Minute
	releaseCost  = 100
	// releaseQuiet is for how long so little has to be allocated that the runtime is not
	// about to collect by itself: an eighth of what is held.
	releaseQuiet = 10 * time.Second
)

// memoryHeld is what the runtime has of the system.
type memoryHeld interface {
	Held() int64      // bytes that the system has not got back
	Allocated() int64 // bytes that were ever allocated
	// Release collects, gives back what is free, and tells how long that took.
	Release() time.Duration
}

// releaser has the runtime give memory back that was used once and is not any more. It does so
// after memory has grown, when there is little going on, and then not before it has grown again.
type releaser struct {
	memory memoryHeld

	left      int64     // what was held when it was released last, or less
	quiet     time.Time // since when little was allocated
	allocated int64     // at that time
	next      time.Time // not before
}

func (r *releaser) look(now time.Time, log zerolog.Logger) time.Duration {
	held := r.memory.Held()
	r.left = min(r.left, held)
	if held < r.left+max(releaseLeast, r.left/16) {
		r.quiet = time.Time{}
		return lookEvery
	}
	allocated := r.memory.Allocated()
	if r.quiet.IsZero() || allocated-r.allocated > held/8 {
		r.quiet, r.allocated = now, allocated
		return lookEvery
	}
	if now.Sub(r.quiet) < releaseQuiet || now.Before(r.next) {
		return lookEvery
	}
	r.next = now.Add(max(releasePause, releaseCost*r.memory.Release()))
	r.left, r.quiet = r.memory.Held(), time.Time{}
	log.Debug().Int64("before_bytes", held).Int64("held_bytes", r.left).Msg("memory given back")
	return lookEvery
}

// runtimeMemory is the memory of the Go runtime.
type runtimeMemory struct{ samples [3]metrics.Sample }

func newRuntimeMemory() *runtimeMemory {
	return &runtimeMemory{[3]metrics.Sample{
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}, {Name: "/gc/heap/allocs:bytes"}}}
}

func (m *runtimeMemory) read(i int) int64 {
	s := m.samples[i : i+1]
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return int64(s[0].Value.Uint64())
}

// Held implements memoryHeld.
func (m *runtimeMemory) Held() int64 { return m.read(0) - m.read(1) }

// Allocated implements memoryHeld.
func (m *runtimeMemory) Allocated() int64 { return m.read(2) }

// Release implements memoryHeld.
func (m *runtimeMemory) Release() time.Duration {
	began := time.Now()
	debug.FreeOSMemory()
	return time.Since(began)
}
