package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestPowerCutLoop holds P1 to P5, P9 and P10 over power cuts (E4, DUR-5): unlike a kill, they take
// what the operating system had not written yet. The file system of the broker's data is ended
// without a flush, unmounted and mounted again.
//
// A real power cut takes the processor, too. Here the broker runs on, and what clients hear
// from the moment of the cut does not count: a sync that is under way then may report success
// though nothing reached the disk. A program that did nothing but msync saw that at one cut in
// eight, and not once of a sync that had returned before.
func TestPowerCutLoop(t *testing.T) {
	l := newLoop(t)
	v := mounted(t, 2<<30)
	l.process.data = filepath.Join(v.dir, "data")
	rounds := rounds(5)
	noticed := 0
	var taken []int64 // of the volume after each power cut, in MB
	l.end = func() {
		if l.crew != nil {
			l.crew.dark.Store(true)
		}
		l.check(v.cutPower(), "power cut")
		if l.random.IntN(2) == 0 && l.notices() {
			noticed++
		}
		l.stop()
		l.check(v.unmount(), "unmount")
		l.check(v.mount(), "mount")
		bytes, err := v.taken()
		l.check(err, "look at the room")
		taken = append(taken, bytes>>20)
		if bytes > powerCutBound {
			t.Errorf("seed %d, round %d: %d MB are taken on disk, more than %d MB", l.seed, l.round, bytes>>20, int64(powerCutBound>>20))
		}
	}
	l.run(rounds)
	t.Logf("%v, %d failures noticed by the broker itself", l, noticed)
	t.Logf("MB on disk after each cut: %v, at most %d", taken, slices.Max(taken))
}

// powerCutBound is how much may be taken on the volume after a power cut: what is alive, of which
// there are a few hundred MB before a judgement, as much garbage beside it, and what passes until
// it is known to be garbage.
const powerCutBound = 1 << 30

// notices waits until the broker has found out that its disk is gone, as it must when it has
// anything to write, and reports whether it ended for that reason. It is killed otherwise.
func (l *loop) notices() bool {
	l.t.Helper()
	select {
	case <-l.process.ended:
	case <-time.After(500 * time.Millisecond):
		return false
	}
	if l.process.cmd.ProcessState.Success() {
		l.t.Errorf("seed %d, round %d: the broker ended with %v after a power cut\n%s",
			l.seed, l.round, l.process.cmd.ProcessState, l.process.lastWords())
	}
	return true
}

// mounted is a volume for the time of the test.
func mounted(t *testing.T, size int64) *volume {
	t.Helper()
	if os.Geteuid() != 0 {
		cannotRun(t, "it mounts file systems, which takes root")
	}
	dir := t.TempDir()
	v, err := newVolume(dir, size)
	if err != nil {
		if strings.Contains(err.Error(), "loop") || strings.Contains(err.Error(), "permitted") || strings.Contains(err.Error(), "not found") {
			cannotRun(t, fmt.Sprintf("there is no file system to cut the power of: %v", err))
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// skipLoudly skips a test. Nobody should think it passed.
func skipLoudly(t *testing.T, reason string) {
	t.Helper()
	fmt.Fprintf(os.Stderr, "*** %s DID NOT RUN: %s\n", t.Name(), reason)
	t.Skip(reason)
}

// cannotRun is skipLoudly for want of something that a machine of ours should have. In CI, with
// the rights to mount and to trace, it is a failure.
func cannotRun(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" && privileged() {
		t.Fatalf("it did not run: %s", reason)
	}
	skipLoudly(t, reason)
}

// privileged tells whether this process may mount file systems and trace processes: root may not
// in most containers.
func privileged() bool {
	const ptrace, admin = 19, 21 // capabilities
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(status), "CapEff:")
	effective, err := strconv.ParseUint(strings.TrimSpace(firstLine(after)), 16, 64)
	return err == nil && effective>>ptrace&1 == 1 && effective>>admin&1 == 1
}
