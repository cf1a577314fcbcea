//go:build unix

package server

import "syscall"

// writeNow writes as much of b as the socket takes without waiting, and returns how much that is:
// nothing, too, when there is something wrong.
func writeNow(raw syscall.RawConn, b []byte) (n int) {
	err := raw.Write(func(fd uintptr) bool {
		n, _ = syscall.Write(int(fd), b) // whoever writes the rest finds the error again
		return true
	})
	if err != nil || n < 0 {
		return 0
	}
	return n
}
