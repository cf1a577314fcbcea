package persistence

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// writerFunc is where a test looks at a backup while it is made.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// backup makes a backup of s in memory.
func backup(t testing.TB, s *Store) ([]byte, BackupInfo) {
	t.Helper()
	var b bytes.Buffer
	info, err := s.Backup(t.Context(), &b)
	if err != nil {
		t.Fatal(err)
	}
	read, err := ReadBackup(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(read) != fmt.Sprint(info) || info.Size != int64(b.Len()) {
		t.Errorf("the backup says %+v, and its maker %+v", read, info)
	}
	return b.Bytes(), info
}

// restoreTo restores a backup and returns the directory of the store.
func restoreTo(t testing.TB, b []byte) (string, BackupInfo) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data", "store")
	info, err := RestoreBackup(bytes.NewReader(b), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return dir, info
}

// cutting fills a store with a bit of everything: a chunk, journal records, messages
// settled in pages, queues that share messages, and a body of its own.
func cutting(t testing.TB, dir string, body string) (*Store, *mover, []*fakeQueue) {
	t.Helper()
	s, m := openByHand(t, dir, 1<<20)
	s.Start()
	a, b := declare(t, s, 1, "a"), declare(t, s, 2, "b")
	s.Together(func() {
		for _, n := range msgs(t, 20, 4<<10) {
			a.put(n) // a chunk
		}
		b.put(msg(t, body))
	})
	flush(t, s, a, b)
	s.Together(func() {
		for _, n := range msgs(t, 5, 3<<10) {
			a.put(n)
			b.put(n)
		}
	})
	flush(t, s, a, b)
	page := queue.Page{}
	page.Bits[0] = 1 << 5
	a.settle(queue.State{Head: 3, Next: a.next, DeliveredTo: 7, HadConsumer: true, Pages: []queue.Page{page},
		Settled: []queue.Range{{First: 1, Last: 2}, {First: 5, Last: 5}}})
	flush(t, s, a, b)
	return s, m, []*fakeQueue{a, b}
}

// contentsOf are what is alive in a store that was not started, told in a line for each
// thing.
func contentsOf(t testing.TB, s *Store) []string {
	t.Helper()
	var all []string
	c := s.Catalog()
	for _, q := range c.Queues {
		r := restore(t, s, q.ID)
		all = append(all, fmt.Sprintf("queue %d %s", q.ID, q.Spec.Name))
		for _, lv := range r.Levels {
			all = append(all, fmt.Sprintf("head %d next %d delivered to %d", lv.Head, lv.Next, lv.DeliveredTo))
		}
		for _, m := range readAll(t, s, q.ID, r) {
			body := m.Message.Body()
			all = append(all, fmt.Sprintf("%d %v %.20q %d", m.Seq, m.Redelivered, body, len(body)))
		}
	}
	for _, b := range c.Bindings {
		all = append(all, fmt.Sprintf("binding %+v", b))
	}
	return all
}

// E16: what is restored is what a crash at the beginning of the backup would have left,
// whatever happened to the store while it was written. A body in parts makes it slow.
func TestBackupIsOfOneMoment(t *testing.T) {
	dir := t.TempDir()
	s, m, queues := cutting(t, dir, strings.Repeat("l", maxInlineBody+10)) // kept aside, in parts
	a, b := queues[0], queues[1]
	crashed := open(t, copyDir(t, dir))
	want := contentsOf(t, crashed)
	wantID := crashed.NextID()

	var out bytes.Buffer
	blocks := 0
	info, err := s.Backup(t.Context(), writerFunc(func(p []byte) (int, error) {
		// The store goes on meanwhile: more of everything, and all that was there dies.
		blocks++
		s.Together(func() {
			for _, n := range msgs(t, 20, 4<<10) {
				a.put(n)
				b.put(n)
			}
		})
		flush(t, s, a, b)
		s.NextID()
		declare(t, s, queue.ID(s.NextID()), fmt.Sprintf("later %d", blocks))
		a.settle(allSettled(a.next))
		b.settle(allSettled(b.next))
		flush(t, s, a, b)
		m.relieve()
		m.tidy()
		return out.Write(p)
	}))
	if err != nil {
		t.Fatal(err)
	}
	if blocks < 4 || info.Queues != 2 || info.Messages != 28 || info.Damaged != 0 {
		t.Errorf("got %d blocks and %+v", blocks, info)
	}
	if got := len(keys(t, s, keyBody)); got != 0 {
		t.Errorf("%d parts of the large body are still there: the backup was of nothing special", got)
	}

	to, restored := restoreTo(t, out.Bytes())
	if restored.Messages != 28 || restored.Bytes != info.Bytes || restored.Queues != 2 || restored.Damaged != 0 {
		t.Errorf("restored: got %+v, want what the backup says: %+v", restored, info)
	}
	again := open(t, to)
	equal(t, "restored", contentsOf(t, again), want)
	if again.ID() == s.ID() || info.Store != s.ID() {
		t.Errorf("got the ID %s, from a backup of %s that says %s; want another store", again.ID(), s.ID(), info.Store)
	}
	if got := again.NextID(); got < wantID {
		t.Errorf("got the id %d again, want at least %d (I7)", got, wantID)
	}
	// It lives on like any other: commits, a crash, and a clean stop.
	again.Start()
	a = newFake(again, 1)
	a.next = 1000
	a.put(msg(t, "new"))
	flush(t, again, a)
	if got := bodies(t, open(t, copyDir(t, to)), 1); got[len(got)-1] != "new" {
		t.Errorf("after a crash: got %d messages", len(got))
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if r := check(t, to); len(r.Problems) != 0 || r.Messages != 29 {
		t.Errorf("got %+v", r)
	}
}

// S-11: the run that the backup was made in has no clean end.
func TestRestoredMessagesOfAQueueWithAConsumerAreRedelivered(t *testing.T) {
	s, _, _ := cutting(t, t.TempDir(), "body")
	b, _ := backup(t, s)
	to, _ := restoreTo(t, b)
	f := func(id queue.ID, want bool) {
		t.Helper()
		lv := restore(t, open(t, copyDir(t, to)), id).Levels[0]
		if got := lv.AllRedelivered || lv.DeliveredTo >= lv.Next-1; got != want {
			t.Errorf("queue %d: got redelivered %v, want %v", id, got, want)
		}
	}
	f(1, true)
	f(2, false)
}

// Everything confirmed before a backup was begun is in it, and what belongs together is
// there or not.
func TestBackupUnderLoadHasWhatWasConfirmedAndNothingHalf(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start()
	a, b := declare(t, s, 1, "a"), declare(t, s, 2, "b")
	stop := make(chan struct{})
	var writing sync.WaitGroup
	defer writing.Wait()
	defer close(stop)
	first := make(chan struct{})
	writing.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			body := msg(t, fmt.Sprintf("%d:%s", i, strings.Repeat("x", i*7919%30000)))
			s.Together(func() {
				a.put(body)
				b.put(body)
			})
			pair := topology.Unit{}
			for n := range 2 {
				id := queue.ID(1000 + 2*i + n)
				pair.Puts = append(pair.Puts, topology.Queue{ID: id, Spec: queue.Spec{VHost: "/", Name: fmt.Sprint(id), Durable: true}})
			}
			s.Write(pair, nil)
			if s.WaitRoom(context.Background()) != nil {
				return
			}
			if i == 50 {
				close(first)
			}
		}
	})
	<-first
	for range 2 {
		confirmed := len(b.storedSeqs())
		data, info := backup(t, s)
		dir, _ := restoreTo(t, data)
		r := open(t, dir)
		inA, inB := messages(t, r, 1), messages(t, r, 2)
		if len(inA) < confirmed || len(inA) != len(inB) || int(info.Messages) != len(inA)+len(inB) {
			t.Errorf("got %d and %d messages, want at least the %d confirmed, the same in both, and together the %d announced",
				len(inA), len(inB), confirmed, info.Messages)
		}
		for i := range inA {
			if inA[i].Seq != uint64(i+1) || !bytes.Equal(inA[i].Message.Body(), inB[i].Message.Body()) {
				t.Fatalf("message %d: got number %d, and another in the other queue", i, inA[i].Seq)
			}
		}
		if n := len(r.Catalog().Queues); n%2 != 0 || n != info.Queues {
			t.Errorf("got %d queues, want pairs, and %d", n, info.Queues)
		}
	}
}

