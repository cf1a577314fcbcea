// Package policy decides which policy and which operator policy apply to a queue or an
// exchange, and what they come to together. A policy gives everything whose name matches
// its pattern some of the settings that a declaration gives with arguments; setting and
// deleting one changes what is there already.
//
// It knows policies, names and kinds of things, and neither queues nor exchanges: what a
// setting means, and what becomes of an argument that says something else, is known to
// those that have it. Everything in it is a value or immutable, so it has no lock.
package policy
