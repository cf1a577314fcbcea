// Command abuse does to a broker what clients should not, and watches what becomes of it.
//
// Every row of its table (A5, C13, D2, …) is a story told over raw sockets: bytes that are
// wrong, methods out of place, and clients that are slow, dead or too many. While it is
// told, a well-behaved neighbour publishes and consumes, and the time its messages take is
// measured. Afterwards the broker has to be up, the neighbour without an error, and
// goroutines, descriptors and memory back to where they were.
//
//	go run ./integration/abuse                      builds the broker and runs the quick rows
//	go run ./integration/abuse -long                and those that take minutes
//	go run ./integration/abuse -row 'D|E18'         some of them
//	go run ./integration/abuse -long -row '^D15$' -messages 5000000
//	go run ./integration/abuse -uri amqp://guest:guest@host:5672/ -metrics http://host:15692/metrics
//
// A broker that it starts itself runs under a memory limit: a control group of version 1
// when it may make one, otherwise GOMEMLIMIT and memory_limit, which it says. Rows that stop a
// broker, starve it or set its clock start another; the machine's clock is never touched. A row
// that needs what this machine has not got is told as not run.
package main