// small is a backup of few bytes.
func small(t testing.TB) []byte {
	t.Helper()
	s := open(t, t.TempDir())
	s.Start()
	q := declare(t, s, 1, "q")
	q.put(msg(t, "one"), msg(t, "two"))
	flush(t, s, q)
	b, _ := backup(t, s)
	return b
}

// blocks are where the blocks of a backup begin, and where the last one ends.
func blocks(b []byte) []int {
	at := []int{len(backupMagic)}
	for n := at[0]; n < len(b); at = append(at, n) {
		n += blockPrefix + int(binary.BigEndian.Uint32(b[n+1:])) + 4
	}
	return at
}

func TestDamagedBackupIsRefusedAndThePlaceNamed(t *testing.T) {
	b := small(t)
	at := blocks(b)
	blockAt := func(n int) int {
		block := 0
		for block+1 < len(at) && n >= at[block] {
			block++
		}
		return block
	}
	f := func(what string, b []byte, n int) {
		t.Helper()
		var e *BackupError
		if _, err := ReadBackup(bytes.NewReader(b)); !errors.As(err, &e) {
			t.Errorf("%s byte %d: got %v, want a BackupError", what, n, err)
		} else if e.Block != blockAt(n) || e.Block > 0 && e.Offset != int64(at[e.Block-1]) {
			t.Errorf("%s byte %d: got %v, want block %d", what, n, err, blockAt(n))
		}
	}
	for n := range b {
		f("cut before", b[:n], n)
		flipped := bytes.Clone(b)
		flipped[n] ^= 0x10
		if block := blockAt(n); block == 0 || n >= at[block-1]+blockPrefix {
			f("flipped", flipped, n)
			continue
		}
		// A length that is wrong may have the file end early.
		var e *BackupError
		if _, err := ReadBackup(bytes.NewReader(flipped)); !errors.As(err, &e) {
			t.Errorf("flipped byte %d: got %v, want a BackupError", n, err)
		}
	}
	f("more behind", append(bytes.Clone(b), 'x'), len(b)-1)
	without := append(bytes.Clone(b[:at[1]]), b[at[2]:]...)
	if _, err := ReadBackup(bytes.NewReader(without)); err == nil {
		t.Error("a backup without one of its blocks was taken")
	}

	dir := filepath.Join(t.TempDir(), "store")
	for _, bad := range [][]byte{nil, []byte("PNG and more"), b[:at[1]+7], b[:len(b)-1]} {
		var e *BackupError
		if _, err := RestoreBackup(bytes.NewReader(bad), dir, nil); !errors.As(err, &e) {
			t.Errorf("restore of %d bytes: got %v, want a BackupError", len(bad), err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("restore of %d bytes left a store: %v", len(bad), err)
		}
	}
	// The attempts are in nobody's way, but no broker begins with nothing instead.
	if err := refused(t, dir); !strings.Contains(err.Error(), "not restored to the end") {
		t.Errorf("opened after an attempt: got %v", err)
	}
	if _, err := RestoreBackup(bytes.NewReader(b), dir, nil); err != nil {
		t.Fatal(err)
	}
	if got := bodies(t, open(t, dir), 1); len(got) != 2 {
		t.Errorf("got %q", got)
	}
	if _, err := os.Stat(dir + restoringExt); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is left of the attempts: %v", err)
	}
}

