// Package connection is one client's conversation: the handshake, channels, and what is
// said on them. Bytes come in through Feed and go out through an Outbound buffer; time
// is an argument. It opens no socket, starts no goroutine and writes no log.
//
// # Who may touch what
//
// A Connection and its Channels belong to the goroutine that calls Feed, Flush, Tick and
// Close. Three things are touched by others and have locks of their own:
//
//   - what Deliver and confirms need of a Channel, under Channel.mu. Deliver is called
//     by whoever changes a queue, with that queue locked;
//   - the answers that wait for the disk, under replies.mu. The committer releases them;
//   - the Outbound.
//
// Locks nest in this order: a queue's, Channel.mu, Outbound.mu; and replies.mu before
// Outbound.mu. A channel lets go of its lock before it calls a queue. Drained may be
// called by the writer at any time.
//
// # Waiting
//
// The core does not wait. An answer that has to be on disk first is queued in its place
// and sent by whoever learns of the commit; methods that declare and delete may pass
// behind it, so that a run of them shares one commit. Any other frame makes Feed return
// ErrSuspended, and the connection is read again after Options.Ready was called. The same
// goes for a connection that publishes while an alarm is on (blocked.go).
package connection
