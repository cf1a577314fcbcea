package persistence

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// brokenTables finds tables that Badger would not open with: cut, damaged, or missing. It
// reads them all, which are few: where a block does not check out Badger panics in a
// goroutine of its own, and nobody can catch it.
func brokenTables(dir string, keys dataKeys) ([]Problem, error) {
	tables, err := tablesOf(dir)
	if err != nil {
		return nil, err
	}
	var broken []Problem
	for _, t := range tables {
		name := tableName(t.id)
		key, err := keys.of(t.keyID)
		if err == nil {
			err = checkTable(filepath.Join(dir, name), key)
		}
		var d damage
		switch {
		case errors.Is(err, os.ErrNotExist):
			broken = append(broken, Problem{Kind: "table", File: name, Reason: "it is missing"})
		case errors.As(err, &d):
			broken = append(broken, Problem{Kind: "table", File: name, Reason: d.Error()})
		case err != nil:
			return nil, err
		}
	}
	return broken, nil
}

// tableEntry is a table as the manifest has it.
type tableEntry struct {
	id    uint64
	keyID uint64 // of the data key it is encrypted with; 0 for none
}

// tablesOf lists the tables that Badger's manifest names.
func tablesOf(dir string) ([]tableEntry, error) {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // Open has something to say about that
	}
	if err != nil {
		return nil, fmt.Errorf("open the manifest: %w", err)
	}
	defer f.Close()
	m, _, err := badger.ReplayManifestFile(f, externalMagic, badger.DefaultOptions(dir))
	if err != nil {
		return nil, fmt.Errorf("read the manifest: %w", whoWrote(err))
	}
	var tables []tableEntry
	for id, t := range m.Tables {
		tables = append(tables, tableEntry{id, t.KeyID})
	}
	slices.SortFunc(tables, func(a, b tableEntry) int { return cmp.Compare(a.id, b.id) })
	return tables, nil
}

func tableName(id uint64) string { return fmt.Sprintf("%06d.sst", id) }

// checkTable reads a table as Badger would. Its last four octets are the length of a
// checksum, before which are the length of the index and the index. key is the data key it
// is encrypted with, nil for none.
func checkTable(name string, key []byte) error {
	if err := checkTableEnd(name); err != nil {
		return err
	}
	return checkBlocks(name, key)
}

func checkTableEnd(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	left := info.Size()
	for _, what := range []string{"checksum", "index"} {
		var b [4]byte
		if left -= 4; left < 0 {
			return damaged("%s is cut", name)
		}
		if _, err := f.ReadAt(b[:], left); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		n := int64(binary.BigEndian.Uint32(b[:]))
		if left -= n; n == 0 || left < 0 {
			return damaged("%s is cut: it has no %s", name, what)
		}
	}
	return nil
}
