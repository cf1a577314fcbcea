package binding

// Hash is a hash that grows by what is appended to it. It is the same in every run and on
// every machine, so that a key keeps its queue over a restart. The zero value is not one;
// begin with NewHash.
type Hash uint64

// NewHash returns the hash of nothing.
func NewHash() Hash { return 14695981039346656037 }

// String returns h with the octets of s appended.
func (h Hash) String(s string) Hash {
	for i := range len(s) { // FNV-1a
		h = (h ^ Hash(s[i])) * 1099511628211
	}
	return h
}

// Bytes returns h with the octets of b appended.
func (h Hash) Bytes(b []byte) Hash {
	for _, c := range b {
		h = (h ^ Hash(c)) * 1099511628211
	}
	return h
}

// Octet returns h with c appended.
func (h Hash) Octet(c byte) Hash { return (h ^ Hash(c)) * 1099511628211 }

// Sum is a number in which every bit depends on all that was appended. FNV alone leaves the
// upper bits of short strings nearly alike.
func (h Hash) Sum() uint64 { return Mix(uint64(h)) }

// Mix spreads the bits of n over a whole number; it maps no two numbers to one.
func Mix(n uint64) uint64 {
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// hash is the hash of what a destination is called. Its pointer would do for one run only.
func (d *Destination) hash() uint64 {
	return NewHash().Octet(byte(d.Kind)).String(d.Name).Sum()
}
