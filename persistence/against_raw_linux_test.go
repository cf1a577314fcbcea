//go:build amd64 || arm64

package persistence

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/leveretmq/leveret/message"
)

var (
	pairsFlag  = flag.Int("store.pairs", 1, "pairs of runs, of the store and of a raw log, in a row of BenchmarkAgainstRawLog")
	systemFlag = flag.Bool("store.systemreadahead", false, "run BenchmarkAgainstRawLog without advice to the kernel")
	spanFlag   = flag.Duration("store.time", time.Second, "how long a run of BenchmarkAgainstRawLog takes")
)

// rawRow is a row of what the store promises: a load, and how many times as many messages
// as the raw log it is to store in the same time.
type rawRow struct {
	name   string
	load   load
	steady bool // messages are settled as soon as they are stored
	target float64
	note   string
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

var rawRows = []rawRow{
	{name: "publish/queues=1/size=16B", load: load{size: 16, queues: 1}, target: 0.5},
	{name: "publish/queues=1/size=1KiB", load: load{size: kib, queues: 1}, target: 0.75},
	{name: "publish/queues=1/size=64KiB", load: load{size: 64 * kib, queues: 1}, target: 0.75},
	{name: "publish/queues=1/size=1MiB", load: load{size: mib, queues: 1}, target: 0.9},
	// Enough for the mover to write most of it again.
	{name: "publish/queues=1000/size=1KiB", load: load{size: kib, queues: 1000, bytes: 1 << 30}, target: 0.4, note: "1 GiB; the mover writes it again"},
	{name: "steady/queues=1/size=1KiB", load: load{size: kib, queues: 1}, steady: true, target: 0.6},
	{name: "steady/queues=1000/size=1KiB", load: load{size: kib, queues: 1000}, steady: true, target: 0.5},
	{name: "steady/queues=1000/size=16B", load: load{size: 16, queues: 1000}, steady: true, target: 0.3, note: "≤ 0.2 µs CPU"},
	{name: "rate=10000/queues=1000/size=100B", load: load{size: 100, queues: 1000, rate: 10000}, steady: true, note: "p50 ≤ 1.5 ×, p99 ≤ 2 ×"},
	{name: "rate=20000/queues=1000/size=1KiB", load: load{size: kib, queues: 1000, rate: 20000}, steady: true, note: "small groups: ≤ 1.3 bytes on the device"},
}

// BenchmarkAgainstRawLog measures the store against a file that the same messages are
// appended to and that is synced once for each group: in pairs of runs in one process, one
// after the other, first the one and then the other first, because what a disk does differs
// more from one minute to the next than anything here. What counts are the ratios. In the
// end it prints a table.
//
//	go test ./persistence -run '^$' -bench AgainstRawLog -benchtime 1x -store.pairs 9
func BenchmarkAgainstRawLog(b *testing.B) {
	var table []string
	for _, r := range rawRows {
		b.Run(r.name, func(b *testing.B) { table = append(table, r.bench(b)) })
	}
	if len(table) > 0 {
		fmt.Println("\n| load | msg/s | ratio to raw: median (min … max) | target | CPU µs/msg, raw | device bytes ÷ payload, raw | p50 / p99 ms, raw |\n|---|---|---|---|---|---|---|")
		fmt.Println(strings.Join(table, "\n"))
	}
}

// outcome is one run.
type outcome struct {
	cost
	messages int
	p50, p99 time.Duration
}

func (o *outcome) perSecond() float64 { return float64(o.messages) / o.took.Seconds() }
func (o *outcome) cpuMicros() float64 { return float64(o.cpu) / 1e3 / float64(o.messages) }
func (o *outcome) perByte(size int) float64 {
	if o.device < 0 {
		return -1
	}
	return float64(o.device) / float64(o.messages*size)
}

func (r *rawRow) bench(b *testing.B) string {
	l := r.load
	l.span = *spanFlag
	if l.bytes > 0 {
		l.span = time.Minute
	}
	// More than two groups take, so that no body is in one twice.
	corpus := msgs(b, max(4*loadBatch, min(4*groupPuts, 8*groupBytes/l.size)), l.size)
	var ours, raws []outcome
	for pair := range *pairsFlag {
		last := pair == *pairsFlag-1
		for side := range 2 {
			if side == pair%2 {
				ours = append(ours, r.run(b, &l, corpus, last))
			} else {
				raws = append(raws, r.runRaw(b, &l, corpus, last))
			}
		}
	}
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i].perSecond() / raws[i].perSecond()
	}
	slices.Sort(ratios)
	ratio, least, most := median(ratios), ratios[0], ratios[len(ratios)-1]
	of := func(all []outcome, f func(*outcome) float64) float64 {
		v := make([]float64, len(all))
		for i := range all {
			v[i] = f(&all[i])
		}
		return medianOf(v)
	}
	both := func(format string, f func(*outcome) float64) string {
		show := func(v float64) string {
			if v < 0 {
				return "n/a"
			}
			return fmt.Sprintf(format, v)
		}
		return show(of(ours, f)) + ", " + show(of(raws, f))
	}
	onDevice := func(o *outcome) float64 { return o.perByte(l.size) }
	millis := func(d time.Duration) float64 { return d.Seconds() * 1e3 }
	p50 := func(o *outcome) float64 { return millis(o.p50) }
	p99 := func(o *outcome) float64 { return millis(o.p99) }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(of(ours, (*outcome).perSecond), "msg/s")
	b.ReportMetric(ratio, "ratio")
	b.ReportMetric(of(ours, (*outcome).cpuMicros), "cpu-µs/msg")
	b.ReportMetric(of(raws, (*outcome).cpuMicros), "raw-cpu-µs/msg")
	b.ReportMetric(of(ours, onDevice), "device-B/B")
	b.ReportMetric(of(ours, func(o *outcome) float64 { return float64(o.faults) / float64(o.messages) * 1000 }), "faults/1000msg")
	delay := "–"
	if l.rate > 0 {
		delay = both("%.2f", p50) + " / " + both("%.2f", p99)
		b.ReportMetric(of(ours, p50)/of(raws, p50), "p50-ratio")
		b.ReportMetric(of(ours, p99)/of(raws, p99), "p99-ratio")
	}
	goal := r.note
	if r.target > 0 {
		goal = strings.TrimSuffix(fmt.Sprintf("≥ %v; %s", r.target, r.note), "; ")
	}
	return fmt.Sprintf("| %s | %.0f | %.2f (%.2f … %.2f) | %s | %s | %s | %s |", r.name, of(ours, (*outcome).perSecond),
		ratio, least, most, goal, both("%.3f", (*outcome).cpuMicros), both("%.2f", onDevice), delay)
}

