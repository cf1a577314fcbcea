// Package queue decides who gets which message next. A Queue is a value behind one
// mutex: ready messages, deliveries that wait for an acknowledgement, consumers, limits
// and deadlines. Method calls go in; what must be done elsewhere comes out as Effects.
//
// It knows no socket, no disk, no clock, no exchange and no policy: time comes in as an
// argument, the disk is the small Store, and a consumer is anything that can be handed
// a Delivery. It starts no goroutine.
//
// # Delayed messages
//
// A delayed queue is where an exchange keeps messages until they are due (EX-55, S-16). It
// has no consumers: when a message is due it leaves as a letter, and its exchange routes it
// then.
//
// It is a queue, and not a store of its own, because all that is hard about it is what queues
// do already: messages are collected, leave memory, are found at a start without a body being
// read, move to better places on disk, and settle in the transaction that stores them
// elsewhere. What differs is what the levels mean. They are the buckets of a hierarchical
// wheel, so that messages due at about the same time are next to each other on disk,
// whatever order they came in, and reading what is due soon reads nothing else.
//
// The wheel has circles of buckets: those of the first are a second wide, those of each
// further one 32 times as wide, twelve days in the last. A message goes into the first circle
// that reaches as far as its delay. While there is room it stays in memory, and leaves from
// there when it is due. What has left memory is in runs of its bucket, each with the earliest
// due time in it. Ahead of that the run is read: what is due within seconds stays in memory
// then, in the order of due times, and the rest moves to a finer bucket. A move is a transfer:
// one transaction has the new place and settles the old one (S-9). So a message is written two
// or three times in its life, and four if it waits for weeks. What a pending message takes in
// memory is its part in a run.
//
// Everything that is delayed is stored, transient messages too. Any number of messages may be
// pending, so they would have to be copied to disk in any case, and a delay of a week that a
// restart forgets would surprise whoever asked for it. RabbitMQ's plugin does the same. Only
// an exchange that does not survive a restart takes its messages with it.
//
// # Locks
//
// A queue's mutex is taken before a channel's, and a channel's before its outbound
// buffer's; the store's list of enlisted queues is a leaf. Two queues are never locked
// together: what a call wants done to another queue is returned in Effects and carried
// out after the lock is let go. Confirms may be released with a queue locked.
package queue
