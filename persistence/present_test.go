package persistence

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// E10: a sync into a directory that was removed succeeds, and the data is gone.
func TestNothingIsConfirmedIntoADirectoryThatIsGone(t *testing.T) {
	f := func(take func(dir string) error, want error) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "store")
		s := open(t, dir)
		s.Start()
		q := declare(t, s, 1, "q")
		if err := take(dir); err != nil {
			t.Fatal(err)
		}
		q.put(msg(t, "a"))
		answer := make(chan error, 1)
		s.Barrier(q, func(err error) { answer <- err })
		if err := <-answer; err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
		equal(t, "confirmed", q.storedSeqs(), nil)
		select {
		case <-s.Failed():
		default:
			t.Error("the store goes on")
		}
	}
	f(os.RemoveAll, fs.ErrNotExist)
	f(func(dir string) error { return os.Rename(dir, dir+"-moved") }, fs.ErrNotExist)
	f(func(dir string) error {
		return errors.Join(os.Rename(dir, dir+"-moved"), os.CopyFS(dir, os.DirFS(dir+"-moved")))
	}, nil)
}
