package persistence

import (
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
func brokenTables(dir string) ([]Problem, error) {
	names, err := tablesOf(dir)
	if err != nil {
		return nil, err
	}
	var broken []Problem
	for _, name := range names {
		path := filepath.Join(dir, name)
		err := checkTable(path)
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

// tablesOf lists the tables that Badger's manifest names.
func tablesOf(dir string) ([]string, error) {
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
	var names []string
	for id := range m.Tables {
		names = append(names, tableName(id))
	}
	slices.Sort(names)
	return names, nil
}

func tableName(id uint64) string { return fmt.Sprintf("%06d.sst", id) }

// checkTable reads a table as Badger would. Its last four octets are the length of a
// checksum, before which are the length of the index and the index.
func checkTable(name string) error {
	if err := checkTableEnd(name); err != nil {
		return err
	}
	return checkBlocks(name)
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
