package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite untested.txt")

func load(t *testing.T) ([]rule, citations) {
	t.Helper()
	rules, err := readRules("rules.txt")
	if err != nil {
		t.Fatal(err)
	}
	cites, err := collect(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return rules, cites
}

func TestEveryRuleIsTestedOrKnownNotToBe(t *testing.T) {
	rules, cites := load(t)
	want := "# Rules that no test cites. go test ./integration/rules -update writes this list; see doc.go.\n"
	for _, r := range rules {
		switch {
		case r.notHere != "" && len(cites[r.id]) > 0:
			t.Errorf("%s is not here (%s), but %s cites it", r.id, r.notHere, cites[r.id][0])
		case r.notHere == "" && len(cites[r.id]) == 0:
			want += r.id + " " + r.words + "\n"
		}
	}
	if *update {
		if err := os.WriteFile("untested.txt", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("untested.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(want, "\n") {
		if !strings.Contains("\n"+string(got), "\n"+line+"\n") && line != "" {
			t.Errorf("no test cites %s, and untested.txt does not have it", line)
		}
	}
	for _, line := range strings.Split(string(got), "\n") {
		if !strings.Contains("\n"+want, "\n"+line+"\n") && line != "" {
			t.Errorf("untested.txt has %s, which is tested or no rule: run this test with -update", line)
		}
	}
}

func TestWhatIsCitedIsARule(t *testing.T) {
	rules, cites := load(t)
	for id, tests := range cites {
		if !slices.ContainsFunc(rules, func(r rule) bool { return r.id == id }) {
			t.Errorf("%s cites %s, which is no rule", tests[0], id)
		}
	}
	for i, r := range rules {
		if slices.ContainsFunc(rules[:i], func(o rule) bool { return o.id == r.id }) {
			t.Errorf("%s is in rules.txt twice", r.id)
		}
	}
}

func TestCitationsAreFoundInText(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		if got := cited(text); !slices.Equal(got, want) {
			t.Errorf("got %q in %q, want %q", got, text, want)
		}
	}
	f("// W-1, and C-2.", "W-1", "C-2")
	f("(CONF-4)", "CONF-4")
	f("TTL-1 to TTL-3", "TTL-1", "TTL-2", "TTL-3")
	f("DLX-4…6", "DLX-4", "DLX-5", "DLX-6")
	f("DLX-4 to 5", "DLX-4", "DLX-5")
	f("from W-2 to C-8", "W-2")
	f("ERR-1 to ERR-34", "ERR-1")
	f("UTF-8, S-25, XW-1, W-1a, amq.gen-1")
}

func TestTableTellsWhichRulesHold(t *testing.T) {
	rules := []rule{{"W-1", "one", ""}, {"W-2", "two", ""}, {"W-3", "three", ""}, {"W-4", "four", ""}, {"W-5", "five", "no need"}}
	cites := citations{}
	cites.add("W-1 W-2", test{"amqp", "TestA"})
	cites.add("W-2 W-3", test{"queue", "TestB/q"})
	results := make(map[test]string)
	log := `{"Action":"run","Package":"github.com/leveretmq/leveret/amqp","Test":"TestA"}
{"Action":"pass","Package":"github.com/leveretmq/leveret/amqp","Test":"TestA"}
{"Action":"pass","Package":"github.com/leveretmq/leveret/amqp"}
`
	if err := readResults(strings.NewReader(log), results); err != nil {
		t.Fatal(err)
	}
	f := func(failure bool, want ...string) {
		t.Helper()
		var out bytes.Buffer
		if err := table(&out, rules, cites, results); (err != nil) != failure {
			t.Errorf("got err=%v", err)
		}
		for _, line := range want {
			if !strings.Contains(out.String(), line+"\n") {
				t.Errorf("got\n%swant %s in it", &out, line)
			}
		}
	}
	f(false, "W-1      one: pass", "         pass amqp/TestA", "W-2      two: pass", "W-3      three: not run", "W-4      four: NO TEST",
		"W-5      five: not here: no need", "5 rules: 2 pass, 0 fail, 1 not run, 1 have no test, 1 are not here")
	results[test{"queue", "TestB/q"}] = "fail"
	f(true, "W-2      two: FAIL", "W-3      three: FAIL")
}
