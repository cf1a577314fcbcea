package persistence

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"
)

// Space is the room on a file system, in bytes.
type Space struct {
	Free  int64 // what this process may still use
	Total int64
	// Memory tells that the file system lives in memory, and ends with the machine's run.
	Memory bool
}

// openRoom is what has to be free for the store to be opened: memtables are flushed, logs
// made and rewritten. Badger writes through mapped files, and where a page of one finds no
// room the process ends with SIGBUS; so it is looked before.
const openRoom = 64 << 20

// roomToOpen is openRoom, and less on a disk so small that it would be a large part of it.
func (s Space) roomToOpen() int64 { return min(openRoom, s.Total/20) }

// FullError is why a store is not opened on a file system that is full.
type FullError struct {
	Dir    string
	Free   int64 // bytes there are
	Needed int64 // bytes it takes
}

func (e *FullError) Error() string {
	return fmt.Sprintf("store %s cannot be opened: %d MiB are free on its disk and %d MiB needed; make room, or move the directory to a larger disk",
		e.Dir, e.Free>>20, (e.Needed+1<<20-1)>>20)
}

// makeRoom sees to it that there is room to open the store in dir, and gives up the ballast
// if that is what it takes.
func makeRoom(dir string, log zerolog.Logger) error {
	space, err := SpaceOf(dir)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	if space.Memory {
		log.Warn().Str("dir", dir).Msg("the store is in memory (tmpfs) and does not survive the machine")
	}
	if space.Free >= space.roomToOpen() {
		return nil
	}
	before := space.Free
	switch err := os.Remove(filepath.Join(dir, ballastName)); {
	case errors.Is(err, fs.ErrNotExist):
		return &FullError{Dir: dir, Free: space.Free, Needed: space.roomToOpen()}
	case err != nil:
		return fmt.Errorf("give up the ballast: %w", err)
	}
	if space, err = SpaceOf(dir); err != nil {
		return err
	}
	log.Warn().Int64("free_bytes", before).Int64("free_bytes_now", space.Free).
		Msg("the disk is full: the ballast was deleted to start all the same")
	if space.Free < space.roomToOpen() {
		return &FullError{Dir: dir, Free: space.Free, Needed: space.roomToOpen()}
	}
	return nil
}

// CheckPlace poisons the store when its directory is not where it was any more: what is
// written then would not be found again (E10). It is cheap, and called now and then.
func (s *Store) CheckPlace() {
	d, ok := s.backend.(*disk)
	if !ok {
		return
	}
	if err := d.lock.inPlace(d.dir); err != nil {
		d.log.fail(err)
	}
}
