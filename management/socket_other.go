//go:build !linux

package management

import "syscall"

// ownerOnly leaves it to the change of the mode that follows.
func ownerOnly(_, _ string, _ syscall.RawConn) error { return nil }
