// Package crash kills the real broker under load, again and again, and holds what clients saw
// against what was promised: nothing confirmed is lost, nothing is invented or changed, order
// is kept, durable topology is wholly there or not at all, and the broker starts by itself.
// The load has dead letters, purges and transient messages, of which package history knows
// what may vanish.
//
//	go test ./integration/crash -run TestKillLoop -rounds 100 -seed 1
//	go test ./integration/crash -run TestLoadWithoutKills -broker amqp://guest:guest@127.0.0.1:5672/
//
// One round is a life of the broker: it is started on the data the last life left, topology
// is looked at, producers and consumers work, and at a moment the seed picks it is killed with
// SIGKILL; now and then it is killed while it starts, too. After the last round everything is
// drained and package history judges.
//
// A kill does not test what the operating system had not yet written to the disk; that takes a
// power cut. The package uses the broker only from outside, by its flags and by AMQP.
package crash