func TestNothingIsRestoredOverAStore(t *testing.T) {
	b := small(t)
	dir := t.TempDir()
	if _, err := RestoreBackup(bytes.NewReader(b), dir, nil); err != nil {
		t.Fatalf("an empty directory: %v", err)
	}
	var exists *ExistsError
	if _, err := RestoreBackup(bytes.NewReader(b), dir, nil); !errors.As(err, &exists) {
		t.Errorf("got %v, want an ExistsError", err)
	}
	var newer *newerError
	later := bytes.Clone(b)
	at := blocks(b)
	binary.BigEndian.PutUint32(later[at[0]+blockPrefix:], backupVersion+1)
	reseal(later)
	if _, err := ReadBackup(bytes.NewReader(later)); !errors.As(err, &newer) {
		t.Errorf("a newer format: got %v", err)
	}
}

// reseal makes the checksums of a backup right again.
func reseal(b []byte) {
	w := newBackupWriter(io.Discard)
	_ = w.magic() // nothing is written
	at := blocks(b)
	for i, n := range at[:len(at)-1] {
		w.cut(blockPrefix)
		w.block = append(w.block, b[n+blockPrefix:at[i+1]-4]...)
		_ = w.end(b[n])
		binary.BigEndian.PutUint32(b[at[i+1]-4:], w.sum)
	}
}

// S-19: the groups of a store that is old are not missed in the restored one.
func TestRestoredStoreContinuesAfterManyGroups(t *testing.T) {
	b := small(t)
	// The header's group follows version, node and time.
	at := blocks(b)[0] + blockPrefix + 4 + 16 + 8
	binary.BigEndian.PutUint64(b[at:], 3*slots+17)
	reseal(b)
	dir, info := restoreTo(t, b)
	if info.Group != 3*slots+17 {
		t.Errorf("got group %d", info.Group)
	}
	s := open(t, dir)
	if got := bodies(t, s, 1); len(got) != 2 {
		t.Errorf("got %q", got)
	}
	if got := s.backend.(*disk).group; got <= 3*slots+17 {
		t.Errorf("got group %d after the backup's %d", got, 3*slots+17)
	}
}

