package management

import "syscall"

// ownerOnly sets the mode of a socket before it has a name, so that there is no moment at
// which others could connect.
func ownerOnly(_, _ string, c syscall.RawConn) error {
	var failed error
	if err := c.Control(func(fd uintptr) { failed = syscall.Fchmod(int(fd), 0o600) }); err != nil {
		return err
	}
	return failed
}
