package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Start is what came of starting a broker several times.
type Start struct {
	// Handshake is how long it took from the start of the process until a client had opened a
	// channel.
	Handshake *Latency `json:"handshake"`
	// RSSBytes and RSSAnonBytes are those of the last process, after nobody had used it for a
	// while.
	RSSBytes     int64 `json:"rss_bytes"`
	RSSAnonBytes int64 `json:"rss_anon_bytes"`
}

const (
	// startTimeout is how long a broker may take to start, and to end.
	startTimeout = time.Minute
	// startInterval is how often it is looked whether a broker accepts connections.
	startInterval = 200 * time.Microsecond
)

// runStart starts the broker of o.Start s.Starts times and ends it again.
func runStart(ctx context.Context, s Scenario, o Options, where address) (result Result, err error) {
	command := strings.Fields(o.Start)
	if len(command) == 0 {
		return Result{}, fmt.Errorf("scenario %s: which broker? --start says how to start it", s.Name)
	}
	if socket, err := net.Dial("tcp", where.host); err == nil {
		return Result{}, errors.Join(fmt.Errorf("scenario %s: something is listening at %s already", s.Name, where.host), socket.Close())
	}
	result = Result{Scenario: s, URI: where.redacted(), Start: new(Start)}
	begin := time.Now()
	l := newLatency()
	for range s.Starts {
		took, err := result.Start.once(ctx, command, where, s.Settle)
		if err != nil {
			return result, err
		}
		l.record(int64(took))
	}
	result.Start.Handshake, result.Seconds = l.summary(), time.Since(begin).Seconds()
	return result, nil
}

// once starts the broker, shakes hands with it, looks at it after settle and ends it.
func (r *Start) once(ctx context.Context, command []string, where address, settle time.Duration) (took time.Duration, err error) {
	p := exec.Command(command[0], command[1:]...)
	start := time.Now()
	if err := p.Start(); err != nil {
		return 0, fmt.Errorf("start the broker: %w", err)
	}
	var exit error // to be read when exited is closed
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		exit = p.Wait()
	}()
	defer func() { err = errors.Join(err, end(p, exited)) }()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var c *conn
	for {
		if c, err = dial(ctx, where); err == nil {
			break
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return 0, err
		}
		select {
		case <-exited:
			return 0, fmt.Errorf("the broker ended before it accepted connections: %w", errors.Join(exit, err))
		case <-ctx.Done():
			return 0, errors.Join(ctx.Err(), err)
		case <-time.After(startInterval):
		}
	}
	took = time.Since(start)
	if err := c.close(); err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(settle):
	}
	u, err := readUsage(p.Process.Pid)
	r.RSSBytes, r.RSSAnonBytes = u.rss, u.rssAnon
	return took, err
}

// end asks a broker to end, unless it has, and makes it when it does not. What brokers exit with
// differs.
func end(p *exec.Cmd, exited <-chan struct{}) error {
	if err := p.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-exited:
		return nil
	case <-time.After(startTimeout):
	}
	err := p.Process.Kill()
	<-exited
	return err
}

// rows are those of a result's table.
func (r *Start) rows(row rowFunc) {
	if r == nil {
		return
	}
	r.Handshake.row("start to handshake", row)
	row("idle memory", "RSS %.1f MiB, RssAnon %.1f MiB", mib(r.RSSBytes), mib(r.RSSAnonBytes))
}