// E12, E16: what is damaged is named, and the rest is saved.
func TestBackupOfADamagedStoreSavesTheRest(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	q := declare(t, s, 1, "q")
	q.put(msg(t, "first "+strings.Repeat("x", 5000)), msg(t, "needle"+strings.Repeat("y", 5000)), msg(t, "last  "+strings.Repeat("z", 5000)))
	flush(t, s, q)
	dir = copyDir(t, dir)
	flip(t, dir, []byte("needle"))
	b, info := backup(t, open(t, dir))
	if info.Damaged != 1 || len(info.Problems) != 1 || !strings.Contains(info.Problems[0], "journal record, key 10") {
		t.Errorf("got %+v", info)
	}
	to, _ := restoreTo(t, b)
	var got []string
	for _, b := range bodies(t, open(t, to), 1) {
		got = append(got, b[:6])
	}
	equal(t, "served", got, []string{"first ", "last  "})
}

// Memory does not follow what is backed up or restored.
func TestBackupAndRestoreTakeLittleMemory(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start()
	q := declare(t, s, 1, "q")
	const total = 64 << 20
	for range total >> 20 {
		q.put(msgs(t, 32, 32<<10)...)
		flush(t, s, q)
	}
	file := filepath.Join(t.TempDir(), "backup")
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	limit, highest, calls := heap()+16<<20, uint64(0), 0
	look := func() {
		if calls++; calls%8 == 0 {
			highest = max(highest, heap())
		}
	}
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	info, err := s.Backup(t.Context(), writerFunc(func(b []byte) (int, error) { look(); return out.Write(b) }))
	if err != nil || info.Size < total || calls < 32 {
		t.Fatalf("got %+v, %v in %d writes", info, err, calls)
	}
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	calls = 0
	if _, err := RestoreBackup(readerFunc(func(b []byte) (int, error) { look(); return in.Read(b) }), filepath.Join(t.TempDir(), "store"), nil); err != nil || calls < 32 {
		t.Fatalf("got %v in %d reads", err, calls)
	}
	if highest > limit {
		t.Errorf("got %d MiB in use for %d MiB of messages, want less than %d", highest>>20, total>>20, limit>>20)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestBackupEndsWithTheStoreOrWhenItIsToldTo(t *testing.T) {
	s, _, _ := cutting(t, t.TempDir(), "body")
	reason := errors.New("a good reason")
	f := func(end func(), want error) {
		t.Helper()
		var out bytes.Buffer
		var once sync.Once
		_, err := s.Backup(t.Context(), writerFunc(func(b []byte) (int, error) {
			once.Do(end)
			return out.Write(b)
		}))
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
		var e *BackupError
		if _, err := ReadBackup(&out); !errors.As(err, &e) || !strings.Contains(e.Reason, want.Error()) {
			t.Errorf("the backup says %v, want %v", err, want)
		}
	}
	f(func() { s.StopBackup(reason) }, reason)
	f(func() {
		if _, err := s.Backup(t.Context(), io.Discard); !errors.Is(err, ErrBackupRunning) {
			t.Errorf("a second one: got %v", err)
		}
		s.fail(reason)
	}, reason)

	s, _, _ = cutting(t, t.TempDir(), "body")
	closed := make(chan error, 1)
	f(func() {
		go func() { closed <- s.Close() }()
		<-s.stopped // it waits for the backup now
	}, ErrClosed)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := s.Backup(t.Context(), io.Discard); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: got %v", err)
	}
	memory := NewMemory(Options{Logger: zerolog.Nop()})
	if _, err := memory.Backup(t.Context(), io.Discard); !errors.Is(err, ErrNothingStored) {
		t.Errorf("in memory: got %v", err)
	}
}

func TestBackupThatCannotBeWrittenIsAnError(t *testing.T) {
	s := open(t, t.TempDir())
	full := errors.New("no room there")
	if _, err := s.Backup(t.Context(), writerFunc(func([]byte) (int, error) { return 0, full })); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Backup(ctx, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	if _, info := backup(t, s); info.Queues != 0 || info.Messages != 0 {
		t.Errorf("afterwards: got %+v", info)
	}
}
