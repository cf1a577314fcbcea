package queue

import (
	"testing"
	"time"
)

// QQ-6
func TestRetriesWaitLongerEachTime(t *testing.T) {
	f := func(r Retry, n uint32, want time.Duration) {
		t.Helper()
		if r.Max == 0 {
			r.Max = millis(longest)
		}
		r.Failed = true
		if got := r.wait(true, n); got != want {
			t.Errorf("%+v: got %v after %d returns, want %v", r, got, n, want)
		}
		if got := r.wait(false, n); got != 0 {
			t.Errorf("%+v: got %v for what has not failed", r, got)
		}
	}
	const s = time.Second
	linear := Retry{Min: s}
	f(linear, 1, s)
	f(linear, 2, 2*s)
	f(linear, 1<<20, (1<<20)*s)
	f(Retry{Min: time.Hour}, 1<<32-1, millis(longest))
	f(Retry{Min: s, Max: 5 * s / 2}, 2, 2*s)
	f(Retry{Min: s, Max: 5 * s / 2}, 3, 5*s/2)

	doubled := Retry{Min: s, Multiplier: 2}
	f(doubled, 1, s)
	f(doubled, 2, 2*s)
	f(doubled, 3, 4*s)
	f(doubled, 20, (1<<19)*s)
	f(doubled, 1<<32-1, millis(longest))
	f(Retry{Min: s, Multiplier: 2, Max: time.Minute}, 6, 32*s)
	f(Retry{Min: s, Multiplier: 2, Max: time.Minute}, 7, time.Minute)
	f(Retry{Min: s, Multiplier: 1}, 1<<32-1, s)
	f(Retry{Min: s, Multiplier: 1 << 62}, 2, millis(longest))
	f(Retry{Min: s, Max: s, Multiplier: 3}, 9, s)
}

// QQ-6, Q-40
func TestRetryArgumentsAndPolicies(t *testing.T) {
	all := Retry{Failed: true, Returned: true, Min: time.Second, Max: millis(longest)}
	with := func(change func(*Retry)) Retry {
		r := all
		change(&r)
		return r
	}
	f := func(arguments, policy []any, want Retry) {
		t.Helper()
		o, err := Resolve(Spec{Name: "q", Arguments: fields(arguments...)}, fields(policy...))
		if err != nil || o.Retry != want {
			t.Errorf("%v under %v: got %+v, %v, want %+v", arguments, policy, o.Retry, err, want)
		}
	}
	type list = []any
	f(nil, nil, Retry{})
	f(list{"x-delayed-retry-type", "all"}, nil, all)
	f(list{"x-delayed-retry-type", "failed"}, nil, with(func(r *Retry) { r.Returned = false }))
	f(list{"x-delayed-retry-type", "returned"}, nil, with(func(r *Retry) { r.Failed = false }))
	f(list{"x-delayed-retry-type", "disabled", "x-delayed-retry-min", int64(5)}, nil, Retry{})
	f(list{"x-delayed-retry-max", int64(5)}, nil, Retry{})
	f(list{"x-delayed-retry-min", int64(5)}, nil, with(func(r *Retry) { r.Min = millis(5) })) // as LavinMQ
	f(list{"x-delayed-retry-min", int64(5), "x-delayed-retry-max", int64(3)}, nil, with(func(r *Retry) { r.Min, r.Max = millis(3), millis(3) }))
	f(nil, list{"delayed-retry-type", "all", "delayed-retry-min", int64(7), "delayed-retry-max", int64(9), "delayed-retry-multiplier", int64(2)},
		with(func(r *Retry) { r.Min, r.Max, r.Multiplier = millis(7), millis(9), 2 }))
	f(list{"x-delayed-retry-multiplier", int64(3)}, list{"delayed-retry-min", int64(7), "delayed-retry-multiplier", int64(2)},
		with(func(r *Retry) { r.Min, r.Multiplier = millis(7), 3 }))
	f(list{"x-delayed-retry-type", "disabled"}, list{"delayed-retry-type", "all"}, Retry{})
	f(list{"x-delayed-retry-type", "all"}, list{"delayed-retry-min", int64(7)}, with(func(r *Retry) { r.Min = millis(7) }))
}
