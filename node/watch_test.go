package node

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/persistence"
)

// scene is a disk and a memory that a test moves, and the alarms that follow.
type scene struct {
	t     *testing.T
	start time.Time

	// mu guards the fields below. The test holds it, except while it lets others look.
	mu    sync.Mutex
	log   bytes.Buffer
	heard []string

	free        int64
	err         error // of asking for the room
	kept        []int64
	made        bool // the ballast is there
	ballastErr  error
	checks      int
	reclaims    int
	committing  time.Time
	heap, live  int64
	collections uint64
	collects    int
}

func (s *scene) Space() (persistence.Space, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return persistence.Space{Free: s.free, Total: 100_000}, s.err
}

func (s *scene) Check()   { s.count(&s.checks) }
func (s *scene) Reclaim() { s.count(&s.reclaims) }

func (s *scene) count(n *int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*n++
}

func (s *scene) RestoreBallast(keep int64) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, keep)
	if s.made || s.ballastErr != nil {
		return false, s.ballastErr
	}
	s.made = true
	return true, nil
}

func get[T any](s *scene, v *T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *v
}

func (s *scene) Used() int64         { return get(s, &s.heap) }
func (s *scene) Live() int64         { return get(s, &s.live) }
func (s *scene) Collections() uint64 { return get(s, &s.collections) }

func (s *scene) Collect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.collections++
	s.collects++
	s.heap = s.live
}

// watch watches a disk and a memory with a limit of 1000 each.
func (s *scene) watch() *watch {
	return &watch{
		set: func(a broker.Alarm, on bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.heard = append(s.heard, fmt.Sprintf("%v %v %v", time.Since(s.start), a, on))
		},
		log:    zerolog.New(s),
		disk:   &diskWatch{place: s, limit: 1000},
		commit: &commitWatch{committing: func() time.Time { return get(s, &s.committing) }},
		memory: &memoryWatch{gauge: s, limit: 1000},
	}
}

// Write is what is logged.
func (s *scene) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(line)
}

// aside lets others look while f is done.
func (s *scene) aside(f func()) {
	s.mu.Unlock()
	defer s.mu.Lock()
	f()
}

// after is the scene d later, when everybody has looked.
func (s *scene) after(d time.Duration) *scene {
	s.aside(func() {
		time.Sleep(d)
		synctest.Wait()
	})
	return s
}

func (s *scene) want(heard ...string) {
	s.t.Helper()
	if !slices.Equal(s.heard, heard) {
		s.t.Errorf("got %q, want %q", s.heard, heard)
	}
	s.heard = nil
}

func inScene(t *testing.T, f func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &scene{t: t, start: time.Now(), free: 1 << 40}
		s.mu.Lock()
		defer s.mu.Unlock()
		f(s)
	})
}

func TestDiskAlarmComesBelowTheLimitAndGoesATenthAbove(t *testing.T) { // RES-1
	inScene(t, func(s *scene) {
		s.free = 999 // from the beginning: before anybody can publish
		w := s.watch()
		s.aside(w.start)
		s.want("0s disk true")
		s.free = 1099
		s.after(5 * time.Second).want()
		if s.reclaims != 6 || len(s.kept) > 0 {
			t.Errorf("got %d times room asked for and ballast %v, want each second and none", s.reclaims, s.kept)
		}
		s.free = 1100
		s.after(time.Second).want("6s disk false")
		s.free = 1000
		s.after(time.Second).want()
		s.free = 0
		s.after(time.Second).want("7.01s disk true")
		if log := s.log.String(); !strings.Contains(log, `"level":"warn","free_bytes":0,"limit_bytes":1000`) ||
			!strings.Contains(log, `"level":"info","free_bytes":1100,"limit_bytes":1000`) {
			t.Errorf("got no figures in\n%s", log)
		}
		if s.kept[0] != 1100 {
			t.Errorf("got a ballast that keeps %v, want the room where an alarm ends", s.kept)
		}
		s.aside(w.close)
	})
}

// TestDiskIsLookedAtMoreOftenTheCloserItIs to its limit, so that what is written in between
// stays below what the limit keeps.
func TestDiskIsLookedAtMoreOftenTheCloserItIs(t *testing.T) {
	d := diskWatch{limit: 100 << 20}
	f := func(free int64, want time.Duration) {
		t.Helper()
		if got := d.pause(free); got != want {
			t.Errorf("got %v with %d free, want %v", got, free, want)
		}
	}
	f(100<<30, time.Second)
	f(100<<20+1<<30, time.Second)
	f(100<<20+256<<20, 250*time.Millisecond)
	f(100<<20+16<<20, 15625*time.Microsecond)
	f(100<<20+1, 10*time.Millisecond)
	f(100<<20, 10*time.Millisecond)
	d.low = true
	f(1<<20, time.Second)
}

