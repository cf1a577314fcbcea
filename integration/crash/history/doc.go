// Package history judges what clients saw of a broker.
//
// Every client keeps a Log: what it published and what was confirmed, what it was delivered
// and what it did with it, when its connection broke. Check reads all logs as one story and
// says where the broker broke a promise. Messages are told apart by their ID, so no search is
// needed: beyond merging the logs by time, one pass over them is enough.
//
// The rules:
//
//	lost       confirmed, and after everything was drained no consumer had settled it, nor had
//	           it left by a rule: a purge, its expiry with nowhere to go, a restart if transient
//	phantom    delivered from a queue it was not published to, after it was returned, after a
//	           purge that was asked for after its confirm, or as a dead letter while it lived
//	corrupt    delivered with a digest other than the published one
//	duplicate  delivered again after its acknowledgement had been processed, without a crash between
//	early      delivered twice without being marked redelivered
//	order      delivered for the first time after a younger message of its writer, from the
//	           same queue; not asked of queues with several consumers
//
// A message whose confirm never came is unknown: it may appear or not. An acknowledgement is
// processed when a later synchronous reply came on its channel; one that a crash overtook may
// be forgotten, and what it settled may come again. Such repetitions are counted, not judged.
//
// What is logged is when something was seen, which may be a while after it was sent. A client
// that is losing its connection may still find a delivery in its buffer that the broker has
// long given to another. So the order of what two clients saw is not held against the broker,
// unless the one's channel was opened after what the other saw.
//
// The package knows no broker and no client library. Each Log belongs to one goroutine; only
// the list of logs has a lock.
package history
