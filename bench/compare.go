package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Comparison is one scenario run on two brokers in turn.
type Comparison struct {
	Scenario Scenario `json:"scenario"`
	A        []Result `json:"a"` // in the order they were run
	B        []Result `json:"b"`
	Figures  []Figure `json:"figures"`
}

// Figure is one figure of both brokers over all pairs.
type Figure struct {
	Name string `json:"name"`
	A    Spread `json:"a"`
	B    Spread `json:"b"`
	// Ratio is A's median by B's. Its least and most are those of the single pairs, which
	// say how far it can be trusted.
	Ratio Spread `json:"ratio"`
}

// Spread is the median of some values, and the least and the most of them.
type Spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

// Compare runs s on the brokers of a and b in turn, pairs times each. Every other pair
// begins with b, so that what gets slower or faster over the sitting does so for both.
func Compare(ctx context.Context, s Scenario, a, b Options, pairs int) (Comparison, error) {
	if pairs < 1 {
		return Comparison{}, fmt.Errorf("%d pairs compare nothing", pairs)
	}
	c := Comparison{Scenario: s}
	for i := range pairs {
		order := []struct {
			name    string
			options Options
			into    *[]Result
		}{{"a", a, &c.A}, {"b", b, &c.B}}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, side := range order {
			side.options.Progress = side.options.Progress.of(fmt.Sprintf("pair %d of %d  ", i+1, pairs))
			result, err := Run(ctx, s, side.options)
			if err != nil {
				return Comparison{}, fmt.Errorf("%s: %w", side.name, err)
			}
			*side.into = append(*side.into, result)
		}
	}
	c.Figures = figures(c.A, c.B)
	return c, nil
}

// figures returns what both have of the figures there are.
func figures(a, b []Result) []Figure {
	var all []Figure
	for _, f := range []struct {
		name string
		of   func(Result) (float64, bool)
	}{
		{"broker CPU µs per message", func(r Result) (float64, bool) {
			v, ok := value(r.Broker, func(c *Cost) float64 { return c.CPUMicrosPerMessage })
			return v, ok && !r.Scenario.still()
		}},
		{"received per second", func(r Result) (float64, bool) { return r.ReceiveRate, !r.Scenario.still() }},
		{"confirm p50 ms", func(r Result) (float64, bool) {
			return value(r.Confirm, func(l *Latency) float64 { return float64(l.P50) })
		}},
		{"confirm p99 ms", func(r Result) (float64, bool) {
			return value(r.Confirm, func(l *Latency) float64 { return float64(l.P99) })
		}},
		{"end to end p50 ms", func(r Result) (float64, bool) {
			return value(r.EndToEnd, func(l *Latency) float64 { return float64(l.P50) })
		}},
		{"end to end p99 ms", func(r Result) (float64, bool) {
			return value(r.EndToEnd, func(l *Latency) float64 { return float64(l.P99) })
		}},
		{"connections opened per second", connections(func(s *Stock) float64 { return s.PerSecond })},
		{"KiB per connection", connections(func(s *Stock) float64 { return s.BytesEach / (1 << 10) })},
		{"queues declared per second", queues(func(s *Stock) float64 { return s.PerSecond })},
		{"KiB per empty queue", queues(func(s *Stock) float64 { return s.BytesEach / (1 << 10) })},
		{"start to handshake ms", func(r Result) (float64, bool) {
			return value(r.Start, func(s *Start) float64 { return float64(s.Handshake.P50) })
		}},
		{"idle RSS MiB", func(r Result) (float64, bool) {
			return value(r.Start, func(s *Start) float64 { return mib(s.RSSBytes) })
		}},
		{"RssAnon MiB", func(r Result) (float64, bool) {
			return value(r.Broker, func(c *Cost) float64 { return mib(c.RSSAnonBytes) })
		}},
	} {
		var as, bs, ratios []float64
		for i := range min(len(a), len(b)) {
			va, okA := f.of(a[i])
			vb, okB := f.of(b[i])
			if !okA || !okB || vb == 0 {
				continue
			}
			as, bs, ratios = append(as, va), append(bs, vb), append(ratios, va/vb)
		}
		if len(ratios) == 0 {
			continue
		}
		figure := Figure{Name: f.name, A: spread(as), B: spread(bs), Ratio: spread(ratios)}
		figure.Ratio.Median = 0 // of a broker that costs nothing there is no ratio
		if figure.B.Median != 0 {
			figure.Ratio.Median = figure.A.Median / figure.B.Median
		}
		all = append(all, figure)
	}
	return all
}

// connections and queues are of's of what a broker has of them, where it is known.
func connections(of func(*Stock) float64) func(Result) (float64, bool) {
	return func(r Result) (float64, bool) {
		if r.Standing == nil {
			return 0, false
		}
		v, ok := value(r.Standing.Connections, of)
		return v, ok && v >= 0
	}
}

func queues(of func(*Stock) float64) func(Result) (float64, bool) {
	return func(r Result) (float64, bool) {
		if r.Standing == nil {
			return 0, false
		}
		v, ok := value(r.Standing.Queues, of)
		return v, ok && v >= 0
	}
}

// value is of's of v, where there is a v.
func value[T any](v *T, of func(*T) float64) (float64, bool) {
	if v == nil {
		return 0, false
	}
	return of(v), true
}

func spread(values []float64) Spread {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return Spread{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Least: sorted[0], Most: sorted[n-1]}
}

// Faults returns what either broker got wrong.
func (c Comparison) Faults() []string {
	var faults []string
	for _, side := range []struct {
		name    string
		results []Result
	}{{"a", c.A}, {"b", c.B}} {
		for _, r := range side.results {
			for _, fault := range r.Faults() {
				faults = append(faults, side.name+": "+fault)
			}
		}
	}
	return faults
}

// WriteTable writes c for people: a line per figure, each as median and, in brackets, the
// least and the most.
func (c Comparison) WriteTable(w io.Writer) error {
	if len(c.A) == 0 || len(c.B) == 0 {
		return errors.New("nothing was compared")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n  a  %s\n  b  %s\n", c.Scenario.Name, c.Scenario.Title, c.A[0].URI, c.B[0].URI)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	b.Reset()
	fmt.Fprintf(&b, "%d pairs\ta\tb\ta ÷ b\t\n", len(c.A))
	for _, f := range c.Figures {
		fmt.Fprintf(&b, "%s\t%v\t%v\t%v\t\n", f.Name, f.A, f.B, f.Ratio)
	}
	if err := columns(w, tabwriter.AlignRight, b.String()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "  wrong: %s\n", orNothing(c.Faults()))
	return err
}

// String returns the median and, in brackets, the least and the most.
func (s Spread) String() string {
	return fmt.Sprintf("%s [%s … %s]", digits(s.Median), digits(s.Least), digits(s.Most))
}

// digits writes v with as many decimals as say something.
func digits(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}
