// Package binding is what ties an exchange to queues and to other exchanges: the
// Binding itself, the Set that knows all bindings of a virtual host from both ends, and
// the matchers that find the destinations of a message.
//
// There is one matcher for each way of matching: All (fanout), Keys (direct), Trie
// (topic) and Headers; and, to pick one destination by a number, List (random, modulus
// hash) and Weighted (consistent hash). A matcher learns destinations with Add, forgets
// them with Remove and answers with Match, which appends to the slice it is given and names
// a destination at most once.
//
// The package knows no queue and no exchange. It deals in *Destination, of which their
// owner makes one per queue and per exchange, so that two destinations are the same when
// their pointers are.
//
// Nothing here has a lock. Match of one matcher may run in many goroutines at once, but
// not together with Add or Remove; whoever owns a Set or a matcher sees to that. The
// order in which anything is answered follows from the order of the calls before it, and
// never from the order of a Go map.
package binding
