package persistence

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// manifestTables are the names of the tables that Badger will use, in order. Others may
// lie beside them: a table is written first and enters the manifest when it is whole and
// synced, so one that a crash cut short is in no manifest, and Badger removes it. One that
// is in the manifest and not there is for Badger to refuse.
func manifestTables(dir string) ([]string, error) {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, _, err := badger.ReplayManifestFile(f, schemaVersion, badger.DefaultOptions(dir).WithLogger(nil))
	if err != nil {
		return nil, nil //nolint:nilerr // Badger reads it in the same way, and is asked to tell why it can not.
	}
	names := make([]string, 0, len(m.Tables))
	for id := range m.Tables {
		name := filepath.Join(dir, fmt.Sprintf("%06d.sst", id))
		if _, err := os.Stat(name); err == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}
