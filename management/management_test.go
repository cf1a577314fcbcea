package management

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// backups makes backups as a test wants them.
type backups func(ctx context.Context, w io.Writer) error

func (f backups) Backup(ctx context.Context, w io.Writer) error { return f(ctx, w) }

func hello(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, "hello")
	return err
}

func options(b backups) Options { return Options{Log: zerolog.Nop(), Backuper: b, Trusted: true} }

func TestRefusalsAreJSONAndSayWhy(t *testing.T) {
	f := func(o Options, method, path string, status int, word, reason string) {
		t.Helper()
		w := httptest.NewRecorder()
		Handler(o).ServeHTTP(w, httptest.NewRequest(method, path, nil))
		var got struct{ Error, Reason string }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("%s %s: %v in %q", method, path, err, w.Body)
		}
		if w.Code != status || got.Error != word || !strings.Contains(got.Reason, reason) || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: got %d %+v, want %d %s: %s", method, path, w.Code, got, status, word, reason)
		}
	}
	f(options(hello), "GET", "/api/nothing", 404, "Object Not Found", "Not Found")
	f(options(hello), "GET", "/api/backup", 405, "method_not_allowed", "/api/backup takes POST")
	f(options(func(context.Context, io.Writer) error { return ErrBusy }), "POST", "/api/backup", 409, "conflict", "under way")
	f(options(func(context.Context, io.Writer) error { return errors.New("no disk") }), "POST", "/api/backup", 500, "internal_error", "no disk")
}

// serve serves h in dir until the test ends.
func serve(t *testing.T, dir string, h http.Handler) {
	t.Helper()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := Server(h, zerolog.Nop())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		if _, err := os.Lstat(filepath.Join(dir, SocketName)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is left: %v", err)
		}
	})
}

// askBackup asks the broker of dir for a backup.
func askBackup(t *testing.T, dir string) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", "http://leveret"+BackupPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	return Client(dir).Do(r)
}

func wantHello(t *testing.T, dir string) {
	t.Helper()
	r, err := askBackup(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); string(b) != "hello" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestSocketIsTheOwnersAlone(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, Handler(options(hello)))
	info, err := os.Lstat(filepath.Join(dir, SocketName))
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	wantHello(t, dir)
}

func TestSocketOfADeadBrokerIsReplacedAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	if _, err := askBackup(t, dir); !errors.Is(err, fs.ErrNotExist) { //nolint:bodyclose // there is none
		t.Errorf("nothing there: got %v", err)
	}
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, SocketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := askBackup(t, dir); !errors.Is(err, syscall.ECONNREFUSED) { //nolint:bodyclose // there is none
		t.Errorf("a dead one: got %v", err)
	}
	serve(t, dir, Handler(options(hello)))
	wantHello(t, dir)

	// One that another has put there since is left alone.
	moved := t.TempDir()
	l, err := Listen(moved)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(moved, SocketName), filepath.Join(moved, "old")); err != nil {
		t.Fatal(err)
	}
	serve(t, moved, Handler(options(hello)))
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	wantHello(t, moved)

	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, SocketName), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(other); err == nil || !strings.Contains(err.Error(), "in the way") {
		t.Errorf("a file: got %v", err)
	}
}

func TestSocketMayHaveALongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "linux" {
		if _, err := Listen(dir); !errors.Is(err, ErrPathTooLong) {
			t.Errorf("got %v, want ErrPathTooLong", err)
		}
		return
	}
	serve(t, dir, Handler(options(hello)))
	wantHello(t, dir)
}

// A client must not take a part of a backup for the whole.
func TestBackupThatFailsOnTheWayCutsTheConnection(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir, Handler(options(func(_ context.Context, w io.Writer) error {
		if _, err := io.WriteString(w, "half"); err != nil {
			return err
		}
		return errors.New("no more")
	})))
	r, err := askBackup(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); string(b) != "half" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %q, %v, want what there is and an early end", b, err)
	}
}

// oneConn is a listener with one connection.
type oneConn struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error   { close(l.closed); return nil }
func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "test"} }

// How long a backup takes is limited by its client's patience alone; and a client that
// takes nothing for too long is given up.
func TestLongBackupGoesOnAndAStuckClientEndsIt(t *testing.T) {
	f := func(read bool, want error) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			ended := make(chan error, 1)
			h := Handler(options(func(ctx context.Context, w io.Writer) error {
				time.Sleep(time.Hour)
				_, err := w.Write(make([]byte, 1<<16))
				if err == nil {
					err = ctx.Err()
				}
				ended <- err
				return err
			}))
			client, conn := net.Pipe()
			l := &oneConn{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
			l.conns <- conn
			s := Server(h, zerolog.Nop())
			serving := make(chan error, 1)
			go func() { serving <- s.Serve(l) }()
			if _, err := io.WriteString(client, "POST /api/backup HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if read {
				go io.Copy(io.Discard, client) //nolint:errcheck // it ends with the connection
			}
			if err := <-ended; !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
			synctest.Wait()
			if err := errors.Join(s.Close(), client.Close()); err != nil {
				t.Error(err)
			}
			if err := <-serving; !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		})
	}
	f(true, nil)
	f(false, os.ErrDeadlineExceeded)
}
