package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// A bound is how much a quantity may rise over the part of a run that is judged: a share of its
// median, or an amount, whichever is more. Amounts are what one turn of a saw-tooth may leave at
// the ends of a run.
type bound struct {
	share  float64
	amount float64
}

// A trend is what became of a quantity in a run.
type trend struct {
	thirds [3]float64 // the median of each
	rise   float64    // over the part that is judged, by the robust slope
	least  float64    // what it has risen at the least, if it is noise that is in the way
	most   float64    // that it may rise
}

// fewest is how many samples there have to be after the warm-up before a slope says something.
const fewest = 30

// warmUp is the share of a run that is not judged: caches fill, the collector finds its pace and
// the store has not yet compacted for the first time.
const warmUp = 0.25

// judged are the samples that count.
func judged[T any](samples []T) []T { return samples[int(float64(len(samples))*warmUp):] }

// trendOf judges what a quantity was at the times at.
func trendOf(at []time.Duration, values []float64, b bound) trend {
	n := len(values)
	var t trend
	for i := range t.thirds {
		t.thirds[i] = median(values[i*n/3 : (i+1)*n/3])
	}
	span := (at[n-1] - at[0]).Seconds()
	t.rise, t.least = slope(at, values)
	t.rise, t.least = t.rise*span, t.least*span
	t.most = max(b.share*median(values), b.amount)
	return t
}

// rises tells whether it rises by more than it may, and not by chance. A fall is not held against
// a broker.
func (t trend) rises() bool { return t.rise > t.most && t.least > 0 }

// slope is that of Theil and Sen, per second: the median of the slopes between any two samples.
// What swings, and some samples that are far off, do not move it, as they would move a line of
// least squares. It takes time with the square of the number of samples, of which there are
// some hundreds.
//
// The second is the lower end of the interval that has the true slope in it, by three deviations
// of Kendall's count of the pairs that rise less those that fall. It takes samples for independent
// of each other; what swings slowly is left to the bound.
func slope(at []time.Duration, values []float64) (middle, least float64) {
	slopes := make([]float64, 0, len(values)*(len(values)-1)/2)
	for i := range values {
		for j := i + 1; j < len(values); j++ {
			if span := at[j] - at[i]; span > 0 {
				slopes = append(slopes, (values[j]-values[i])/span.Seconds())
			}
		}
	}
	if len(slopes) == 0 {
		return 0, 0
	}
	slices.Sort(slopes)
	n := float64(len(values))
	deviation := math.Sqrt(n * (n - 1) * (2*n + 5) / 18)
	lower := (float64(len(slopes)) - 3*deviation) / 2
	return median(slopes), slopes[max(0, int(lower))]
}

// median is 0 of nothing.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// String is the row of the verdict.
func (t trend) String() string {
	verdict := "level"
	if t.rises() {
		verdict = "RISES"
	}
	return fmt.Sprintf("%9.1f %9.1f %9.1f %+9.1f %9.1f  %s", t.thirds[0], t.thirds[1], t.thirds[2], t.rise, t.most, verdict)
}
