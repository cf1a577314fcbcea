package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// row is one thing that is done to the broker.
type row struct {
	id    string
	input string // what is done
	want  string // what has to come of it
	kind  kind
	// alarm says that publishers may be blocked meanwhile, and the broker is at the end of its
	// memory, so that nobody promises how long the neighbour's messages take.
	alarm bool
	run   func(t *trial)
}

// kind is how long a row takes.
type kind uint8

const (
	quick   kind = iota // a second or two
	waiting             // as long as a time limit of the broker, with next to nothing done meanwhile
	slow                // as long as a time limit of the broker
	heavy               // minutes, or gigabytes
)

// trial is a row being run.
type trial struct {
	target
	row      row
	patience time.Duration // for what comes at once
	got      []string

	ends   []func() // what is to be done at the end, the last first
	unable bool     // the row could not be run

	mu    sync.Mutex // guards the fields below
	peers []*peer
}

// failure is what a row that has failed panics with.
type failure struct{ text string }

func (t *trial) failf(format string, args ...any) { panic(failure{fmt.Sprintf(format, args...)}) }

// unable is what a row panics with that cannot be run on this machine.
type unable struct{ text string }

// cannot ends a row that this machine has not got the means for.
func (t *trial) cannot(format string, args ...any) { panic(unable{fmt.Sprintf(format, args...)}) }

// after has f done when the row has ended, however it ends.
func (t *trial) after(f func()) { t.ends = append(t.ends, f) }

func (t *trial) must(err error) {
	if err != nil {
		t.failf("%v", err)
	}
}

// note adds to what was got, once.
func (t *trial) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for _, x := range t.got {
		if x == text {
			return
		}
	}
	t.got = append(t.got, text)
}

// attempt runs the row, and closes everything it has opened.
func (t *trial) attempt() (err error) {
	defer func() {
		t.mu.Lock()
		for _, p := range t.peers {
			p.reset()
		}
		t.mu.Unlock()
		p := recover()
		for _, f := range slices.Backward(t.ends) {
			f()
		}
		switch p := p.(type) {
		case nil:
		case unable:
			t.unable = true
			t.note("%s", p.text)
		case failure:
			err = fmt.Errorf("%s", p.text)
		default:
			panic(p)
		}
	}()
	t.row.run(t)
	return nil
}

// result is what became of a row.
type result struct {
	row  row
	got  string
	p99  time.Duration // of the neighbour's messages
	took time.Duration
	err  error // nil when it passed

	unable bool          // it was not run
	before time.Duration // the neighbour's when the row ran first, if that was too long
}

func (r result) String() string {
	verdict := "pass"
	switch {
	case r.err != nil:
		verdict = "FAIL: " + r.err.Error()
	case r.unable:
		verdict = "not run"
	}
	p99 := r.p99.Round(10 * time.Microsecond).String()
	if r.before > 0 {
		p99 = r.before.Round(10*time.Microsecond).String() + ", then " + p99
	}
	return strings.Join([]string{r.row.id, r.row.input, r.row.want, r.got,
		p99, r.took.Round(time.Millisecond).String(), verdict}, " | ")
}

// each runs f for every one of some inputs, at the same time, and fails when one does.
func each[T any](t *trial, all []T, f func(t *trial, x T)) {
	errs := make([]error, len(all))
	notes := make([][]string, len(all))
	var wg sync.WaitGroup
	for i, x := range all {
		wg.Go(func() {
			one := &trial{target: t.target, patience: t.patience, row: row{run: func(t *trial) { f(t, x) }}}
			errs[i] = one.attempt()
			notes[i] = one.got
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.failf("input %d (%.40q): %v", i, fmt.Sprint(all[i]), err)
		}
		for _, n := range notes[i] {
			t.note("%s", n)
		}
	}
}
