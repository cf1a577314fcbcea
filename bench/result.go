package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// Result is what came of a run. Counts are of the whole run; rates and processor times
// leave its warm-up out.
type Result struct {
	Scenario Scenario `json:"scenario"`
	URI      string   `json:"uri"` // without a password
	Seconds  float64  `json:"seconds"`

	Published   int64 `json:"published"`
	Confirmed   int64 `json:"confirmed"`
	Nacked      int64 `json:"nacked"`
	Received    int64 `json:"received"`
	Redelivered int64 `json:"redelivered"` // received with that flag
	Unasked     int64 `json:"unasked"`     // confirms of what waited for none
	Lost        int64 `json:"lost"`        // should have been received
	Duplicated  int64 `json:"duplicated"`
	Reordered   int64 `json:"reordered"`
	Misrouted   int64 `json:"misrouted"` // came to a queue they were not meant for
	Damaged     int64 `json:"damaged"`   // came with another size or without their stamp
	Early       int64 `json:"early"`     // came before they were due
	Left        int64 `json:"left"`      // still in the queues when they were deleted

	PublishRate float64 `json:"published_per_second"`
	ReceiveRate float64 `json:"received_per_second"`

	Confirm  *Latency `json:"confirm_latency,omitempty"`    // from write to confirm
	EndToEnd *Latency `json:"end_to_end_latency,omitempty"` // from write to delivery

	Disk *Latency `json:"disk_latency,omitempty"` // with Options.DiskDir

	// Fill is what it cost the broker to take a backlog, per published message, and its
	// memory when all of it was there. Everything else that is measured is then of draining
	// it, but for PublishRate.
	Fill *Cost `json:"fill,omitempty"`

	// Found is how many messages a drain found in the queues, before it took any.
	Found int64 `json:"found,omitempty"`
	// First and Last are the places in their stream of the messages that came first and last,
	// from 0. They are told of a backlog of one stream that one consumer takes.
	First *uint64 `json:"first,omitempty"`
	Last  *uint64 `json:"last,omitempty"`
	// Parts are those of a run of a known number of messages, with Options.BrokerPID or
	// Options.DataDir. There are ten, or fewer of a run that is over in no time.
	Parts []Part `json:"parts,omitempty"`
	// DataTrend is how many bytes more there are on disk for each byte published, by a line
	// through all samples but those of the first part.
	DataTrend float64 `json:"data_trend,omitempty"`

	// Standing and Start are of scenarios without messages, which have little else.
	Standing *Standing `json:"standing,omitempty"`
	Start    *Start    `json:"start,omitempty"`

	Broker    *Cost `json:"broker,omitempty"` // with Options.BrokerPID
	Generator *Cost `json:"generator,omitempty"`

	dataLimit int64
	drained   bool // by this run, and filled by another
}

// Cost is what the operating system counted for a process.
type Cost struct {
	CPUMicrosPerMessage float64 `json:"cpu_us_per_message"` // user and system, per delivered message
	UserSeconds         float64 `json:"user_seconds"`
	SystemSeconds       float64 `json:"system_seconds"`

	RSSBytes     int64 `json:"rss_bytes"`      // at the end
	RSSAnonBytes int64 `json:"rss_anon_bytes"` // at the end
	RSSPeakBytes int64 `json:"rss_peak_bytes"` // since the process started
	// RSSAnonPeakBytes is the most of ten samples a second in the run.
	RSSAnonPeakBytes int64 `json:"rss_anon_peak_bytes"`

	// DiskPerPayload is how many bytes it had written to disk for each of a body
	// published; -1 where that is not told.
	DiskPerPayload float64 `json:"disk_bytes_per_payload_byte"`
}

