package management

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
)

const (
	// SocketName is what the socket is called in the data directory.
	SocketName = "leveret.sock"
	// maxSocketPath is how long the path of a socket may be on every system there is: the
	// kernel has a little more than a hundred bytes for it.
	maxSocketPath = 103
)

// ErrPathTooLong is why a socket cannot be had: its path is longer than the system takes.
var ErrPathTooLong = errors.New("the path of the socket is too long")

// Listen makes the socket in dir and listens on it. Only the user of this process may
// connect. A socket that an earlier process has left is replaced, so the caller must know
// that no other broker has the directory.
func Listen(dir string) (net.Listener, error) {
	name := filepath.Join(dir, SocketName)
	if err := removeSocket(name); err != nil {
		return nil, err
	}
	short, done, err := shorten(name)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := (&net.ListenConfig{Control: ownerOnly}).Listen(context.Background(), "unix", short)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", name, err)
	}
	u := l.(*net.UnixListener)
	u.SetUnlinkOnClose(false) // the short name is gone by then
	err = os.Chmod(name, 0o600)
	var info fs.FileInfo
	if err == nil {
		info, err = os.Lstat(name)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("keep others from %s: %w", name, err), l.Close())
	}
	return &socket{UnixListener: u, name: name, info: info}, nil
}

// removeSocket removes a socket, and nothing else.
func removeSocket(name string) error {
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look at %s: %w", name, err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is in the way: it is not a socket", name)
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the socket of an earlier run: %w", err)
	}
	return nil
}

// socket removes its file when it is closed, unless that is another by then: the directory
// may have been moved, and one like it made.
type socket struct {
	*net.UnixListener
	name string
	info fs.FileInfo
}

// Close implements net.Listener.
func (s *socket) Close() error {
	if err := s.UnixListener.Close(); err != nil {
		return err
	}
	if now, err := os.Lstat(s.name); err != nil || !os.SameFile(s.info, now) {
		return err
	}
	return os.Remove(s.name)
}

// shorten finds a name for a file that the system takes as that of a socket, good until
// done is called. Linux has one by way of the open directory.
func shorten(name string) (short string, done func(), err error) {
	if len(name) <= maxSocketPath {
		return name, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return "", nil, err
	}
	through := filepath.Join("/proc/self/fd", strconv.FormatUint(uint64(dir.Fd()), 10))
	if info, err := os.Stat(through); err != nil || !info.IsDir() {
		return "", nil, errors.Join(fmt.Errorf("%w: %s has %d bytes and may have %d", ErrPathTooLong, name, len(name), maxSocketPath), dir.Close())
	}
	return filepath.Join(through, filepath.Base(name)), func() { _ = dir.Close() }, nil // it was only read
}

// Client speaks to the broker whose data directory is dir, whatever host a URL names. The
// error of a request is fs.ErrNotExist or syscall.ECONNREFUSED when no broker is there.
func Client(dir string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			name, done, err := shorten(filepath.Join(dir, SocketName))
			if err != nil {
				return nil, err
			}
			defer done()
			var d net.Dialer
			return d.DialContext(ctx, "unix", name)
		},
	}}
}
