package persistence

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// An encrypted store has everything in it encrypted by Badger with AES in counter mode,
// under data keys that Badger makes and keeps, encrypted with the store's key, in its
// KEYREGISTRY. What is not encrypted has nothing to hide: lengths, store.seq, the ballast.
// What this package does with Badger's files behind its back needs the data keys, too.

const (
	// Encryption needs caches: of blocks and indexes that were decrypted. The tree is small.
	encryptedBlockCache = 8 << 20
	encryptedIndexCache = 4 << 20
	// encryptedChunkBytes is chunkBytes in an encrypted store: to read one message its whole
	// chunk is decrypted.
	encryptedChunkBytes = 64 << 10
)

// encrypted are the options of a store with a key, o without one.
func encrypted(o badger.Options, key []byte) badger.Options {
	if len(key) == 0 {
		return o
	}
	return o.WithEncryptionKey(key).WithBlockCacheSize(encryptedBlockCache).WithIndexCacheSize(encryptedIndexCache)
}

// KeyError is why a store is not opened with the key that was given, or without one.
// Nothing was touched.
type KeyError struct {
	Dir    string
	Reason string
}

func (e *KeyError) Error() string { return fmt.Sprintf("store %s %s", e.Dir, e.Reason) }

const (
	keyMissing  = "is encrypted and no key was given: give the key it was made with"
	keyWrong    = "is encrypted with another key than the one given: give the key it was made with"
	keyUnwanted = "is not encrypted and a key was given: a store is encrypted from its first start on or never; start it without the key, or restore a backup of it into a new one"
)

// ReadKey reads an encryption key from a file: 16, 24 or 32 octets, written in hexadecimal,
// in base64, or as they are. A file of text is taken for hexadecimal first and for base64
// second, white space around it aside. exposed tells that every user of the machine may
// read the file.
func ReadKey(name string) (key []byte, exposed bool, err error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, false, fmt.Errorf("read the encryption key: %w", err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, false, fmt.Errorf("read the encryption key: %w", err)
	}
	exposed = info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0
	text := strings.TrimSpace(string(b))
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString,
		base64.StdEncoding.DecodeString,
		base64.RawStdEncoding.DecodeString,
		func(string) ([]byte, error) { return b, nil },
	} {
		if key, err := decode(text); err == nil && checkKey(key) == nil {
			return key, exposed, nil
		}
	}
	// The content is a secret, even when it is not a key.
	return nil, exposed, fmt.Errorf("encryption key in %s: it has neither 16, 24 nor 32 octets, nor as many in hexadecimal or base64", name)
}

// checkKey refuses what AES does not take for a key.
func checkKey(key []byte) error {
	switch len(key) {
	case 16, 24, 32:
		return nil
	}
	return fmt.Errorf("an encryption key has 16, 24 or 32 octets, not %d", len(key))
}

// dataKeys are what Badger encrypts its files with. The zero value has none.
type dataKeys struct{ registry *badger.KeyRegistry }

// openKeys finds the data keys of the store in dir. It fails when key is not that of the
// store, or there is one too many or too few (*KeyError).
func openKeys(dir string, key []byte) (dataKeys, error) {
	if len(key) > 0 {
		if err := checkKey(key); err != nil {
			return dataKeys{}, err
		}
	}
	plain, known, err := looksPlain(dir)
	if err != nil {
		return dataKeys{}, err
	}
	_, err = os.Stat(filepath.Join(dir, badger.KeyRegistryFileName))
	switch {
	case errors.Is(err, fs.ErrNotExist) && known && !plain:
		return dataKeys{}, &LostError{dir, badger.KeyRegistryFileName + " is missing, without which nothing can be decrypted"}
	case errors.Is(err, fs.ErrNotExist) && known && len(key) > 0:
		return dataKeys{}, &KeyError{dir, keyUnwanted}
	case errors.Is(err, fs.ErrNotExist):
		return dataKeys{}, nil // a new store, or one that Badger makes a registry without keys for
	case err != nil:
		return dataKeys{}, fmt.Errorf("look at the key registry: %w", err)
	}
	if _, err := registryOf(dir, nil); err == nil {
		if len(key) > 0 {
			return dataKeys{}, &KeyError{dir, keyUnwanted}
		}
		return dataKeys{}, nil
	}
	switch r, err := registryOf(dir, key); {
	case err == nil:
		return dataKeys{r}, nil
	case known && plain:
		return dataKeys{}, fmt.Errorf("open store %s: %s is damaged; the store is not encrypted and can do without it: remove that file",
			dir, badger.KeyRegistryFileName)
	case !errors.Is(err, badger.ErrEncryptionKeyMismatch):
		return dataKeys{}, fmt.Errorf("open store %s: read %s: %w; %s", dir, badger.KeyRegistryFileName, err, choices)
	case len(key) == 0:
		return dataKeys{}, &KeyError{dir, keyMissing}
	}
	return dataKeys{}, &KeyError{dir, keyWrong}
}

