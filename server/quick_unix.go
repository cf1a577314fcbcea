//go:build unix && !linux

package server

import (
	"errors"
	"syscall"
)

// quickly tells whether sockets can be used in this way.
const quickly = true

// readNow is one read of a socket that does not block.
func readNow(fd uintptr, b []byte) (n int, errno syscall.Errno) {
	return told(syscall.Read(int(fd), b))
}

// writeNow is one write to a socket that does not block.
func writeNow(fd uintptr, b []byte) (n int, errno syscall.Errno) {
	return told(syscall.Write(int(fd), b))
}

func told(n int, err error) (int, syscall.Errno) {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return 0, errno
	}
	return n, 0
}
