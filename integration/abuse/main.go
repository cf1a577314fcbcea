package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

func main() {
	if uri := os.Getenv(neighbourOf); uri != "" {
		if err := beNeighbour(uri, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "neighbour:", err)
			os.Exit(1)
		}
		return
	}
	if uri := os.Getenv(holderOf); uri != "" {
		if err := beHolder(uri, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "holder:", err)
			os.Exit(1)
		}
		return
	}
	args := os.Args[1:]
	if rows := os.Getenv(rowsOf); rows != "" {
		args = strings.Fields(rows)
	}
	failed, err := command(args, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "abuse:", err)
		os.Exit(2)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

// rowsOf is the variable with the arguments of a command that was started by one of its rows,
// which may be that of a test.
const rowsOf = "ABUSE_ROWS"

func command(args []string, out io.Writer) (failed int, err error) {
	f := flag.NewFlagSet("abuse", flag.ContinueOnError)
	uri := f.String("uri", "", "the broker to abuse, instead of one that is started")
	metrics := f.String("metrics", "", "its metrics, to see whether it recovers")
	pid := f.Int("pid", 0, "its process, if it runs on this machine")
	handshake := f.Duration("handshake", 10*time.Second, "its handshake timeout")
	binary := f.String("binary", "", "the binary to start, instead of one that is built")
	memory := f.Int64("memory", 512<<20, "the bytes of memory of a broker that is started")
	long := f.Bool("long", false, "also rows that take minutes")
	deep := f.Int("messages", 1000000, "how many messages are put into a queue to be purged (D15)")
	only := f.String("row", "", "only rows whose number matches this expression")
	if err := f.Parse(args); err != nil {
		return 0, err
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		return 0, err
	}
	var t target
	if *uri != "" {
		if t, err = targetOf(*uri); err != nil {
			return 0, err
		}
		t.metrics, t.pid, t.handshake = *metrics, *pid, *handshake
	} else {
		dir, err := os.MkdirTemp("", "leveret-abuse-")
		if err != nil {
			return 0, err
		}
		defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
		if t, err = launch(dir, *binary, *memory); err != nil {
			return 0, err
		}
		defer t.process.stop()
	}
	t.long, t.deep = *long, *deep
	var chosen []row
	for _, r := range rows() {
		if match.MatchString(r.id) && (*long || r.kind != heavy) {
			chosen = append(chosen, r)
		}
	}
	results, err := abuse(t, chosen, out)
	for _, r := range results {
		if r.err != nil {
			failed++
		}
	}
	say(out, "%d rows, %d failed", len(results), failed)
	return failed, err
}

// say prints a line. Whoever does not read it is told by how the command ends.
func say(out io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }

// rows is the table.
func rows() []row {
	var all []row
	all = append(all, beforeLogin()...)
	all = append(all, afterLogin()...)
	all = append(all, slowOrDead()...)
	all = append(all, inNumbers()...)
	all = append(all, shortOfThings()...)
	all = append(all, outOfTime()...)
	all = append(all, aroundTheProcess()...)
	return all
}

// abuse runs rows against a broker, one after the other, and prints each.
func abuse(tg target, rows []row, out io.Writer) (results []result, err error) {
	n, err := newNeighbour(tg)
	if err != nil {
		return nil, err
	}
	defer func() {
		if n != nil {
			n.close()
		}
	}()
	time.Sleep(time.Second) // of an ordinary second
	usual, err := n.take()
	if err != nil {
		return nil, err
	}
	say(out, "the neighbour's p99 is %v when it is alone", usual.Round(10*time.Microsecond))
	start, err := tg.read()
	if err != nil {
		return nil, err
	}
	for _, some := range together(rows) {
		got, alive := run(tg, n, some, usual)
		if s := (slowed{}); alive && errors.As(got[0].err, &s) {
			// Whatever else the machine does may have done it. They do not do it twice.
			first := got[0].p99
			got, alive = run(tg, n, some, usual)
			for i := range got {
				got[i].before = first
			}
		}
		results = append(results, got...)
		failed := false
		for _, res := range got {
			say(out, "%v", res)
			failed = failed || res.err != nil
		}
		if !alive {
			return results, fmt.Errorf("the broker is gone with row %s", some[0].id)
		}
		if failed {
			// Whatever became of the neighbour is not the next row's.
			n.close()
			for began := time.Now(); ; time.Sleep(time.Second) {
				if n, err = newNeighbour(tg); err == nil {
					break
				}
				if time.Since(began) > time.Minute {
					return results, err
				}
			}
		}
	}
	if !tg.long {
		return results, nil
	}
	// Garbage of one row is not there any more when the last has ended: what is, has leaked.
	last := result{row: row{id: "end", input: "all of the above", want: "nothing is left"}, got: "nothing is left"}
	if last.err = tg.settle(start, heavy); last.err != nil {
		last.got = ""
	}
	say(out, "%v", last)
	return append(results, last), nil
}

