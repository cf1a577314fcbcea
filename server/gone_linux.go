package server

import (
	"encoding/binary"
	"net"
	"syscall"
)

// The states of TCP in which the other end has closed, or there is none.
const (
	tcpClose     = 7
	tcpCloseWait = 8
	tcpLastAck   = 9
)

// gone reports whether the client has closed its end, or the connection is broken, though
// there may be something to read still. It is for when nothing is to be read.
func gone(socket net.Conn) bool {
	s, ok := socket.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return true
	}
	over := false
	if err := raw.Control(func(fd uintptr) {
		// The state is the first octet of what TCP_INFO tells.
		info, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO)
		if err != nil {
			return
		}
		var b [4]byte
		binary.NativeEndian.PutUint32(b[:], uint32(info))
		over = b[0] == tcpClose || b[0] == tcpCloseWait || b[0] == tcpLastAck
	}); err != nil {
		return true
	}
	return over
}
