package bench

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	shortestLatency = int64(time.Microsecond) // what is shorter counts as this
	longestLatency  = int64(100 * time.Second)
)

// latency gathers durations in nanoseconds, to three digits. Messages that were written
// together and read together have the same one, so a run of the same is recorded at once.
type latency struct {
	histogram *hdrhistogram.Histogram
	last      int64
	repeated  int64
}

func newLatency() *latency {
	return &latency{histogram: hdrhistogram.New(shortestLatency, longestLatency, 3)}
}

func (l *latency) record(nanoseconds int64) {
	if nanoseconds == l.last {
		l.repeated++
		return
	}
	l.flush()
	l.last, l.repeated = nanoseconds, 1
}

func (l *latency) flush() {
	if l.repeated > 0 {
		v := min(max(l.last, shortestLatency), longestLatency)
		if err := l.histogram.RecordValues(v, l.repeated); err != nil {
			panic(err) // v is within the bounds the histogram was made for
		}
		l.repeated = 0
	}
}

// add adds all that other has.
func (l *latency) add(other *latency) {
	l.flush()
	other.flush()
	l.histogram.Merge(other.histogram)
}

func (l *latency) summary() *Latency {
	l.flush()
	h := l.histogram
	if h.TotalCount() == 0 {
		return nil
	}
	at := func(q float64) Milliseconds { return millis(time.Duration(h.ValueAtQuantile(q))) }
	return &Latency{
		Count: h.TotalCount(), Mean: millis(time.Duration(h.Mean())),
		P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: millis(time.Duration(h.Max())),
	}
}

// Milliseconds is a duration in milliseconds, as people quote latencies.
type Milliseconds float64

func millis(d time.Duration) Milliseconds {
	return Milliseconds(float64(d) / float64(time.Millisecond))
}

// Latency is what a histogram comes to, right to three digits.
type Latency struct {
	Count int64        `json:"count"`
	Mean  Milliseconds `json:"mean_ms"`
	P50   Milliseconds `json:"p50_ms"`
	P90   Milliseconds `json:"p90_ms"`
	P99   Milliseconds `json:"p99_ms"`
	P999  Milliseconds `json:"p999_ms"`
	Max   Milliseconds `json:"max_ms"`
}
