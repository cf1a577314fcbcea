package server

import (
	"syscall"
	"unsafe"
)

// quickly tells whether sockets can be used in this way.
const quickly = true

// readNow is one read of a socket that does not block, which Go's scheduler is not told of.
func readNow(fd uintptr, b []byte) (n int, errno syscall.Errno) {
	return callNow(syscall.SYS_READ, fd, b)
}

// writeNow is one write to a socket that does not block, which Go's scheduler is not told of.
func writeNow(fd uintptr, b []byte) (n int, errno syscall.Errno) {
	return callNow(syscall.SYS_WRITE, fd, b)
}

// callNow makes a call again that a signal has interrupted.
func callNow(call, fd uintptr, b []byte) (n int, errno syscall.Errno) {
	if len(b) == 0 {
		return 0, 0
	}
	for {
		r, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			return int(r), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
