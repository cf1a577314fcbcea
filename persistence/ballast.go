package persistence

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// ballastName is a file that only takes up room, to be deleted when there is none left to
	// open the store.
	ballastName = "ballast"
	// ballastDisk is how large a file system has to be to have a ballast.
	ballastDisk = 8 << 30
)

// RestoreBallast makes the ballast if it is missing and keep bytes would still be free
// beside it. It reports whether it made it. There is none when Options.Ballast is zero, on a
// small file system, on one in memory, and where room cannot be set aside.
func (s *Store) RestoreBallast(keep int64) (made bool, err error) {
	d, ok := s.backend.(*disk)
	if !ok || s.ballast == 0 {
		return false, nil
	}
	select {
	case <-s.failed:
		return false, nil // there are other worries
	default:
	}
	file := filepath.Join(d.dir, ballastName)
	old := int64(0)
	switch info, err := os.Stat(file); {
	case err == nil:
		if old = info.Size(); old == s.ballast {
			return false, nil
		}
	case !errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("look at the ballast: %w", err)
	}
	space, err := SpaceOf(d.dir)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return false, nil
	case err != nil:
		return false, err
	case space.Memory || space.Total < ballastDisk || space.Free+old-s.ballast < keep:
		return false, nil
	}
	if err := makeBallast(file, s.ballast); err != nil {
		if errors.Is(err, errors.ErrUnsupported) {
			s.ballast = 0
			err = nil
		}
		return false, err
	}
	return true, nil
}

// makeBallast makes the file anew. One that is not whole is of no use to anybody.
func makeBallast(file string, bytes int64) error {
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("make the ballast: %w", err)
	}
	if err := errors.Join(allocate(f, bytes), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("make the ballast of %d bytes: %w", bytes, err), os.Remove(file))
	}
	return nil
}

// dropBallast removes what an earlier run has left when there is to be none.
func dropBallast(dir string) error {
	if err := os.Remove(filepath.Join(dir, ballastName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the ballast: %w", err)
	}
	return nil
}
