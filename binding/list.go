package binding

import (
	"cmp"
	"slices"
	"strings"
)

// List has an entry for every binding, so that what is bound twice is there twice, and picks
// one by a number: the matcher of x-random, x-local-random and x-modulus-hash (EX-51 to EX-53). Its entries
// are ordered by name, so that the order in which they were bound, which a restart does not
// keep, decides nothing. The zero value is empty.
type List struct {
	each []*Destination
}

// Add adds an entry for d.
func (l *List) Add(_ Binding, d *Destination) {
	i, _ := slices.BinarySearchFunc(l.each, d, compare)
	l.each = slices.Insert(l.each, i, d)
}

// Remove takes back one Add of a binding to d. What was never added is ignored.
func (l *List) Remove(_ Binding, d *Destination) {
	if i, found := slices.BinarySearchFunc(l.each, d, compare); found && l.each[i] == d {
		l.each = slices.Delete(l.each, i, i+1)
	}
}

// Match appends the destination whose place is n modulo how many there are.
func (l *List) Match(dst []*Destination, n uint64) []*Destination {
	if len(l.each) == 0 {
		return dst
	}
	return append(dst, l.each[n%uint64(len(l.each))])
}

// compare orders destinations by name. There are no two of a kind with the same.
func compare(a, b *Destination) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
}
