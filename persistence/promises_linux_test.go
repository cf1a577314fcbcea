//go:build amd64 || arm64

package persistence

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/leveretmq/leveret/queue"
)

var (
	churnFlag   = flag.Int("store.churn", 1024, "MiB that go through the short queue of BenchmarkChurn")
	backlogFlag = flag.Int("store.backlog", 512, "MiB in the queue of BenchmarkReadBacklog")
	chunksFlag  = flag.Int("store.chunks", 8000, "chunks in the store that BenchmarkOpen opens; 10 million messages of 1 KiB make 40000")
)

// row prints a row of a table as BenchmarkAgainstRawLog does, for what has no raw log to
// be measured against.
func row(name, got, target string) {
	fmt.Printf("| %s | %s | %s |\n", name, got, target)
}

// BenchmarkChurn sends much through a short queue and looks what the store takes on disk
// meanwhile.
func BenchmarkChurn(b *testing.B) {
	dir, remove := benchDir(b)
	defer remove()
	corpus := msgs(b, 8*groupBytes/kib, kib)
	k := newStoreSink(b, dir, Options{}, 1, true, nil)
	peak, done, ended := int64(0), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(50 * time.Millisecond):
				peak = max(peak, diskBytes(b, dir))
			}
		}
	}()
	before := costNow(dir)
	l := load{size: kib, queues: 1, span: 10 * time.Minute, bytes: *churnFlag * mib}
	put := l.run(k, corpus)
	k.flush(b)
	spent := costNow(dir).since(before)
	close(done)
	<-ended
	if stored := k.finish(b); stored != put {
		b.Fatalf("got %d messages stored, want %d", stored, put)
	}
	const most = 4 * paddingInterval
	if peak > most {
		b.Errorf("got %d MB on disk, want %d at most", peak/1e6, int64(most)/1e6)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(peak)/1e6, "peak-MB")
	row(fmt.Sprintf("%d MiB through a short queue", *churnFlag), fmt.Sprintf("at most %d MB on disk, in %.1f s", peak/1e6, spent.took.Seconds()), fmt.Sprintf("≤ %d MB", int64(most)/1e6))
}

// BenchmarkReadBacklog reads a backlog of one queue that the page cache has nothing of,
// and then the same files from beginning to end.
func BenchmarkReadBacklog(b *testing.B) {
	dir, remove := benchDir(b)
	defer remove()
	corpus := msgs(b, 8*groupBytes/kib, kib)
	k := newStoreSink(b, dir, Options{}, 2, false, nil)
	l := load{size: kib, queues: 1, span: 10 * time.Minute, bytes: *backlogFlag * mib}
	put := l.run(k, corpus)
	// The newest file of the value log is read when the store is opened, so that it is no
	// cold one. It shall have nothing of the backlog.
	for range (valueLogFileSize + 2*groupBytes) / (loadBatch * kib) {
		k.put(1, corpus[:loadBatch], time.Now())
	}
	k.finish(b)
	var ratios []float64
	var ours, plain float64
	for pair := range *pairsFlag {
		for side := range 2 {
			evict(b, dir)
			if side == pair%2 {
				ours = readBacklog(b, dir, put)
			} else {
				plain = readFiles(b, dir)
			}
		}
		ratios = append(ratios, ours/plain)
	}
	ratio := medianOf(ratios)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ours/1e6, "MB/s")
	b.ReportMetric(ratio, "ratio")
	row(fmt.Sprintf("cold backlog of %d MiB, 1 KiB", *backlogFlag), fmt.Sprintf("%.0f MB/s, %.2f of reading the files", ours/1e6, ratio), "≥ 0.5")
}

// readBacklog opens the store and reads all of the first queue as a queue does, two runs
// ahead. It returns bytes of payload a second.
func readBacklog(b *testing.B, dir string, want int) float64 {
	b.Helper()
	s := open(b, dir)
	defer s.Close()
	levels := restore(b, s, 1).Levels
	s.Start()
	device := procField(b, "io", "read_bytes")
	start := time.Now()
	const ahead = 2
	type answer struct {
		messages []queue.RestoredMessage
		err      error
	}
	var pending []chan answer
	found, bytes := 0, 0
	take := func() {
		a := <-pending[0]
		pending = pending[1:]
		if a.err != nil {
			b.Fatal(a.err)
		}
		for i := range a.messages {
			bytes += a.messages[i].Message.BodyBytes()
		}
		found += len(a.messages)
	}
	for _, r := range levels[0].Runs {
		c := make(chan answer, 1)
		s.Read(1, 0, r.Range, func(m []queue.RestoredMessage, err error) { c <- answer{m, err} })
		if pending = append(pending, c); len(pending) > ahead {
			take()
		}
	}
	for len(pending) > 0 {
		take()
	}
	took := time.Since(start)
	if found != want {
		b.Fatalf("got %d messages, want %d", found, want)
	}
	if read := procField(b, "io", "read_bytes") - device; read < int64(bytes)*9/10 {
		b.Skipf("not run: the page cache had %d of %d MB", (int64(bytes)-read)/1e6, bytes/1e6)
	}
	return float64(bytes) / took.Seconds()
}

