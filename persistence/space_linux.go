package persistence

import (
	"errors"
	"fmt"
	"syscall"
)

// Types of file systems in memory, of statfs(2).
const (
	tmpfsMagic = 0x01021994
	ramfsMagic = 0x858458f6
)

// SpaceOf is the room on the file system that dir is on. Where it cannot be told the error
// is errors.ErrUnsupported.
func SpaceOf(dir string) (Space, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return Space{}, fmt.Errorf("ask for the room in %s: %w", dir, err)
	}
	size := int64(st.Bsize) //nolint:unconvert // it is not 64 bits long on every machine
	return Space{
		Free:   int64(st.Bavail) * size,
		Total:  int64(st.Blocks) * size,
		Memory: uint32(st.Type) == tmpfsMagic || uint32(st.Type) == ramfsMagic,
	}, nil
}

// allocate gives f its size and the room for it.
func allocate(f interface{ Fd() uintptr }, size int64) error {
	return ignoringEINTR(func() error { return syscall.Fallocate(int(f.Fd()), 0, 0, size) })
}

func ignoringEINTR(f func() error) error {
	for {
		if err := f(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