func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func medianOf(values []float64) float64 {
	slices.Sort(values)
	return median(values)
}

// run has the store take the load. Everything is on disk within the time measured. With
// check it is counted again what the store has on disk.
func (r *rawRow) run(b *testing.B, l *load, corpus []*message.Message, check bool) outcome {
	dir, remove := benchDir(b)
	defer remove()
	var d *delays
	if l.rate > 0 {
		d = &delays{}
	}
	k := newStoreSink(b, dir, Options{SystemReadahead: *systemFlag}, l.queues, r.steady, d)
	syscall.Sync()
	before := costNow(dir)
	put := l.run(k, corpus)
	k.flush(b)
	o := outcome{cost: costNow(dir).since(before), messages: put, p50: d.quantile(0.5), p99: d.quantile(0.99)}
	if stored := k.finish(b); stored != put {
		b.Fatalf("got %d messages stored, want %d", stored, put)
	}
	if check {
		want := put
		if r.steady {
			want = 0
		}
		if got := alive(b, dir, Options{}, l.queues); got != want {
			b.Fatalf("got %d messages alive in the store, want %d", got, want)
		}
	}
	return o
}

func (r *rawRow) runRaw(b *testing.B, l *load, corpus []*message.Message, check bool) outcome {
	dir, remove := benchDir(b)
	defer remove()
	var d *delays
	if l.rate > 0 {
		d = &delays{}
	}
	raw := newRawLog(b, dir, r.steady, d)
	syscall.Sync()
	before := costNow(dir)
	put := l.run(raw, corpus)
	stored := raw.finish(b)
	o := outcome{cost: costNow(dir).since(before), messages: put, p50: d.quantile(0.5), p99: d.quantile(0.99)}
	if stored != put {
		b.Fatalf("got %d messages in the raw log, want %d", stored, put)
	}
	if check && !r.steady {
		if got := raw.count(b); got != put {
			b.Fatalf("got %d messages in the files of the raw log, want %d", got, put)
		}
	}
	return o
}

// benchDir is a directory for one run. It is removed after it, not at the end of all.
func benchDir(b *testing.B) (dir string, remove func()) {
	b.Helper()
	dir = b.TempDir()
	return dir, func() {
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
	}
}
