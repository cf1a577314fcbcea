//go:build !linux || !amd64

package main

import (
	"errors"
	"time"
)

// movedClock is not there on this system.
type movedClock struct{ path string }

func moveClock(string, string) (*movedClock, error) {
	return nil, errors.New("only of binaries for linux on amd64 the clock can be moved")
}

func (*movedClock) startWith(time.Duration) error { return nil }

func (*movedClock) move(int, time.Duration) error { return nil }
