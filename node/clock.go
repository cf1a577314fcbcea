package node

import (
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"
)

// clock is the time of a node: the wall clock when the node was made, and what has passed
// since. Messages expire after a time and not at one, so a wall clock that is set while the
// node runs makes none expire, and keeps none (E21). Deadlines that are on disk are taken by
// the wall clock again at the next start.
type clock struct {
	start time.Time
	wall  func() time.Time // what the system says; time.Now but in tests

	off time.Duration // how far the wall clock was ahead when it was last looked at
}

func newClock() *clock { return &clock{start: time.Now(), wall: time.Now} }

// now is the time by which everything is decided. It may be called from any goroutine.
func (k *clock) now() time.Time { return k.start.Add(time.Since(k.start)) }

// clockJump is by how much the wall clock may be set without a word. Less than that is how
// clocks are put right every day.
const clockJump = 10 * time.Second

// look tells when the wall clock was set.
func (k *clock) look(now time.Time, log zerolog.Logger) (again time.Duration) {
	off := k.wall().Round(0).Sub(now.Round(0)) // without what is monotonic
	if by := off - k.off; by > clockJump || by < -clockJump {
		k.off = off
		log.Warn().Dur("by_ms", by).Dur("ahead_ms", off).
			Msg("THE WALL CLOCK WAS SET, or the machine slept: deadlines of messages and queues are not moved by it until the next start")
	}
	return lookEvery
}

// longStop is how long a store may not have been written for its deadlines to pass without a
// word.
const longStop = time.Hour

// compare tells when the wall clock and the store in dir do not agree: deadlines on disk are
// moments of the wall clock. It is called before the store is opened, which writes.
func (k *clock) compare(dir string, log zerolog.Logger) {
	last, file := written(dir)
	if last.IsZero() {
		return
	}
	switch since := k.start.Round(0).Sub(last); {
	case since < -clockJump:
		log.Warn().Time("written", last).Str("file", file).Dur("behind_ms", -since).
			Msg("THE WALL CLOCK IS BEHIND the store: what was to expire does so that much later")
	case since > longStop:
		log.Warn().Time("written", last).Dur("ago_ms", since).
			Msg("the store has not been written for long: messages and queues whose time has passed meanwhile expire now")
	}
}

// written is when a file of dir was written last, and which; zero when there is none.
func written(dir string) (last time.Time, file string) {
	all, err := os.ReadDir(dir)
	if err != nil {
		return last, "" // there is none yet; if it is something else, opening it says so
	}
	for _, e := range all {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && info.ModTime().After(last) {
			last, file = info.ModTime(), filepath.Join(dir, e.Name())
		}
	}
	return last, file
}
