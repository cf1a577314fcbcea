package binding

// All matches every message, whatever its key: the matcher of fanout (EX-31). The zero
// value is empty.
type All struct {
	to destinations
}

// Add lets everything lead to d.
func (a *All) Add(_ Binding, d *Destination) { a.to.add(d) }

// Remove takes back one Add of a binding to d. What was never added is ignored.
func (a *All) Remove(_ Binding, d *Destination) { a.to.remove(d) }

// Match appends every destination to dst.
func (a *All) Match(dst []*Destination) []*Destination { return append(dst, a.to.each...) }
