//go:build !linux

package persistence

import (
	"errors"
	"os"
)

// SpaceOf is the room on the file system that dir is on. Where it cannot be told the error
// is errors.ErrUnsupported.
func SpaceOf(string) (Space, error) { return Space{}, errors.ErrUnsupported }

// allocate gives f its size and the room for it.
func allocate(interface{ Fd() uintptr }, int64) error { return errors.ErrUnsupported }

// nextData is where, from at on, the next part of f is that is not a hole, or io.EOF when there
// is none. It moves f's offset.
func nextData(_ *os.File, at int64) (int64, error) { return at, nil }
