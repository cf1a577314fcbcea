package bench

import (
	"io/fs"
	"os"
	"syscall"
	"time"
)

// sleep blocks the thread. time.Sleep would do no better than a millisecond where nothing
// else runs, as the runtime then waits in epoll, and a rate of thousands a second would
// come out as bursts.
func sleep(d time.Duration) {
	left := syscall.NsecToTimespec(int64(d))
	// A signal ends it early; whoever is early comes again.
	_ = syscall.Nanosleep(&left, &left)
}

// syncData waits until what was written to f is on the disk, and of the rest about f only
// what is needed to read it.
func syncData(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }

// allocated is the room a file takes on disk. One that is mapped larger than it is has holes.
func allocated(info fs.FileInfo) int64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * 512
	}
	return info.Size()
}
