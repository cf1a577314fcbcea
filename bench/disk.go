package bench

import (
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	diskBlockBytes = 4 << 10
	diskProbes     = 200
)

// ProbeDisk measures how long the disk of dir takes to keep 4 KiB appended to a file. No
// broker that keeps its word confirms a lone persistent message in less, so latencies of
// confirms are best quoted as multiples of it.
func ProbeDisk(dir string) (result *Latency, err error) {
	f, err := os.CreateTemp(dir, "leveret-bench-*")
	if err != nil {
		return nil, fmt.Errorf("probe the disk: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	l := newLatency()
	block := make([]byte, diskBlockBytes)
	for range diskProbes {
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			return nil, fmt.Errorf("probe the disk: %w", err)
		}
		if err := syncData(f); err != nil {
			return nil, fmt.Errorf("probe the disk: %w", err)
		}
		l.record(int64(time.Since(start)))
	}
	return l.summary(), nil
}
