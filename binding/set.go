package binding

import (
	"iter"
	"maps"
)

// Set is all bindings of a virtual host. It knows them by source and by destination, and
// lists them in the order they were made. Each operation takes time in proportion to
// what it answers, however many bindings there are. The zero value is empty.
type Set struct {
	byIdentity map[identity]*element
	all        list
	from       map[string]*list
	to         map[end]*list
	most       int // how many there were, since the maps were made
}

// end is the destination of a binding.
type end struct {
	kind Kind
	name string
}

// Add puts b into the set and reports whether it was not there yet. Binding twice is no
// mistake (EX-20); the one that was first stays.
func (s *Set) Add(b Binding) bool {
	id := b.identity()
	if _, there := s.byIdentity[id]; there {
		return false
	}
	if s.byIdentity == nil {
		s.byIdentity = make(map[identity]*element)
		s.from = make(map[string]*list)
		s.to = make(map[end]*list)
	}
	e := &element{binding: b}
	s.byIdentity[id] = e
	s.all.append(e, inAll)
	listOf(s.from, b.Source).append(e, inFrom)
	listOf(s.to, end{b.Kind, b.Destination}).append(e, inTo)
	s.most = max(s.most, s.all.length)
	return true
}

// Remove takes b out of the set and returns it as it was there, and whether it was.
func (s *Set) Remove(b Binding) (Binding, bool) {
	id := b.identity()
	e, there := s.byIdentity[id]
	if !there {
		return Binding{}, false
	}
	s.remove(id, e)
	return e.binding, true
}

// Contains reports whether b is in the set.
func (s *Set) Contains(b Binding) bool {
	_, there := s.byIdentity[b.identity()]
	return there
}

// RemoveSource takes out every binding that leads away from the exchange name and returns
// them, oldest first.
func (s *Set) RemoveSource(name string) []Binding { return s.removeList(s.from[name], inFrom) }

// RemoveDestination takes out every binding that leads to the queue or exchange name and
// returns them, oldest first. An exchange that is deleted is forgotten with this and
// RemoveSource (EX-8), a queue with this alone (EX-27).
func (s *Set) RemoveDestination(kind Kind, name string) []Binding {
	return s.removeList(s.to[end{kind, name}], inTo)
}

// Len is the number of bindings in the set.
func (s *Set) Len() int { return s.all.length }

// CountFrom is the number of bindings that lead away from the exchange source. When it
// falls to zero an auto-delete exchange goes (EX-9); when it is zero an exchange is
// unused (EX-8).
func (s *Set) CountFrom(source string) int {
	if l := s.from[source]; l != nil {
		return l.length
	}
	return 0
}

// All goes through the bindings, oldest first. The set must not change meanwhile.
func (s *Set) All() iter.Seq[Binding] { return s.all.each(inAll) }

// From goes through the bindings that lead away from the exchange source, oldest first.
// The set must not change meanwhile.
func (s *Set) From(source string) iter.Seq[Binding] { return s.from[source].each(inFrom) }

// To goes through the bindings that lead to the queue or exchange name, oldest first. The
// set must not change meanwhile.
func (s *Set) To(kind Kind, name string) iter.Seq[Binding] {
	return s.to[end{kind, name}].each(inTo)
}

func (s *Set) removeList(l *list, in membership) []Binding {
	if l == nil {
		return nil
	}
	removed := make([]Binding, 0, l.length)
	for e := l.first; e != nil; {
		next := e.links[in].next
		removed = append(removed, e.binding)
		s.remove(e.binding.identity(), e)
		e = next
	}
	return removed
}

func (s *Set) remove(id identity, e *element) {
	delete(s.byIdentity, id)
	s.all.unlink(e, inAll)
	source := e.binding.Source
	if l := s.from[source]; l.unlink(e, inFrom) {
		delete(s.from, source)
	}
	destination := end{e.binding.Kind, e.binding.Destination}
	if l := s.to[destination]; l.unlink(e, inTo) {
		delete(s.to, destination)
	}
	s.shrink()
}

// shrinkAbove is how many bindings there have to have been for their room to be given back.
const shrinkAbove = 1000

// shrink makes the maps anew when most of what was in them is gone: what is deleted from a map
// leaves its room behind, and a million bindings leave a lot.
func (s *Set) shrink() {
	if s.most < shrinkAbove || s.all.length > s.most/4 {
		return
	}
	s.byIdentity, s.from, s.to, s.most = anew(s.byIdentity), anew(s.from), anew(s.to), s.all.length
}

// anew is a copy of m that takes only the room it needs, which maps.Clone does not do.
func anew[K comparable, V any](m map[K]V) map[K]V {
	n := make(map[K]V, len(m))
	maps.Copy(n, m)
	return n
}

// element is a binding as a member of three lists.
type element struct {
	binding Binding
	links   [inTo + 1]struct{ previous, next *element }
}

// membership names the list that an element's link belongs to.
type membership uint8

const (
	inAll membership = iota
	inFrom
	inTo
)

// list is elements in the order they were appended, each of which it can lose at once.
type list struct {
	first, last *element
	length      int
}

func listOf[K comparable](m map[K]*list, k K) *list {
	l := m[k]
	if l == nil {
		l = new(list)
		m[k] = l
	}
	return l
}

func (l *list) append(e *element, in membership) {
	e.links[in].previous = l.last
	if l.last == nil {
		l.first = e
	} else {
		l.last.links[in].next = e
	}
	l.last = e
	l.length++
}

// unlink takes e out of the list and reports whether that has left it empty.
func (l *list) unlink(e *element, in membership) bool {
	at := e.links[in]
	if at.previous == nil {
		l.first = at.next
	} else {
		at.previous.links[in].next = at.next
	}
	if at.next == nil {
		l.last = at.previous
	} else {
		at.next.links[in].previous = at.previous
	}
	l.length--
	return l.length == 0
}

func (l *list) each(in membership) iter.Seq[Binding] {
	return func(yield func(Binding) bool) {
		if l == nil {
			return
		}
		for e := l.first; e != nil; e = e.links[in].next {
			if !yield(e.binding) {
				return
			}
		}
	}
}
