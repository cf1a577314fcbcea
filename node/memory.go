package node

import (
	"math"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/config"
)

// Memory is how many bytes of memory this process may use: what the machine has, or less when
// its control group has a limit. It is 0 where that cannot be told.
func Memory() int64 { return memoryOf("/") }

// memoryOf reads the files of Linux below root.
func memoryOf(root string) int64 {
	least := int64(math.MaxInt64)
	for _, line := range lines(filepath.Join(root, "proc/meminfo")) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			if kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64); err == nil {
				least = kib << 10
			}
		}
	}
	for _, line := range lines(filepath.Join(root, "proc/self/cgroup")) {
		// hierarchy:controllers:path, and version 2 has the hierarchy 0 without controllers.
		fields := strings.SplitN(line, ":", 3)
		if len(fields) < 3 {
			continue
		}
		mount, file := "sys/fs/cgroup", "memory.max"
		if fields[1] == "memory" {
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		} else if fields[0] != "0" {
			continue
		}
		// Every group above has a say; in a container what is above its own is not there.
		for at := path.Clean("/" + fields[2]); ; at = path.Dir(at) {
			for _, limit := range lines(filepath.Join(root, mount, at, file)) {
				if n, err := strconv.ParseInt(limit, 10, 64); err == nil && n > 0 {
					least = min(least, n)
				}
			}
			if at == "/" {
				break
			}
		}
	}
	if least == math.MaxInt64 {
		return 0
	}
	return least
}