// result puts together what producers and consumers have counted.
func (r *run) result() Result {
	res := Result{Scenario: r.scenario, URI: r.where.redacted(), Disk: r.disk, drained: r.options.Only == onlyDrain}
	confirm, endToEnd := newLatency(), newLatency()
	for _, p := range r.producers {
		res.Published += p.published.Load()
		res.Lost += p.published.Load() * int64(p.reach)
		if w := p.window; w != nil {
			res.Confirmed += int64(w.confirmed)
			res.Nacked += int64(w.nacked)
			res.Unasked += int64(w.wrong)
			confirm.add(w.latency)
		}
	}
	for _, c := range r.consumers {
		res.Received += c.counts.received
		res.Redelivered += int64(c.deliveries.redelivered)
		res.Lost -= c.counts.distinct
		res.Duplicated += c.counts.duplicated
		res.Reordered += c.counts.reordered
		res.Misrouted += c.counts.misrouted
		res.Damaged += c.counts.damaged
		res.Early += c.counts.early
		endToEnd.add(c.latency)
	}
	if r.scenario.Backlog > 0 && len(r.consumers) == 1 && len(r.plan.streams) == 1 && r.consumers[0].counts.distinct > 0 {
		n := r.consumers[0].counts
		res.First, res.Last = &n.first, &n.last
	}
	res.Lost = max(0, res.Lost) // without stamps, what came twice is not told apart
	res.Confirm, res.EndToEnd = confirm.summary(), endToEnd.summary()

	if r.scenario.Backlog > 0 {
		if !res.drained {
			res.PublishRate = rate(r.full.published, r.full.at)
		}
		if r.options.BrokerPID != 0 && !res.drained {
			res.Fill = newCost(r.mark.broker, r.full.broker, r.full.published, r.full.published*int64(r.scenario.BodyBytes))
		}
		r.mark = r.full
	}
	if r.options.Only == onlyFill {
		res.Lost = 0 // that is for the drain to tell
		res.Fill.peaked(r.sampler.peak)
		res.Seconds = r.full.at.Seconds()
		return res
	}
	span := r.last.at - r.mark.at
	published, received := r.last.published-r.mark.published, r.last.received-r.mark.received
	res.Seconds, res.ReceiveRate = span.Seconds(), rate(received, span)
	if r.scenario.Backlog == 0 {
		res.PublishRate = rate(published, span)
	}
	payload := published * int64(r.scenario.BodyBytes)
	if r.options.BrokerPID != 0 {
		res.Broker = newCost(r.mark.broker, r.last.broker, received, payload)
		res.Broker.peaked(r.sampler.peak)
	}
	res.Found, res.Parts, res.DataTrend = r.found, r.sampler.parts, r.sampler.trend.slope()
	res.dataLimit = r.options.DataLimit
	if runtime.GOOS == "linux" {
		res.Generator = newCost(r.mark.own, r.last.own, received, payload)
	}
	return res
}

func (c *Cost) peaked(rssAnon int64) {
	if c != nil {
		c.RSSAnonPeakBytes = max(rssAnon, c.RSSAnonBytes)
	}
}

