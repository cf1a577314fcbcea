// Package check is what the small client programs beside it share: a connection to the
// broker at $AMQP_URL, names nobody else uses, waits that end, and an ending that cleans up.
//
// It refuses to know anything of a particular broker, and wraps nothing of the AMQP library:
// the programs are meant to read as a newcomer would write them. It has one lock, around the
// list of names to delete.
package check