func registryOf(dir string, key []byte) (*badger.KeyRegistry, error) {
	return badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: dir, ReadOnly: true, EncryptionKey: key})
}

// looksPlain tells whether none of Badger's files in dir is encrypted; known is false when
// there is none to tell by. Logs begin with the number of their data key, 0 for none.
func looksPlain(dir string) (plain, known bool, err error) {
	tables, err := tablesOf(dir)
	if err != nil {
		return false, false, nil //nolint:nilerr // Open has something to say about that
	}
	for _, t := range tables {
		if known = true; t.keyID != 0 {
			return false, true, nil
		}
	}
	for _, pattern := range []string{"*.mem", "*.vlog"} {
		logs, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return false, false, err
		}
		for _, name := range logs {
			h, err := readLogHeader(name)
			if err != nil {
				return false, false, err
			}
			if h == nil {
				continue
			}
			if known = true; logKeyID(h) != 0 {
				return false, true, nil
			}
		}
	}
	return known, known, nil
}

// readLogHeader reads what a log begins with; nil when there is less than that.
func readLogHeader(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := make([]byte, logHeader)
	if n, err := f.ReadAt(h, 0); n < len(h) {
		if info, failed := f.Stat(); failed == nil && info.Size() < logHeader {
			return nil, nil
		}
		return nil, fmt.Errorf("read the header of %s: %w", name, err)
	}
	return h, nil
}

// logKeyID is the number of the data key of a log with this header.
func logKeyID(header []byte) uint64 { return binary.BigEndian.Uint64(header) }

// of returns the data key of that number: nil for 0, which stands for none.
func (k dataKeys) of(id uint64) ([]byte, error) {
	if id == 0 {
		return nil, nil
	}
	if k.registry == nil {
		return nil, damaged("data key %d is not there", id)
	}
	key, err := k.registry.DataKey(id)
	if err != nil {
		return nil, damaged("%v", err)
	}
	return key.Data, nil
}

// xor encrypts or decrypts b in place.
func xor(b, key, iv []byte) error {
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	cipher.NewCTR(block, iv).XORKeyStream(b, b)
	return nil
}

// decryptLog decrypts entries of a log in place: b is what the log has from offset on. Keys
// and values are encrypted, each entry on its own, with the log's header and the offset of
// the entry; lengths and checksums are not. Where something does not check out it looks
// for the next entry that does: an entry between two such is decrypted, too, whatever is
// wrong with it.
func (k dataKeys) decryptLog(header, b []byte, offset int64) error {
	key, err := k.of(logKeyID(header))
	if err != nil || key == nil {
		return err
	}
	for at := 0; at < len(b); {
		head, n := likelyEntry(b[at:])
		if n == 0 || !entryChecksOut(b[at:at+n]) && !beginsEntry(b[at+n:]) {
			at++
			continue
		}
		iv := binary.BigEndian.AppendUint32(bytes.Clone(header[8:]), uint32(offset+int64(at)))
		if err := xor(b[at+head:at+n-4], key, iv); err != nil {
			return err
		}
		at += n
	}
	return nil
}

// likelyEntry is the length of the head of the entry that b begins with, and its own; 0
// when it is none that this store has written.
func likelyEntry(b []byte) (head, n int) {
	const known = 1<<0 | 1<<1 | 1<<2 | 1<<6 | 1<<7 // deleted, pointer, only version, transaction, its end
	if len(b) < 5 || b[0]&^known != 0 || b[1] != 0 {
		return 0, 0
	}
	c := cursor{b: b[2:]}
	key, value, expiry := c.uvarint(), c.uvarint(), c.uvarint()
	if c.failed || key <= 8 || key > 1<<16 || value > uint64(len(b)) || expiry != 0 {
		return 0, 0
	}
	head = len(b) - len(c.b)
	if n = head + int(key+value) + 4; n > len(b) {
		return 0, 0
	}
	return head, n
}

func entryChecksOut(b []byte) bool {
	return crc32.Checksum(b[:len(b)-4], castagnoli) == binary.BigEndian.Uint32(b[len(b)-4:])
}

// beginsEntry tells whether b begins with an entry that checks out, or nothing is left.
func beginsEntry(b []byte) bool {
	if len(bytes.TrimLeft(b[:min(len(b), 64)], "\x00")) == 0 {
		return true
	}
	_, n := likelyEntry(b)
	return n > 0 && entryChecksOut(b[:n])
}

// seal encrypts what a repair takes out of an encrypted store, with the store's key in
// counter mode: what comes back begins with the 16 octets of the initial counter.
func seal(b, key []byte) ([]byte, error) {
	sealed := make([]byte, aes.BlockSize+len(b))
	if _, err := rand.Read(sealed[:aes.BlockSize]); err != nil {
		return nil, err
	}
	copy(sealed[aes.BlockSize:], b)
	return sealed, xor(sealed[aes.BlockSize:], key, sealed[:aes.BlockSize])
}
