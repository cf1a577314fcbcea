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
	lookSoonest = 100 * time.Millisecond
	// fillRate is how many bytes a second a disk is taken to be filled with at most.
	fillRate = 1 << 30
	// slowCommit is how long a commit may take before it is an alarm (E7).
	slowCommit = 10 * time.Second
)

// watch raises alarms while disk or memory run short or the disk does not answer, and clears
// them. Nothing else does.
type watch struct {
	set func(broker.Alarm, bool)
	log zerolog.Logger

	disk   *diskWatch // nil without a disk to watch
	memory *memoryWatch

	stop    chan struct{}
	looking sync.WaitGroup
}

// start looks for the first time before it returns.
func (w *watch) start() {
	w.stop = make(chan struct{})
	if d := w.disk; d != nil {
		w.repeat(func(now time.Time) time.Duration { return d.look(now, w.set, w.log) })
	}
	if m := w.memory; m != nil {
		w.repeat(func(now time.Time) time.Duration { return m.look(now, w.set, w.log) })
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

// place is the disk of the store, as the watch needs it.
type place interface {
	Space() (persistence.Space, error)
	// Committing is since when a commit is under way, zero when none is.
	Committing() time.Time
	// Check stops the store when its directory is gone.
	Check()
	// RestoreBallast makes the ballast if keep bytes are free beside it.
	RestoreBallast(keep int64) (made bool, err error)
}

// diskWatch watches the room on the disk, and the commit under way.
type diskWatch struct {
	place place
	limit int64 // bytes

	low, slow bool // the alarms that are on
	blind     bool // the room could not be told the last time
	bare      bool // the ballast could not be made the last time
}

// freeLimit is the limit that is configured, or a tenth of the disk and no more than 1 GiB.
func freeLimit(configured config.Size, total int64) int64 {
	if configured > 0 {
		return int64(configured)
	}
	return min(int64(config.GiB), total/10)
}

// release is where the alarm ends: a little above the limit, so that it does not come and go.
func (d *diskWatch) release() int64 { return d.limit + d.limit/10 }

func (d *diskWatch) look(now time.Time, set func(broker.Alarm, bool), log zerolog.Logger) (again time.Duration) {
	d.place.Check()
	d.lookAtCommit(now, set, log)
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
	if !d.low {
		d.restoreBallast(log)
	}
	return d.pause(space.Free)
}

// pause is shorter the sooner the disk could be at its limit.
func (d *diskWatch) pause(free int64) time.Duration {
	soonest := time.Duration(max(0, free-d.limit)) * time.Second / fillRate
	return min(lookEvery, max(lookSoonest, soonest))
}

// lookAtCommit sees whether the disk answers.
func (d *diskWatch) lookAtCommit(now time.Time, set func(broker.Alarm, bool), log zerolog.Logger) {
	began := d.place.Committing()
	took := now.Sub(began)
	switch slow := !began.IsZero() && took >= slowCommit; {
	case slow && !d.slow:
		log.Warn().Dur("took", took).Msg("SLOW DISK: a commit does not come to an end, and confirms wait for it")
		set(broker.SlowDiskAlarm, true)
		d.slow = true
	case !slow && d.slow:
		log.Info().Msg("slow disk: the commit has come to its end")
		set(broker.SlowDiskAlarm, false)
		d.slow = false
	}
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

// Committing implements place.
func (p storePlace) Committing() time.Time { return p.Stats().Committing }

// Check implements place.
func (p storePlace) Check() { p.CheckPlace() }

// watchFor is the watch of a node whose store is in dir, or in memory when dir is empty.
func (n *Node) watchFor(c config.Config, dir string) error {
	n.watch = &watch{set: n.broker.SetAlarm, log: n.log}
	if limit := memoryLimit(c.MemoryLimit, Memory()); limit > 0 {
		n.watch.memory = &memoryWatch{limit: limit, gauge: new(heap)}
	}
	if dir == "" {
		return nil
	}
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
