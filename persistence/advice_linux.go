package persistence

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// adviceInterval is the least time between two looks for new logs.
	adviceInterval = 100 * time.Millisecond
	// largeGroup is from where on the kernel's large pages cost less than faults of small
	// ones, in bytes that a group brings to the value log.
	largeGroup = 512 << 10
)

// adviser tells the kernel how the logs are written. A first write to a page of a mapped
// file makes as many pages dirty as the kernel likes to read ahead, up to megabytes, and
// the sync that ends a small group writes all of them. Told that access is random, it
// takes single pages. Those cost a fault each, so for large groups the value log is left
// alone.
//
// Only the logs being written are told. Older ones are read, and reading ahead is right
// for them. Badger keeps its mappings to itself, so they are looked up in /proc/self/maps.
// A mapping may be gone or replaced by the time it is advised, which does no harm: random
// and normal are hints about reading ahead and nothing else.
type adviser struct {
	dir    string // as the kernel writes it
	mean   int64  // bytes of a group, of late
	looked time.Time
	wal    string // the newest of each
	value  string
	random bool // what the value log was told
}

// newAdviser makes an adviser for the store in dir; nil, which does nothing, when the
// directory cannot be found.
func newAdviser(dir string) *adviser {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil
	}
	return &adviser{dir: dir}
}

// written notes a transaction that brought so many bytes to the value log, and advises if
// the logs or the size of groups have changed. Only the committer calls it.
func (a *adviser) written(bytes int64, now time.Time) {
	if a == nil {
		return
	}
	if bytes > 0 {
		a.mean += (bytes - a.mean) / 16
	}
	if now.Sub(a.looked) < adviceInterval {
		return
	}
	a.looked = now
	wal, value, err := newestLogs(a.dir)
	random := a.mean < largeGroup
	if err != nil || wal == a.wal && value == a.value && random == a.random {
		return
	}
	a.wal, a.value, a.random = wal, value, random
	a.advise()
}

// newestLogs are the names of the logs being written. Their names are numbers of one
// width, or of a larger one later.
func newestLogs(dir string) (wal, value string, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return "", "", err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return "", "", err
	}
	newer := func(a, b string) bool { return len(a) > len(b) || len(a) == len(b) && a > b }
	for _, n := range names {
		switch filepath.Ext(n) {
		case ".mem":
			if newer(n, wal) {
				wal = n
			}
		case ".vlog":
			if newer(n, value) {
				value = n
			}
		}
	}
	return wal, value, nil
}

// advise goes through the mappings.
func (a *adviser) advise() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return // advice is not needed
	}
	for _, m := range logMappings(maps, a.dir) {
		advice := syscall.MADV_NORMAL
		if m.name == a.wal || m.name == a.value && a.random {
			advice = syscall.MADV_RANDOM
		}
		// What is not mapped any more needs no advice.
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, m.start, m.end-m.start, uintptr(advice))
	}
}

type mapping struct {
	name       string
	start, end uintptr
}

// logMappings finds the logs in dir in what the kernel writes of mappings. One that is in
// two parts, because part of it was advised when it was part of something else, is one
// again: Badger could not let it grow otherwise.
func logMappings(maps []byte, dir string) []mapping {
	var all []mapping
	for s := bufio.NewScanner(bytes.NewReader(maps)); s.Scan(); {
		line := s.Text()
		slash := strings.IndexByte(line, '/')
		if slash < 0 || filepath.Dir(line[slash:]) != dir {
			continue
		}
		name := filepath.Base(line[slash:])
		if ext := filepath.Ext(name); ext != ".mem" && ext != ".vlog" {
			continue
		}
		from, to, _ := strings.Cut(line[:strings.IndexByte(line, ' ')], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err1 != nil || err2 != nil {
			continue
		}
		if n := len(all); n > 0 && all[n-1].name == name && all[n-1].end == uintptr(start) {
			all[n-1].end = uintptr(end)
			continue
		}
		all = append(all, mapping{name, uintptr(start), uintptr(end)})
	}
	return all
}