// lines are those of a file, none when it cannot be read.
func lines(file string) []string {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// MemoryLimit is the memory in use above which publishers are stopped; 0 when it is not known.
func MemoryLimit(c config.Config) int64 { return memoryLimit(c.MemoryLimit, Memory()) }

// memoryLimit is the limit that is configured, or six tenths of the memory there is; 0 when
// that is not known.
func memoryLimit(configured config.Size, memory int64) int64 {
	if configured > 0 {
		return int64(configured)
	}
	return memory / 10 * 6
}

// gauge tells the memory that is in use.
type gauge interface {
	// Used includes garbage, Live does not: it is what the last collection has left.
	Used() int64
	Live() int64
	// Collections counts them. Collect is one, and tells how long it took.
	Collections() uint64
	Collect() time.Duration
}

// memoryWatch watches the memory in use. Above its limit publishers are stopped. What is
// beyond that is held by connections, declarations and deliveries; above exhausted nothing
// new is made, so that it ends there (E18).
type memoryWatch struct {
	gauge     gauge
	limit     int64 // bytes
	exhausted int64 // bytes, more than limit

	press func(on bool) // what is done under pressure, before there is an alarm
	relax func(on bool) // what is done while the alarm is on; may be nil

	low, out bool // the alarms are on
	pressed  bool
	seen     uint64
	newest   time.Time // when seen was new

	// A collection may take seconds on a busy machine, and nobody waits for it.
	asked chan struct{} // a collection is wanted
	cost  atomic.Int64  // nanoseconds that the last one took
}

const (
	// collectAge is how old a collection has to be for another to be asked for, if those take
	// no time: at most a tenth of the time is spent with them.
	collectAge = 250 * time.Millisecond
	// allocationRate is how many bytes a second memory is taken to be filled with at most.
	allocationRate = 1 << 30
)

// exhaustion is where memory counts as exhausted: a little of the way from the limit to what
// there is, which is an eighth above the limit where that is six tenths of it. Whoever sets a
// low limit wants publishers stopped, and nobody kept out.
func exhaustion(limit, memory int64) int64 {
	if memory <= limit {
		return limit + limit/8
	}
	return limit + (memory-limit)/16*3
}

func (m *memoryWatch) look(now time.Time, set func(broker.Alarm, bool), log zerolog.Logger) time.Duration {
	used, live := m.read(now)
	sure := min(used, live)
	// Until there was a collection nobody knows how much of what is in use is garbage. That
	// much cannot be waited for: it is taken as in use, and given back later if it was not.
	// A twentieth below, so that the alarms do not come and go.
	turn := func(on *bool, a broker.Alarm, limit, atOnce int64, raised, cleared string) (turned bool) {
		switch {
		case !*on && (sure >= limit || used >= atOnce):
			*on = true
			log.Warn().Int64("used_bytes", used).Int64("live_bytes", sure).Int64("limit_bytes", limit).Msg(raised)
		case *on && sure < limit-limit/20 && used < atOnce:
			*on = false
			log.Info().Int64("used_bytes", sure).Int64("limit_bytes", limit).Msg(cleared)
		default:
			return false
		}
		set(a, *on)
		return true
	}
	if turn(&m.low, broker.MemoryAlarm, m.limit, min(m.limit+m.limit/8, m.exhausted),
		"MEMORY ALARM: too much memory is in use, publishers are stopped until it is less",
		"memory alarm cleared: less memory is in use, publishers go on") && m.relax != nil {
		m.relax(m.low)
	}
	turn(&m.out, broker.ExhaustionAlarm, m.exhausted, m.exhausted+(m.exhausted-m.limit),
		"MEMORY EXHAUSTED: newcomers are turned away and nothing new can be declared until less is in use",
		"memory is not exhausted any more: connections and declarations are accepted")
	m.weigh(live)
	return m.pause(used)
}

// pause is shorter the sooner the next limit could be reached.
func (m *memoryWatch) pause(used int64) time.Duration {
	next := m.limit
	if m.low {
		next = m.exhausted
	}
	if m.out {
		return lookEvery / 20
	}
	left := min(max(0, next-used), allocationRate)
	return max(lookSoonest, time.Duration(left)*lookEvery/allocationRate)
}

// pressureAge is how old a collection may be to be believed when memory could be under
// pressure.
const pressureAge = 5 * time.Second

// weigh tells when half of the limit is in use, and when it is not any more. It goes by what
// the last collection has left.
func (m *memoryWatch) weigh(live int64) {
	high := m.limit / 2
	if m.pressed {
		high -= m.limit / 20
	}
	if pressed := live >= high; pressed != m.pressed {
		m.pressed = pressed
		m.press(pressed)
	}
}

// read tells what is in use, garbage included, and what the last collection has left. It asks
// for a collection when there could be too much that is not garbage.
func (m *memoryWatch) read(now time.Time) (used, live int64) {
	if n := m.gauge.Collections(); n != m.seen {
		m.seen, m.newest = n, now
	}
	used, live = m.gauge.Used(), m.gauge.Live()
	age := pressureAge
	switch {
	case m.low || used >= m.limit:
		age = collectAge
	case used < m.limit/4*3:
		return used, live
	}
	if now.Sub(m.newest) >= max(age, 9*time.Duration(m.cost.Load())) {
		select {
		case m.asked <- struct{}{}:
		default: // one is under way, and another is wanted already
		}
	}
	return used, live
}

// collect collects when asked to, until stop is closed.
func (m *memoryWatch) collect(stop <-chan struct{}) {
	for {
		select {
		case <-m.asked:
			m.cost.Store(int64(m.gauge.Collect()))
		case <-stop:
			return
		}
	}
}

// heap is what the Go runtime has in use. Files that are mapped are not in it: the system
// takes their pages back when it likes.
type heap struct{ samples [4]metrics.Sample }

func (h *heap) read(i int, name string) int64 {
	s := h.samples[i : i+1]
	s[0].Name = name
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return int64(s[0].Value.Uint64())
}

func (h *heap) stacks() int64 { return h.read(0, "/memory/classes/heap/stacks:bytes") }

// Used implements gauge.
func (h *heap) Used() int64 { return h.read(1, "/memory/classes/heap/objects:bytes") + h.stacks() }

// Live implements gauge.
func (h *heap) Live() int64 { return h.read(2, "/gc/heap/live:bytes") + h.stacks() }

// Collections implements gauge.
func (h *heap) Collections() uint64 { return uint64(h.read(3, "/gc/cycles/total:gc-cycles")) }

// Collect implements gauge.
func (h *heap) Collect() time.Duration {
	began := time.Now()
	runtime.GC()
	return time.Since(began)
}
