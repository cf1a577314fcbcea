// Package broker is the node: virtual hosts with their exchanges, queues, bindings and
// policies, users and their permissions, and everything that touches several of them:
// declaring and deleting, publishing, dead-lettering, and what is due at a later time. It
// knows which alarms are on and who waits for them to end.
//
// What clients ask for is refused with an *amqp.Error, what operators ask for with a
// *Refusal.
//
// It knows no socket and no file, starts no goroutine and reads no clock. Calls go in
// with the time they happen; what they set off in other queues is gathered in a
// queue.Effects, which CarryOut works off and Flush ends the batch with.
//
// # Durability
//
// Each change to a durable thing is handed to the topology.Store while the topology is
// locked and before anybody can see it (S-3), and comes back as a *Commit. A reply that
// promises the change waits for it, and so does every later reply that rests on it (S-4).
//
// # Locks
//
// They nest in this order, and code never goes against it:
//
//	Broker.mu          virtual hosts, users, permissions
//	VHost.applying     held by whoever changes policies, until every queue has them
//	VHost.mu           the topology of one virtual host: what is declared and bound
//	Queue              (package queue)
//	window             what a deduplicating exchange has seen; never taken with a Queue locked
//	Channel, Outbound  (package connection)
//
// An Exchange's own lock, Broker.sessions, Broker.logins, the alarms, the timers and a Commit are leaves:
// nothing else is taken while one is held, but that an Exchange enlists its history with the
// store, whose list is a leaf below all of these. Permissions are asked for with a VHost
// locked, so they are read without a lock and not under Broker.mu. Publishing takes neither
// Broker.mu nor VHost.mu:
// exchanges and queues are found by name in maps that are read without a lock.
//
// Consumers, sessions and the callbacks of a Commit are called with none of these locked,
// except that Consumer.Deliver and Confirmer.Confirmed may be called with a queue locked.
package broker
