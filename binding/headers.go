package binding

import (
	"sync"

	"github.com/leveretmq/leveret/amqp"
)

// Headers matches header tables with the arguments of bindings: the matcher of headers
// (EX-33 to EX-36). The zero value is empty.
//
// Every pair of name and value that bindings ask for is kept once. A match goes through
// the message's headers once and finds for each the pair it equals, if any; after that,
// comparing is comparing pointers. A binding that wants any of its pairs is listed with
// each of them. One that wants all is listed with a single pair, the one with the
// shortest list when the binding was made, so that of ten thousand bindings that ask for
// the same format and each for another customer only one is looked at.
type Headers struct {
	entries map[headersKey]*headersEntry
	names   map[string]*headerName
	pairs   map[pairKey]*pair
	always  destinations // of bindings that want all of nothing (EX-35)
	numbers int          // given to names; free has the ones given back
	free    []int
	matches sync.Pool // of *headersMatch
}

// headersKey is what this matcher looks at in a binding.
type headersKey struct {
	to        *Destination
	arguments string
}

// headersEntry is one or several bindings that are alike to this matcher.
type headersEntry struct {
	to     *Destination
	any    bool
	count  int
	wants  []want
	places []place // where it is listed
}

// want is one header a binding asks for. pair is nil when it only has to be present, which
// is what an argument of type void says (EX-34).
type want struct {
	name *headerName
	pair *pair
}

func (w want) bucket() *bucket {
	if w.pair == nil {
		return &w.name.present
	}
	return &w.pair.bucket
}

// headerName is a name that bindings ask for.
type headerName struct {
	name    string
	number  int // its index in headersMatch.found
	users   int // wants that name it
	nested  int // of these, the ones whose value is a table or an array
	present bucket
}

// pair is a name and a value that bindings ask for.
type pair struct {
	pairKey
	users  int
	bucket bucket
}

type pairKey struct {
	name  *headerName
	value value
}

// bucket lists entries to look at when a message has a certain header.
type bucket []listed

type listed struct {
	entry *headersEntry
	place int // index in entry.places
}

type place struct {
	bucket *bucket
	index  int
}

// Add lets messages whose headers match b's arguments lead to d. It panics when x-match
// is none that ParseXMatch accepts.
func (h *Headers) Add(b Binding, d *Destination) {
	key := headersKey{d, argumentsKey(b.Arguments)}
	if e := h.entries[key]; e != nil {
		e.count++
		return
	}
	x, err := ParseXMatch(b.Arguments)
	if err != nil {
		panic("binding: " + err.Error())
	}
	e := &headersEntry{to: d, any: x.Any, count: 1, wants: h.take(b.Arguments, x)}
	if h.entries == nil {
		h.entries = make(map[headersKey]*headersEntry)
	}
	h.entries[key] = e
	switch {
	case e.any:
		for _, w := range e.wants {
			e.list(w.bucket())
		}
	case len(e.wants) == 0:
		h.always.add(d)
	default:
		shortest := e.wants[0].bucket()
		for _, w := range e.wants[1:] {
			if b := w.bucket(); len(*b) < len(*shortest) {
				shortest = b
			}
		}
		e.list(shortest)
	}
}

// Remove takes back one Add of b's arguments to d. What was never added is ignored.
func (h *Headers) Remove(b Binding, d *Destination) {
	key := headersKey{d, argumentsKey(b.Arguments)}
	e := h.entries[key]
	if e == nil {
		return
	}
	if e.count--; e.count > 0 {
		return
	}
	delete(h.entries, key)
	if !e.any && len(e.wants) == 0 {
		h.always.remove(d)
	}
	e.unlist()
	for _, w := range e.wants {
		h.release(w)
	}
}

// take looks up the pairs that arguments ask for, and makes those that are new.
func (h *Headers) take(arguments amqp.Table, x XMatch) []want {
	if h.names == nil {
		h.names = make(map[string]*headerName)
		h.pairs = make(map[pairKey]*pair)
	}
	var wants []want
	for _, a := range arguments {
		if !x.counts(a.Name) {
			continue
		}
		n := h.names[a.Name]
		if n == nil {
			n = &headerName{name: a.Name, number: h.takeNumber()}
			h.names[a.Name] = n
		}
		n.users++
		w := want{name: n}
		if a.Value != nil {
			key := pairKey{n, valueOf(a.Value)}
			if w.pair = h.pairs[key]; w.pair == nil {
				w.pair = &pair{pairKey: key}
				h.pairs[key] = w.pair
			}
			w.pair.users++
			if key.value.nested() {
				n.nested++
			}
		}
		wants = append(wants, w)
	}
	return wants
}

