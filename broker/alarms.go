package broker

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Alarm is something the node is short of. Who watches for it is outside; the broker knows
// which alarms are on, and holds publishers back while one of them says so (RES-1).
type Alarm uint8

// The alarms there are. A slow disk holds nobody back: confirms wait for it anyway. When
// memory is exhausted, which it is beyond the memory alarm, nothing new is made: what is
// held by those who do not publish would end the process otherwise (E18). Few descriptors
// keep newcomers out by themselves.
const (
	MemoryAlarm Alarm = iota
	DiskAlarm
	SlowDiskAlarm
	ExhaustionAlarm
	DescriptorAlarm
	alarmCount
)

// String is how an alarm is called in logs.
func (a Alarm) String() string {
	return [...]string{"memory", "disk", "slow disk", "memory exhausted", "file descriptors"}[a]
}

// Alarms is a set of alarms.
type Alarms uint8

// Has reports whether a is on.
func (s Alarms) Has(a Alarm) bool { return s&(1<<a) != 0 }

// Refuse reports whether nothing new is to be made.
func (s Alarms) Refuse() bool { return s.Has(ExhaustionAlarm) }

// Block reports whether publishers are held back.
func (s Alarms) Block() bool { return s&(1<<MemoryAlarm|1<<DiskAlarm) != 0 }

// Reason is what connection.blocked gives as the reason (C-34); it is empty when nobody is
// held back.
func (s Alarms) Reason() string {
	var low []string
	if s.Has(DiskAlarm) {
		low = append(low, "disk")
	}
	if s.Has(MemoryAlarm) {
		low = append(low, "memory")
	}
	if len(low) == 0 {
		return ""
	}
	return "low on " + strings.Join(low, " & ")
}

// All are the alarms of the set.
func (s Alarms) All() []Alarm {
	var all []Alarm
	for a := range alarmCount {
		if s.Has(a) {
			all = append(all, a)
		}
	}
	return all
}

// Blocked is a publisher that is held back. It is comparable.
type Blocked interface {
	// Unblocked is called once no alarm holds publishers back any more. It must not block
	// and may come from any goroutine.
	Unblocked()
}

// alarms are those that are on, and who waits for them to end. The zero value is empty.
type alarms struct {
	on atomic.Uint32 // the set; changed under mu

	mu      sync.Mutex // guards the fields below
	blocked map[Blocked]uint64
	ever    uint64
}

// Alarms are those that are on. Reading them takes no lock: it is done for each message.
func (b *Broker) Alarms() Alarms { return Alarms(b.alarms.on.Load()) }

// SetAlarm raises or clears an alarm. When it was the last that held publishers back, those
// who wait for that are told.
func (b *Broker) SetAlarm(a Alarm, on bool) {
	r := &b.alarms
	r.mu.Lock()
	before := Alarms(r.on.Load())
	after := before &^ (1 << a)
	if on {
		after |= 1 << a
	}
	r.on.Store(uint32(after))
	var relieved map[Blocked]uint64
	if before.Block() && !after.Block() {
		relieved, r.blocked = r.blocked, nil
	}
	r.mu.Unlock()
	inOrder := slices.SortedFunc(maps.Keys(relieved), func(x, y Blocked) int { return cmp.Compare(relieved[x], relieved[y]) })
	for _, p := range inOrder {
		p.Unblocked()
	}
}

// Block returns why p, who has published, is held back, or nothing if it is not. If it is,
// p is told when that is over, unless it is gone by then (Unblock).
func (b *Broker) Block(p Blocked) (reason string) {
	r := &b.alarms
	r.mu.Lock()
	defer r.mu.Unlock()
	on := b.Alarms()
	if !on.Block() {
		return ""
	}
	if r.blocked == nil {
		r.blocked = make(map[Blocked]uint64)
	}
	if _, known := r.blocked[p]; !known {
		r.ever++
		r.blocked[p] = r.ever
	}
	return on.Reason()
}

// Unblock forgets a publisher that is gone. Of one that is not held back it does nothing.
func (b *Broker) Unblock(p Blocked) {
	r := &b.alarms
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.blocked, p)
}
