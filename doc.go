// Package leveret is the root of Leveret, a message broker that speaks AMQP 0-9-1 and
// that clients, tools and habits made for RabbitMQ work with as they are.
//
// It holds no code. The program is in cmd/leveret; a broker inside a Go test is in
// brokertest; docs/architecture.md says what each of the other packages is for. The test
// beside this file holds the table of who may import whom.
package leveret