// readFiles reads the value log from beginning to end, holes left out. It returns bytes a
// second.
func readFiles(b *testing.B, dir string) float64 {
	b.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	bytes := 0
	buf := make([]byte, mib)
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			b.Fatal(err)
		}
		end := min(info.Size(), info.Sys().(*syscall.Stat_t).Blocks*512)
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(f, end), buf)
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
		bytes += int(n)
	}
	return float64(bytes) / time.Since(start).Seconds()
}

// BenchmarkOpen opens a store with as many chunks as millions of messages make and as much
// in the journal as it may hold, and nothing in the page cache.
func BenchmarkOpen(b *testing.B) {
	dir, remove := benchDir(b)
	defer remove()
	const queues = 100
	k := newStoreSink(b, dir, Options{byHand: true}, queues, false, nil)
	corpus := msgs(b, 4000, kib)
	// Each is as small as a chunk can be: what counts is how many there are.
	per := chunkFloor/kib + 1
	total := 0
	for n := range *chunksFlag {
		k.put(n%queues, corpus[n%100*per:n%100*per+per], time.Now())
		total += per
		if n%queues == queues-1 {
			k.flush(b) // what is collected together becomes one chunk
		}
	}
	for k.s.backend.(*disk).journalUse().bytes < defaultJournalMax {
		for q := range queues {
			k.put(q, corpus[q*loadBatch:(q+1)*loadBatch], time.Now())
			total += loadBatch
		}
		k.flush(b)
	}
	use := k.s.backend.(*disk).journalUse()
	chunks := len(keys(b, k.s, keyChunk))
	// As after a crash: nothing is written in order.
	crashed := copyDir(b, dir)
	k.finish(b)
	evict(b, crashed)
	before := procField(b, "io", "read_bytes")
	start := time.Now()
	s, err := Open(crashed, Options{})
	took := time.Since(start)
	if err != nil {
		b.Fatal(err)
	}
	read := procField(b, "io", "read_bytes") - before
	found := 0
	for i := range queues {
		for _, lv := range restore(b, s, queue.ID(i+1)).Levels {
			for _, r := range lv.Runs {
				found += r.Count
			}
		}
	}
	s.Close()
	if found != total {
		b.Fatalf("got %d messages, want %d", found, total)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took.Seconds(), "s")
	row(fmt.Sprintf("open with %d chunks and %d MiB of journal, cold", chunks, use.bytes/mib), fmt.Sprintf("%.2f s, %d MB read", took.Seconds(), read/1e6), "< 2 s")
}

// BenchmarkIdle looks what a store costs that has nothing to do.
func BenchmarkIdle(b *testing.B) {
	dir, remove := benchDir(b)
	defer remove()
	settle := func() {
		runtime.GC()
		debug.FreeOSMemory()
	}
	settle()
	memory, goroutines := procField(b, "status", "RssAnon"), runtime.NumGoroutine()
	k := newStoreSink(b, dir, Options{}, 1, true, nil)
	k.put(0, msgs(b, loadBatch, kib), time.Now())
	k.flush(b)
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Second)
	defer cancel()
	settle()
	before := costNow(dir)
	<-ctx.Done()
	spent := costNow(dir).since(before)
	memory = procField(b, "status", "RssAnon") - memory
	goroutines = runtime.NumGoroutine() - goroutines
	k.finish(b)
	share := 100 * spent.cpu.Seconds() / spent.took.Seconds()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(memory)/1024, "MiB")
	b.ReportMetric(float64(goroutines), "goroutines")
	b.ReportMetric(share, "%cpu")
	got := fmt.Sprintf("%.1f MiB, %d goroutines, %.2f %%", float64(memory)/1024, goroutines, share)
	row("idle: anonymous memory, goroutines, a core", strings.TrimSpace(got), "≤ 20 MiB, ≤ 15, ≤ 1 %")
}
