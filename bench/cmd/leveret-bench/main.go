// Command leveret-bench puts a broker under load and tells what that cost it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/leveretmq/leveret/bench"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "leveret-bench:", err)
		cancel()
		os.Exit(1)
	}
}

// errWrong is returned when all was run and a broker was found out.
var errWrong = errors.New("the broker got something wrong")

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	var (
		flags    = pflag.NewFlagSet("leveret-bench", pflag.ContinueOnError)
		options  bench.Options
		asJSON   = flags.Bool("json", false, "print results as JSON, an array of them")
		list     = flags.Bool("list", false, "list the scenarios and do nothing")
		override bench.Scenario
	)
	flags.SetOutput(progress)
	flags.SortFlags = false
	flags.Usage = func() {
		// Nothing can be said about not being able to say something.
		_, _ = fmt.Fprintf(progress, "leveret-bench [flags] SCENARIO...\n\nRuns scenarios against a broker, S1a if none is named.\n\n%s", flags.FlagUsages())
	}
	flags.StringVar(&options.URI, "uri", "amqp://guest:guest@localhost:5672/", "the broker")
	flags.IntVar(&options.BrokerPID, "broker-pid", 0, "its process on this machine, to report processor time and memory of")
	flags.DurationVar(&options.Duration, "duration", 10*time.Second, "how long to publish")
	flags.IntVar(&options.Messages, "messages", 0, "how many to publish at most; 0 is no limit")
	flags.DurationVar(&options.Warmup, "warmup", 0, "how much of the duration to leave out of rates and costs")
	flags.DurationVar(&options.DrainTimeout, "drain-timeout", 10*time.Second, "how long nothing may arrive before the rest counts as lost")
	flags.IntVar(&options.BatchBytes, "batch", 64<<10, "bytes to write at once")
	changes := []func(*bench.Scenario){}
	change := func(name, usage string, of func(*bench.Scenario) *int) {
		flags.IntVar(of(&override), name, 0, usage+" (default: the scenario's)")
		changes = append(changes, func(s *bench.Scenario) {
			if flags.Changed(name) {
				*of(s) = *of(&override)
			}
		})
	}
	change("producers", "producers", func(s *bench.Scenario) *int { return &s.Producers })
	change("queues", "queues", func(s *bench.Scenario) *int { return &s.Queues })
	change("consumers-per-queue", "consumers of each queue", func(s *bench.Scenario) *int { return &s.ConsumersPerQueue })
	change("bindings", "bindings of a topic exchange", func(s *bench.Scenario) *int { return &s.Bindings })
	change("size", "bytes of a message's body", func(s *bench.Scenario) *int { return &s.BodyBytes })
	change("window", "messages a producer has unconfirmed at most; 0 is no confirms", func(s *bench.Scenario) *int { return &s.Window })
	change("in-flight", "messages published but not delivered at most", func(s *bench.Scenario) *int { return &s.InFlight })
	change("rate", "messages a second; 0 is as fast as it goes", func(s *bench.Scenario) *int { return &s.Rate })
	change("ack-every", "acknowledge every so many; 0 is without acknowledgements", func(s *bench.Scenario) *int { return &s.AckEvery })
	change("prefetch", "messages a consumer has unacknowledged at most; 0 is no limit", func(s *bench.Scenario) *int { return &s.Prefetch })
	flags.DurationVar(&override.Linger, "linger", 0, "how long a reader that found little waits before it reads again (default: the scenario's)")
	changes = append(changes, func(s *bench.Scenario) {
		if flags.Changed("linger") {
			s.Linger = override.Linger
		}
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *list {
		return listScenarios(out)
	}
	names := flags.Args()
	if len(names) == 0 {
		names = []string{"S1a"}
	}
	var scenarios []bench.Scenario
	for _, name := range names {
		s, err := bench.FindScenario(name)
		if err != nil {
			return err
		}
		for _, change := range changes {
			change(&s)
		}
		scenarios = append(scenarios, s)
	}
	var results []bench.Result
	for _, s := range scenarios {
		result, err := bench.Run(ctx, s, options)
		if err != nil {
			return err
		}
		results = append(results, result)
		if !*asJSON {
			if err := result.WriteTable(out); err != nil {
				return err
			}
		}
	}
	return finish(out, results, *asJSON)
}

// finish prints what all results have in common.
func finish(out io.Writer, results []bench.Result, asJSON bool) error {
	var err error
	switch {
	case asJSON:
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		err = e.Encode(results)
	case len(results) > 1:
		if _, err = fmt.Fprintln(out); err == nil {
			err = bench.WriteSummary(out, results)
		}
	}
	if err != nil {
		return err
	}
	for _, r := range results {
		if len(r.Faults()) > 0 {
			return errWrong
		}
	}
	return nil
}

func listScenarios(out io.Writer) error {
	for _, s := range bench.Scenarios() {
		if _, err := fmt.Fprintf(out, "%-5s %s\n", s.Name, s.Title); err != nil {
			return err
		}
	}
	return nil
}
