package server

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// quick reads and writes a TCP socket by calls that Go's scheduler is not told of.
//
// It is told of others because they may block: then another thread has to go on meanwhile. So
// where everything slept, the first call wakes the thread that looks after this, and that looks
// about every 20 µs from then on. Where messages come one at a time this is as much as a third of what
// they cost. A call on a socket that does not block is over in a few microseconds, as long as
// it moves little, and nobody needs to look after it.
//
// That thread has other things to do when there is much work, such as to interrupt who does not
// stop. So whoever finds something to read without waiting for it reads in the usual way next.
type quick struct {
	nc      net.Conn
	raw     syscall.RawConn // nil if there are only the usual ways
	in, out transfer
	waits   bool // the last read had to wait, or took all there was
}

// transfer is one call under way, in one direction.
type transfer struct {
	try    func(fd uintptr) bool // made once, because it would be garbage after each call
	b      []byte
	n      int
	errno  syscall.Errno
	waited bool
}

// init makes q read and write nc. Without TLS it may be quick.
func (q *quick) init(nc net.Conn) {
	q.nc = nc
	t, ok := nc.(*net.TCPConn)
	if !ok || !quickly {
		return
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return
	}
	q.raw = raw
	q.in.try = func(fd uintptr) bool {
		t := &q.in
		t.n, t.errno = readNow(fd, t.b)
		wait := t.errno == syscall.EAGAIN
		t.waited = t.waited || wait
		return !wait
	}
	q.out.try = func(fd uintptr) bool {
		t := &q.out
		t.n, t.errno = writeNow(fd, t.b)
		return true
	}
}

// read is what Read of a net.Conn is. One goroutine reads.
func (q *quick) read(b []byte) (n int, err error) {
	if q.raw == nil || !q.waits || len(b) == 0 {
		n, err = q.nc.Read(b)
		q.waits = n < len(b)
		return n, err
	}
	t := &q.in
	t.b, t.n, t.errno, t.waited = b, 0, 0, false
	err = q.raw.Read(t.try)
	t.b = nil
	q.waits = t.waited && t.n < len(b)
	switch {
	case err != nil:
		return 0, q.failed(err)
	case t.errno != 0:
		return 0, q.failed(os.NewSyscallError("read", t.errno))
	case t.n == 0:
		return 0, io.EOF
	}
	return t.n, nil
}

// failed is err as Read of a net.Conn returns it.
func (q *quick) failed(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return &net.OpError{Op: "read", Net: "tcp", Source: q.nc.LocalAddr(), Addr: q.nc.RemoteAddr(), Err: err}
}

// write writes as much of b, which is little, as the socket takes without waiting, and returns
// how much that is: nothing, too, when there is something wrong. Whoever writes the rest finds the
// error again. One at a time writes.
func (q *quick) write(b []byte) (n int) {
	if q.raw == nil {
		return 0
	}
	t := &q.out
	t.b, t.n, t.errno = b, 0, 0
	err := q.raw.Write(t.try)
	t.b = nil
	if err != nil || t.errno != 0 {
		return 0
	}
	return t.n
}
