package queue

import (
	"fmt"
	"testing"
	"time"

	"github.com/leveretmq/leveret/message"
)

// deepQueue has messages in memory, of which those before the last thousand are stored,
// and before them others that are on disk only.
func deepQueue(b *testing.B, paged, inMemory int) *Queue {
	b.Helper()
	spec := Spec{Name: "q", Durable: true}
	q := New(1, spec, Options{MessageTTL: None, Expires: None, MaxLength: None, MaxLengthBytes: None, DeliveryLimit: None}, &heldStore{})
	lv := RestoredLevel{Head: 1, Next: uint64(paged) + 1}
	for n := 0; n < paged; n += RunMessages {
		count := min(RunMessages, paged-n)
		lv.Runs = append(lv.Runs, Run{Range: Range{First: uint64(n + 1), Last: uint64(n + count)}, Count: count, Bytes: int64(16 * count)})
	}
	now, out := time.UnixMilli(1), &Effects{}
	q.Restore(now, Restored{Levels: []RestoredLevel{lv}}, out)
	for n := range inMemory {
		if n == inMemory-1000 {
			var w message.Wakes
			q.Collect(&Batch{Group: 1})
			q.Stored(1, &w)
		}
		m, err := message.New(message.Content{Properties: []byte{0x10, 0x00, 2}, Body: make([]byte, 16)})
		if err != nil {
			b.Fatal(err)
		}
		m.Persistent = true
		q.Publish(now, Put{Message: m}, out)
	}
	return q
}

// What a client waits for must not grow with the queue.
func BenchmarkDropAll(b *testing.B) {
	for _, what := range []string{"purge", "delete"} {
		for _, depth := range [][2]int{{0, 1000}, {0, 100_000}, {1_000_000, 100_000}, {10_000_000, 1000}} {
			b.Run(fmt.Sprintf("%s/paged=%d/memory=%d", what, depth[0], depth[1]), func(b *testing.B) {
				var took time.Duration
				for range b.N {
					q := deepQueue(b, depth[0], depth[1])
					out, start := &Effects{}, time.Now()
					var n int
					if what == "purge" {
						n = q.Purge(time.UnixMilli(2), out)
					} else {
						n, _ = q.Delete(time.UnixMilli(2), DeleteOptions{}, out)
					}
					took += time.Since(start)
					if n != depth[0]+depth[1] {
						b.Fatalf("dropped %d", n)
					}
				}
				b.ReportMetric(float64(took.Nanoseconds())/float64(b.N)/1000, "µs/call")
			})
		}
	}
}
