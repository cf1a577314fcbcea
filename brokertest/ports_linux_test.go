package brokertest

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

func TestStoppedBrokerKeepsItsPorts(t *testing.T) {
	s := Start(t, InMemory())
	s.stop()
	// Who asks for any port gets one that nobody is bound to, as this one wants it.
	l := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 0)
		}), err)
	}}
	for _, address := range []string{s.config.Listen[0], s.config.MetricsListen[0], s.config.ManagementListen[0]} {
		x, err := l.Listen(t.Context(), "tcp", address)
		if err == nil {
			x.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%s of a broker that is stopped: got %v, want it in use", address, err)
		}
	}
	if err := s.start(); err != nil {
		t.Error(err)
	}
}
