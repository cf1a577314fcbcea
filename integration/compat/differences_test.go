package compat

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// difference is an entry of differences.txt. One that is everywhere turns what Leveret says
// into what RabbitMQ says wherever it applies; any other is about one step.
type difference struct {
	line             int
	where, step      string // file: title, and the step's text
	rabbit, leveret  string
	replace          *regexp.Regexp
	with             string
	why              string
	used, everywhere bool
}

// differences reads differences.txt: paragraphs of
//
//	file: title
//	    the step, as it is written there
//	    rabbitmq: a line of its answer, or nothing; there may be several
//	    leveret:  likewise
//	    why:      the argument
//
// or
//
//	everywhere
//	    leveret:  a regular expression
//	    rabbitmq: what to put in its place
//	    why:      …
func differences(t *testing.T) []*difference {
	t.Helper()
	b, err := os.ReadFile("differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []*difference
	var d *difference
	for i, line := range strings.Split(string(b), "\n") {
		bad := func(why string) { t.Fatalf("differences.txt:%d: %s: %s", i+1, why, line) }
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || trimmed[0] == '#' {
			continue
		}
		if line == strings.TrimLeft(line, " \t") {
			d = &difference{line: i + 1, where: trimmed, everywhere: trimmed == "everywhere"}
			all = append(all, d)
			continue
		}
		if d == nil {
			bad("no conversation before")
		}
		key, value, _ := strings.Cut(trimmed, ":")
		value = strings.TrimSpace(value)
		switch {
		case d.everywhere && key == "leveret":
			if d.replace, err = regexp.Compile(value); err != nil {
				bad(err.Error())
			}
		case d.everywhere && key == "rabbitmq":
			d.with = value
		case key == "rabbitmq":
			d.rabbit = joined(d.rabbit, value)
		case key == "leveret":
			d.leveret = joined(d.leveret, value)
		case key == "why":
			d.why = value
		case d.why != "": // the argument goes on
			d.why += " " + trimmed
		case d.step == "":
			d.step = trimmed
		default:
			bad("not understood")
		}
	}
	for _, d := range all {
		if d.why == "" || !d.everywhere && (d.step == "" || d.rabbit == "" || d.leveret == "") || d.everywhere && d.replace == nil {
			t.Fatalf("differences.txt:%d: incomplete", d.line)
		}
	}
	return all
}

func joined(before, line string) string {
	if before == "" {
		return line
	}
	return before + "\n" + line
}

// orNothing writes an empty answer.
func orNothing(answer string) string {
	if answer == "" {
		return "nothing"
	}
	return answer
}

// intended finds the entry that has this difference.
func intended(all []*difference, where, step, rabbit, leveret string) bool {
	i := slices.IndexFunc(all, func(d *difference) bool {
		return d.where == where && d.step == step && d.rabbit == orNothing(rabbit) && d.leveret == orNothing(leveret)
	})
	if i < 0 {
		return false
	}
	all[i].used = true
	return true
}

// everywhere applies what is the same difference wherever it comes up, if that is all there
// is between the two.
func everywhere(all []*difference, rabbit, leveret string) bool {
	var used []*difference
	for _, d := range all {
		if d.everywhere {
			if without := d.replace.ReplaceAllString(leveret, d.with); without != leveret {
				leveret = without
				used = append(used, d)
			}
		}
	}
	if rabbit != leveret {
		return false
	}
	for _, d := range used {
		d.used = true
	}
	return len(used) > 0
}

// entry is how a difference would be written in the list.
func entry(where, step, rabbit, leveret string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n    %s\n", where, step)
	for _, line := range strings.Split(orNothing(rabbit), "\n") {
		fmt.Fprintf(&b, "    rabbitmq: %s\n", line)
	}
	for _, line := range strings.Split(orNothing(leveret), "\n") {
		fmt.Fprintf(&b, "    leveret:  %s\n", line)
	}
	return b.String() + "    why:      "
}
