package crash

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

// A table is what was done to a broker's storage and what came of it, a row for each.
type table struct {
	t      *testing.T
	binary string
	rows   [][3]string
}

func newTable(t *testing.T) *table {
	t.Helper()
	if *brokerFlag != "" {
		t.Skip("-broker is for TestLoadWithoutKills")
	}
	if testing.Short() {
		skipLoudly(t, "it takes a minute, and -short is set")
	}
	p, err := newProcess(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tab := &table{t: t, binary: p.binary}
	t.Cleanup(tab.print)
	return tab
}

// row runs one row of the table: f does it to a broker that has not been started
// yet, and says what came of it.
func (tab *table) row(name, done string, f func(t *testing.T, p *process) (outcome string)) {
	tab.t.Helper()
	outcome := ""
	tab.t.Run(name+" "+done, func(t *testing.T) {
		outcome = "FAILED"
		defer func() {
			if t.Skipped() {
				outcome = "DID NOT RUN"
			} else if t.Failed() {
				outcome = "FAILED"
			}
		}()
		outcome = f(t, tab.process(t))
	})
	if outcome != "" { // unless -run left it out
		tab.rows = append(tab.rows, [3]string{name, done, shortened(outcome)})
	}
}

// process is a broker with a directory and an address of its own.
func (tab *table) process(t *testing.T) *process {
	t.Helper()
	dir := t.TempDir()
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{binary: tab.binary, dir: dir, data: filepath.Join(dir, "data"), addr: address}
	t.Cleanup(func() {
		if p.alive() {
			_ = p.kill() // it may have ended this instant
		}
	})
	return p
}

// shortened is an outcome without the directories of the test, of a length that can be read.
func shortened(outcome string) string {
	words := strings.Fields(outcome)
	for i, word := range words {
		if at := strings.LastIndex(word, "/data/store"); at >= 0 {
			words[i] = strings.TrimPrefix(word[at+len("/data/"):], "store/")
		}
	}
	outcome = strings.Join(words, " ")
	if len(outcome) > 200 {
		outcome = outcome[:200] + "…"
	}
	return outcome
}

func (tab *table) print() {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range tab.rows {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", r[0], r[1], r[2]) // a Builder takes everything
	}
	_ = w.Flush() // and so it does here
	tab.t.Logf("\n%s", b.String())
}

// must ends the test when something that is not under test fails.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, p *process) {
	t.Helper()
	_, err := p.start(startLimit)
	must(t, err)
}

// startFilled starts the broker with n confirmed messages, and returns who knows them.
func startFilled(t *testing.T, p *process, n int) (*witness, *witnessing) {
	t.Helper()
	start(t, p)
	w := newWitness()
	c, err := w.connect(p.url())
	must(t, err)
	t.Cleanup(c.close)
	must(t, c.publish(n, time.Minute))
	return w, c
}

// explained tells whether what the broker said before it ended is meant for people: a line
// at level error, and no trace of a crash.
func explained(words string) (string, bool) {
	for _, trace := range []string{"goroutine ", "fatal error", "panic:", "SIGBUS", "SIGSEGV", "unexpected fault"} {
		if i := strings.Index(words, trace); i >= 0 {
			return firstLine(words[i:]), false
		}
	}
	reason := ""
	for line := range strings.Lines(words) {
		if strings.Contains(line, `"level":"error"`) {
			reason = strings.TrimSpace(line)
		}
	}
	return reason, reason != ""
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// whole checks that a broker that ended starts, with nothing confirmed missing.
func whole(t *testing.T, p *process, w *witness) {
	t.Helper()
	p.wrap = nil
	start(t, p)
	missing, err := w.look(p.url())
	must(t, err)
	if len(missing) > 0 {
		t.Fatalf("%d of %d confirmed messages are missing, the first is %d\n%s", len(missing), len(w.confirmed), missing[0], p.lastWords())
	}
	must(t, p.kill())
}

// startsOrExplains starts a broker whose storage was tampered with. It has to serve what it
// has, and tell when that is not everything, or to end with a reason; what it serves has to be
// as it was published.
func startsOrExplains(t *testing.T, p *process, w *witness) (outcome string) {
	t.Helper()
	must(t, p.forget())
	if _, err := p.start(startLimit); err != nil {
		if p.alive() {
			t.Fatalf("neither serves nor ends: %v", err)
		}
		reason, ok := explained(p.words())
		if !ok || p.cmd.ProcessState.Success() {
			t.Fatalf("ended with %v, and did not explain: %q\n%s", p.cmd.ProcessState, reason, p.lastWords())
		}
		return "refused: " + message(reason)
	}
	missing, err := w.look(p.url())
	if err != nil {
		t.Fatalf("%v\n%s", err, p.lastWords())
	}
	words := p.words()
	must(t, p.kill())
	if len(missing) == 0 {
		return "started, nothing missing"
	}
	if reason, ok := explained(words); !ok {
		t.Fatalf("%d of %d confirmed messages are missing and it did not say why: %q\n%s", len(missing), len(w.confirmed), reason, words)
	}
	return fmt.Sprintf("started without %d of %d, told", len(missing), len(w.confirmed))
}

// message is the error in a line of the log, or the message if there is none.
func message(line string) string {
	for _, key := range []string{`"error":"`, `"message":"`} {
		if _, after, found := strings.Cut(line, key); found {
			text, _, _ := strings.Cut(strings.ReplaceAll(after, `\"`, "'"), `"`)
			return text
		}
	}
	return line
}

// failsAsPromised checks what has to become of a broker whose store has failed (P6): it ends
// by itself, not well, with a reason, and confirms nothing more meanwhile.
func failsAsPromised(t *testing.T, p *process, w *witness) (outcome string) {
	t.Helper()
	confirmed, late := len(w.confirmed), time.Now().Add(30*time.Second)
	for p.alive() {
		if c, err := w.connect(p.url()); err == nil {
			err = c.publish(1, time.Second)
			c.close()
			if err == nil {
				t.Fatalf("confirmed after its store had failed\n%s", p.lastWords())
			}
		}
		if p.waitEnd(10*time.Millisecond) == nil {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("it goes on after its store has failed\n%s", p.lastWords())
		}
	}
	if len(w.confirmed) != confirmed {
		t.Fatalf("%d were confirmed after the store had failed", len(w.confirmed)-confirmed)
	}
	reason, ok := explained(p.words())
	if !ok || p.cmd.ProcessState.ExitCode() <= 0 {
		t.Fatalf("ended with %v: %q\n%s", p.cmd.ProcessState, reason, p.lastWords())
	}
	return fmt.Sprintf("exit %d: %s", p.cmd.ProcessState.ExitCode(), message(reason))
}

// copyData is a copy of a broker's data for another. The broker is dead.
func copyData(t *testing.T, from, to string) {
	t.Helper()
	must(t, command("cp", "-a", "--sparse=always", from, to))
}

// tools are looked for once.
var strace = sync.OnceValues(func() (string, error) {
	path, err := exec.LookPath("strace")
	if err != nil {
		return "", err
	}
	if err := command(path, "-f", "-o", os.DevNull, "-e", "trace=msync", "-e", "inject=msync:error=EIO:when=1", "true"); err != nil {
		return "", err
	}
	return path, nil
})

func needsStrace(t *testing.T) string {
	t.Helper()
	path, err := strace()
	if err != nil {
		cannotRun(t, fmt.Sprintf("it takes strace to make system calls fail: %v", err))
	}
	return path
}
