//go:build !linux

package bench

import (
	"io/fs"
	"os"
	"time"
)

func sleep(d time.Duration) { time.Sleep(d) }

func syncData(f *os.File) error { return f.Sync() }

func allocated(info fs.FileInfo) int64 { return info.Size() }
