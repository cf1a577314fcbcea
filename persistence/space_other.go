//go:build !linux

package persistence

import "errors"

// SpaceOf is the room on the file system that dir is on. Where it cannot be told the error
// is errors.ErrUnsupported.
func SpaceOf(string) (Space, error) { return Space{}, errors.ErrUnsupported }

// allocate gives f its size and the room for it.
func allocate(interface{ Fd() uintptr }, int64) error { return errors.ErrUnsupported }
