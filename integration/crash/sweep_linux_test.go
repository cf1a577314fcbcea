package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestKillAtSystemCalls holds P1, P2 and P10 over kills in the very windows that system calls
// open (E2): while syncing, making, renaming and removing files, at the start, under load and
// when logs rotate.
func TestKillAtSystemCalls(t *testing.T) {
	tab := newTable(t)
	path := needsStrace(t)
	most := max(6, *roundsFlag)
	for _, call := range []string{"msync", "fsync", "ftruncate", "renameat", "unlinkat", "pwrite64"} {
		tab.row("E2", fmt.Sprintf("killed at the n-th %s of a thread", call), func(t *testing.T, p *process) string {
			w := newWitness()
			p.env = []string{"GOMAXPROCS=1"}
			kills := 0
			// The first call twice: a new store renames files, one that was killed removes some.
			for n := 0; n <= most; n++ {
				at := max(1, n)
				if call == "msync" || call == "pwrite64" { // every commit has them
					at += n * n / 8
				}
				// Not with --seccomp-bpf, which makes strace 6.1 count only to one.
				p.wrap = []string{path, "-D", "-f", "-o", os.DevNull,
					"-e", "trace=" + call, "-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, at)}
				if untilKilled(t, p, w) {
					kills++
				}
				whole(t, p, w)
			}
			if kills == 0 {
				t.Errorf("the broker was never killed, so there is no such call")
			}
			return fmt.Sprintf("%d kills for n up to %d, %d confirmed, none lost", kills, most, len(w.confirmed))
		})
	}
}

// untilKilled publishes until the broker is killed, and tells whether it was. It is killed from
// here when it is not.
func untilKilled(t *testing.T, p *process, w *witness) bool {
	t.Helper()
	must(t, p.launch())
	late := time.Now().Add(time.Minute) // it begins to publish long before
	for p.alive() && time.Now().Before(late) {
		c, err := w.connect(p.url())
		if err != nil {
			_ = p.waitEnd(5 * time.Millisecond) // it starts, or it has ended
			continue
		}
		for n := 0; n < 120 && err == nil; n++ {
			err = c.publish(1+n%20, 30*time.Second)
		}
		c.close()
		if err == nil {
			break
		}
	}
	// A kill takes a moment to be seen.
	if p.waitEnd(100*time.Millisecond) == nil {
		if s := p.cmd.ProcessState; s.ExitCode() >= 0 {
			t.Fatalf("the broker ended by itself: %v\n%s", s, p.lastWords())
		}
		return true
	}
	must(t, p.kill())
	return false
}

// TestKillDuringRecovery holds that a recovery that does not come to its end does no harm, as
// often as it may happen (E3).
func TestKillDuringRecovery(t *testing.T) {
	tab := newTable(t)
	random := rand.New(rand.NewPCG(max(*seedFlag, 1), 3))
	const kills = 15
	done := fmt.Sprintf("killed %d times while it recovers", kills)
	recovers := func(t *testing.T, p *process, w *witness) string {
		for range kills {
			must(t, p.launch())
			<-time.After(time.Duration(random.IntN(120)) * time.Millisecond)
			must(t, p.kill())
		}
		whole(t, p, w)
		return fmt.Sprintf("%d confirmed, none lost", len(w.confirmed))
	}
	tab.row("E3", done, func(t *testing.T, p *process) string {
		w, c := startFilled(t, p, 5000)
		c.close()
		must(t, p.kill())
		return recovers(t, p, w)
	})
	tab.row("E3", done+", its logs have torn tails", func(t *testing.T, p *process) string {
		w, c := startFilled(t, p, 2000)
		c.close()
		// What comes after this was confirmed to nobody, as far as the files tell.
		sequence := filepath.Join(p.data, "store", "store.seq")
		before, err := os.ReadFile(sequence)
		must(t, err)
		known := w.confirmed
		w.confirmed = map[uint32]bool{}
		c, err = w.connect(p.url())
		must(t, err)
		must(t, c.publish(10, time.Minute))
		c.close()
		must(t, p.kill())
		w.confirmed = known
		must(t, os.WriteFile(sequence, before, 0o600))
		for _, log := range usedFiles(t, p, "*.mem") {
			tear(t, log, 50)
		}
		return recovers(t, p, w)
	})
}
