package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/pflag"
)

// errWrong is returned when all was run and a broker was found out.
var errWrong = errors.New("the broker got something wrong")

// Command is the command line of the load generator, of a program or a verb called name. It
// runs the scenarios args name and prints to out what came of them; what is said about args
// goes to progress. It returns pflag.ErrHelp where help was asked for, and an error when a
// broker got something wrong.
func Command(ctx context.Context, name string, args []string, out, progress io.Writer) error {
	if len(args) > 0 && args[0] == "compare" {
		return compareCommand(ctx, name, args[1:], out, progress)
	}
	if len(args) > 0 && args[0] == "idle" {
		return idleCommand(ctx, name, args[1:], out, progress)
	}
	c := newCommand(name+" [flags] SCENARIO...\n  "+name+" compare [flags] SCENARIO...\n  "+name+" idle [flags]", "Runs scenarios against a broker, S1a if none is named.", progress)
	list := c.flags.Bool("list", false, "list the scenarios and do nothing")
	c.flags.StringVar(&c.options.URI, "uri", "amqp://guest:guest@localhost:5672/", "the broker")
	c.flags.IntVar(&c.options.BrokerPID, "broker-pid", 0, "its process on this machine, to report processor time and memory of")
	c.flags.StringVar(&c.options.Start, "start", "", "the command that starts it, for a scenario that does")
	scenarios, err := c.parse(args)
	if err != nil {
		return err
	}
	if *list {
		return listScenarios(out)
	}
	var results []Result
	for _, s := range scenarios {
		result, err := Run(ctx, s, c.options)
		if err != nil {
			return err
		}
		results = append(results, result)
		if !c.json {
			if err := result.WriteTable(out); err != nil {
				return err
			}
		}
	}
	return finish(out, results, c.json)
}

// compareCommand runs scenarios on two brokers in turn.
func compareCommand(ctx context.Context, name string, args []string, out, progress io.Writer) error {
	c := newCommand(name+" compare [flags] SCENARIO...", "Runs scenarios against two brokers in turn, S1a if none is named.", progress)
	var a, b Options
	c.flags.StringVar(&a.URI, "a", "", "the first broker")
	c.flags.IntVar(&a.BrokerPID, "pid-a", 0, "its process on this machine")
	c.flags.StringVar(&b.URI, "b", "amqp://guest:guest@localhost:5672/", "the second broker")
	c.flags.IntVar(&b.BrokerPID, "pid-b", 0, "its process on this machine")
	c.flags.StringVar(&a.Start, "start-a", "", "the command that starts the first broker, for a scenario that does")
	c.flags.StringVar(&b.Start, "start-b", "", "the command that starts the second broker")
	pairs := c.flags.Int("pairs", 3, "how often each is run")
	scenarios, err := c.parse(args)
	if err != nil {
		return err
	}
	with := func(side Options) Options {
		o := c.options
		o.URI, o.BrokerPID, o.Start = side.URI, side.BrokerPID, side.Start
		return o
	}
	var all []Comparison
	wrong := false
	for _, s := range scenarios {
		comparison, err := Compare(ctx, s, with(a), with(b), *pairs)
		if err != nil {
			return err
		}
		all = append(all, comparison)
		wrong = wrong || len(comparison.Faults()) > 0
		if !c.json {
			if err := comparison.WriteTable(out); err != nil {
				return err
			}
		}
	}
	if c.json {
		if err := writeJSON(out, all); err != nil {
			return err
		}
	}
	if wrong {
		return errWrong
	}
	return nil
}

// command is what the forms of the command line have in common.
type command struct {
	flags   *pflag.FlagSet
	options Options
	json    bool
	given   Scenario            // as far as flags say
	changes []func(s *Scenario) // from given, where the flag was
}

// newFlags is a command with the flags that all forms have.
func newFlags(usage, what string, progress io.Writer) *command {
	c := &command{flags: pflag.NewFlagSet("bench", pflag.ContinueOnError)}
	f := c.flags
	f.SetOutput(progress)
	f.SortFlags = false
	f.Usage = func() {
		// Nothing can be said about not being able to say something.
		_, _ = fmt.Fprintf(progress, "%s\n\nUsage:\n  %s\n\nFlags:\n%s", what, usage, f.FlagUsages())
	}
	f.BoolVar(&c.json, "json", false, "print what came of it as JSON, of scenarios an array with one for each")
	return c
}