func (h *Headers) release(w want) {
	if p := w.pair; p != nil {
		if p.value.nested() {
			w.name.nested--
		}
		if p.users--; p.users == 0 {
			delete(h.pairs, p.pairKey)
		}
	}
	if w.name.users--; w.name.users == 0 {
		delete(h.names, w.name.name)
		h.free = append(h.free, w.name.number)
	}
}

func (h *Headers) takeNumber() int {
	if last := len(h.free) - 1; last >= 0 {
		n := h.free[last]
		h.free = h.free[:last]
		return n
	}
	h.numbers++
	return h.numbers - 1
}

func (e *headersEntry) list(b *bucket) {
	e.places = append(e.places, place{b, len(*b)})
	*b = append(*b, listed{e, len(e.places) - 1})
}

func (e *headersEntry) unlist() {
	for _, p := range e.places {
		b := *p.bucket
		last := len(b) - 1
		moved := b[last]
		b[p.index], b[last] = moved, listed{}
		moved.entry.places[moved.place].index = p.index
		*p.bucket = b[:last]
	}
}

// Match appends to dst the destinations of all bindings that the headers match. headers
// is the entries of a header table as amqp.ScanProperties leaves them, and may be nil. Of
// headers with the same name the first counts (EX-36).
//
// It allocates nothing, except for headers that are tables or arrays where a binding
// asks for a table or an array of that name.
func (h *Headers) Match(dst []*Destination, headers []byte) []*Destination {
	if len(h.names) == 0 || len(headers) == 0 {
		return append(dst, h.always.each...)
	}
	m, _ := h.matches.Get().(*headersMatch)
	if m == nil {
		m = new(headersMatch)
	}
	m.begin(dst, h.numbers)
	m.read(h, headers)
	dst = m.once.append(dst, h.always.each...)
	for _, n := range m.names {
		dst = m.collect(dst, n.present)
		if p := m.found[n.number].pair; p != nil {
			dst = m.collect(dst, p.bucket)
		}
	}
	h.matches.Put(m)
	return dst
}

// headersMatch is one message's headers, as far as any binding asks for them.
type headersMatch struct {
	names []*headerName // in the order of the message
	found []struct {    // by the number of a name
		match uint32 // the last match in which there was such a header
		pair  *pair  // what it equals, or nil when no binding asks for its value
	}
	this uint32
	once once
}

func (m *headersMatch) begin(dst []*Destination, numbers int) {
	m.once.begin(dst)
	m.names = m.names[:0]
	if len(m.found) < numbers {
		m.found = append(m.found, make([]struct {
			match uint32
			pair  *pair
		}, numbers-len(m.found))...)
	}
	if m.this++; m.this == 0 {
		clear(m.found)
		m.this = 1
	}
}

func (m *headersMatch) read(h *Headers, headers []byte) {
	for {
		name, tag, raw, rest, ok := amqp.NextEntry(headers)
		if !ok {
			return
		}
		headers = rest
		n := h.names[string(name)]
		if n == nil || m.found[n.number].match == m.this {
			continue
		}
		m.names = append(m.names, n)
		f := &m.found[n.number]
		f.match, f.pair = m.this, nil
		if v, ok := rawValue(tag, raw, n.nested > 0); ok {
			f.pair = h.pairs[pairKey{n, v}]
		}
	}
}

func (m *headersMatch) collect(dst []*Destination, b bucket) []*Destination {
	for _, l := range b {
		if l.entry.any || m.all(l.entry.wants) {
			dst = m.once.append(dst, l.entry.to)
		}
	}
	return dst
}

func (m *headersMatch) all(wants []want) bool {
	for _, w := range wants {
		f := &m.found[w.name.number]
		if f.match != m.this || w.pair != nil && w.pair != f.pair {
			return false
		}
	}
	return true
}