// most is how long the neighbour's messages may take while a row runs: five times as long
// as usual, and never less than a time that shares two processors with the abuser. While
// publishers are blocked it has none.
func (t *target) most(usual time.Duration) time.Duration {
	return max(5*usual, cmp.Or(t.stall, 50*time.Millisecond))
}

// slowed is what is wrong when the neighbour's messages took too long.
type slowed struct{ p99, most time.Duration }

// Error implements error.
func (s slowed) Error() string {
	return fmt.Sprintf("the neighbour's p99 is %v, want at most %v", s.p99.Round(10*time.Microsecond), s.most)
}

// together tells which rows are run at the same time: those that wait are, and come first.
func together(rows []row) (all [][]row) {
	var waits []row
	for _, r := range rows {
		if r.kind == waiting {
			waits = append(waits, r)
		} else {
			all = append(all, []row{r})
		}
	}
	if len(waits) > 0 {
		all = slices.Insert(all, 0, waits)
	}
	return all
}

// run runs rows at the same time. What the neighbour and the broker have to say of them is said
// of all of them.
func run(tg target, n *remote, rows []row, usual time.Duration) (results []result, alive bool) {
	results = make([]result, len(rows))
	fail := func(err error) {
		for i := range results {
			if results[i].err == nil {
				results[i].err = err
			}
		}
	}
	for i, r := range rows {
		results[i].row = r
	}
	before, err := tg.read()
	if err != nil {
		fail(err)
		return results, false
	}
	_, _ = n.take() // what was before is not theirs; an error stays
	began := time.Now()
	var running sync.WaitGroup
	for i, r := range rows {
		running.Go(func() {
			t, res := &trial{target: tg, row: r, patience: 5 * time.Second}, &results[i]
			res.err = t.attempt()
			res.took, res.unable, res.got = time.Since(began), t.unable, strings.Join(t.got, "; ")
		})
	}
	running.Wait()
	if tg.process != nil {
		if err := tg.process.up(); err != nil {
			for i := range results {
				results[i].err = err
			}
			return results, false
		}
	}
	if took := time.Since(began); took < 200*time.Millisecond && tg.stall == 0 {
		time.Sleep(200*time.Millisecond - took) // so that a percentile means something
	}
	p99, err := n.take()
	for i := range results {
		results[i].p99 = p99
	}
	switch {
	case err != nil:
		fail(err)
	case p99 > tg.most(usual) && !rows[0].alarm:
		fail(slowed{p99, tg.most(usual)})
	}
	if err := tg.settle(before, rows[0].kind); err != nil {
		fail(err)
	}
	return results, true
}

// settle waits until everything is back to where it was.
func (t *target) settle(before gauges, k kind) error {
	if !before.known {
		return nil
	}
	// The collector runs by itself every two minutes at the latest, and what a heavy row
	// has left behind is garbage until then.
	wait := 10 * time.Second
	if k == heavy {
		wait = 3 * time.Minute
	}
	var err error
	for began := time.Now(); time.Since(began) < wait; time.Sleep(100 * time.Millisecond) {
		var now gauges
		if now, err = t.read(); err != nil {
			return err
		}
		if err = now.above(before, t.memory); err == nil {
			return nil
		}
	}
	return err
}

// above tells what is more than a twentieth more than it was. Small numbers move by
// themselves, and memory by the garbage that is in it.
func (g gauges) above(before gauges, limit int64) error {
	check := func(what string, now, before, slack float64) error {
		if most := before*1.05 + slack; now > most {
			return fmt.Errorf("%s were %.0f before and are %.0f", what, before, now)
		}
		return nil
	}
	if err := check("goroutines", g.goroutines, before.goroutines, 4); err != nil {
		return err
	}
	if err := check("descriptors", g.descriptors, before.descriptors, 4); err != nil {
		return err
	}
	return check("bytes of memory", g.memory, before.memory, max(64<<20, float64(limit)/4))
}
