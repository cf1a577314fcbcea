package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// publisher publishes numbered messages with confirms until it is stopped.
type publisher struct {
	stop      chan struct{}
	ended     sync.WaitGroup
	mu        sync.Mutex
	more      *sync.Cond
	confirmed int // all below are
	err       error
}

func startPublisher(t *testing.T, url string) *publisher {
	t.Helper()
	p := &publisher{stop: make(chan struct{})}
	p.more = sync.NewCond(&p.mu)
	conn, ch := confirming(t, url)
	p.ended.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-p.stop:
				p.told(-1, conn.Close())
				return
			default:
			}
			body := fmt.Appendf(nil, "%d:%s", n, strings.Repeat("x", n*7919%20000))
			c, err := ch.PublishWithDeferredConfirm("", "q", true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body})
			if err == nil {
				_, err = c.WaitContext(context.Background())
			}
			p.told(n, err)
			if err != nil {
				return
			}
		}
	})
	return p
}

func (p *publisher) told(n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.confirmed = max(p.confirmed, n+1)
	if p.err == nil {
		p.err = err
	}
	p.more.Broadcast()
}

// until waits for n confirms and returns how many there are.
func (p *publisher) until(t *testing.T, n int) int {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.confirmed < n && p.err == nil {
		p.more.Wait()
	}
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.confirmed
}

// E16: a backup taken under load is restored, opens, and has everything confirmed before.
func TestBackupOfARunningBrokerIsRestored(t *testing.T) {
	dir := t.TempDir()
	s := startServing(t, dir, complete)
	p := startPublisher(t, "amqp://guest:guest@"+s.address()+"/")
	confirmed := p.until(t, 50)
	file := filepath.Join(t.TempDir(), "backup")
	out, complaint, code := runProgram(t, "backup", "--data-dir", dir, file)
	if !regexp.MustCompile(`^saved \d+ messages in 1 queues, \d+ bytes of them; the backup has \d+ bytes and was made at 2`).MatchString(out) || code != 0 {
		t.Fatalf("got exit code %d, %q and %q", code, out, complaint)
	}
	p.until(t, confirmed+10) // it goes on
	close(p.stop)
	p.ended.Wait()
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("got %v, %v, want a file for its owner", info.Mode(), err)
	}
	if files, err := filepath.Glob(file + "?*"); len(files) != 0 || err != nil {
		t.Errorf("got %q left, %v", files, err)
	}
	// On standard output it is the same, and so it is once the broker has stopped.
	toStdout, complaint, code := runProgram(t, "backup", "--data-dir", dir, "-")
	if code != 0 || !strings.HasPrefix(complaint, "saved ") || len(toStdout) < 1000 {
		t.Errorf("got exit code %d, %d bytes and %q", code, len(toStdout), complaint)
	}
	s.signal(syscall.SIGTERM)
	s.end()

	to := filepath.Join(t.TempDir(), "new")
	out, complaint, code = runProgram(t, "restore", "--data-dir", to, file)
	if code != 0 || !strings.HasPrefix(out, "restored ") {
		t.Fatalf("got exit code %d, %q and %q", code, out, complaint)
	}
	again := startServing(t, to, complete)
	if got := consumeNumbered(t, "amqp://guest:guest@"+again.address()+"/"); got < confirmed {
		t.Errorf("got %d messages, want the %d confirmed before the backup at least", got, confirmed)
	}
	again.signal(syscall.SIGTERM)
	if code := again.end(); code != 0 {
		t.Errorf("got exit code %d", code)
	}
}

// consumeNumbered takes messages off the queue and counts them. They have to be numbered
// from 0 without a gap, and whole.
func consumeNumbered(t *testing.T, url string) int {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		d, ok, err := ch.Get("q", true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return n
		}
		if want := fmt.Appendf(nil, "%d:%s", n, strings.Repeat("x", n*7919%20000)); !bytes.Equal(d.Body, want) {
			t.Fatalf("message %d: got %.20q of %d bytes", n, d.Body, len(d.Body))
		}
	}
}

func TestBackupAndRestoreReplaceNothing(t *testing.T) {
	dir, files := t.TempDir(), t.TempDir()
	f := func(wantCode int, want string, args ...string) {
		t.Helper()
		out, complaint, code := runProgram(t, args...)
		if code != wantCode || !strings.Contains(out+complaint, want) {
			t.Errorf("%q: got exit code %d, %q and %q, want %d and %q", args, code, out, complaint, wantCode, want)
		}
	}
	file := filepath.Join(files, "backup")
	f(1, "there is no store", "backup", "--data-dir", dir, file)
	s := startServing(t, dir, complete)
	publishConfirmed(t, "amqp://guest:guest@"+s.address()+"/")
	f(0, "saved 50 messages in 1 queues, 500000 bytes", "backup", "--data-dir", dir, file)
	f(1, "--force replaces it", "backup", "--data-dir", dir, file)
	f(0, "saved 50 messages", "backup", "--data-dir", dir, file, "--force")
	f(1, "is a directory", "backup", "--data-dir", dir, files, "--force")
	f(1, "is not empty", "restore", "--data-dir", dir, file)
	s.signal(syscall.SIGKILL) // its socket stays
	s.end()
	f(0, "the broker does not run: its store is read\n", "backup", "--data-dir", dir, file, "--force")
	f(0, "saved 50 messages", "backup", "--data-dir", dir, file, "--force")

	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	b[len(b)/2] ^= 1
	bad := filepath.Join(files, "bad")
	if err := os.WriteFile(bad, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f(1, "the backup is damaged in block ", "restore", "--data-dir", to, bad)
	if _, err := os.Stat(filepath.Join(to, "store")); !os.IsNotExist(err) {
		t.Errorf("a store of a bad backup is there: %v", err)
	}
	f(0, "restored 50 messages in 1 queues, 500000 bytes", "restore", "--data-dir", to, file)
	again := startServing(t, to, complete)
	f(0, "saved 50 messages", "backup", "--data-dir", to, "-")
	if info, err := os.Stat(filepath.Join(to, "leveret.sock")); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("got the socket %v, %v", info, err)
	}
	again.signal(syscall.SIGTERM)
	again.end()
	if _, err := os.Stat(filepath.Join(to, "leveret.sock")); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}
