//go:build unix

package persistence

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// lock keeps other processes out of a store directory. Its file has the owner's process
// id, for the message to the next one.
type lock struct{ file *os.File }

const (
	lockName = "store.lock"
	// pidDigits is how much of the file is a process id, with spaces behind it.
	pidDigits = 20
)

func takeLock(dir string) (*lock, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = inUse(dir, f)
	}
	if err == nil {
		// In place: on a full disk there may be no room for a file that was truncated.
		_, err = f.WriteAt(fmt.Appendf(nil, "%-*d\n", pidDigits-1, os.Getpid()), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return &lock{file: f}, nil
}

func inUse(dir string, f *os.File) error {
	b := make([]byte, pidDigits)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return &InUseError{Dir: dir, PID: strings.TrimSpace(string(b[:n]))}
}

// release lets others in. The file stays: removing it would let two think they have it.
func (l *lock) release() error { return l.file.Close() }

// inPlace tells that dir is not any more what was locked, or does not exist.
func (l *lock) inPlace(dir string) error {
	ours, err := l.file.Stat()
	if err != nil {
		return fmt.Errorf("look at the lock: %w", err)
	}
	switch now, err := os.Stat(filepath.Join(dir, lockName)); {
	case errors.Is(err, fs.ErrNotExist), err == nil && !os.SameFile(ours, now):
		return fmt.Errorf("the store directory %s was removed or moved", dir)
	}
	return nil // or it cannot be told, which is no reason to stop
}
