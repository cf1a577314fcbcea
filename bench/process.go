package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// usage is what the operating system has counted for a process so far.
type usage struct {
	user, system time.Duration // of all its threads, those that have ended too
	rss, rssAnon int64         // bytes; the second without what is mapped from files
	peak         int64         // bytes; the largest rss there has been
	written      int64         // bytes it caused to be written to disk, -1 if that is not told
}

// clockTick is the unit of processor times in /proc: Linux has 100 a second for programs
// on all its architectures.
const clockTick = 10 * time.Millisecond

// readUsage reads /proc of the process pid.
func readUsage(pid int) (usage, error) {
	read := func(name string) (string, error) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		return string(b), err
	}
	u := usage{written: -1}
	stat, err := read("stat")
	if err != nil {
		return u, err
	}
	if err := u.parseStat(stat); err != nil {
		return u, fmt.Errorf("read /proc/%d/stat: %w", pid, err)
	}
	status, err := read("status")
	if err != nil {
		return u, err
	}
	u.rss, _ = procField(status, "VmRSS:")
	u.rssAnon, _ = procField(status, "RssAnon:")
	u.peak, _ = procField(status, "VmHWM:")
	// Another user's process does not tell this, and everything else can be told without.
	if io, err := read("io"); err == nil {
		u.written, _ = procField(io, "write_bytes:")
	}
	return u, nil
}

// AnonymousMemory is the RssAnon of a process, in bytes: what it takes without the files that it
// has mapped. It needs Linux.
func AnonymousMemory(pid int) (int64, error) {
	u, err := readUsage(pid)
	return u.rssAnon, err
}

// parseStat reads user and system time, the 14th and 15th field. The second is the
// program's name in parentheses, which may itself have spaces and parentheses.
func (u *usage) parseStat(stat string) error {
	_, after, ok := strings.Cut(stat[max(0, strings.LastIndexByte(stat, ')')):], ") ")
	fields := strings.Fields(after)
	if !ok || len(fields) < 13 {
		return fmt.Errorf("%q is not what it should be", stat)
	}
	for i, d := range []*time.Duration{&u.user, &u.system} {
		ticks, err := strconv.ParseInt(fields[11+i], 10, 64)
		if err != nil {
			return err
		}
		*d = time.Duration(ticks) * clockTick
	}
	return nil
}

// procField finds a number by its name, in bytes where it is in kB.
func procField(text, name string) (int64, bool) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != name {
			continue
		}
		n, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return 0, false
		}
		if len(fields) > 2 && fields[2] == "kB" {
			n <<= 10
		}
		return n, true
	}
	return 0, false
}
