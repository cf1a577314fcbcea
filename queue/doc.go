// Package queue decides who gets which message next. A Queue is a value behind one
// mutex: ready messages, deliveries that wait for an acknowledgement, consumers, limits
// and deadlines. Method calls go in; what must be done elsewhere comes out as Effects.
//
// It knows no socket, no disk, no clock, no exchange and no policy: time comes in as an
// argument, the disk is the small Store, and a consumer is anything that can be handed
// a Delivery. It starts no goroutine.
//
// # Locks
//
// A queue's mutex is taken before a channel's, and a channel's before its outbound
// buffer's; the store's list of enlisted queues is a leaf. Two queues are never locked
// together: what a call wants done to another queue is returned in Effects and carried
// out after the lock is let go. Confirms may be released with a queue locked.
package queue
