package persistence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// Badger opens without a file of its value log as if nothing were missing, and answers
// empty values. If it was the newest, it even makes another of that number. So what there
// is is listed before Badger opens, and every record that is alive must point into it
// (E15). Pointers are in the tree; no value is read for that.

// valueFiles are the files of the value log that were there before Badger opened.
type valueFiles struct {
	names   []string            // of all
	there   map[uint32]struct{} // by number
	missing map[uint32]struct{} // found by a repair
}

func listValueFiles(dir string) (*valueFiles, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil {
		return nil, err
	}
	v := &valueFiles{names: names, there: make(map[uint32]struct{}), missing: make(map[uint32]struct{})}
	for _, name := range names {
		if n, ok := valueFileNumber(filepath.Base(name)); ok {
			v.there[n] = struct{}{}
		}
	}
	return v, nil
}

func valueFileName(n uint32) string { return fmt.Sprintf("%06d.vlog", n) }

// valueFileNumber is the number in the name of a file of the value log; ok is false when it
// is none of Badger's.
func valueFileNumber(name string) (n uint32, ok bool) {
	digits, ok := strings.CutSuffix(name, ".vlog")
	if !ok {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 10, 32)
	return uint32(number), err == nil
}

// valuePointer is where in the value log a value is.
type valuePointer struct {
	file  uint32
	bytes uint32 // of the whole entry
}

// pointerOf is where the value of an item is; ok is false when it lies beside its key.
// Badger tells nobody, so it is read from where Badger keeps it: a pointer is the number of
// the file, length and offset. A test guards that it is still so.
func pointerOf(item *badger.Item) (p valuePointer, ok bool) {
	const pointer = 1 << 1 // the bit of the meta octet that says so
	v := reflect.ValueOf(item).Elem()
	meta, at := v.FieldByName("meta"), v.FieldByName("vptr")
	if !meta.IsValid() || meta.Kind() != reflect.Uint8 || meta.Uint()&pointer == 0 || !at.IsValid() || at.Kind() != reflect.Slice {
		return p, false
	}
	b := at.Bytes()
	if len(b) != pointerBytes {
		return p, false
	}
	return valuePointer{binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint32(b[4:])}, true
}

// isMissing tells whether the file that a value should be in is not there, and its number.
func (v *valueFiles) isMissing(item *badger.Item) (n uint32, missing bool) {
	p, ok := pointerOf(item)
	if !ok {
		return 0, false
	}
	_, there := v.there[p.file]
	return p.file, !there
}

// needFile is what becomes of something alive that is in a file that is missing: a reason
// not to start, unless it is for a repair, which takes it out.
func (r *recovery) needFile(n uint32, what string) error {
	if !r.d.repair {
		return &LostError{r.d.dir, fmt.Sprintf("%s is missing, and with it %s", valueFileName(n), what)}
	}
	r.d.files.missing[n] = struct{}{}
	return nil
}

// reportFiles tells a repair which files are missing.
func (d *disk) reportFiles() {
	for n := range d.files.missing {
		d.report(Problem{Kind: "log", File: valueFileName(n), Reason: "it is missing"})
	}
}

// removeNewFiles removes the files of the value log that Badger made when it opened a store
// that is not to be used: the next start must find missing what is.
func (d *disk) removeNewFiles() error {
	if d.files == nil {
		return nil
	}
	names, err := filepath.Glob(filepath.Join(d.dir, "*.vlog"))
	if err != nil {
		return err
	}
	var failures []error
	for _, name := range names {
		if !slices.Contains(d.files.names, name) {
			failures = append(failures, os.Remove(name))
		}
	}
	return errors.Join(failures...)
}
