// Package bench is the load generator: it drives a broker through named scenarios and
// reports what they cost it.
//
// The figure that counts is the broker's processor time per delivered message, because
// it is far steadier than messages per second, above all where the generator runs on the
// same cores. For that the generator has to cost much less than the broker. What it
// publishes is encoded once, in a ring of whole messages, of which it only patches the
// stamps before it writes 64 KiB or more at a time; of what comes back it reads the few
// octets it counts by. Its own processor time is reported next to the broker's.
//
// Every message that has room for it begins with a stamp: the run it belongs to, its
// stream and its place in the stream. A stream is what one producer sends along one route,
// so each queue it reaches has to see it whole and in order. By that a run knows what was
// lost, duplicated, reordered or sent to the wrong queue, and a fast wrong answer shows.
//
// It is a client as any other: it knows package amqp, speaks to any broker of AMQP 0-9-1,
// and refuses to know what is inside one. A broker's process is looked at only from
// outside, through the operating system.
//
// There is a goroutine per connection, and one that supervises them. The gate between
// consumers and producers is the one lock they share, and it is taken once per batch.
package bench
