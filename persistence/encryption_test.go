package persistence

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

var testKey = []byte("0123456789abcdef0123456789ABCDEF")

func openWith(t testing.TB, dir string, key []byte) *Store {
	t.Helper()
	s, err := Open(dir, Options{EncryptionKey: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// secrets are what must not be readable in any file.
var secrets = []string{"secret-payload", "secret-exchange", "secret-queue", "secret-key", "secret-user"}

// sealed is the directory of a crashed store that is encrypted: 20 messages of 5000 bytes
// in queue 1, one small one, and a chunk of 40 messages. stop ends it properly.
func sealed(t testing.TB, stop bool) string {
	t.Helper()
	dir := t.TempDir()
	s := openWith(t, dir, testKey)
	s.Start()
	write(t, s, topology.Unit{Puts: []topology.Record{
		topology.Exchange{ID: 9, Spec: exchange.Spec{VHost: "/", Name: "secret-exchange", Type: "direct", Durable: true}}}})
	q := declare(t, s, 1, "secret-queue")
	put := func(n, size int) {
		m, err := message.New(message.Content{
			Exchange: "secret-exchange", RoutingKey: "secret-key", Properties: []byte{0x10, 0x00, 2},
			Body: []byte(fmt.Sprintf("<%d>secret-payload%s", n, strings.Repeat("x", size)))})
		if err != nil {
			t.Fatal(err)
		}
		q.put(m)
	}
	for n := range 20 {
		put(n, 5000)
		flush(t, s, q)
	}
	put(20, 10)
	flush(t, s, q)
	s.Together(func() {
		for n := range 40 {
			put(21+n, 5000)
		}
	})
	flush(t, s, q)
	if !stop {
		return copyDir(t, dir)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// noPlainText reads every file under dir.
func noPlainText(t testing.TB, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, f os.DirEntry, err error) error {
		if err != nil || f.IsDir() {
			return err
		}
		b := usedOf(t, name)
		for _, secret := range secrets {
			if bytes.Contains(b, []byte(secret)) {
				t.Errorf("%q can be read in %s", secret, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A9: nothing of a message or a declaration can be read in the files, and everything is
// found again, after a crash and after a stop.
func TestEncryptedStoreHasNoPlainTextOnDisk(t *testing.T) {
	for _, stop := range []bool{false, true} {
		dir := sealed(t, stop)
		noPlainText(t, dir)
		s := openWith(t, dir, testKey)
		if got := len(served(t, s, 1)); got != 61 || s.Stats().Damaged != 0 {
			t.Errorf("stopped %v: got %d messages and %d damaged, want 61 and none", stop, got, s.Stats().Damaged)
		}
		if c := s.Catalog(); len(c.Exchanges) != 1 || c.Exchanges[0].Spec.Name != "secret-exchange" {
			t.Errorf("stopped %v: got %+v", stop, c.Exchanges)
		}
		for _, k := range keys(t, s, keyChunk) {
			if c, ok := parseChunkKey(k); !ok || c.bytes > encryptedChunkBytes {
				t.Errorf("got a chunk of %d bytes, want at most %d", c.bytes, encryptedChunkBytes)
			}
		}
		s.Close()
		noPlainText(t, dir)
		if r, err := Check(dir, testKey); err != nil || r.Messages != 61 || len(r.Problems) != 0 {
			t.Errorf("stopped %v: check: got %+v, %v", stop, r, err)
		}
	}
}

// The message that a test would look for is found when there is no key: the search above
// is one that can fail.
func TestPlainStoreHasPlainTextOnDisk(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	q := declare(t, s, 1, "secret-queue")
	q.put(msg(t, "secret-payload"))
	flush(t, s, q)
	dir = copyDir(t, dir)
	for _, secret := range secrets[:1] {
		found := false
		for _, name := range glob(t, dir, "*") {
			found = found || bytes.Contains(usedOf(t, name), []byte(secret))
		}
		if !found {
			t.Errorf("%q is in no file", secret)
		}
	}
}

// Opening with the wrong key, without one, or with one too many is refused, says what to
// do, and touches nothing.
func TestStoreIsOpenedWithItsOwnKeyOnly(t *testing.T) {
	f := func(dir string, key []byte, reason string) {
		t.Helper()
		before := contents(t, dir)
		var k *KeyError
		s, err := Open(dir, Options{EncryptionKey: key})
		if err == nil {
			s.Close()
		}
		if !errors.As(err, &k) || k.Reason != reason {
			t.Errorf("open: got %v, want %s", err, reason)
		}
		if _, err := Check(dir, key); !errors.As(err, &k) || k.Reason != reason || k.Dir != dir {
			t.Errorf("check: got %v, want %s", err, reason)
		}
		if _, err := Repair(dir, key, time.UnixMilli(1), zerolog.Nop()); !errors.As(err, &k) || k.Reason != reason {
			t.Errorf("repair: got %v, want %s", err, reason)
		}
		equal(t, "files", contents(t, dir), before)
	}
	crashed, ended := sealed(t, false), sealed(t, true)
	for _, dir := range []string{crashed, ended} {
		f(dir, nil, keyMissing)
		f(dir, []byte("another key, 16!"), keyWrong)
		f(dir, append([]byte{'!'}, testKey[1:]...), keyWrong)
	}
	f(filled(t, 1), testKey, keyUnwanted)
	f(stopped(t), testKey, keyUnwanted)
	dir := stopped(t)
	if err := os.Remove(filepath.Join(dir, badger.KeyRegistryFileName)); err != nil {
		t.Fatal(err)
	}
	f(dir, testKey, keyUnwanted)
	open(t, dir)
	if _, err := Open(t.TempDir(), Options{EncryptionKey: []byte("short")}); err == nil {
		t.Error("a key of 5 octets was taken")
	}
}

// E15: without its data keys an encrypted store is lost, and nothing makes it look new.
func TestEncryptedStoreWithoutItsKeyRegistryIsRefused(t *testing.T) {
	for _, stop := range []bool{false, true} {
		dir := sealed(t, stop)
		if err := os.Remove(filepath.Join(dir, badger.KeyRegistryFileName)); err != nil {
			t.Fatal(err)
		}
		for _, key := range [][]byte{nil, testKey} {
			var l *LostError
			if _, err := Open(dir, Options{EncryptionKey: key}); !errors.As(err, &l) {
				t.Errorf("got %v, want a LostError", err)
			}
		}
	}
}

// E12: a damaged message is never served, everything else is, and a repair that takes it
// out leaves nothing readable.
func TestFlippedBitInAnEncryptedStoreIsNeverServed(t *testing.T) {
	for _, stop := range []bool{false, true} {
		dir := sealed(t, stop)
		name := glob(t, dir, "*.vlog")[0]
		const at = logHeader + 3*5300 + 2500 // somewhere in the body of the fourth message
		overwrite(t, name, at, usedOf(t, name)[at]^1)
		again := copyDir(t, dir)
		s := openWith(t, dir, testKey)
		if got := len(served(t, s, 1)); got != 60 || s.Stats().Damaged != 1 {
			t.Errorf("stopped %v: got %d messages and %d damaged, want 60 and 1", stop, got, s.Stats().Damaged)
		}
		noPlainText(t, dir)
		s.Close()

		r, err := Check(again, testKey)
		if err != nil || len(r.Problems) != 1 || r.Problems[0].File != filepath.Base(name) || r.Messages != 60 {
			t.Errorf("stopped %v: check: got %+v, %v", stop, r, err)
		}
		noPlainText(t, again)
		r, err = Repair(again, testKey, time.UnixMilli(1), zerolog.Nop())
		if err != nil || len(r.Problems) != 1 || r.Problems[0].Kept == "" {
			t.Fatalf("stopped %v: repair: got %+v, %v", stop, r, err)
		}
		noPlainText(t, again)
		kept, err := os.ReadFile(r.Problems[0].Kept)
		if err != nil {
			t.Fatal(err)
		}
		if err := xor(kept[16:], testKey, kept[:16]); err != nil || !bytes.Contains(kept, []byte("secret-payload")) {
			t.Errorf("stopped %v: what was kept cannot be read with the key: %v", stop, err)
		}
		s = openWith(t, again, testKey)
		if got := len(served(t, s, 1)); got != 60 || s.Stats().Damaged != 0 {
			t.Errorf("stopped %v: after the repair got %d messages and %d damaged, want 60 and none", stop, got, s.Stats().Damaged)
		}
	}
}

// Badger cuts its logs where something does not check out; what it cuts is found again in
// the copy that was set aside, which is as encrypted as it was.
func TestWhatWasSetAsideOfAnEncryptedLogIsFoundAgain(t *testing.T) {
	f := func(at int, messages int) {
		t.Helper()
		dir := sealed(t, false)
		name := glob(t, dir, "*.vlog")[0]
		overwrite(t, name, at, usedOf(t, name)[at]^0x10)
		if err := saveTails(dir, zerolog.Nop()); err != nil {
			t.Fatal(err)
		}
		glob(t, dir, "*"+salvageExt)
		noPlainText(t, dir)
		// A start that was interrupted when Badger had cut its log.
		db, err := badger.Open(encrypted(badgerOptions(dir, &badgerLog{log: zerolog.Nop()}, valueLogFileSize), testKey))
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		s := openWith(t, dir, testKey)
		if got := len(served(t, s, 1)); got != messages || s.Stats().Damaged == 0 {
			t.Errorf("octet %d: got %d messages and %d damaged, want %d and some", at, got, s.Stats().Damaged, messages)
		}
	}
	f(logHeader+100, 60)  // within the first record
	f(logHeader, 60)      // the head of its entry
	f(logHeader+2500, 60) // its body
}

// E12: as without encryption.
func TestFlippedBitInAnEncryptedTableIsRefusedAndNamed(t *testing.T) {
	dir := sealed(t, true)
	keys, err := openKeys(dir, testKey)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := tablesOf(dir)
	if err != nil || len(tables) == 0 || tables[0].keyID == 0 {
		t.Fatalf("got tables %v, %v", tables, err)
	}
	key, err := keys.of(tables[0].keyID)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, tableName(tables[0].id))
	if err := checkBlocks(name, key); err != nil {
		t.Errorf("got %v of a whole table", err)
	}
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), filepath.Base(name))
	for at := 0; at < len(whole); at += 1 + len(whole)/300 {
		b := bytes.Clone(whole)
		b[at] ^= 1 << (at % 8)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		var d damage
		if err := checkBlocks(file, key); !errors.As(err, &d) {
			t.Errorf("octet %d of %d: got %v", at, len(whole), err)
		}
	}
}

// The mover makes chunks of what is decrypted at once, and does not go on merging them.
func TestMoverLeavesChunksOfAnEncryptedStoreAlone(t *testing.T) {
	s, err := Open(t.TempDir(), Options{EncryptionKey: testKey, byHand: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.Start()
	q := declare(t, s, 1, "q")
	for _, m := range msgs(t, 100, 8<<10) {
		q.put(m)
		flush(t, s, q)
	}
	m := s.backend.(*disk).mover
	m.limits.bytes = 1
	for range 10 {
		m.relieve()
	}
	m.now = func() time.Time { return time.Now().Add(time.Hour) }
	m.tidy()
	before := keys(t, s, keyChunk)
	if len(before) < 10 || len(before) > 20 {
		t.Errorf("got %d chunks of 800 KiB, want about 13", len(before))
	}
	m.tidy()
	m.tidy()
	if after := keys(t, s, keyChunk); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("got other chunks after a second look: %d, before %d", len(after), len(before))
	}
}

func TestKeyIsReadAsHexadecimalBase64OrOctets(t *testing.T) {
	f := func(content string, mode os.FileMode, want []byte, wantExposed bool) {
		t.Helper()
		name := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
		got, exposed, err := ReadKey(name)
		if want == nil {
			if err == nil || strings.Contains(err.Error(), content) {
				t.Errorf("%q: got %x, %v, want an error that does not tell the content", content, got, err)
			}
			return
		}
		if err != nil || !bytes.Equal(got, want) || exposed != wantExposed {
			t.Errorf("%q: got %x, %v, %v, want %x, %v", content, got, exposed, err, want, wantExposed)
		}
	}
	for _, n := range []int{16, 24, 32} {
		key := bytes.Repeat([]byte{0xC3, 7}, n/2)
		f(string(key), 0o600, key, false)
		f(hex.EncodeToString(key), 0o640, key, false)
		f(strings.ToUpper(hex.EncodeToString(key))+"\n", 0o644, key, true)
		f(base64.StdEncoding.EncodeToString(key)+"\r\n", 0o400, key, false)
		f(base64.RawStdEncoding.EncodeToString(key), 0o404, key, true)
	}
	f("too short", 0o600, nil, false)
	f(strings.Repeat("ab", 17), 0o600, nil, false)
	if _, _, err := ReadKey(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want a missing file", err)
	}
}

// What leaves memory without being stored is on disk only, and encrypted as well.
func TestSpilledMessagesOfAnEncryptedStoreAreEncrypted(t *testing.T) {
	dir := t.TempDir()
	s := openWith(t, dir, testKey)
	s.Start()
	err := spillNow(t, s, 1, 0, queue.Copy{Range: queue.Range{First: 1, Last: 1},
		Puts: []queue.StoredPut{{Queue: 1, Seq: 1, Message: msg(t, "secret-payload"+strings.Repeat("x", 5000))}}})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(glob(t, filepath.Join(dir, spillDir), "*.spill")); n != 1 {
		t.Errorf("got %d files, want 1", n)
	}
	noPlainText(t, dir)
	got := read(t, s, 1, 0, queue.Range{First: 1, Last: 1})
	if len(got) != 1 || !strings.HasPrefix(string(got[0].Message.Body()), "secret-payload") {
		t.Errorf("got %d messages back", len(got))
	}
}

// A store gets another key, or none, by way of a backup.
func TestBackupIsRestoredWithAnotherKey(t *testing.T) {
	s := openWith(t, sealed(t, true), testKey)
	s.Start()
	var saved bytes.Buffer
	if _, err := s.Backup(t.Context(), &saved); err != nil {
		t.Fatal(err)
	}
	for _, key := range [][]byte{nil, []byte("another key, 16!")} {
		dir := filepath.Join(t.TempDir(), "store")
		if _, err := RestoreBackup(bytes.NewReader(saved.Bytes()), dir, key); err != nil {
			t.Fatal(err)
		}
		if got := len(served(t, openWith(t, dir, key), 1)); got != 61 {
			t.Errorf("got %d messages, want 61", got)
		}
		if key != nil {
			noPlainText(t, dir)
		}
	}
}
