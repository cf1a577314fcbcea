//go:build linux

package main

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// smallDisk is an ext4 file system of so many MiB, mounted for the test. Where that is not
// allowed the test is skipped, and says so.
func smallDisk(t *testing.T, mebibytes string) (dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: a full disk needs root, to mount one")
	}
	image, dir := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	for _, command := range [][]string{
		{"truncate", "-s", mebibytes + "M", image},
		// Without room for root alone: this test is root.
		{"mkfs.ext4", "-q", "-m", "0", image},
		{"mount", "-o", "loop", image, dir},
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED: a full disk cannot be mounted here: %v: %v\n%s", command, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return dir
}

// fill leaves so many bytes of the disk free. What it returns makes room again.
func fill(t *testing.T, dir string, leave int64) (empty func()) {
	t.Helper()
	file := filepath.Join(dir, "filler")
	f, err := os.Create(file)
	must(t, err)
	defer f.Close()
	size := int64(0)
	for piece := int64(1 << 30); piece >= 4096; {
		// The file system needs some of what is free for itself.
		if free(t, dir)-leave >= piece && syscall.Fallocate(int(f.Fd()), 0, size, piece) == nil {
			size += piece
		} else {
			piece /= 2
		}
	}
	return func() { must(t, os.Remove(file)) }
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dial is a channel in confirm mode.
func dial(t *testing.T, s *serving) (*amqp.Connection, *amqp.Channel) {
	t.Helper()
	conn, err := amqp.Dial("amqp://guest:guest@" + s.address() + "/")
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	ch, err := conn.Channel()
	must(t, err)
	must(t, ch.Confirm(false))
	return conn, ch
}

// flood publishes numbered messages, one after the other, for as long as the connection
// lasts or until it is told to stop. They can be asked for at any time.
type flood struct {
	mu        sync.Mutex // guards the fields below
	published uint64
	confirms  []*amqp.DeferredConfirmation

	stop atomic.Bool
	done chan struct{}
}

func startFlood(ch *amqp.Channel, bytes int) *flood {
	f := &flood{done: make(chan struct{})}
	go func() {
		defer close(f.done)
		for n := uint64(0); !f.stop.Load(); n++ {
			body := make([]byte, bytes)
			binary.BigEndian.PutUint64(body, n)
			c, err := ch.PublishWithDeferredConfirm("", "q", false, false, amqp.Publishing{DeliveryMode: 2, Body: body})
			if err != nil {
				return
			}
			f.mu.Lock()
			f.published++
			f.confirms = append(f.confirms, c)
			f.mu.Unlock()
		}
	}()
	return f
}

// confirmed is how many messages, from the first, were confirmed.
func (f *flood) confirmed() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n, c := range f.confirms {
		if !c.Acked() {
			return uint64(n)
		}
	}
	return f.published
}

func free(t *testing.T, dir string) int64 {
	t.Helper()
	var st syscall.Statfs_t
	must(t, syscall.Statfs(dir, &st))
	return int64(st.Bavail) * st.Bsize
}

// drain consumes messages in their order, from 0 to before end.
func drain(t *testing.T, ch *amqp.Channel, end func() (uint64, bool)) {
	t.Helper()
	must(t, ch.Qos(200, 0, false))
	deliveries, err := ch.Consume("q", "drain", false, false, false, false, nil)
	must(t, err)
	next := uint64(0)
	for {
		if n, known := end(); known && next >= n {
			break
		}
		select {
		case d, ok := <-deliveries:
			if !ok {
				t.Fatalf("got %d messages and the end of the connection", next)
			}
			// What a run before has lost the settlement of may come again.
			n := binary.BigEndian.Uint64(d.Body)
			if n > next {
				t.Fatalf("got message %d, want %d", n, next)
			}
			next = max(next, n+1)
			must(t, d.Ack(false))
		case <-time.After(20 * time.Second):
			t.Fatalf("got %d messages, the rest never", next)
		}
	}
	must(t, ch.Cancel("drain", false))
}

