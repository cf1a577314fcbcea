package node

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// TestWallClockThatIsSetIsToldOnceAndMovesNoDeadline (E21).
func TestWallClockThatIsSetIsToldOnceAndMovesNoDeadline(t *testing.T) {
	var log bytes.Buffer
	k := newClock()
	ahead := time.Duration(0)
	k.wall = func() time.Time { return time.Now().Add(ahead) }
	f := func(to time.Duration, want int) {
		t.Helper()
		log.Reset()
		ahead = to
		before := k.now()
		for range 3 {
			k.look(k.now(), zerolog.New(&log))
		}
		if got := strings.Count(log.String(), "THE WALL CLOCK WAS SET"); got != want {
			t.Errorf("got %d lines when it was set to %v ahead, want %d:\n%s", got, to, want, &log)
		}
		if passed := k.now().Round(0).Sub(before.Round(0)); passed < 0 || passed > time.Minute {
			t.Errorf("got %v passed for the node when it was set to %v ahead, want next to nothing", passed, to)
		}
	}
	f(0, 0)
	f(time.Second, 0)
	f(time.Hour, 1)
	f(time.Hour+time.Second, 0)
	f(-time.Hour, 1)
	f(-56*365*24*time.Hour, 1) // 1970
	f(73*365*24*time.Hour, 1)  // 2100
	f(0, 1)
}

// TestStoreThatWasWrittenAtAnotherTimeIsTold when the node starts, because what is on disk
// expires by the wall clock (E21).
func TestStoreThatWasWrittenAtAnotherTimeIsTold(t *testing.T) {
	f := func(written time.Duration, want string) {
		t.Helper()
		dir := t.TempDir()
		k := newClock()
		for i, at := range []time.Duration{written, written - 48*time.Hour} {
			file := filepath.Join(dir, string(rune('a'+i)))
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(file, time.Time{}, k.start.Add(at)); err != nil {
				t.Fatal(err)
			}
		}
		var log bytes.Buffer
		k.compare(dir, zerolog.New(&log))
		if got := log.String(); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("got %q of a store that was written %v from now, want %q", got, written, want)
		}
	}
	f(-time.Second, "")
	f(-30*time.Minute, "")
	f(-3*time.Hour, "has not been written for long")
	f(3*time.Second, "")
	f(3*time.Hour, "IS BEHIND the store")

	var log bytes.Buffer
	newClock().compare(filepath.Join(t.TempDir(), "none"), zerolog.New(&log))
	if log.Len() > 0 {
		t.Errorf("got %q of a store that is not there yet, want nothing", &log)
	}
}
