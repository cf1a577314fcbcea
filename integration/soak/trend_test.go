package main

import (
	"math/rand/v2"
	"testing"
	"time"
)

// made makes samples, one every ten seconds of half an hour.
func made(value func(i int) float64) (at []time.Duration, values []float64) {
	for i := range 180 {
		at, values = append(at, time.Duration(i)*10*time.Second), append(values, value(i))
	}
	return judged(at), judged(values)
}

// rises judges a quantity around 100, which may rise by 10.
func rises(value func(i int) float64) (bool, trend) {
	at, values := made(value)
	t := trendOf(at, values, bound{share: 0.1, amount: 4})
	return t.rises(), t
}

func TestLeakIsSeenThroughTheNoise(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 0))
	f := func(name string, value func(i int) float64) {
		t.Helper()
		if yes, got := rises(value); !yes {
			t.Errorf("%s: got %v, want that it rises", name, got)
		}
	}
	f("a line", func(i int) float64 { return 100 + float64(i)*0.1 })
	f("a line in noise five times as high", func(i int) float64 { return 100 + float64(i)*0.15 + 60*(random.Float64()-0.5) })
	f("stairs", func(i int) float64 { return 100 + float64(i/40)*5 })
	f("a saw-tooth that climbs", func(i int) float64 { return 100 + float64(i%13)*3 + float64(i)*0.15 })
	f("a line with a fall at the end", func(i int) float64 {
		if i > 170 {
			return 50
		}
		return 100 + float64(i)*0.15
	})
}

func TestWhatSwingsIsNotALeak(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 0))
	f := func(name string, value func(i int) float64) {
		t.Helper()
		if yes, got := rises(value); yes {
			t.Errorf("%s: got %v, want that it is level", name, got)
		}
	}
	f("nothing", func(int) float64 { return 0 })
	f("a saw-tooth", func(i int) float64 { return 80 + float64(i%13)*3 })
	f("a saw-tooth of five minutes", func(i int) float64 { return 80 + float64(i%30) })
	for range 100 {
		f("noise", func(int) float64 { return 70 + 60*random.Float64() })
	}
	f("a warm-up", func(i int) float64 { return 20 + min(80, float64(i)*2) })
	f("a fall", func(i int) float64 { return 100 - float64(i)*0.3 })
	f("some samples far off at the end", func(i int) float64 {
		if i > 165 {
			return 1000
		}
		return 100
	})
}

func TestSlopeIsPerSecond(t *testing.T) {
	got, least := slope([]time.Duration{0, 10 * time.Second, 20 * time.Second}, []float64{1, 21, 41})
	if got != 2 || least != 2 {
		t.Errorf("got %v, at least %v, want 2", got, least)
	}
}
