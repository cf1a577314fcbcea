package binding

import (
	"strings"
	"sync"
)

// Trie matches routing keys word by word with patterns: the matcher of topic. Words are
// separated by dots; "*" stands for exactly one word, "#" for any number of them, none
// included (EX-32). Any number of "#" is allowed in a pattern. The zero value is empty.
//
// A key is matched against all patterns at once. The walk goes through the key one word
// at a time and keeps the set of nodes that the words so far may lead to, so the time is
// bounded by the words of the key times the nodes that match some beginning of it. There
// is no backtracking, and so no pattern that makes it explode.
type Trie struct {
	root node
	// nested counts the numbers given to nested "#" nodes, free has the ones given back.
	nested int
	free   []int
	walks  sync.Pool // of *walk
}

// Add lets messages whose routing key matches b's lead to d.
func (t *Trie) Add(b Binding, d *Destination) {
	n := &t.root
	for p := (pattern{rest: b.RoutingKey, more: b.RoutingKey != ""}); ; {
		kind, word, ok := p.next()
		if !ok {
			break
		}
		next := n.follow(kind, word)
		if next == nil {
			next = &node{parent: n, kind: kind, word: word, underHash: n.underHash || n.kind == hash}
			if kind == hash && next.underHash {
				next.number = t.takeNumber()
			}
			n.attach(next)
		}
		n = next
	}
	n.to.add(d)
}

// Remove takes back one Add of b's routing key to d. What was never added is ignored.
func (t *Trie) Remove(b Binding, d *Destination) {
	n := &t.root
	for p := (pattern{rest: b.RoutingKey, more: b.RoutingKey != ""}); ; {
		kind, word, ok := p.next()
		if !ok {
			break
		}
		if n = n.follow(kind, word); n == nil {
			return
		}
	}
	n.to.remove(d)
	for n.parent != nil && n.empty() {
		if n.kind == hash && n.underHash {
			t.free = append(t.free, n.number)
		}
		n.parent.detach(n)
		n = n.parent
	}
}

// Match appends to dst the destinations of all patterns that key matches.
func (t *Trie) Match(dst []*Destination, key string) []*Destination {
	w, _ := t.walks.Get().(*walk)
	if w == nil {
		w = new(walk)
	}
	w.begin(dst, t.nested)
	w.enter(&t.root)
	for rest, more := key, key != ""; more; {
		var word string
		word, rest, more = strings.Cut(rest, ".")
		if !w.step(word) {
			break
		}
	}
	dst = w.end()
	t.walks.Put(w)
	return dst
}

func (t *Trie) takeNumber() int {
	if last := len(t.free) - 1; last >= 0 {
		n := t.free[last]
		t.free = t.free[:last]
		return n
	}
	t.nested++
	return t.nested - 1
}

// pattern cuts a binding's routing key into words. It brings each run of wildcards that
// has a "#" in it into one form: as many "*" as there were, then one "#". All such runs
// mean "at least that many words", and in this form nothing but literal words ever
// follows a "#", so two patterns that mean the same share their nodes and a walk has no
// second way to the same end.
type pattern struct {
	rest  string
	more  bool // rest still has words; "" is one of them when a dot went before it
	stars int  // "*" of the run that are still to be given out
	hash  bool // and then a "#"
}

func (p *pattern) next() (k wordKind, word string, ok bool) {
	if p.stars == 0 && !p.hash {
		for p.more {
			w, rest, more := strings.Cut(p.rest, ".")
			if w == "*" {
				p.stars++
			} else if w == "#" {
				p.hash = true
			} else {
				break
			}
			p.rest, p.more = rest, more
		}
	}
	switch {
	case p.stars > 0:
		p.stars--
		return star, "", true
	case p.hash:
		p.hash = false
		return hash, "", true
	case !p.more:
		return literal, "", false
	}
	word, p.rest, p.more = strings.Cut(p.rest, ".")
	return literal, word, true
}

// wordKind is what a node's word stands for.
type wordKind uint8

const (
	literal wordKind = iota // itself
	star                    // any one word
	hash                    // any number of words
)

