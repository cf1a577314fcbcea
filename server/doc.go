// Package server owns the sockets: it listens, accepts, and runs two goroutines for each
// connection. One reads, feeds the connection.Connection and ends the batch; the other
// waits for its Outbound and writes what has gathered with one call. A third kind, one for
// the whole server, has the broker do what is due by the clock. Nothing here knows what a
// queue is.
//
// A little is written by whoever appended it, at the end of his batch and without waiting for
// the socket, because it takes longer to wake a goroutine. One at a time writes to a socket,
// and holds the turn of its writer for that. The turn is waited for by the writer only, and no
// other lock is held when it is taken.
//
// Little is read and written by calls that Go's scheduler is not told of; the type quick says why,
// and when not.
//
// A connection's reader is the only goroutine that calls it, with the exception of
// Drained, which is the writer's. Whoever else wants something of a connection leaves it
// where the reader finds it and makes the reader's deadline pass.
package server
