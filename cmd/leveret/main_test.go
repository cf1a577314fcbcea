package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rs/zerolog"
)

// TestMain is the program itself when a test has started it as that.
func TestMain(m *testing.M) {
	if os.Getenv("LEVERET_TEST_PROGRAM") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// program is the command with arguments, in a directory and an environment of its own.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, exe, args...)
	// Built with the race detector it would wait for a second before it ends, every time.
	cmd.Env = []string{"LEVERET_TEST_PROGRAM=1", "PATH=" + os.Getenv("PATH"), "GORACE=atexit_sleep_ms=10"}
	cmd.Dir = t.TempDir()
	return cmd
}

// run runs the command to its end.
func runProgram(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := program(t, args...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), complaint.String(), cmd.ProcessState.ExitCode()
}

// serving is a broker that runs as a process.
type serving struct {
	t      *testing.T
	cmd    *exec.Cmd
	dir    string
	stderr io.Closer
	lines  *bufio.Scanner
	log    []string
}

// startServing starts a broker with its data in dir and reads its log up to the line with
// message.
func startServing(t *testing.T, dir, message string, args ...string) *serving {
	t.Helper()
	args = append([]string{"--data-dir", dir, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--management-listen", "127.0.0.1:0"}, args...)
	s := &serving{t: t, cmd: program(t, args...), dir: dir}
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.stderr, s.lines = stderr, bufio.NewScanner(stderr)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			// It may have ended by itself, and how it ended is of no interest here.
			_ = s.cmd.Process.Kill()
			_ = s.cmd.Wait()
		}
	})
	s.until(message)
	return s
}

// until reads the log up to the line with message, and returns that.
func (s *serving) until(message string) map[string]any {
	s.t.Helper()
	for s.lines.Scan() {
		s.log = append(s.log, s.lines.Text())
		var line map[string]any
		if err := json.Unmarshal(s.lines.Bytes(), &line); err != nil {
			s.t.Fatalf("got %q in the log: %v", s.lines.Text(), err)
		}
		if line["message"] == message {
			return line
		}
	}
	s.t.Fatalf("got the end of the log, want a line %q in\n%s", message, strings.Join(s.log, "\n"))
	return nil
}

// address is where it listens.
func (s *serving) address() string {
	s.t.Helper()
	for _, text := range s.log {
		var line struct{ Message, Address string }
		if err := json.Unmarshal([]byte(text), &line); err == nil && line.Message == "listening for AMQP" {
			return line.Address
		}
	}
	s.t.Fatalf("got no address in\n%s", strings.Join(s.log, "\n"))
	return ""
}

func (s *serving) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// end waits for the end of the process and returns its exit code.
func (s *serving) end() int {
	s.t.Helper()
	for s.lines.Scan() {
		s.log = append(s.log, s.lines.Text())
	}
	var exit *exec.ExitError
	if err := s.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return s.cmd.ProcessState.ExitCode()
}

const complete = "Server startup complete"

func TestServeStopsInGoodOrder(t *testing.T) { // E22, C-33, P13
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		dir := t.TempDir()
		s := startServing(t, dir, complete)
		conn, err := amqp.Dial("amqp://guest:guest@" + s.address() + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		closed := conn.NotifyClose(make(chan *amqp.Error, 1))
		s.signal(sig)
		if e := <-closed; e == nil || e.Code != amqp.ConnectionForced {
			t.Errorf("got %v at %v, want 320", e, sig)
		}
		if code := s.end(); code != 0 || !strings.Contains(s.log[len(s.log)-1], `"stopped"`) {
			t.Errorf("got exit code %d at %v after\n%s", code, sig, strings.Join(s.log, "\n"))
		}
		again := startServing(t, dir, complete) // and it starts again
		again.signal(sig)
		if code := again.end(); code != 0 {
			t.Errorf("got exit code %d at %v after\n%s", code, sig, strings.Join(again.log, "\n"))
		}
	}
}

func TestSignalDuringStartIsObeyed(t *testing.T) { // E22
	s := startServing(t, t.TempDir(), "Leveret starts")
	s.signal(syscall.SIGTERM)
	if code := s.end(); code != 0 {
		t.Errorf("got exit code %d after\n%s", code, strings.Join(s.log, "\n"))
	}
}

// mute is a connection of which nothing is read once gate is locked.
type mute struct {
	net.Conn
	gate sync.Mutex
}

// Read implements net.Conn.
func (m *mute) Read(b []byte) (int, error) {
	m.gate.Lock()
	m.gate.Unlock() //nolint:staticcheck // to pass the gate is all there is to it
	return m.Conn.Read(b)
}