// rate is n in d as so many a second, 0 for no time at all.
func rate(n int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

func newCost(from, to usage, messages, payloadBytes int64) *Cost {
	c := &Cost{
		UserSeconds: (to.user - from.user).Seconds(), SystemSeconds: (to.system - from.system).Seconds(),
		RSSBytes: to.rss, RSSAnonBytes: to.rssAnon, RSSPeakBytes: to.peak, DiskPerPayload: -1,
	}
	if messages > 0 {
		c.CPUMicrosPerMessage = (c.UserSeconds + c.SystemSeconds) * 1e6 / float64(messages)
	}
	if payloadBytes > 0 && to.written >= 0 && from.written >= 0 {
		c.DiskPerPayload = float64(to.written-from.written) / float64(payloadBytes)
	}
	return c
}

// Faults returns what the broker got wrong, one sentence each; a good run has none.
func (r Result) Faults() []string {
	var faults []string
	add := func(n int64, what string) {
		if n != 0 {
			faults = append(faults, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(r.Lost, "lost")
	add(r.Duplicated, "duplicated")
	add(r.Reordered, "reordered")
	add(r.Misrouted, "came to the wrong queue")
	add(r.Damaged, "damaged")
	add(r.Early, "early")
	add(r.Nacked, "refused")
	add(r.Unasked, "confirms of nothing")
	add(r.Left, "left in the queues")
	if r.Scenario.Window > 0 && !r.drained {
		add(r.Published-r.Confirmed-r.Nacked, "never confirmed")
	}
	if r.drained {
		add(r.Published-r.Found, "not found before the drain")
	}
	if n := r.mostData(); r.dataLimit > 0 && n > r.dataLimit {
		faults = append(faults, fmt.Sprintf("%.0f MiB on disk, more than %.0f", mib(n), mib(r.dataLimit)))
	}
	return faults
}

// JSON writes r as one indented object.
func (r Result) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteTable writes r for people: what it was, then a line per figure.
func (r Result) WriteTable(w io.Writer) error {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "%s  %s\n", r.Scenario.Name, r.Scenario.Title)
	row("broker", "%s, %.1f s", r.URI, r.Seconds)
	if r.Scenario.still() {
		r.Standing.rows(row)
		r.Start.rows(row)
		if r.Broker != nil {
			row("broker memory", "RSS %.1f MiB, RssAnon %.1f MiB", mib(r.Broker.RSSBytes), mib(r.Broker.RSSAnonBytes))
		}
		return columns(w, 0, b.String())
	}
	if r.drained {
		row("found", "%d of %d", r.Found, r.Published)
	} else {
		row("published", "%d, %.0f/s", r.Published, r.PublishRate)
		if r.Scenario.Window > 0 {
			row("confirmed", "%d", r.Confirmed)
		}
	}
	row("received", "%d, %.0f/s", r.Received, r.ReceiveRate)
	if r.First != nil {
		row("in the queue", "the first was number %d, the last number %d", *r.First, *r.Last)
	}
	row("wrong", "%s", orNothing(r.Faults()))
	r.Confirm.row("confirm", row)
	r.EndToEnd.row("end to end", row)
	r.Disk.row("bare sync", row)
	if r.Confirm != nil && r.Disk != nil && r.Disk.P50 > 0 {
		row("confirm ÷ sync", "%.2f, of medians", r.Confirm.P50/r.Disk.P50)
	}
	r.Fill.row("fill", "published", row)
	r.Broker.row("broker", "delivered", row)
	r.Generator.row("generator", "delivered", row)
	r.partRows(row)
	return columns(w, 0, b.String())
}

// WriteSummary writes a line for each of results, for several scenarios side by side.
func WriteSummary(w io.Writer, results []Result) error {
	var b strings.Builder
	b.WriteString("scenario\treceived/s\tbroker µs/msg\tgenerator µs/msg\tRssAnon MiB\tdisk B/B\tconfirm p50 ms\tp99 ms\tend to end p50 ms\tp99 ms\twrong\t\n")
	for _, r := range results {
		cell := func(there bool, format string, value func() float64) {
			if there {
				fmt.Fprintf(&b, format, value())
			} else {
				b.WriteString("–")
			}
			b.WriteByte('\t')
		}
		fmt.Fprintf(&b, "%s\t%.0f\t", r.Scenario.Name, r.ReceiveRate)
		cell(r.Broker != nil, "%.2f", func() float64 { return r.Broker.CPUMicrosPerMessage })
		cell(r.Generator != nil, "%.2f", func() float64 { return r.Generator.CPUMicrosPerMessage })
		cell(r.Broker != nil, "%.1f", func() float64 { return mib(r.Broker.RSSAnonBytes) })
		cell(r.Broker != nil && r.Broker.DiskPerPayload >= 0, "%.2f", func() float64 { return r.Broker.DiskPerPayload })
		for _, l := range []*Latency{r.Confirm, r.EndToEnd} {
			cell(l != nil, "%.2f", func() float64 { return float64(l.P50) })
			cell(l != nil, "%.2f", func() float64 { return float64(l.P99) })
		}
		fmt.Fprintf(&b, "%s\t\n", orNothing(r.Faults()))
	}
	return columns(w, tabwriter.AlignRight, b.String())
}

// columns writes text with its tabs made into columns.
func columns(w io.Writer, flags uint, text string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', flags)
	if _, err := io.WriteString(t, text); err != nil {
		return err
	}
	return t.Flush()
}

func orNothing(faults []string) string {
	if len(faults) == 0 {
		return "nothing"
	}
	return strings.Join(faults, ", ")
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

type rowFunc func(name, format string, args ...any)

func (l *Latency) row(name string, row rowFunc) {
	if l != nil {
		row(name, "p50 %.3f  p90 %.3f  p99 %.3f  p99.9 %.3f  max %.3f ms", l.P50, l.P90, l.P99, l.P999, l.Max)
	}
}

func (c *Cost) row(name, per string, row rowFunc) {
	if c == nil {
		return
	}
	row(name+" CPU", "%.2f µs per %s message, user %v, system %v", c.CPUMicrosPerMessage, per, seconds(c.UserSeconds), seconds(c.SystemSeconds))
	row(name+" memory", "RSS %.1f MiB, RssAnon %.1f MiB, most %.1f MiB", mib(c.RSSBytes), mib(c.RSSAnonBytes), mib(c.RSSPeakBytes))
	if c.RSSAnonPeakBytes > 0 {
		row(name+" memory in the run", "RssAnon %.1f MiB at most", mib(c.RSSAnonPeakBytes))
	}
	if c.DiskPerPayload > 0 {
		row(name+" disk", "%.2f bytes written per payload byte", c.DiskPerPayload)
	}
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond)
}