func newCommand(usage, what string, progress io.Writer) *command {
	c := newFlags(usage, what, progress)
	c.options.Progress = NewProgress(progress)
	f := c.flags
	f.StringVar(&c.options.DiskDir, "disk", "", "a directory on the broker's disk, to compare confirms with a bare append and sync")
	f.StringVar(&c.options.DataDir, "data-dir", "", "the broker's data directory on this machine, to report the room it takes")
	f.Int64Var(&c.options.DataLimit, "data-limit", 0, "bytes it may take at most; 0 is no limit")
	f.StringVar(&c.options.Only, "only", "", "of a scenario with a backlog, \"fill\" or \"drain\" and leave the other to another run")
	f.StringVar(&c.options.Name, "name", "", "what names of queues begin with; to drain what another run has filled")
	f.DurationVar(&c.options.Duration, "duration", 10*time.Second, "how long to publish")
	f.IntVar(&c.options.Messages, "messages", 0, "how many to publish at most; 0 is no limit")
	f.DurationVar(&c.options.Warmup, "warmup", 0, "how much of the duration to leave out of rates and costs")
	f.DurationVar(&c.options.DrainTimeout, "drain-timeout", 10*time.Second, "how long nothing may arrive before the rest counts as lost")
	f.IntVar(&c.options.BatchBytes, "batch", 64<<10, "bytes to write at once")
	c.change("producers", "producers", func(s *Scenario) *int { return &s.Producers })
	c.change("queues", "queues", func(s *Scenario) *int { return &s.Queues })
	c.change("consumers-per-queue", "consumers of each queue", func(s *Scenario) *int { return &s.ConsumersPerQueue })
	c.change("consumer-connections", "connections that consumers share; 0 is one for each", func(s *Scenario) *int { return &s.ConsumerConnections })
	c.change("bindings", "bindings of a topic exchange", func(s *Scenario) *int { return &s.Bindings })
	c.change("size", "bytes of a message's body", func(s *Scenario) *int { return &s.BodyBytes })
	c.change("window", "messages a producer has unconfirmed at most; 0 is no confirms", func(s *Scenario) *int { return &s.Window })
	c.change("in-flight", "messages published but not delivered at most", func(s *Scenario) *int { return &s.InFlight })
	c.change("total", "messages to publish however long it takes, told in ten parts; 0 is by duration", func(s *Scenario) *int { return &s.Messages })
	c.change("backlog", "messages published before anything is consumed; 0 is none", func(s *Scenario) *int { return &s.Backlog })
	c.change("rate", "messages a second; 0 is as fast as it goes", func(s *Scenario) *int { return &s.Rate })
	c.change("ack-every", "acknowledge every so many; 0 is without acknowledgements", func(s *Scenario) *int { return &s.AckEvery })
	c.change("prefetch", "messages a consumer has unacknowledged at most; 0 is no limit", func(s *Scenario) *int { return &s.Prefetch })
	c.change("connections", "idle connections, each with a channel, a queue and a consumer", func(s *Scenario) *int { return &s.Connections })
	c.change("empty-queues", "durable queues without a message", func(s *Scenario) *int { return &s.EmptyQueues })
	c.change("starts", "how often a broker is started", func(s *Scenario) *int { return &s.Starts })
	f.DurationVar(&c.given.Linger, "linger", 0, "how long a reader that found little waits before it reads again"+scenarioDefault)
	c.changes = append(c.changes, func(s *Scenario) {
		if f.Changed("linger") {
			s.Linger = c.given.Linger
		}
	})
	for _, d := range []struct {
		name, usage string
		of          func(*Scenario) *time.Duration
	}{
		{"settle", "how long a broker is left alone before its memory is looked at", func(s *Scenario) *time.Duration { return &s.Settle }},
		{"delay", "how long after the beginning the first message is due at a delayed exchange", func(s *Scenario) *time.Duration { return &s.Delay }},
		{"spread", "how long messages are due after that", func(s *Scenario) *time.Duration { return &s.Spread }},
	} {
		f.DurationVar(d.of(&c.given), d.name, 0, d.usage+scenarioDefault)
		c.changes = append(c.changes, func(s *Scenario) {
			if f.Changed(d.name) {
				*d.of(s) = *d.of(&c.given)
			}
		})
	}
	return c
}

const scenarioDefault = " (default: the scenario's)"

// change adds a flag for a number of the scenario.
func (c *command) change(name, usage string, of func(*Scenario) *int) {
	c.flags.IntVar(of(&c.given), name, 0, usage+scenarioDefault)
	c.changes = append(c.changes, func(s *Scenario) {
		if c.flags.Changed(name) {
			*of(s) = *of(&c.given)
		}
	})
}

// parse reads args and returns the scenarios they name, changed as the flags say.
func (c *command) parse(args []string) ([]Scenario, error) {
	if err := c.flags.Parse(args); err != nil {
		return nil, err
	}
	names := c.flags.Args()
	if len(names) == 0 {
		names = []string{"S1a"}
	}
	var scenarios []Scenario
	for _, name := range names {
		s, err := FindScenario(name)
		if err != nil {
			return nil, err
		}
		for _, change := range c.changes {
			change(&s)
		}
		scenarios = append(scenarios, s)
	}
	return scenarios, nil
}

func writeJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// finish prints what all results have in common.
func finish(out io.Writer, results []Result, asJSON bool) error {
	var err error
	switch {
	case asJSON:
		err = writeJSON(out, results)
	case len(results) > 1:
		if _, err = fmt.Fprintln(out); err == nil {
			err = WriteSummary(out, results)
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
	for _, s := range Scenarios() {
		if _, err := fmt.Fprintf(out, "%-5s %s\n", s.Name, s.Title); err != nil {
			return err
		}
	}
	return nil
}
