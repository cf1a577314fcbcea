package node

import (
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/persistence"
)

const (
	// lookEvery is how often what may run short is looked at.
	lookEvery = time.Second
	// lookSoonest is how often while the disk is close to its limit.
	lookSoonest = 10 * time.Millisecond
	// fillRate is how many bytes a second a disk is taken to be filled with at most.
	fillRate = 1 << 30
	// leastFree is what the store needs to work when publishers have been stopped: what they
	// have sent before, its logs, and a compaction that gives room back.
	leastFree = 64 << 20
	// slowCommit is how long a commit may take before it is an alarm (E7).
	slowCommit = 10 * time.Second
)

// watch raises alarms while disk or memory run short or the disk does not answer, and clears
// them. Nothing else does.
type watch struct {
	set func(broker.Alarm, bool)
	log zerolog.Logger

	disk   *diskWatch   // nil without a disk to watch, and so is commit
	commit *commitWatch // on a goroutine of its own: a disk that hangs holds up who looks at it
	memory *memoryWatch // nil when it is not known how much there is
	clock  *clock       // the wall clock; nil in tests of the others

	release *releaser // nil when memory is not given back

	stop    chan struct{}
	looking sync.WaitGroup
}

// start looks for the first time before it returns.
func (w *watch) start() {
	w.stop = make(chan struct{})
	if d := w.disk; d != nil {
		w.repeat(func(now time.Time) time.Duration { return d.look(now, w.set, w.log) })
	}
	if k := w.commit; k != nil {
		w.repeat(func(now time.Time) time.Duration { return k.look(now, w.set, w.log) })
	}
	if k := w.clock; k != nil {
		w.repeat(func(time.Time) time.Duration { return k.look(k.now(), w.log) })
	}
	if m := w.memory; m != nil {
		m.asked = make(chan struct{}, 1)
		w.looking.Go(func() { m.collect(w.stop) })
		w.repeat(func(now time.Time) time.Duration { return m.look(now, w.set, w.log) })
	}
	if r := w.release; r != nil {
		w.repeat(func(now time.Time) time.Duration { return r.look(now, w.log) })
	}
}

// repeat calls look now, and then again as long after as it says.
func (w *watch) repeat(look func(now time.Time) time.Duration) {
	timer := time.NewTimer(look(time.Now()))
	w.looking.Go(func() {
		defer timer.Stop()
		for {
			select {
			case <-timer.C:
				timer.Reset(look(time.Now()))
			case <-w.stop:
				return
			}
		}
	})
}

// close ends the watch. Alarms stay as they are.
func (w *watch) close() {
	if w.stop != nil {
		close(w.stop)
		w.looking.Wait()
	}
}

// diskLimit and memoryLimit are what is watched for, 0 when it is not.
func (w *watch) diskLimit() int64 {
	if w.disk == nil {
		return 0
	}
	return w.disk.limit
}

func (w *watch) memoryLimit() int64 {
	if w.memory == nil {
		return 0
	}
	return w.memory.limit
}

// place is the disk of the store, as the watch needs it.
type place interface {
	Space() (persistence.Space, error)
	// Check stops the store when its directory is gone.
	Check()
	// Reclaim has room given back that is taken up by nothing.
	Reclaim()
	// RestoreBallast makes the ballast if keep bytes are free beside it.
	RestoreBallast(keep int64) (made bool, err error)
}

// diskWatch watches the room on the disk.
type diskWatch struct {
	place place
	limit int64 // bytes

	low   bool // the alarm is on
	blind bool // the room could not be told the last time
	bare  bool // the ballast could not be made the last time
}

// freeLimit is the limit that is configured, or 1 GiB, or a tenth of a smaller disk. A disk
// that is very small needs more than its tenth.
func freeLimit(configured config.Size, total int64) int64 {
	if configured > 0 {
		return int64(configured)
	}
	return min(int64(config.GiB), max(total/10, min(leastFree, total/2)))
}

// release is where the alarm ends: a little above the limit, so that it does not come and go.
func (d *diskWatch) release() int64 { return d.limit + d.limit/10 }

