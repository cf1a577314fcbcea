package node

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/management"
)

// started runs a node with its data in dir until the test ends.
func started(t *testing.T, dir string, change func(*config.Config)) *Node {
	t.Helper()
	c := config.Default()
	c.DataDir = dir
	c.Listen, c.MetricsListen, c.ManagementListen = []string{"127.0.0.1:0"}, nil, nil
	c.DiskFreeLimit, c.Store.Ballast = config.MiB, 0
	if change != nil {
		change(&c)
	}
	n, err := Start(c, Options{Log: zerolog.Nop(), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return n
}

// atFirst calls something when it is first written to.
type atFirst struct {
	f    func()
	once sync.Once
}

func (w *atFirst) Write(b []byte) (int, error) {
	w.once.Do(w.f)
	return len(b), nil
}

func TestDiskAlarmEndsABackupAndLetsTheNextOneBegin(t *testing.T) {
	n := started(t, t.TempDir(), nil)
	b := backuper{n.store, zerolog.Nop()}
	f := func(during func(), want error) {
		t.Helper()
		if err := b.Backup(t.Context(), &atFirst{f: during}); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	f(func() { n.setAlarm(broker.MemoryAlarm, true) }, nil)
	f(func() { n.setAlarm(broker.DiskAlarm, true) }, errShortOfDisk)
	// One that was begun while the alarm is on is somebody's wish.
	f(func() {
		if err := b.Backup(t.Context(), io.Discard); !errors.Is(err, management.ErrBusy) {
			t.Errorf("a second one: got %v", err)
		}
	}, nil)
	f(func() { n.setAlarm(broker.DiskAlarm, false) }, nil)
}

func TestNodeInMemoryHasNoSocket(t *testing.T) {
	dir := t.TempDir()
	started(t, dir, func(c *config.Config) { c.Store.Backend = "memory" })
	if files, err := os.ReadDir(dir); len(files) != 0 || err != nil {
		t.Errorf("got %v, %v", files, err)
	}
	other := t.TempDir()
	started(t, other, nil)
	if _, err := os.Lstat(filepath.Join(other, management.SocketName)); err != nil {
		t.Error(err)
	}
}
