package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/leveretmq/leveret/bench"
	"github.com/leveretmq/leveret/integration/crash"
)

// A sample is how the broker was at one moment.
type sample struct {
	at time.Duration // since the load began

	rss, heap, disk         float64 // MiB
	goroutines, descriptors float64

	connections, channels, consumers, queues, messages float64 // what there was, which explains the rest
	delayed                                            float64
	confirmed, open                                    int // of the counted messages
	cpu                                                float64
}

// A quantity is one that must not rise.
type quantity struct {
	name  string
	of    func(sample) float64
	bound bound
}

// quantities are those that are judged. What the collector wants to let the heap grow to is twice
// what was alive when it last ran, so half of it is a memory without garbage.
func quantities() []quantity {
	return []quantity{
		{"RssAnon, MiB", func(s sample) float64 { return s.rss }, bound{0.10, 12}},
		{"live heap, MiB", func(s sample) float64 { return s.heap }, bound{0.10, 4}},
		{"goroutines", func(s sample) float64 { return s.goroutines }, bound{0.03, 3}},
		{"descriptors", func(s sample) float64 { return s.descriptors }, bound{0.03, 3}},
		{"disk, MiB", func(s sample) float64 { return s.disk }, bound{0.10, 128}},
	}
}

// A watch looks at a broker from outside.
type watch struct {
	broker *crash.Broker
	client http.Client
}

// look takes a sample, without what only the clients know.
func (w *watch) look() (s sample, err error) {
	anonymous, err := bench.AnonymousMemory(w.broker.PID())
	if err != nil {
		return s, err
	}
	s.rss = float64(anonymous) / (1 << 20)
	if s.disk, err = diskOf(w.broker.Data()); err != nil {
		return s, err
	}
	m, err := w.metrics()
	if err != nil {
		return s, err
	}
	for name, to := range map[string]*float64{
		"go_goroutines":             &s.goroutines,
		"go_memstats_next_gc_bytes": &s.heap,
		"rabbitmq_process_open_fds": &s.descriptors,
		"rabbitmq_connections":      &s.connections,
		"rabbitmq_channels":         &s.channels,
		"rabbitmq_consumers":        &s.consumers,
		"rabbitmq_queues":           &s.queues,
		"rabbitmq_queue_messages":   &s.messages,
		"leveret_delayed_messages":  &s.delayed,
		"process_cpu_seconds_total": &s.cpu,
	} {
		v, ok := m[name]
		if !ok {
			return s, fmt.Errorf("the metrics have no %s", name)
		}
		*to = v
	}
	s.heap /= 2 << 20
	return s, nil
}

// metrics are those without labels.
func (w *watch) metrics() (map[string]float64, error) {
	answer, err := w.client.Get("http://" + w.broker.Metrics() + "/metrics")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	m := make(map[string]float64)
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil && !strings.HasPrefix(name, "#") {
			m[name] = v
		}
	}
	return m, lines.Err()
}

// diskOf is what the files below dir take on the disk, in MiB. A file that goes away meanwhile
// takes nothing.
func diskOf(dir string) (float64, error) {
	blocks := int64(0)
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				blocks += info.Sys().(*syscall.Stat_t).Blocks
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return float64(blocks) * 512 / (1 << 20), err
}

// heading and String are the table that is printed while the run goes on.
const heading = "     time  RssAnon   heap  gorout.  descr.    disk | conn.  chan. cons. queues messages delayed | confirmed  open  cpu %"

func (s sample) String() string {
	return fmt.Sprintf("%9v %8.1f %6.1f %8.0f %7.0f %7.0f | %5.0f %6.0f %5.0f %6.0f %8.0f %7.0f | %9d %5d %6.0f",
		s.at.Round(time.Second), s.rss, s.heap, s.goroutines, s.descriptors, s.disk,
		s.connections, s.channels, s.consumers, s.queues, s.messages, s.delayed, s.confirmed, s.open, s.cpu)
}