// heard waits for what NotifyBlocked is told.
func heard(t *testing.T, blocked <-chan amqp.Blocking, want amqp.Blocking) {
	t.Helper()
	select {
	case b := <-blocked:
		if b != want {
			t.Fatalf("got %+v, want %+v", b, want)
		}
	case <-time.After(40 * time.Second):
		t.Fatalf("got nothing, want %+v", want)
	}
}

func stopped(t *testing.T, s *serving) {
	t.Helper()
	s.signal(syscall.SIGTERM)
	if code := s.end(); code != 0 {
		t.Errorf("got exit code %d after\n%s", code, strings.Join(s.log, "\n"))
	}
}

func declare(t *testing.T, ch *amqp.Channel) {
	t.Helper()
	_, err := ch.QueueDeclare("q", true, false, false, false, nil)
	must(t, err)
}

var onDisk = amqp.Blocking{Active: true, Reason: "low on disk"}

// TestPublishersStopBeforeTheDiskIsFull, and go on when consumers have made room.
func TestPublishersStopBeforeTheDiskIsFull(t *testing.T) { // E8, P12
	sizes := []string{"256", "700"}
	if testing.Short() {
		sizes = sizes[:1]
	}
	for _, mebibytes := range sizes {
		t.Run(mebibytes, func(t *testing.T) { fillAndDrain(t, mebibytes) })
	}
}

func fillAndDrain(t *testing.T, mebibytes string) {
	dir := smallDisk(t, mebibytes)
	s := startServing(t, filepath.Join(dir, "data"), complete)
	conn, ch := dial(t, s)
	declare(t, ch)
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking, 100))
	start := time.Now()
	f := startFlood(ch, 64<<10)
	heard(t, blocked, onDisk)
	t.Logf("blocked after %d confirmed messages of 64 KiB in %v; %d MiB of %s are free", f.confirmed(), time.Since(start), free(t, dir)>>20, mebibytes)

	_, consumer := dial(t, s)
	defer func() {
		if t.Failed() {
			must(t, s.cmd.Process.Kill())
			s.end()
			t.Log(strings.Join(s.log, "\n"))
		}
	}()
	start = time.Now()
	unblocked := false
	drain(t, consumer, func() (uint64, bool) {
		select {
		case b := <-blocked:
			if !unblocked {
				unblocked = true
				t.Logf("unblocked %v after the first message was consumed; %d MiB are free", time.Since(start), free(t, dir)>>20)
				if b.Active {
					t.Errorf("got %+v", b)
				}
				f.stop.Store(true)
			}
		default:
		}
		select {
		case <-f.done:
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.published, true
		default:
			return 0, false
		}
	})
	for _, c := range f.confirms {
		if !c.Wait() {
			t.Error("a message was refused")
		}
	}
	if !unblocked {
		t.Error("everything was consumed and the publisher is still blocked")
	}
	stopped(t, s)
	if log := strings.Join(s.log, "\n"); !strings.Contains(log, "DISK ALARM") || !strings.Contains(log, "disk alarm cleared") {
		t.Errorf("got no word of the alarm in\n%s", log)
	}
}

// TestDiskThatIsFullAtOnceLosesNothing that was confirmed, though the broker may not
// survive it; and with its ballast it starts all the same and can be drained.
func TestDiskThatIsFullAtOnceLosesNothing(t *testing.T) { // E9
	dir := smallDisk(t, "9000") // large enough for a ballast
	data := filepath.Join(dir, "data")
	s := startServing(t, data, complete)
	_, ch := dial(t, s)
	declare(t, ch)
	f := startFlood(ch, 16<<10)
	for f.confirmed() < 1000 {
		runtime.Gosched()
	}
	empty := fill(t, dir, 0)
	select {
	case <-f.done:
		t.Logf("the broker did not survive it")
	case <-time.After(3 * time.Second):
		t.Logf("the broker lives")
		must(t, s.cmd.Process.Kill())
		<-f.done
	}
	s.end()
	confirmed := f.confirmed()
	t.Logf("%d of %d messages were confirmed, %d bytes are free", confirmed, f.published, free(t, dir))

	s = startServing(t, data, complete)
	if log := strings.Join(s.log, "\n"); !strings.Contains(log, "the ballast was deleted") || !strings.Contains(log, "DISK ALARM") {
		t.Errorf("got no ballast deleted, or no alarm, in\n%s", log)
	}
	conn, ch := dial(t, s)
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking, 100))
	must(t, ch.Publish("", "q", false, false, amqp.Publishing{DeliveryMode: 2, Body: make([]byte, 8)}))
	heard(t, blocked, onDisk)
	_, consumer := dial(t, s)
	drain(t, consumer, func() (uint64, bool) { return confirmed, true })
	empty()
	heard(t, blocked, amqp.Blocking{})
	s.until("ballast set aside, to be able to start on a full disk")
	stopped(t, s)
}

