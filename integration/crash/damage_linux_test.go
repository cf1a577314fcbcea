package crash

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// usedFiles are the files of a broker's store that match, oldest first.
func usedFiles(t *testing.T, p *process, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.data, "store", pattern))
	must(t, err)
	if len(files) == 0 {
		t.Fatalf("there is no %s in the store", pattern)
	}
	return files
}

// used is where the zeros at the end of a file begin: logs are made larger than they are.
func used(t *testing.T, name string) int64 {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	return int64(len(bytes.TrimRight(b, "\x00")))
}

// tear zeroes the last n bytes that a log has.
func tear(t *testing.T, name string, n int64) {
	t.Helper()
	end := used(t, name)
	from := max(0, end-n)
	overwrite(t, name, from, make([]byte, end-from))
}

func overwrite(t *testing.T, name string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt(b, at)
	must(t, err)
}

func flipBit(t *testing.T, name string, at int64, bit int) {
	t.Helper()
	f, err := os.Open(name)
	must(t, err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	must(t, err)
	overwrite(t, name, at, []byte{b[0] ^ 1<<bit})
}

// TestDamagedFiles holds P11, rows E12 to E15: whatever is done to the files of a dead broker,
// the next start serves or explains, and nothing damaged is served.
func TestDamagedFiles(t *testing.T) {
	tab := newTable(t)
	random := rand.New(rand.NewPCG(max(*seedFlag, 1), 12))

	// Messages of three lives, so that there are tables, logs and a value log; the first two
	// ended well, the last did not.
	original := tab.process(t)
	w := newWitness()
	for life := range 3 {
		start(t, original)
		c, err := w.connect(original.url())
		must(t, err)
		for range 50 {
			must(t, c.publish(1, time.Minute))
		}
		must(t, c.publish(200, time.Minute))
		c.close()
		if life < 2 {
			_, err = original.terminate()
			must(t, err)
		} else {
			must(t, original.kill())
		}
	}

	// twice starts two times: what was told once is not forgotten.
	twice := func(t *testing.T, p *process, damage func(t *testing.T, p *process)) (outcome string) {
		copyData(t, original.data, p.data)
		damage(t, p)
		outcome = startsOrExplains(t, p, w)
		if again := startsOrExplains(t, p, w); again != outcome {
			outcome += "; at the next start: " + again
		}
		return outcome
	}
	row := func(name, done string, damage func(t *testing.T, p *process)) {
		tab.row(name, done, func(t *testing.T, p *process) string { return twice(t, p, damage) })
	}
	// Without a file there is no start, and it is named (E15).
	refused := func(name, done, file string, damage func(t *testing.T, p *process)) {
		tab.row(name, done, func(t *testing.T, p *process) string {
			outcome := twice(t, p, damage)
			if !strings.HasPrefix(outcome, "refused") || !strings.Contains(outcome, file) || strings.Contains(outcome, "next start") {
				t.Errorf("got %s, want it refused for want of a %s, both times", outcome, file)
			}
			return outcome
		})
	}
	row("E12", "nothing", func(*testing.T, *process) {})

	flips := max(3, *roundsFlag)
	for _, kind := range []string{"*.mem", "*.vlog", "*.sst", "MANIFEST", "KEYREGISTRY", "DISCARD", "store.seq", "store.lock"} {
		tab.row("E12", fmt.Sprintf("a bit flipped in %s, %d times", kind, flips), func(t *testing.T, _ *process) string {
			var outcomes []string
			for n := range flips {
				p := tab.process(t)
				copyData(t, original.data, p.data)
				name := newest(t, p, kind)
				end := max(1, used(t, name))
				at := random.Int64N(end)
				if n == 0 {
					at = 0 // the first octet is always among them
				}
				flipBit(t, name, at, random.IntN(8))
				outcome := fmt.Sprintf("%s at %d: %s", filepath.Base(name), at, startsOrExplains(t, p, w))
				t.Log(outcome)
				outcomes = append(outcomes, outcome)
			}
			return summary(outcomes)
		})
	}

	for _, n := range []int64{1, 100, 4096} {
		row("E13", fmt.Sprintf("the newest log of a memtable cut by %d bytes", n), func(t *testing.T, p *process) {
			name := newest(t, p, "*.mem")
			must(t, os.Truncate(name, max(0, used(t, name)-n)))
		})
		row("E13", fmt.Sprintf("the last %d bytes of that log zeroed", n), func(t *testing.T, p *process) {
			tear(t, newest(t, p, "*.mem"), n)
		})
		row("E13", fmt.Sprintf("the newest value log cut by %d bytes", n), func(t *testing.T, p *process) {
			name := newest(t, p, "*.vlog")
			must(t, os.Truncate(name, max(0, used(t, name)-n)))
		})
		row("E13", fmt.Sprintf("the last %d bytes of that value log zeroed", n), func(t *testing.T, p *process) {
			tear(t, newest(t, p, "*.vlog"), n)
		})
	}
	for _, kind := range []string{"*.mem", "*.vlog", "*.sst", "MANIFEST"} {
		row("E14", "4096 bytes in the middle of "+kind+" zeroed", func(t *testing.T, p *process) {
			name := newest(t, p, kind)
			end := used(t, name)
			overwrite(t, name, end/2, make([]byte, min(4096, end-end/2)))
		})
		row("E14", kind+" cut in half", func(t *testing.T, p *process) {
			name := newest(t, p, kind)
			must(t, os.Truncate(name, used(t, name)/2))
		})
		row("E14", kind+" cut to nothing", func(t *testing.T, p *process) {
			must(t, os.Truncate(newest(t, p, kind), 0))
		})
	}
	for _, kind := range []string{"*.mem", "*.vlog", "*.sst", "MANIFEST"} {
		file := strings.TrimPrefix(kind, "*")
		if kind == "*.mem" {
			file = "group" // the log of what came last is not missed by its name
		}
		refused("E15", "the newest "+kind+" deleted", file, func(t *testing.T, p *process) { must(t, os.Remove(newest(t, p, kind))) })
	}
	for _, kind := range []string{"KEYREGISTRY", "DISCARD", "store.seq", "store.lock"} {
		row("E15", "the newest "+kind+" deleted", func(t *testing.T, p *process) { must(t, os.Remove(newest(t, p, kind))) })
	}
	row("E15", "the oldest *.sst deleted", func(t *testing.T, p *process) { must(t, os.Remove(usedFiles(t, p, "*.sst")[0])) })
	refused("E15", "the oldest *.vlog deleted", ".vlog", func(t *testing.T, p *process) { must(t, os.Remove(usedFiles(t, p, "*.vlog")[0])) })
	refused("E15", "all *.mem deleted", "group", func(t *testing.T, p *process) {
		for _, name := range usedFiles(t, p, "*.mem") {
			must(t, os.Remove(name))
		}
	})
	refused("E15", "everything but store.seq deleted", "group", func(t *testing.T, p *process) {
		for _, name := range usedFiles(t, p, "*") {
			if filepath.Base(name) != "store.seq" {
				must(t, os.Remove(name))
			}
		}
	})
}

func newest(t *testing.T, p *process, kind string) string {
	t.Helper()
	files := usedFiles(t, p, kind)
	return files[len(files)-1]
}

// summary is each outcome once, without its place.
func summary(outcomes []string) string {
	var kinds []string
	for _, o := range outcomes {
		_, kind, _ := strings.Cut(o, ": ")
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return strings.Join(kinds, " | ")
}
