// Package crash kills the real broker under load, again and again, and holds what clients saw
// against what was promised: nothing confirmed is lost, nothing is invented or changed, order
// is kept, durable topology is wholly there or not at all, and the broker starts by itself.
// The load has dead letters, purges, priorities, transactions, messages that expire, queues that
// are longer than the broker's memory, large bodies in several queues and transient messages;
// package history knows what of all that may vanish.
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
// power cut. The same loop cuts the power of a file system of its own, on a loop device:
//
//	go test ./integration/crash -run TestPowerCutLoop -rounds 100 -seed 1 -v
//
// Other tests make system calls fail, hang or kill (by strace), fill, limit and remove the
// disk, and damage the files of a dead broker, each in every way that is known to have hurt
// somebody. The broker has to start or to explain, and never to serve what is not as it was
// published; they end with a table of what was done and what came of it:
//
//	go test ./integration/crash -run 'Failing|KillAt|KillDuring|Damaged|TakenAway|Signals' -v
//
// These take Linux, and most of them root, loop devices and strace. What cannot run says so on
// stderr, and fails where CI is set and the rights are there. -rounds makes the sweeps and the
// flips of bits longer.
//
// Four tests put a load on the broker and measure it from outside: a backlog that outlives a
// kill, every message of which has to come once and in its place; delayed messages that do, none of
// which may come early; a queue that
// is kept short while much more passes through it than the disk may hold; and a broker that
// nobody uses. They are short unless they are told otherwise, and -dir chooses the disk:
//
//	go test ./integration/crash -run TestBacklogOutlivesAKill -messages 10000000 -timeout 1h -v
//	go test ./integration/crash -run TestDelayedMessagesOutliveAKill -messages 5000000 -timeout 1h -v
//	go test ./integration/crash -run TestChurn -bytes 20000000000 -timeout 1h -v
//	go test ./integration/crash -run TestIdle -rounds 30 -v
//
// The package uses the broker only from outside, by its flags and by AMQP.
package crash
