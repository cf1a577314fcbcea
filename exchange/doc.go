// Package exchange is what an exchange is and how it finds the destinations of a message:
// the Spec that clients declare, the checks that declaring and deleting need, and the
// exchange types.
//
// It knows no queue, no virtual host and no policy. What a message is routed to is a
// *binding.Destination; following those that are exchanges, and alternate exchanges, is
// the broker's work, because only it can look things up by name. So is to keep a message
// until it is due: an exchange only tells that it delays.
//
// An Exchange has one lock, for reading while it routes and for writing while it binds.
// Nothing is called with it held that could take another, save the function that OnHistory
// was given: what that takes has to come after.
package exchange
