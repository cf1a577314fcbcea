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
	// Collections counts them. Collect is one.
	Collections() uint64
	Collect()
}

// memoryWatch watches the memory in use.
type memoryWatch struct {
	gauge gauge
	limit int64 // bytes

	low       bool // the alarm is on
	seen      uint64
	collected time.Time // when seen was new
}

// collectAge is how old a collection may be to be believed.
const collectAge = 2 * time.Second

func (m *memoryWatch) look(now time.Time, set func(broker.Alarm, bool), log zerolog.Logger) time.Duration {
	used := m.used(now)
	// A twentieth below, so that the alarm does not come and go.
	switch release := m.limit - m.limit/20; {
	case !m.low && used >= m.limit:
		m.low = true
		log.Warn().Int64("used_bytes", used).Int64("limit_bytes", m.limit).
			Msg("MEMORY ALARM: too much memory is in use, publishers are stopped until it is less")
		set(broker.MemoryAlarm, true)
	case m.low && used < release:
		m.low = false
		log.Info().Int64("used_bytes", used).Int64("limit_bytes", m.limit).
			Msg("memory alarm cleared: less memory is in use, publishers go on")
		set(broker.MemoryAlarm, false)
	}
	return lookEvery
}

// used is the memory in use. Garbage is not, but while there is enough of everything nobody
// needs to know how much of it is garbage.
func (m *memoryWatch) used(now time.Time) int64 {
	used := m.gauge.Used()
	if n := m.gauge.Collections(); n != m.seen {
		m.seen, m.collected = n, now
	}
	if used < m.limit && !m.low {
		return used
	}
	if now.Sub(m.collected) >= collectAge {
		m.gauge.Collect()
		m.seen, m.collected = m.gauge.Collections(), now
	}
	return min(used, m.gauge.Live())
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
func (h *heap) Collect() { runtime.GC() }