// node is a place in the trie: the words from the root to it are the beginning of a
// pattern, and to has the destinations of the pattern that ends here.
type node struct {
	parent *node
	word   string // of a literal
	kind   wordKind
	// underHash is true below a "#", where one key may reach a node by several ways.
	underHash bool
	number    int // of a "#" under a "#", for walk.met

	star, hash *node
	literals   []*node          // the literal words that follow
	byWord     map[string]*node // the same, in place of literals once they are many
	to         destinations
}

// mapFrom is how many literals are searched one by one.
const mapFrom = 8

func (n *node) follow(k wordKind, word string) *node {
	switch k {
	case star:
		return n.star
	case hash:
		return n.hash
	}
	return n.literal(word)
}

func (n *node) literal(word string) *node {
	if n.byWord != nil {
		return n.byWord[word]
	}
	for _, next := range n.literals {
		if next.word == word {
			return next
		}
	}
	return nil
}

func (n *node) attach(next *node) {
	switch {
	case next.kind == star:
		n.star = next
	case next.kind == hash:
		n.hash = next
	case n.byWord != nil:
		n.byWord[next.word] = next
	case len(n.literals) < mapFrom:
		n.literals = append(n.literals, next)
	default:
		n.byWord = make(map[string]*node, 2*mapFrom)
		for _, l := range n.literals {
			n.byWord[l.word] = l
		}
		n.byWord[next.word] = next
		n.literals = nil
	}
}

func (n *node) detach(next *node) {
	switch {
	case next.kind == star:
		n.star = nil
	case next.kind == hash:
		n.hash = nil
	case n.byWord != nil:
		if delete(n.byWord, next.word); len(n.byWord) == 0 {
			n.byWord = nil // a map keeps its size
		}
	default:
		last := len(n.literals) - 1
		for i, l := range n.literals {
			if l == next {
				n.literals[i] = n.literals[last]
			}
		}
		n.literals[last] = nil
		if n.literals = n.literals[:last]; last == 0 {
			n.literals = nil
		}
	}
}

// leaf reports whether no word can follow.
func (n *node) leaf() bool {
	return n.star == nil && n.hash == nil && n.literals == nil && n.byWord == nil
}

func (n *node) empty() bool { return len(n.to.each) == 0 && n.leaf() }

// walk is one key on its way through a trie.
type walk struct {
	dst []*Destination
	// at is where the words so far lead to, next where one more does.
	at, next []*node
	// staying are the "#" nodes met so far. They take every further word and stay.
	staying []*node
	// met has, for the number of each "#" under a "#", the last walk that met it. All
	// other nodes have one way to be reached at each word and need no such mark.
	met  []uint32
	this uint32
	once once
}

func (w *walk) begin(dst []*Destination, nested int) {
	w.dst = dst
	w.once.begin(dst)
	w.at = w.at[:0]
	w.staying = w.staying[:0]
	if len(w.met) < nested {
		w.met = append(w.met, make([]uint32, nested-len(w.met))...)
	}
	if w.this++; w.this == 0 {
		clear(w.met)
		w.this = 1
	}
}

// enter notes that the words so far lead to n.
func (w *walk) enter(n *node) {
	w.at = append(w.at, n)
	h := n.hash
	if h == nil {
		return
	}
	if h.underHash {
		if w.met[h.number] == w.this {
			return
		}
		w.met[h.number] = w.this
	}
	if h.leaf() {
		w.arrive(h) // whatever words may come
		return
	}
	w.staying = append(w.staying, h)
}

// step takes one word, and reports whether any pattern can still match.
func (w *walk) step(word string) bool {
	from, staying := w.at, w.staying
	w.at = w.next[:0]
	for _, n := range from {
		if next := n.literal(word); next != nil {
			w.enter(next)
		}
		if n.star != nil {
			w.enter(n.star)
		}
	}
	for _, h := range staying { // not those that this word has added
		if next := h.literal(word); next != nil {
			w.enter(next)
		}
	}
	w.next = from
	return len(w.at) > 0 || len(w.staying) > 0
}

// end collects the destinations of where the last word has led to.
func (w *walk) end() []*Destination {
	for _, n := range w.at {
		w.arrive(n)
	}
	for _, h := range w.staying {
		w.arrive(h)
	}
	dst := w.dst
	w.dst = nil
	return dst
}

func (w *walk) arrive(n *node) {
	if len(n.to.each) > 0 {
		w.dst = w.once.append(w.dst, n.to.each...)
	}
}
