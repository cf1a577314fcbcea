package persistence

import (
	"errors"
	"fmt"
	"io"
	"os"
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

// nextData is where, from at on, the next part of f is that is not a hole, or io.EOF when there
// is none. It moves f's offset.
func nextData(f *os.File, at int64) (int64, error) {
	const seekData = 3 // SEEK_DATA of lseek(2)
	next, err := f.Seek(at, seekData)
	switch {
	case err == nil:
		return next, nil
	case errors.Is(err, syscall.ENXIO):
		return 0, io.EOF
	case errors.Is(err, syscall.EINVAL):
		return at, nil // a file system that knows no holes
	}
	return 0, err
}

func ignoringEINTR(f func() error) error {
	for {
		if err := f(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
