//go:build amd64 || arm64

package persistence

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// sink is where a load goes: the store, or the raw log that it is measured against.
type sink interface {
	// put takes a batch for one queue, published at the given moment, and waits for room.
	put(queue int, batch []*message.Message, at time.Time)
	// finish waits until everything is on disk, ends the sink, and returns how many
	// messages it has stored.
	finish(t testing.TB) int
}

// delays are times from publish to commit, of messages published together. A nil one takes
// nothing.
type delays struct {
	mu  sync.Mutex
	all []time.Duration
}

func (d *delays) add(at time.Time) {
	if d == nil {
		return
	}
	took := time.Since(at)
	d.mu.Lock()
	d.all = append(d.all, took)
	d.mu.Unlock()
}

func (d *delays) quantile(q float64) time.Duration {
	if d == nil {
		return 0
	}
	slices.Sort(d.all)
	if len(d.all) == 0 {
		return 0
	}
	return d.all[int(q*float64(len(d.all)-1))]
}

// loadBatch is how many messages are put at once: what a connection reads in one go.
const loadBatch = 16

// load is what two publishers do.
type load struct {
	size, queues int
	rate         int           // messages a second; 0 for as many as the sink takes
	span         time.Duration // ends after this much time
	bytes        int           // or after this many bytes of payload; 0 for no such end
}

// run publishes and returns how many messages were put.
func (l *load) run(s sink, corpus []*message.Message) int {
	var wg sync.WaitGroup
	var stop atomic.Bool
	var put atomic.Int64
	timer := time.AfterFunc(l.span, func() { stop.Store(true) })
	defer timer.Stop()
	const publishers = 2
	start := time.Now()
	for p := range publishers {
		wg.Go(func() {
			own := corpus[p*len(corpus)/publishers : (p+1)*len(corpus)/publishers]
			at := start
			for n := 0; !stop.Load() && (l.bytes == 0 || n*loadBatch*l.size < l.bytes/publishers); n++ {
				if l.rate > 0 {
					// Published when it was due, however late the publisher is.
					at = start.Add(time.Duration(n*loadBatch*publishers+p*loadBatch) * time.Second / time.Duration(l.rate))
					time.Sleep(time.Until(at))
				}
				i := n * loadBatch % (len(own) - loadBatch + 1)
				s.put((n*publishers+p)%l.queues, own[i:i+loadBatch], at)
				put.Add(loadBatch)
			}
		})
	}
	wg.Wait()
	return int(put.Load())
}

// storeSink is the store with queues of the least work.
type storeSink struct {
	s      *Store
	queues []*loadQueue
}

// newStoreSink opens a store with queues. In a steady one messages are settled as soon as
// they are stored.
func newStoreSink(t testing.TB, dir string, o Options, queues int, steady bool, d *delays) *storeSink {
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	k := &storeSink{s: s}
	var u topology.Unit
	for i := range queues {
		id := queue.ID(i + 1)
		u.Puts = append(u.Puts, topology.Queue{ID: id, Spec: queue.Spec{VHost: "/", Name: strconv.Itoa(i), Durable: true}})
		k.queues = append(k.queues, &loadQueue{id: id, store: s, next: 1, head: 1, steady: steady, delays: d})
	}
	write(t, s, u)
	return k
}

func (k *storeSink) put(n int, batch []*message.Message, at time.Time) {
	k.queues[n].put(batch, at)
	// It fails when the store has failed, which finish tells.
	_ = k.s.WaitRoom(context.Background())
}

func (k *storeSink) flush(t testing.TB) {
	t.Helper()
	done := make(chan error, len(k.queues))
	for _, q := range k.queues {
		k.s.Barrier(q, func(err error) { done <- err })
	}
	for range k.queues {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func (k *storeSink) finish(t testing.TB) int {
	k.flush(t)
	stored := int(k.s.Stats().Messages)
	if err := k.s.Close(); err != nil {
		t.Fatal(err)
	}
	return stored
}

// loadQueue is a queue that only keeps what is not stored.
type loadQueue struct {
	id     queue.ID
	store  *Store
	steady bool
	delays *delays

	mu       sync.Mutex
	next     uint64 // number of the next message
	head     uint64 // below it everything was collected
	settled  uint64 // below it everything is settled on disk or in the last state
	unstored []queue.StoredPut
	at       []stamp
	enlisted bool
	dirty    bool
}

// stamp is when the messages below a number were published.
type stamp struct {
	below uint64
	at    time.Time
}

func (q *loadQueue) ID() queue.ID { return q.id }

func (q *loadQueue) put(batch []*message.Message, at time.Time) {
	bytes := int64(0)
	q.mu.Lock()
	for _, m := range batch {
		q.unstored = append(q.unstored, queue.StoredPut{Queue: q.id, Seq: q.next, Message: m})
		q.next++
		bytes += int64(m.Size())
	}
	if q.delays != nil {
		q.at = append(q.at, stamp{q.next, at})
	}
	if !q.enlisted {
		q.enlisted = true
		q.store.Enlist(q)
	}
	q.mu.Unlock()
	q.store.AddUnstored(bytes)
}

func (q *loadQueue) Collect(b *queue.Batch) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for n < len(q.unstored) && !b.Full() {
		b.Puts = append(b.Puts, q.unstored[n])
		b.Bytes += q.unstored[n].Message.Size()
		n++
	}
	q.head += uint64(n)
	rest := copy(q.unstored, q.unstored[n:])
	clear(q.unstored[rest:])
	q.unstored = q.unstored[:rest]
	q.enlisted = rest > 0
	return q.enlisted
}

func (q *loadQueue) CollectSettled(b *queue.Batch, _ []queue.Position) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.dirty {
		return
	}
	q.dirty = false
	s := queue.State{Queue: q.id, Head: q.settled, Next: q.next, DeliveredTo: q.settled - 1, HadConsumer: true}
	b.States = append(b.States, s)
}

