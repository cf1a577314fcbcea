// Package compat holds the same conversations with a RabbitMQ and with Leveret, frame by
// frame. Nobody has written down what the answers are: the test fails when they differ,
// unless differences.txt has the difference and says why it is intended, and it fails as
// well when something in that list no longer differs.
//
//	integration/compat/run                       with a RabbitMQ of its own, Debian's
//	RABBITMQ_URI=amqp://… integration/compat/run with that one, to which definitions.json was imported
//
// Values that cannot be the same are masked: names that servers generate, the time of a
// death, what the servers say about themselves. Order is compared within a channel, apart
// for what answers methods, what is delivered, and what becomes of publishes; between those
// and between channels it is nobody's promise.
package compat
