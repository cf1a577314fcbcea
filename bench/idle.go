package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Idle is what a process takes that has nothing to do.
type Idle struct {
	Seconds      float64 `json:"seconds"`
	CPUPercent   float64 `json:"cpu_percent"` // of one core
	RSSBytes     int64   `json:"rss_bytes"`   // at the end
	RSSAnonBytes int64   `json:"rss_anon_bytes"`
	// DataBytes is how much the disk took, and Written how much was written to it meanwhile;
	// -1 where that is not told.
	DataBytes int64 `json:"data_bytes"`
	Written   int64 `json:"written_bytes"`
}

// MeasureIdle looks at the process pid now and after d. dataDir is where it keeps its data, "" if
// that is of no interest.
func MeasureIdle(ctx context.Context, pid int, dataDir string, d time.Duration) (Idle, error) {
	begin := time.Now()
	from, err := readUsage(pid)
	if err != nil {
		return Idle{}, err
	}
	select {
	case <-ctx.Done():
		return Idle{}, ctx.Err()
	case <-time.After(d):
	}
	to, err := readUsage(pid)
	if err != nil {
		return Idle{}, err
	}
	took := time.Since(begin)
	i := Idle{
		Seconds:    took.Seconds(),
		CPUPercent: 100 * (to.user + to.system - from.user - from.system).Seconds() / took.Seconds(),
		RSSBytes:   to.rss, RSSAnonBytes: to.rssAnon, DataBytes: -1, Written: -1,
	}
	if to.written >= 0 && from.written >= 0 {
		i.Written = to.written - from.written
	}
	if dataDir != "" {
		if i.DataBytes, err = diskBytes(dataDir); err != nil {
			return Idle{}, err
		}
	}
	return i, nil
}

// WriteTable writes i for people.
func (i Idle) WriteTable(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "idle for %.1f s\n  CPU\t%.2f %% of a core\n  memory\tRSS %.1f MiB, RssAnon %.1f MiB\n", i.Seconds, i.CPUPercent, mib(i.RSSBytes), mib(i.RSSAnonBytes))
	if i.Written >= 0 {
		fmt.Fprintf(&b, "  written\t%d bytes\n", i.Written)
	}
	if i.DataBytes >= 0 {
		fmt.Fprintf(&b, "  on disk\t%.1f MiB\n", mib(i.DataBytes))
	}
	return columns(w, 0, b.String())
}

// idleCommand looks at a broker that nobody uses.
func idleCommand(ctx context.Context, name string, args []string, out, progress io.Writer) error {
	c := newFlags(name+" idle --broker-pid PID [flags]", "Tells what a broker takes while nobody uses it.", progress)
	pid := c.flags.Int("broker-pid", 0, "its process on this machine")
	dataDir := c.flags.String("data-dir", "", "its data directory, to report the room it takes")
	d := c.flags.Duration("duration", 30*time.Second, "how long to look")
	if err := c.flags.Parse(args); err != nil {
		return err
	}
	if *pid <= 0 {
		return errors.New("whose process? --broker-pid says it")
	}
	i, err := MeasureIdle(ctx, *pid, *dataDir, *d)
	if err != nil {
		return err
	}
	if c.json {
		return writeJSON(out, i)
	}
	return i.WriteTable(out)
}
