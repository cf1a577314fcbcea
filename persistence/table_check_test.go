package persistence

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// E12: Badger would find a damaged block, and die of saying so.
func TestFlippedBitInATableIsRefusedAndNamed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	q := declare(t, s, 1, "q")
	for range 100 {
		q.put(msg(t, strings.Repeat("x", 1000)))
		flush(t, s, q)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(glob(t, dir, "*.sst")[0])
	whole, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := checkBlocks(filepath.Join(dir, name), nil); err != nil {
		t.Errorf("got %v of a whole table", err)
	}
	damagedDir := t.TempDir()
	for at := 0; at < len(whole); at += 1 + len(whole)/500 {
		b := append([]byte(nil), whole...)
		b[at] ^= 1 << (at % 8)
		file := filepath.Join(damagedDir, name)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		var d damage
		if err := checkBlocks(file, nil); !errors.As(err, &d) || !strings.Contains(err.Error(), name) {
			t.Errorf("octet %d of %d: got %v, want %s to be named", at, len(whole), err, name)
		}
	}
	b := append([]byte(nil), whole...)
	b[len(b)/2] ^= 1
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := refused(t, dir); !strings.Contains(err.Error(), "does not check out") || !strings.Contains(err.Error(), name) {
		t.Errorf("got %v, want the block in %s", err, name)
	}
}
