package queue

import "github.com/leveretmq/leveret/message"

// What goes to disk beside messages of queues and their state: what an exchange keeps. An
// exchange that keeps something is a Collector too, and its number comes from the same
// counter as those of queues, so an ID tells them apart.

// History is the recent history of an exchange, oldest first (EX-54). It replaces the one
// that was stored before.
type History struct {
	ID       ID
	Messages []*message.Message
}

// Seen is a value that a window of deduplication has seen (EX-56).
type Seen struct {
	Hash   [16]byte
	Expiry int64 // when it is forgotten, Unix milliseconds; 0 for never
}

// Window is what changes of a window of deduplication in one commit: a record of what it has
// seen, if there is anything, and records of which nothing is wanted any more. Read back, it
// is one record.
type Window struct {
	ID     ID
	Record uint64 // the number of the record: the group it was collected for
	Seen   []Seen
	Dead   []uint64 // numbers of records
}
