package main

import (
	"bytes"
	"flag"
	"os"
	"testing"
	"time"

	// What is started is built from this, and the test is not to be taken for passed when it
	// has changed.
	_ "github.com/leveretmq/leveret/node"
)

var all = flag.Bool("abuse.all", false, "all rows but those that take minutes, a minute and a half together")

func TestMain(m *testing.M) {
	if os.Getenv(neighbourOf)+os.Getenv(rowsOf)+os.Getenv(holderOf) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestBrokerIsAbused and does not mind: rows of the table that are quick, or all of them
// that do not take minutes. What the neighbour's messages take says little when other tests
// use the same processors, so with a few of the rows only a stall counts.
func TestBrokerIsAbused(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the broker and runs it as a process")
	}
	tg, err := launch(t.TempDir(), "", 512<<20, "LEVERET_AMQP_HANDSHAKE_TIMEOUT=3s", "LEVERET_AMQP_WRITE_TIMEOUT=3s")
	if err != nil {
		t.Fatal(err)
	}
	defer tg.process.stop()
	tg.handshake = 3 * time.Second
	if !*all {
		tg.stall = 2 * time.Second
	}
	var chosen []row
	for _, r := range rows() {
		if r.kind == quick && r.id[0] != 'D' || *all && r.kind != heavy {
			chosen = append(chosen, r)
		}
	}
	var out bytes.Buffer
	results, err := abuse(tg, chosen, &out)
	t.Logf("\n%s", &out)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.err != nil {
			t.Errorf("%s: %v", r.row.id, r.err)
		}
	}
}

// TestRowsHaveNumbersOfTheirOwn, so that one can be chosen.
func TestRowsHaveNumbersOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rows() {
		if r.id == "" || r.input == "" || r.want == "" || r.run == nil {
			t.Errorf("row %q is not complete", r.id)
		}
		if seen[r.id] {
			t.Errorf("there are two rows %s", r.id)
		}
		seen[r.id] = true
	}
}