func (d *diskWatch) look(_ time.Time, set func(broker.Alarm, bool), log zerolog.Logger) (again time.Duration) {
	d.place.Check()
	space, err := d.place.Space()
	if err != nil {
		if !d.blind {
			log.Error().Err(err).Msg("cannot tell how much room is left on the disk")
		}
		d.blind = true
		return lookEvery
	}
	d.blind = false
	switch {
	case !d.low && space.Free < d.limit:
		d.low = true
		log.Warn().Int64("free_bytes", space.Free).Int64("limit_bytes", d.limit).Int64("until_bytes", d.release()).
			Msg("DISK ALARM: too little room is left, publishers are stopped until there is more")
		set(broker.DiskAlarm, true)
	case d.low && space.Free >= d.release():
		d.low = false
		log.Info().Int64("free_bytes", space.Free).Int64("limit_bytes", d.limit).
			Msg("disk alarm cleared: there is room again, publishers go on")
		set(broker.DiskAlarm, false)
	}
	if d.low {
		d.place.Reclaim()
	} else {
		d.restoreBallast(log)
	}
	return d.pause(space.Free)
}

// pause is shorter the sooner the disk could be at its limit.
func (d *diskWatch) pause(free int64) time.Duration {
	if d.low {
		return lookEvery
	}
	left := min(max(0, free-d.limit), fillRate)
	return max(lookSoonest, time.Duration(left)*lookEvery/fillRate)
}

// commitWatch watches the commit under way.
type commitWatch struct {
	committing func() time.Time // since when one is, zero when none is
	slow       bool             // the alarm is on
}

func (k *commitWatch) look(now time.Time, set func(broker.Alarm, bool), log zerolog.Logger) time.Duration {
	began := k.committing()
	took := now.Sub(began)
	switch slow := !began.IsZero() && took >= slowCommit; {
	case slow && !k.slow:
		k.slow = true
		log.Warn().Dur("took", took).Msg("SLOW DISK: a commit does not come to an end, and confirms wait for it")
		set(broker.SlowDiskAlarm, true)
	case !slow && k.slow:
		k.slow = false
		log.Info().Msg("slow disk: the commit has come to its end")
		set(broker.SlowDiskAlarm, false)
	}
	return lookEvery
}

// restoreBallast makes the ballast again where that does not bring the alarm near.
func (d *diskWatch) restoreBallast(log zerolog.Logger) {
	made, err := d.place.RestoreBallast(d.release())
	if made {
		log.Info().Msg("ballast set aside, to be able to start on a full disk")
	}
	if err != nil && !d.bare {
		log.Warn().Err(err).Msg("there is no ballast: on a full disk the broker will not start")
	}
	d.bare = err != nil
}

// storePlace is the place of a store on disk.
type storePlace struct {
	*persistence.Store
	dir string
}

// Space implements place.
func (p storePlace) Space() (persistence.Space, error) { return persistence.SpaceOf(p.dir) }

// Check implements place.
func (p storePlace) Check() { p.CheckPlace() }

// watchFor is the watch of a node whose store is in dir, or in memory when dir is empty.
func (n *Node) watchFor(c config.Config, dir string) error {
	memory := newRuntimeMemory()
	n.watch = &watch{set: n.setAlarm, log: n.log, clock: n.clock, release: &releaser{memory: memory, left: memory.Held()}}
	if limit := memoryLimit(c.MemoryLimit, Memory()); limit > 0 {
		n.watch.memory = &memoryWatch{limit: limit, exhausted: exhaustion(limit, Memory()), gauge: new(heap), press: n.broker.SetPressure, relax: n.relax}
	}
	if dir == "" {
		return nil
	}
	n.watch.commit = &commitWatch{committing: func() time.Time { return n.store.Stats().Committing }}
	place := storePlace{n.store, dir}
	space, err := place.Space()
	switch {
	case err == nil:
		n.watch.disk = &diskWatch{place: place, limit: freeLimit(c.DiskFreeLimit, space.Total)}
	case errors.Is(err, errors.ErrUnsupported):
		n.log.Warn().Msg("the room on the disk cannot be told on this system, and is not watched")
	default:
		return err
	}
	return nil
}
