package crash

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"unsafe"
)

// A volume is an ext4 file system in a file, on a loop device of its own, whose power can be
// cut. It takes root.
type volume struct {
	image string
	dir   string // where it is mounted
	guard io.Closer
}

// newVolume makes a file system of so many bytes below dir and mounts it. The file is sparse.
// However the test ends, the volume does not outlive it: a guard unmounts it when the test's
// end of a pipe is closed, which the operating system sees to.
func newVolume(dir string, size int64) (*volume, error) {
	v := &volume{image: filepath.Join(dir, "image"), dir: filepath.Join(dir, "mounted")}
	if err := os.Mkdir(v.dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.Create(v.image)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return nil, err
	}
	// The inode tables would be written in the background for a while.
	if err := command("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", v.image); err != nil {
		return nil, err
	}
	if err := v.mount(); err != nil {
		return nil, err
	}
	guard := exec.Command("sh", "-c", `trap "" INT TERM HUP; read _; umount -l "$0" 2>/dev/null; true`, v.dir)
	if v.guard, err = guard.StdinPipe(); err == nil {
		err = guard.Start()
	}
	if err != nil {
		return nil, errors.Join(err, v.unmount())
	}
	go func() { _ = guard.Wait() }() // it says nothing
	return v, nil
}

// mount mounts the volume; whatever its journal has is replayed. The loop device is set up for
// it and goes when it is unmounted.
func (v *volume) mount(options ...string) error {
	return command("mount", "-o", strings.Join(append([]string{"loop"}, options...), ","), v.image, v.dir)
}

func (v *volume) unmount() error { return command("umount", v.dir) }

// close unmounts the volume for good.
func (v *volume) close() error {
	return errors.Join(command("umount", "-l", v.dir), v.guard.Close())
}

// cutPower ends the file system as a power cut does: nothing that is not on the disk gets
// there any more, neither data nor journal, and everybody gets errors.
func (v *volume) cutPower() error {
	const (
		shutdown = 0x8004587d // EXT4_IOC_SHUTDOWN
		noFlush  = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH
	)
	f, err := os.Open(v.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := uint32(noFlush)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		return fmt.Errorf("cut the power of %s: %w", v.dir, errno)
	}
	runtime.KeepAlive(&flags)
	return nil
}

// taken is how many bytes of the volume are in use.
func (v *volume) taken() (int64, error) {
	var st syscall.Statfs_t
	err := syscall.Statfs(v.dir, &st)
	size := int64(st.Bsize) //nolint:unconvert // it is not 64 bits long on every machine
	return int64(st.Blocks-st.Bfree) * size, err
}

// device is the name of the loop device.
func (v *volume) device() (string, error) {
	out, err := exec.Command("findmnt", "-n", "-o", "SOURCE", v.dir).Output()
	return filepath.Base(strings.TrimSpace(string(out))), err
}

// command runs a command that is expected to work.
func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
