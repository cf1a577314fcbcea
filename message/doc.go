// Package message holds what travels through the broker: the immutable Message and
// the Confirm that follows it until its publisher may be answered.
//
// It knows no queue, no socket and no disk. A Message has no lock because nothing
// changes it after it was published; a Confirm is a counter that any goroutine may let
// go of.
package message