func TestDiskThatCannotBeAskedIsToldOnce(t *testing.T) {
	inScene(t, func(s *scene) {
		w := s.watch()
		s.free, s.err = 0, errors.New("statfs: input/output error")
		s.aside(w.start)
		s.after(3 * time.Second).want()
		if n := strings.Count(s.log.String(), "input/output error"); n != 1 {
			t.Errorf("got %d lines, want 1", n)
		}
		s.err = nil
		s.after(time.Second).want("4s disk true")
		if s.checks != 5 {
			t.Errorf("got %d looks at the directory, want one each second", s.checks)
		}
		s.aside(w.close)
	})
}

func TestBallastThatCannotBeMadeIsToldOnce(t *testing.T) {
	inScene(t, func(s *scene) {
		w := s.watch()
		s.ballastErr = errors.New("fallocate: no quota")
		s.aside(w.start)
		s.after(3 * time.Second)
		s.ballastErr = nil
		s.after(3 * time.Second)
		if log := s.log.String(); strings.Count(log, "no quota") != 1 || strings.Count(log, "ballast set aside") != 1 {
			t.Errorf("got\n%s", log)
		}
		s.aside(w.close)
	})
}

func TestCommitThatTakesTenSecondsIsAnAlarm(t *testing.T) { // E7
	inScene(t, func(s *scene) {
		w := s.watch()
		s.aside(w.start)
		s.after(500 * time.Millisecond)
		s.committing = time.Now()
		s.after(10 * time.Second).want()
		s.after(time.Second).want("11s slow disk true")
		s.after(time.Hour).want()
		s.committing = time.Now().Add(-time.Second) // another one
		s.after(time.Second).want("1h0m12s slow disk false")
		s.committing = time.Time{}
		s.after(time.Minute).want()
		s.aside(w.close)
	})
}

func TestMemoryAlarmIsAboutWhatIsNotGarbage(t *testing.T) { // RES-1
	inScene(t, func(s *scene) {
		w := s.watch()
		s.heap, s.live = 999, 10
		s.aside(w.start)
		s.after(10 * time.Second).want()
		if s.collects != 0 {
			t.Errorf("got %d collections while there is enough, want none", s.collects)
		}
		s.heap, s.live = 5000, 949 // garbage
		s.after(time.Second).want()
		s.heap = 5000
		s.after(time.Second).want()
		if s.collects != 1 {
			t.Errorf("got %d collections, want one in two seconds", s.collects)
		}
		s.heap, s.live = 1000, 1000
		s.after(time.Second).want("13s memory true")
		s.heap, s.live = 951, 950
		s.after(10 * time.Second).want()
		s.heap, s.live = 951, 949
		s.after(10 * time.Second).want("24s memory false")
		if log := s.log.String(); !strings.Contains(log, `"level":"warn","used_bytes":1000,"limit_bytes":1000`) ||
			!strings.Contains(log, `"level":"info","used_bytes":949`) {
			t.Errorf("got no figures in\n%s", log)
		}
		s.aside(w.close)
	})
}

func TestLimitsThatAreNotConfigured(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	f := func(configured config.Size, total, want int64) {
		t.Helper()
		if got := freeLimit(configured, total); got != want {
			t.Errorf("got %d for %d of %d, want %d", got, configured, total, want)
		}
	}
	f(0, 1000*gib, gib)
	f(0, 10*gib, gib)
	f(0, 5*gib, gib/2)
	f(0, 640*mib, 64*mib)
	f(0, 256*mib, 64*mib)
	f(0, 32*mib, 16*mib)
	f(50e6, 1000*gib, 50e6)
	f(20*config.GiB, 10*gib, 20*gib)

	if got := memoryLimit(0, 10*gib); got != 6*gib {
		t.Errorf("got %d, want six tenths", got)
	}
	if got := memoryLimit(config.MiB, 10*gib); got != mib {
		t.Errorf("got %d, want what is configured", got)
	}
	if got := memoryLimit(0, 0); got != 0 {
		t.Errorf("got %d of memory that is not known", got)
	}
}