func TestSecondSignalEndsAtOnce(t *testing.T) { // E22
	s := startServing(t, t.TempDir(), complete)
	var m mute
	conn, err := amqp.DialConfig("amqp://guest:guest@"+s.address()+"/", amqp.Config{
		Dial: func(network, address string) (net.Conn, error) {
			conn, err := net.Dial(network, address)
			m.Conn = conn
			return &m, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// A client that does not answer holds the shutdown up for ten seconds. Its reader may be
	// in a read already, and gets one piece more.
	m.gate.Lock()
	defer m.gate.Unlock()
	if err := m.Conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	s.signal(syscall.SIGTERM)
	s.until("shutting down")
	s.signal(syscall.SIGTERM)
	if code := s.end(); code != 1 || time.Since(start) > 8*time.Second {
		t.Errorf("got exit code %d after %v, want 1 at once", code, time.Since(start))
	}
}

func TestBrokerOutlivesWhoReadsItsLog(t *testing.T) { // E23
	s := startServing(t, t.TempDir(), complete)
	if err := s.stderr.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 { // each is a line in the log
		conn, err := amqp.Dial("amqp://guest:guest@" + s.address() + "/")
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	s.signal(syscall.SIGTERM)
	if code := s.end(); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
}

// ending is a node that ends as told.
type ending struct {
	failed  chan struct{}
	err     error
	stopped bool
	polite  bool // clients were given time
}

func (e *ending) Failed() <-chan struct{} { return e.failed }

func (e *ending) Stop(ctx context.Context) error {
	e.stopped, e.polite = true, ctx.Err() == nil
	return e.err
}

func TestFailedStoreEndsTheProcessWithAnError(t *testing.T) { // P6
	f := func(fails bool, err error, want error) {
		t.Helper()
		e := &ending{failed: make(chan struct{}), err: err}
		stop := make(chan os.Signal, 1)
		if fails {
			close(e.failed)
		} else {
			stop <- syscall.SIGTERM
		}
		if got := await(e, zerolog.Nop(), stop); got != want || !e.stopped || e.polite == fails {
			t.Errorf("got %v, stopped %v, politely %v; want %v", got, e.stopped, e.polite, want)
		}
	}
	f(false, nil, nil)
	f(false, errors.New("close the store"), errLogged)
	f(true, errors.New("sync failed"), errLogged)
	f(true, nil, errLogged)
}

func TestDirectoryHasOneBroker(t *testing.T) {
	s := startServing(t, t.TempDir(), complete)
	_, complaint, code := runProgram(t, "serve", "--data-dir", s.dir, "--listen", "off", "--metrics-listen", "off", "--management-listen", "off")
	if pid := strconv.Itoa(s.cmd.Process.Pid); code != 1 || !strings.Contains(complaint, "is in use by pid "+pid+`"`) {
		t.Errorf("got exit code %d and %q, want 1 and that %s has it", code, complaint, pid)
	}
}

// TestBrokerWhoseDirectoryIsGoneStops, and confirms nothing that would not be found again.
func TestBrokerWhoseDirectoryIsGoneStops(t *testing.T) { // E10
	f := func(what string, take func(dir string) error) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "data")
		s := startServing(t, dir, complete)
		if err := take(dir); err != nil {
			t.Fatal(err)
		}
		if code := s.end(); code != 1 || !strings.Contains(strings.Join(s.log, "\n"), "was removed or moved") {
			t.Errorf("got exit code %d when it was %s, after\n%s", code, what, strings.Join(s.log, "\n"))
		}
	}
	f("removed", os.RemoveAll)
	f("moved", func(dir string) error { return os.Rename(dir, dir+".old") })
	f("replaced", func(dir string) error {
		if err := os.Rename(dir, dir+".old"); err != nil {
			return err
		}
		return os.CopyFS(filepath.Join(dir, "store"), os.DirFS(filepath.Join(dir+".old", "store")))
	})
}

func TestHealthcheckTellsWhyPublishersWait(t *testing.T) {
	s := startServing(t, t.TempDir(), complete, "--config", write(t, "disk_free_limit: 1000000GiB\n"))
	out, complaint, code := runProgram(t, "healthcheck", "--listen", s.address())
	if code != 0 || !strings.Contains(out, "publishers are stopped by an alarm: disk\n") {
		t.Errorf("got exit code %d, %q and %q, want 0 and the alarm", code, out, complaint)
	}
	s.signal(syscall.SIGTERM)
	s.end()
}

func write(t *testing.T, text string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "leveret.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestConflictingTopologyDoesNotStart(t *testing.T) {
	topology := func(limit string) string {
		return write(t, "topology:\n  queues:\n    - {name: orders, arguments: {x-max-length: "+limit+"}}\n")
	}
	dir := t.TempDir()
	for range 2 { // the same again is fine
		s := startServing(t, dir, complete, "--config", topology("1"))
		s.signal(syscall.SIGTERM)
		if code := s.end(); code != 0 {
			t.Fatalf("got exit code %d after\n%s", code, strings.Join(s.log, "\n"))
		}
	}
	_, complaint, code := runProgram(t, "--data-dir", dir, "--listen", "off", "--metrics-listen", "off", "--management-listen", "off", "--config", topology("2"))
	if code != 1 || !strings.Contains(complaint, "received '2' but current is '1'") || strings.Contains(complaint, complete) {
		t.Errorf("got exit code %d and %q, want 1 and both limits", code, complaint)
	}
}

func TestHealthcheckTellsWhetherTheBrokerAnswers(t *testing.T) {
	s := startServing(t, t.TempDir(), complete)
	out, complaint, code := runProgram(t, "healthcheck", "--listen", s.address())
	if code != 0 || !strings.HasPrefix(out, "healthy: "+s.address()) || strings.Count(out, "\n") != 1 || complaint != "" {
		t.Errorf("got exit code %d, %q and %q; want 0 and one line", code, out, complaint)
	}
	s.signal(syscall.SIGTERM)
	s.end()
	out, complaint, code = runProgram(t, "healthcheck", "--listen", s.address())
	if code != 1 || out != "" || !strings.Contains(complaint, "unhealthy: ") || strings.Count(complaint, "\n") != 1 {
		t.Errorf("got exit code %d, %q and %q; want 1 and one line", code, out, complaint)
	}
	if _, complaint, code = runProgram(t, "healthcheck", "--listen", "off"); code != 1 || !strings.Contains(complaint, "no AMQP listener") {
		t.Errorf("got exit code %d and %q without a listener, want 1", code, complaint)
	}
}

func TestHealthcheckIsNotTakenIn(t *testing.T) {
	f := func(answer, want string) {
		t.Helper()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, answer); err == nil {
				_, _ = io.Copy(io.Discard, conn) // until the check gives up
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := greet(ctx, l.Addr().String(), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v from %q, want %q", err, answer, want)
		}
	}
	f("", "timeout")
	f("AMQP\x00\x00\x09\x01", "does not speak AMQP 0-9-1")
	f("HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak AMQP 0-9-1")
	f("\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x1e\xce", "did not send connection.start")
	f("\x08\x00\x00\x00\x00\x00\x00\xce", "did not send connection.start")
}

func TestHealthcheckFindsWhatListensEverywhere(t *testing.T) {
	f := func(address, want string) {
		t.Helper()
		if got := reachable(address); got != want {
			t.Errorf("got %s for %s, want %s", got, address, want)
		}
	}
	f(":5672", "127.0.0.1:5672")
	f("0.0.0.0:5672", "127.0.0.1:5672")
	f("[::]:5672", "[::1]:5672")
	f("192.0.2.1:5672", "192.0.2.1:5672")
	f("localhost:5672", "localhost:5672")
}

func TestConfigIsPrintedAndValidated(t *testing.T) {
	out, _, code := runProgram(t, "config", "print", "--log-level", "debug")
	if code != 0 || !strings.Contains(out, "level: debug") || !strings.Contains(out, "frame_max: 128KiB") {
		t.Errorf("got exit code %d and %s", code, out)
	}
	f := func(text, want string) {
		t.Helper()
		out, complaint, code := runProgram(t, "validate", write(t, text))
		if want == "" {
			if code != 0 || !strings.HasSuffix(out, "is valid\n") {
				t.Errorf("got exit code %d, %s and %s for\n%s", code, out, complaint, text)
			}
		} else if code != 1 || !strings.Contains(complaint, want) {
			t.Errorf("got exit code %d and %s for\n%s", code, complaint, text)
		}
	}
	f(out, "")
	f("amqp:\n  frame_mx: 8192\n", "unknown key amqp.frame_mx")
	f("topology:\n  queues:\n    - {name: q, arguments: {x-message-ttl: -1}}\n", "{value_negative,-1}")
	if _, complaint, code := runProgram(t, "validate", "nowhere.yaml"); code != 1 || !strings.Contains(complaint, "nowhere.yaml") {
		t.Errorf("got exit code %d and %s for a file that is not there", code, complaint)
	}
	if _, complaint, code := runProgram(t, "serv"); code != 1 || !strings.Contains(complaint, `"serv"`) {
		t.Errorf("got exit code %d and %s for a verb that is none", code, complaint)
	}
}

func TestVersionSaysWhatItWasBuiltFrom(t *testing.T) {
	out, _, code := runProgram(t, "version", "--json")
	var b build
	if err := json.Unmarshal([]byte(out), &b); err != nil || code != 0 || b.Version == "" || !strings.HasPrefix(b.Go, "go") || !strings.Contains(b.Platform, "/") {
		t.Errorf("got exit code %d, %+v, %v from %s", code, b, err, out)
	}
	f := func(version, module, want string, settings ...debug.BuildSetting) {
		t.Helper()
		settings = append(settings, debug.BuildSetting{Key: "GOOS", Value: "linux"}, debug.BuildSetting{Key: "GOARCH", Value: "arm64"})
		info := &debug.BuildInfo{GoVersion: "go1.26.1", Main: debug.Module{Version: module}, Settings: settings}
		if got := buildOf(version, info).String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	commit := debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef0123"}
	f("1.2.3", "(devel)", "leveret 1.2.3 go1.26.1 linux/arm64")
	f("", "v1.2.4", "leveret 1.2.4 go1.26.1 linux/arm64")
	f("", "(devel)", "leveret dev (0123456789ab) go1.26.1 linux/arm64", commit)
	f("", "", "leveret dev (0123456789ab, modified) go1.26.1 linux/arm64", commit, debug.BuildSetting{Key: "vcs.modified", Value: "true"})
}
