// Package sim holds a whole broker in one goroutine and lets a seed decide what happens
// next: which client says something, how much of it is read, when a batch ends, when a
// client reads, when the disk collects, commits and reports, when time passes, and when
// the power fails. A checker watches every frame and knows what must not happen: a
// confirmed message lost, one invented, one out twice, first deliveries out of order, a
// prefetch exceeded, a publish answered twice or before its return.
//
// A failure prints its seed; the same seed fails the same way.
package sim
