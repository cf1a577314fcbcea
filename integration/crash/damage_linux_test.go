package crash

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
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
	twice := func(t *testing.T, p *process, damage func(t *testing.T, p *process)) (outcome, all string) {
		copyData(t, original.data, p.data)
		damage(t, p)
		outcome = startsOrExplains(t, p, w)
		all = outcome
		if again := startsOrExplains(t, p, w); again != outcome {
			all += "; at the next start: " + again
		}
		return outcome, all
	}
	// want is how outcomes may begin; whatever is told is well where nothing is said.
	row := func(name, done string, damage func(t *testing.T, p *process), want ...string) {
		tab.row(name, done, func(t *testing.T, p *process) string {
			outcome, all := twice(t, p, damage)
			expect(t, outcome, want...)
			return all
		})
	}
	// Without a file there is no start, and it is named (E15).
	missing := func(name, done, file string, damage func(t *testing.T, p *process)) {
		tab.row(name, done, func(t *testing.T, p *process) string {
			_, outcome := twice(t, p, damage)
			if !strings.HasPrefix(outcome, "refused") || !strings.Contains(outcome, file) || strings.Contains(outcome, "next start") {
				t.Errorf("got %s, want it refused for want of a %s, both times", outcome, file)
			}
			return outcome
		})
	}
	row("E12", "nothing", func(*testing.T, *process) {}, untouched)

	flips := max(3, *roundsFlag)
	for _, file := range []struct {
		kind string
		want []string
	}{
		{"*.mem", []string{refused}}, {"*.vlog", []string{untouched, told, refused}}, {"*.sst", []string{refused}},
		{"MANIFEST", []string{refused}}, {"KEYREGISTRY", []string{untouched, refused}}, {"DISCARD", []string{untouched}},
		{"store.seq", []string{untouched}}, {"store.lock", []string{untouched}},
	} {
		kind, want := file.kind, file.want
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
				outcome := startsOrExplains(t, p, w)
				expect(t, outcome, want...)
				if strings.HasPrefix(outcome, refused) && !strings.Contains(p.words(), filepath.Base(name)) && kind != "*.mem" && kind != "KEYREGISTRY" && kind != "MANIFEST" {
					t.Errorf("it does not name %s: %s", filepath.Base(name), outcome)
				}
				outcome = fmt.Sprintf("%s at %d: %s", filepath.Base(name), at, outcome)
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
		}, refused)
		row("E13", fmt.Sprintf("the last %d bytes of that log zeroed", n), func(t *testing.T, p *process) {
			tear(t, newest(t, p, "*.mem"), n)
		}, refused)
		row("E13", fmt.Sprintf("the newest value log cut by %d bytes", n), func(t *testing.T, p *process) {
			name := newest(t, p, "*.vlog")
			must(t, os.Truncate(name, max(0, used(t, name)-n)))
		}, untouched, told)
		row("E13", fmt.Sprintf("the last %d bytes of that value log zeroed", n), func(t *testing.T, p *process) {
			tear(t, newest(t, p, "*.vlog"), n)
		}, untouched, told)
	}
	for _, n := range []int64{1, 100, 4096} {
		row("E13", fmt.Sprintf("the last %d bytes zeroed, of what was confirmed to nobody", n), func(t *testing.T, p *process) {
			unconfirmed(t, p)
			tear(t, newest(t, p, "*.mem"), n)
		}, untouched)
	}
	for _, kind := range []string{"*.mem", "*.vlog", "*.sst", "MANIFEST"} {
		want := refused
		if kind == "*.vlog" {
			want = told
		}
		row("E14", "4096 bytes in the middle of "+kind+" zeroed", func(t *testing.T, p *process) {
			name := newest(t, p, kind)
			end := used(t, name)
			overwrite(t, name, end/2, make([]byte, min(4096, end-end/2)))
		}, want)
		row("E14", kind+" cut in half", func(t *testing.T, p *process) {
			name := newest(t, p, kind)
			must(t, os.Truncate(name, used(t, name)/2))
		}, want)
		row("E14", kind+" cut to nothing", func(t *testing.T, p *process) {
			must(t, os.Truncate(newest(t, p, kind), 0))
		}, refused)
	}
	for _, kind := range []string{"*.mem", "*.vlog", "*.sst", "MANIFEST"} {
		file := strings.TrimPrefix(kind, "*")
		if kind == "*.mem" {
			file = "group" // the log of what came last is not missed by its name
		}
		missing("E15", "the newest "+kind+" deleted", file, func(t *testing.T, p *process) { must(t, os.Remove(newest(t, p, kind))) })
	}
	for _, kind := range []string{"KEYREGISTRY", "DISCARD", "store.seq", "store.lock"} {
		row("E15", "the newest "+kind+" deleted", func(t *testing.T, p *process) { must(t, os.Remove(newest(t, p, kind))) })
	}
	row("E15", "the oldest *.sst deleted", func(t *testing.T, p *process) { must(t, os.Remove(usedFiles(t, p, "*.sst")[0])) })
	missing("E15", "the oldest *.vlog deleted", ".vlog", func(t *testing.T, p *process) { must(t, os.Remove(usedFiles(t, p, "*.vlog")[0])) })
	row("E17", "data of a program whose format is newer", func(t *testing.T, p *process) {
		// The number that the store's format has in Badger's manifest.
		flipBit(t, filepath.Join(p.data, "store", "MANIFEST"), 5, 3)
	}, refused)
	tab.row("E17", "its files, after the refusal", func(t *testing.T, p *process) string {
		copyData(t, original.data, p.data)
		manifest := filepath.Join(p.data, "store", "MANIFEST")
		flipBit(t, manifest, 5, 3)
		before := sums(t, p)
		outcome := startsOrExplains(t, p, w)
		expect(t, outcome, refused)
		if !strings.Contains(outcome, "newer") {
			t.Errorf("it does not say that they are newer: %s", outcome)
		}
		if after := sums(t, p); !maps.Equal(before, after) {
			t.Errorf("got %v, want %v", after, before)
		}
		flipBit(t, manifest, 5, 3)
		whole(t, p, w)
		return "as they were; the program that wrote them starts, nothing missing"
	})
	missing("E15", "all *.mem deleted", "group", func(t *testing.T, p *process) {
		for _, name := range usedFiles(t, p, "*.mem") {
			must(t, os.Remove(name))
		}
	})
	missing("E15", "everything but store.seq deleted", "group", func(t *testing.T, p *process) {
		for _, name := range usedFiles(t, p, "*") {
			if filepath.Base(name) != "store.seq" {
				must(t, os.Remove(name))
			}
		}
	})
}

