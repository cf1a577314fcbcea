package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// own is a broker that a row has for itself, because it is stopped, starved or started again.
type own struct {
	*trial
	dir, binary, before string
}

// owned is a directory for such a broker, which launch starts. It ends with the row.
func (t *trial) owned(before string) *own {
	t.needProcess()
	dir, err := os.MkdirTemp("", "leveret-abuse-")
	t.must(err)
	o := &own{trial: &trial{row: t.row, patience: t.patience}, dir: dir, binary: t.process.cmd.Args[3], before: before}
	t.after(func() {
		for _, p := range o.peers {
			p.reset()
		}
		if o.process != nil {
			o.process.stop()
		}
		_ = os.RemoveAll(dir) // a temporary directory
	})
	return o
}

// launch starts the broker, which is not running, with what is in its directory.
func (o *own) launch() {
	tg, err := launchWith(o.dir, o.binary, o.before, 512<<20)
	o.must(err)
	o.target = tg
}

// end waits until the broker has ended by itself, and returns its exit code, which is
// negative when a signal ended it.
func (o *own) end(within time.Duration) int {
	select {
	case <-o.process.ended:
	case <-time.After(within):
		o.failf("the broker has not ended after %v: %s", within, o.process.lastWords())
	}
	return o.process.cmd.ProcessState.ExitCode()
}

// terminate tells the broker to stop.
func (o *own) terminate() { o.must(o.process.cmd.Process.Signal(syscall.SIGTERM)) }

// logged tells how many lines of the log have a text. The log is that of the last start.
func (o *own) logged(text string) int {
	b, err := os.ReadFile(filepath.Join(o.dir, "log"))
	o.must(err)
	return strings.Count(string(b), text)
}

// expect waits until the log has so many lines with a text.
func (o *own) expect(text string, n int) {
	for began := time.Now(); o.logged(text) < n; time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			o.failf("the log has %d lines %q, want %d: %s", o.logged(text), text, n, o.process.lastWords())
		}
	}
}

// persistent are the properties of a message that is to be there after a restart.
func persistent() *amqp.Properties {
	return &amqp.Properties{DeliveryMode: 2, Flags: amqp.FlagDeliveryMode}
}

// starve lets a process have a tenth of a processor until it is fed: by a control group of
// version 1 or 2, or by stopping it for nine of ten hundredths of a second where neither can be
// made.
func (t *trial) starve(pid int) (how string, feed func()) {
	one, two := "/sys/fs/cgroup/cpu", "/sys/fs/cgroup"
	name := fmt.Sprintf("leveret-abuse-cpu-%d", pid)
	if _, err := os.Stat(filepath.Join(one, "cpu.cfs_quota_us")); err == nil {
		if feed, err = starveIn(one, name, pid, map[string]string{"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "10000"}); err == nil {
			return "control group of version 1", feed
		}
	} else if feed, err = starveIn(two, name, pid, map[string]string{"cpu.max": "10000 100000"}); err == nil {
		return "control group of version 2", feed
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for run := true; ; run = !run {
			s, pause := syscall.SIGCONT, 10*time.Millisecond
			if !run {
				s, pause = syscall.SIGSTOP, 90*time.Millisecond
			}
			_ = syscall.Kill(pid, s) // that it is gone is found out otherwise
			select {
			case <-stop:
				_ = syscall.Kill(pid, syscall.SIGCONT) // as before
				return
			case <-time.After(pause):
			}
		}
	}()
	return "stopped nine tenths of the time, for want of a control group", func() { close(stop); <-stopped }
}

// starveIn moves a process to a control group that is made below parent, until feed.
func starveIn(parent, name string, pid int, limits map[string]string) (feed func(), err error) {
	group := filepath.Join(parent, name)
	if err := os.Mkdir(group, 0o755); err != nil {
		return nil, err
	}
	number := []byte(strconv.Itoa(pid))
	before, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, errors.Join(err, os.Remove(group))
	}
	feed = func() {
		_ = os.WriteFile(filepath.Join(groupOf(string(before), parent), "cgroup.procs"), number, 0o644) // it may be gone
		_ = os.Remove(group)                                                                            // a group that is left behind is empty
	}
	for file, text := range limits {
		if err := os.WriteFile(filepath.Join(group, file), []byte(text), 0o644); err != nil {
			feed()
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), number, 0o644); err != nil {
		feed()
		return nil, err
	}
	return feed, nil
}

// groupOf is the directory below parent of the control group that /proc/pid/cgroup tells.
func groupOf(lines, parent string) string {
	for line := range strings.Lines(lines) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		if controllers := strings.Split(fields[1], ","); strings.HasSuffix(parent, "/cpu") == (controllers[0] == "cpu" || controllers[len(controllers)-1] == "cpu") {
			return filepath.Join(parent, fields[2])
		}
	}
	return parent
}
