package bench

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Progress is a line on a terminal that says how far a run has come, while it runs. Nil says
// nothing.
type Progress struct {
	to io.Writer
	// prefix is what the line begins with: which scenario, and of which broker.
	prefix string
}

// progressInterval is how often the line is written.
const progressInterval = time.Second

// clearLine goes to the beginning of the line and clears it.
const clearLine = "\r\x1b[K"

// NewProgress returns a line on w if w is a terminal, and nil otherwise.
func NewProgress(w io.Writer) *Progress {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return &Progress{to: w}
}

// of is p with more before what it says.
func (p *Progress) of(prefix string) *Progress {
	if p == nil {
		return nil
	}
	return &Progress{to: p.to, prefix: p.prefix + prefix}
}

// follow writes what line returns, again and again, until stop is called, which clears it.
func (p *Progress) follow(line func() string) (stop func()) {
	if p == nil {
		return func() {}
	}
	var writing sync.WaitGroup
	end := make(chan struct{})
	writing.Go(func() {
		tick := time.NewTicker(progressInterval)
		defer tick.Stop()
		for {
			p.write(line())
			select {
			case <-tick.C:
			case <-end:
				p.write("")
				return
			}
		}
	})
	return func() {
		close(end)
		writing.Wait()
	}
}

func (p *Progress) write(line string) {
	if line != "" {
		line = p.prefix + line
	}
	// A terminal that is gone does not keep a run from its end.
	_, _ = io.WriteString(p.to, clearLine+line)
}

// progressLine is how far the run has come.
func (r *run) progressLine() string {
	now := r.elapsed()
	var published, settled, received int64
	for _, p := range r.producers {
		published += p.published.Load()
		settled += p.settled.Load()
	}
	r.joining.Lock()
	for _, c := range r.consumers {
		received += c.received.Load()
	}
	r.joining.Unlock()
	line := fmt.Sprintf("%.0f s  published %d", now.Seconds(), published)
	if r.scenario.Window > 0 {
		line += fmt.Sprintf("  confirmed %d", settled)
	}
	return line + fmt.Sprintf("  received %d, %.0f/s", received, rate(received, now))
}