// How outcomes of startsOrExplains begin.
const (
	untouched = "started, nothing missing"
	told      = "started without"
	refused   = "refused"
)

// expect holds an outcome against how it may begin.
func expect(t *testing.T, outcome string, want ...string) {
	t.Helper()
	if len(want) > 0 && !slices.ContainsFunc(want, func(w string) bool { return strings.HasPrefix(outcome, w) }) {
		t.Errorf("got %q, want %q", outcome, want)
	}
}

// unconfirmed has a broker that was killed end with groups that, as far as its files tell,
// were confirmed to nobody: store.seq is that of a moment before.
func unconfirmed(t *testing.T, p *process) {
	t.Helper()
	sequence := filepath.Join(p.data, "store", "store.seq")
	before, err := os.ReadFile(sequence)
	must(t, err)
	start(t, p)
	conn, err := amqp.Dial(p.url())
	must(t, err)
	ch, err := conn.Channel()
	must(t, err)
	for n := range 5 {
		_, err = ch.QueueDeclare(fmt.Sprint("unconfirmed-", n), true, false, false, false, nil)
		must(t, err)
	}
	_ = conn.Close() // the broker is killed anyway
	must(t, p.kill())
	must(t, os.WriteFile(sequence, before, 0o600))
}

func newest(t *testing.T, p *process, kind string) string {
	t.Helper()
	files := usedFiles(t, p, kind)
	return files[len(files)-1]
}

// sums are checksums of a store's files, but for the one that says who has it.
func sums(t *testing.T, p *process) map[string]uint32 {
	t.Helper()
	all := make(map[string]uint32)
	for _, name := range usedFiles(t, p, "*") {
		if filepath.Base(name) != "store.lock" && filepath.Base(name) != "LOCK" {
			b, err := os.ReadFile(name)
			must(t, err)
			all[filepath.Base(name)] = crc32.ChecksumIEEE(b)
		}
	}
	return all
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