// TestFullDiskWithoutBallastIsExplained instead of met with SIGBUS.
func TestFullDiskWithoutBallastIsExplained(t *testing.T) { // E9
	dir := smallDisk(t, "500") // too small for a ballast
	data := filepath.Join(dir, "data")
	s := startServing(t, data, complete)
	_, ch := dial(t, s)
	declare(t, ch)
	f := startFlood(ch, 16<<10)
	for f.confirmed() < 1000 {
		runtime.Gosched()
	}
	must(t, s.cmd.Process.Kill())
	s.end()
	<-f.done
	confirmed := f.confirmed()
	for _, left := range []int64{0, 1 << 20} {
		empty := fill(t, dir, left)
		_, complaint, code := runProgram(t, "--data-dir", data, "--listen", "off", "--metrics-listen", "off", "--management-listen", "off")
		if code != 1 || !strings.Contains(complaint, " MiB are free on its disk and 23 MiB needed") || strings.Contains(complaint, "goroutine ") {
			t.Errorf("got exit code %d and %q with %d bytes free, want 1 and what is needed", code, complaint, left)
		}
		empty()
	}
	// With just what is asked for it starts.
	empty := fill(t, dir, 25<<20)
	s = startServing(t, data, complete)
	_, consumer := dial(t, s)
	drain(t, consumer, func() (uint64, bool) { return confirmed, true })
	stopped(t, s)
	empty()
}

// TestDiskThatHangsIsAnAlarm: confirms wait for it, a client that does not publish is served,
// and the health check fails until it is over.
func TestDiskThatHangsIsAnAlarm(t *testing.T) { // E7
	t.Parallel() // it only waits
	dir := smallDisk(t, "300")
	freeze := func(flag string) {
		t.Helper()
		if out, err := exec.Command("fsfreeze", flag, dir).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED: a disk cannot be made to hang here: %v\n%s", err, out)
		}
	}
	s := startServing(t, filepath.Join(dir, "data"), complete)
	_, ch := dial(t, s)
	declare(t, ch)
	_, other := dial(t, s)
	freeze("-f")
	frozen := true
	defer func() {
		if frozen {
			freeze("-u")
		}
	}()
	c, err := ch.PublishWithDeferredConfirm("", "q", false, false, amqp.Publishing{DeliveryMode: 2, Body: []byte("waits")})
	must(t, err)
	start := time.Now()
	line := s.until("SLOW DISK: a commit does not come to an end, and confirms wait for it")
	if took := time.Since(start); line["level"] != "warn" || took < 9*time.Second || took > 15*time.Second {
		t.Errorf("got %v after %v, want a warning after ten seconds", line, took)
	}
	if out, complaint, code := runProgram(t, "healthcheck", "--listen", s.address()); code != 1 || !strings.Contains(complaint, "its disk does not") {
		t.Errorf("got exit code %d, %q and %q, want 1 and why", code, out, complaint)
	}
	_, err = other.QueueDeclare("transient", false, false, false, false, nil)
	must(t, err)
	if c.Acked() {
		t.Error("a message was confirmed that is not on disk")
	}
	freeze("-u")
	frozen = false
	if !c.Wait() {
		t.Error("the message was refused")
	}
	s.until("slow disk: the commit has come to its end")
	if _, complaint, code := runProgram(t, "healthcheck", "--listen", s.address()); code != 0 {
		t.Errorf("got exit code %d and %q, want 0", code, complaint)
	}
	stopped(t, s)
}
