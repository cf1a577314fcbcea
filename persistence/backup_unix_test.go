//go:build unix

package persistence

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A page of a mapped file that cannot be read would end the process.
func TestBackupSurvivesWhatTheDiskCannotRead(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "mapped"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := syscall.Mmap(int(f.Fd()), 0, os.Getpagesize(), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Munmap(b); err != nil {
			t.Error(err)
		}
	}()
	var d damage
	if err := readable(func() error { _ = bytes.Clone(b); return nil }); !errors.As(err, &d) {
		t.Errorf("got %v, want damage", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a panic that is no fault was taken for one")
		}
	}()
	_ = readable(func() error { panic("ours") })
}
