// Command soak puts a mixed load on a broker for half an hour and says whether anything grows.
//
//	go run ./integration/soak                        thirty minutes, and a verdict
//	go run ./integration/soak -for 5m -seed 7        shorter, and again what it was
//
// It builds the broker and runs it as a process of its own, with its usual settings. Some 2500
// messages in a second are counted from their publisher to their end: through queues of each kind,
// dead letters, times to live, delays, priorities, transactions, consumers that come and go and
// bodies of 10 octets to 1 MiB. Beside them visitors connect, declare, blunder and vanish, policies
// and tenants come and go, and dashboards ask for everything. That is well below what the broker
// can do: what is looked for is what is left behind.
//
// Meanwhile the process is looked at: memory, goroutines, descriptors and disk. The first quarter
// is its warm-up. Of the rest the slope of each is taken, the median of those between any two
// samples, and it must not rise by more than its bound. Runs that are too short for that say so.
// When the load has ended there has to be nothing left of it, and of what was confirmed nothing may
// be lost, doubled or damaged. The exit code is 1 when any of this is not so.
package main
