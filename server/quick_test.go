package server

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// sockets returns both ends of a connection over TCP, of which one is quick and has waited.
func sockets(t *testing.T) (q *quick, nc, peer net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	peer, err = net.Dial("tcp", l.Addr().String())
	check(t, err)
	nc, err = l.Accept()
	check(t, err)
	t.Cleanup(func() {
		nc.Close()
		peer.Close()
	})
	q = new(quick)
	q.init(nc)
	_, err = peer.Write([]byte("a"))
	check(t, err)
	if n, err := q.read(make([]byte, 2)); n != 1 || err != nil || !q.waits {
		t.Fatalf("got %d bytes, error %v, waits %v, want one and to wait for the next", n, err, q.waits)
	}
	return q, nc, peer
}

func TestQuickReadWaitsForWhatComes(t *testing.T) {
	q, nc, peer := sockets(t)
	buf := make([]byte, 100)
	check(t, nc.SetReadDeadline(time.Now().Add(time.Millisecond)))
	var timeout net.Error
	if n, err := q.read(buf); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %d bytes and %v after the deadline, want none and a timeout", n, err)
	}
	check(t, nc.SetReadDeadline(time.Time{}))
	got := make(chan string)
	go func() {
		for range 2 {
			n, err := q.read(buf)
			got <- string(buf[:n])
			if err != nil {
				t.Errorf("got %v, want what was sent", err)
			}
		}
	}()
	for _, want := range []string{"one", "two"} {
		_, err := peer.Write([]byte(want))
		check(t, err)
		if s := <-got; s != want {
			t.Errorf("got %q, want %q", s, want)
		}
	}
}

func TestQuickReadEndsAsOthersDo(t *testing.T) {
	q, _, peer := sockets(t)
	_, err := peer.Write([]byte("last"))
	check(t, err)
	peer.Close()
	if all, err := io.ReadAll(readFunc(q.read)); string(all) != "last" || err != nil {
		t.Errorf("got %q and %v, want what was sent and the end", all, err)
	}

	q, _, peer = sockets(t)
	check(t, peer.(*net.TCPConn).SetLinger(0))
	peer.Close()
	var op *net.OpError
	if _, err := q.read(make([]byte, 10)); !errors.Is(err, syscall.ECONNRESET) || !errors.As(err, &op) || op.Op != "read" {
		t.Errorf("got %v after a reset, want that of a read", err)
	}

	q, nc, _ := sockets(t)
	nc.Close()
	if _, err := q.read(make([]byte, 10)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v of a socket that is closed, want %v", err, net.ErrClosed)
	}
}

func TestQuickWriteWritesWhatTheSocketTakes(t *testing.T) {
	q, nc, peer := sockets(t)
	if q.raw == nil {
		t.Skip("sockets cannot be used in this way here")
	}
	piece := bytes.Repeat([]byte("x"), quickBytes)
	sent := 0
	for {
		n := q.write(piece)
		sent += n
		if n < len(piece) {
			break
		}
	}
	nc.Close()
	if n := q.write(piece); n != 0 {
		t.Errorf("wrote %d bytes to a socket that is closed, want none", n)
	}
	if all, err := io.ReadAll(peer); len(all) != sent || err != nil {
		t.Errorf("got %d bytes and %v, want the %d that were written", len(all), err, sent)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }
