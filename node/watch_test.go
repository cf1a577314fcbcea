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
	pressed bool
	busy    time.Duration // what a collection takes
	t       *testing.T
	start   time.Time

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

func (s *scene) Collect() time.Duration {
	time.Sleep(get(s, &s.busy))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.collections++
	s.collects++
	s.heap = s.live
	return 0
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
		memory: &memoryWatch{gauge: s, limit: 1000, exhausted: 1250, press: func(on bool) { s.pressed = on }},
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
		s.heap, s.live = 749, 10
		s.aside(w.start)
		s.after(10 * time.Second).want()
		if s.collects != 0 {
			t.Errorf("got %d collections while there is enough, want none", s.collects)
		}
		s.heap, s.live = 1124, 949 // garbage
		s.after(time.Second).want()
		s.heap = 1124
		s.after(time.Second).want()
		if s.collects != 2 {
			t.Errorf("got %d collections, want one for each time that there was garbage", s.collects)
		}
		s.heap, s.live = 1000, 1000
		s.after(time.Second).want("12.01s memory true")
		s.collects = 0
		s.after(time.Second).want()
		if most := int(time.Second / collectAge); s.collects > most {
			t.Errorf("got %d collections in a second, want at most %d", s.collects, most)
		}
		s.heap, s.live = 951, 950
		s.after(10 * time.Second).want()
		s.heap, s.live = 951, 949
		s.after(10 * time.Second).want("24.01s memory false")
		if log := s.log.String(); !strings.Contains(log, `"level":"warn","used_bytes":1000,"live_bytes":1000,"limit_bytes":1000`) ||
			!strings.Contains(log, `"level":"info","used_bytes":949`) {
			t.Errorf("got no figures in\n%s", log)
		}
		s.aside(w.close)
	})
}

// TestMemoryThatGrowsThoughPublishersAreStoppedIsExhausted a quarter above the limit (E18).
func TestMemoryThatGrowsThoughPublishersAreStoppedIsExhausted(t *testing.T) {
	inScene(t, func(s *scene) {
		w := s.watch()
		s.heap, s.live = 1249, 1249
		s.aside(w.start)
		s.after(time.Second).want("0s memory true")
		s.heap, s.live = 1250, 1250
		s.after(10 * time.Millisecond).want("1.01s memory exhausted true")
		s.heap, s.live = 1188, 1188
		s.after(time.Second).want()
		s.heap, s.live = 1187, 1187
		s.after(50 * time.Millisecond).want("2.06s memory exhausted false")
		s.heap, s.live = 10, 10
		s.after(time.Second).want("2.07s memory false")
		s.aside(w.close)
	})
}

// TestSoMuchInUseIsNotWaitedFor: before anybody knows how much of it is garbage publishers are
// stopped, and go on when it is known.
func TestSoMuchInUseIsNotWaitedFor(t *testing.T) { // E18
	inScene(t, func(s *scene) {
		w := s.watch()
		var relaxed []bool
		w.memory.relax = func(on bool) { relaxed = append(relaxed, on) }
		s.heap, s.live = 700, 100
		s.aside(w.start)
		s.busy = 3020 * time.Millisecond // a collection takes as long
		s.heap = 1250
		s.after(time.Second).want("10ms memory true")
		s.heap = 1500
		s.after(time.Second).want("1.01s memory exhausted true")
		s.after(5*time.Second).want("3.06s memory false", "3.06s memory exhausted false")
		if !slices.Equal(relaxed, []bool{true, false}) {
			t.Errorf("got %v, want to be told of the alarm and its end", relaxed)
		}
		s.aside(w.close)
	})
}

// TestMemoryIsUnderPressureBeforeThereIsAnAlarm at half of the limit, going by what is not
// garbage.
func TestMemoryIsUnderPressureBeforeThereIsAnAlarm(t *testing.T) { // E18
	inScene(t, func(s *scene) {
		w := s.watch()
		f := func(heap, live int64, after time.Duration, want bool) {
			t.Helper()
			s.heap, s.live = heap, live
			if s.after(after); s.pressed != want {
				t.Errorf("got %v with %d in use and %d alive, want %v", s.pressed, heap, live, want)
			}
		}
		s.aside(w.start)
		f(749, 499, time.Second, false)
		f(749, 500, time.Second, true)
		f(749, 450, time.Second, true)
		f(749, 449, time.Second, false)
		s.want()
		s.aside(w.close)
	})
}

func TestMemoryIsExhaustedBeforeThereIsNone(t *testing.T) {
	f := func(limit, memory, want int64) {
		t.Helper()
		if got := exhaustion(limit, memory); got != want {
			t.Errorf("got %d with a limit of %d of %d, want %d", got, limit, memory, want)
		}
	}
	f(6000, 10000, 6750)
	f(9000, 10000, 9186)
	f(1, 10001, 1876) // a low limit is to stop publishers, not to keep everybody out
	f(20000, 10000, 22500)
	f(400, 0, 450)
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
