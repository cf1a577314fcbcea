package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// processCollector asks the operating system. What it cannot tell is left out.
type processCollector struct{ o Options }

// Describe implements prometheus.Collector. What is collected is known only then.
func (*processCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *processCollector) Collect(ch chan<- prometheus.Metric) {
	s := sink{ch: ch}
	s.gauge("rabbitmq_erlang_uptime_seconds", "Node uptime", time.Since(c.o.Started).Seconds())
	if bytes, ok := anonymousMemory(); ok {
		s.gauge("rabbitmq_process_resident_memory_bytes", "Memory used in bytes, without mapped files, which the system can take back", bytes)
	}
	if open, ok := openFiles(); ok {
		s.gauge("rabbitmq_process_open_fds", "Open file descriptors", open)
	}
	if most, ok := mostFiles(); ok {
		s.gauge("rabbitmq_process_max_fds", "Open file descriptors limit", most)
	}
	if bytes, ok := diskAvailable(c.o.DataDir); ok {
		s.gauge("rabbitmq_disk_space_available_bytes", "Disk space available in bytes", bytes)
	}
}

// Process is what the operating system tells of the process. What it cannot tell is
// negative.
type Process struct {
	Memory              int64 // bytes, without mapped files
	OpenFiles, MaxFiles int64
	DiskFree            int64 // bytes, of the file system asked about
}

// ReadProcess asks the operating system, about the file system of dir too.
func ReadProcess(dir string) Process {
	known := func(v float64, ok bool) int64 {
		if !ok {
			return -1
		}
		return int64(v)
	}
	return Process{
		Memory:    known(anonymousMemory()),
		OpenFiles: known(openFiles()),
		MaxFiles:  known(mostFiles()),
		DiskFree:  known(diskAvailable(dir)),
	}
}