func (q *loadQueue) Stored(uint64, *message.Wakes) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for ; n < len(q.at) && q.at[n].below <= q.head; n++ {
		q.delays.add(q.at[n].at)
	}
	q.at = append(q.at[:0], q.at[n:]...)
	if q.steady && q.settled < q.head {
		q.settled = q.head
		if !q.dirty {
			q.dirty = true
			q.store.EnlistSettled(q)
		}
	}
}

// alive opens the store in dir and counts what is in it.
func alive(t testing.TB, dir string, o Options, queues int) (messages int) {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range queues {
		for _, lv := range restore(t, s, queue.ID(i+1)).Levels {
			for _, r := range lv.Runs {
				messages += r.Count
			}
		}
	}
	return messages
}

// rawLog is the least that could keep messages: what gathered while the last group was
// synced is written to the end of a file, with one length each and one checksum for all,
// and synced, 4 MiB or 16384 messages at most.
type rawLog struct {
	t      testing.TB
	dir    string
	steady bool // what was stored is not needed: only the last two files are kept
	delays *delays

	mu       sync.Mutex
	ready    sync.Cond // something was put, or it is the end
	room     sync.Cond // a group was taken
	buf      []byte
	messages int
	at       []time.Time
	ending   bool

	ended  chan struct{}
	stored int
}

func newRawLog(t testing.TB, dir string, steady bool, d *delays) *rawLog {
	l := &rawLog{t: t, dir: dir, steady: steady, delays: d, ended: make(chan struct{})}
	l.ready.L, l.room.L = &l.mu, &l.mu
	go l.run()
	return l
}

const (
	rawHeader = 8 // bytes and checksum of a group
	rawBytes  = 4 << 20
	rawPuts   = 16384
)

func (l *rawLog) put(_ int, batch []*message.Message, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.buf) >= rawBytes || l.messages >= rawPuts {
		l.room.Wait()
	}
	if len(l.buf) == 0 {
		l.buf = append(l.buf, make([]byte, rawHeader)...)
		l.ready.Signal()
	}
	for _, m := range batch {
		l.buf = binary.AppendUvarint(l.buf, uint64(m.BodyBytes()))
		l.buf = append(l.buf, m.Body()...)
	}
	l.messages += len(batch)
	if l.delays != nil {
		l.at = append(l.at, at)
	}
}

func (l *rawLog) run() {
	defer close(l.ended)
	var spare []byte
	var spareAt []time.Time
	var f *os.File
	var size, files int
	for {
		l.mu.Lock()
		for len(l.buf) == 0 && !l.ending {
			l.ready.Wait()
		}
		group, n, at := l.buf, l.messages, l.at
		l.buf, l.messages, l.at = spare[:0], 0, spareAt[:0]
		l.room.Broadcast()
		l.mu.Unlock()
		if len(group) == 0 {
			if f != nil {
				l.check(f.Close())
			}
			return
		}
		if f == nil || size >= valueLogFileSize {
			if f != nil {
				l.check(f.Close())
			}
			if l.steady && files >= 2 {
				l.check(os.Remove(l.name(files - 2)))
			}
			var err error
			f, err = os.Create(l.name(files))
			l.check(err)
			size = 0
			files++
		}
		binary.BigEndian.PutUint32(group, uint32(len(group)-rawHeader))
		binary.BigEndian.PutUint32(group[4:], crc32.Checksum(group[rawHeader:], castagnoli))
		_, err := f.WriteAt(group, int64(size))
		l.check(err)
		l.check(fdatasync(f))
		size += len(group)
		l.stored += n
		for _, t := range at {
			l.delays.add(t)
		}
		spare, spareAt = group, at
	}
}

func (l *rawLog) name(n int) string { return filepath.Join(l.dir, strconv.Itoa(n)) }

func (l *rawLog) check(err error) {
	if err != nil {
		panic(err)
	}
}

func (l *rawLog) finish(testing.TB) int {
	l.mu.Lock()
	l.ending = true
	l.ready.Signal()
	l.mu.Unlock()
	<-l.ended
	return l.stored
}

// count reads a raw log and counts its messages.
func (l *rawLog) count(t testing.TB) (messages int) {
	t.Helper()
	files, err := os.ReadDir(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(l.dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for len(b) > 0 {
			n := int(binary.BigEndian.Uint32(b))
			group := b[rawHeader : rawHeader+n]
			if crc32.Checksum(group, castagnoli) != binary.BigEndian.Uint32(b[4:]) {
				t.Fatalf("group of %d bytes in %s is damaged", n, f.Name())
			}
			for len(group) > 0 {
				length, k := binary.Uvarint(group)
				group = group[k+int(length):]
				messages++
			}
			b = b[rawHeader+n:]
		}
	}
	return messages
}
