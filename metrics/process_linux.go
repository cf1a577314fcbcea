package metrics

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// anonymousMemory is RssAnon: pages of files that are mapped, such as the store's logs,
// are not held against the broker, because the system takes them back when it likes.
func anonymousMemory() (bytes float64, ok bool) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, found := strings.CutPrefix(lines.Text(), "RssAnon:"); found {
			kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return float64(kib) * 1024, err == nil
		}
	}
	return 0, false
}

func openFiles() (n float64, ok bool) {
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0, false
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	return float64(len(names) - 1), err == nil // without the one that reads this
}

func mostFiles() (n float64, ok bool) {
	var l syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l)
	return float64(l.Cur), err == nil
}

func diskAvailable(dir string) (bytes float64, ok bool) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, false
	}
	return float64(fs.Bavail) * float64(fs.Bsize), true
}
