package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"
)

func main() {
	err := command(os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, errVerdict):
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(2)
	}
}

// errVerdict is that of a run whose verdict is no.
var errVerdict = errors.New("the verdict is no")

func command(args []string, out io.Writer) error {
	f := flag.NewFlagSet("soak", flag.ContinueOnError)
	length := f.Duration("for", 30*time.Minute, "how long the load lasts")
	every := f.Duration("every", 10*time.Second, "how often the broker is looked at")
	seed := f.Uint64("seed", 0, "what the load is drawn from; 0 is drawn itself")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *length <= 0 || *every <= 0 {
		return errors.New("-for and -every are more than nothing")
	}
	for *seed == 0 {
		*seed = rand.Uint64()
	}
	dir, err := os.MkdirTemp("", "leveret-soak-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
	s := &soak{length: *length, every: *every, seed: *seed, dir: dir, out: out}
	return s.run()
}
