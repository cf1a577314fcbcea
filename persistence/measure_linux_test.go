//go:build amd64 || arm64

package persistence

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cost is what the process and the disk have used up to some moment, or between two.
type cost struct {
	wall   time.Time
	took   time.Duration
	cpu    time.Duration // user and system
	device int64         // bytes written to the device below a directory; -1 when not known
	faults int64         // page faults
}

func costNow(dir string) cost {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return cost{
		wall:   time.Now(),
		cpu:    time.Duration(u.Utime.Nano() + u.Stime.Nano()),
		device: deviceBytes(dir),
		faults: u.Minflt,
	}
}

func (c cost) since(before cost) cost {
	d := cost{took: c.wall.Sub(before.wall), cpu: c.cpu - before.cpu, device: c.device - before.device, faults: c.faults - before.faults}
	if c.device < 0 || before.device < 0 {
		d.device = -1
	}
	return d
}

// deviceBytes is how much was ever written to the device that dir is on; -1 when that
// cannot be told. Whatever else runs on the machine is in it.
func deviceBytes(dir string) int64 {
	info, err := os.Stat(dir)
	if err != nil {
		return -1
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1
	}
	major, minor := st.Dev>>8&0xfff, st.Dev&0xff|st.Dev>>12&0xfff00
	b, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", major, minor))
	if err != nil {
		return -1
	}
	f := strings.Fields(string(b))
	if len(f) < 7 {
		return -1
	}
	sectors, err := strconv.ParseInt(f[6], 10, 64)
	if err != nil {
		return -1
	}
	return sectors * 512
}

// procField reads a number of a file below /proc/self, in its own unit.
func procField(t testing.TB, file, field string) int64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc/self", file))
	if err != nil {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), field+":"); ok {
			n, err := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s in /proc/self/%s", field, file)
	return 0
}

func fdatasync(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return err
		}
	}
}

// evict writes out what the page cache has of the files in dir and drops it. What is
// mapped stays.
func evict(t testing.TB, dir string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range files {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		const dontNeed = 4
		if _, _, errno := syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, dontNeed, 0, 0); errno != 0 {
			t.Fatal(errno)
		}
		f.Close()
	}
}
