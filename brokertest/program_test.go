package brokertest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/leveretmq/leveret/config"
)

// TestBrokerOfAPackageNeedsNoTest, and leaves nothing behind.
func TestBrokerOfAPackageNeedsNoTest(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s := New(WithTopology("queues:\n  - {name: orders}"))
	url := s.URL()
	keep(t, url)
	s.Restart()
	if s.URL() != url {
		t.Errorf("got %s after the restart, want %s as before", s.URL(), url)
	}
	if d, ok, err := channel(t, url).Get("kept", true); err != nil || !ok || string(d.Body) != "hello" {
		t.Errorf("got %q, %v, %v; want hello", d.Body, ok, err)
	}
	if _, err := channel(t, url).QueueDeclarePassive("orders", true, false, false, false, nil); err != nil {
		t.Error(err)
	}
	s.Close()
	s.Close()
	if _, err := os.Stat(s.config.DataDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want the directory gone", err)
	}
	wantEmpty(t)
}

func TestBrokerOfAPackageThatCannotStartPanics(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	defer func() {
		if got := fmt.Sprint(recover()); !strings.Contains(got, "frame_max") {
			t.Errorf("got panic %s, want it to name frame_max", got)
		}
		wantEmpty(t)
	}()
	New(WithConfig(func(c *config.Config) { c.AMQP.FrameMax = 1 }))
}

// wantEmpty fails the test when something is in the directory for what is temporary.
func wantEmpty(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) > 0 {
		t.Errorf("got %v, %v; want nothing left", left, err)
	}
}
