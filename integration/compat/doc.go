// Package compat holds the same conversations with a RabbitMQ and with Leveret, frame by
// frame: the test fails when the answers differ, unless differences.txt has the difference
// and says why it is intended, and it fails as well when something in that list no longer
// differs. Nobody has written the answers down but RabbitMQ itself: what a RabbitMQ 3.10.8
// has said is in answers, so that every go test compares with it, and run asks one that is
// there.
//
//	go test ./integration/compat                 with what is recorded
//	integration/compat/run                       with a RabbitMQ of its own, Debian's
//	integration/compat/run -update               and records what it says
//	RABBITMQ_URI=amqp://… integration/compat/run with that one, to which definitions.json was imported
//
// Values that cannot be the same are masked: names that servers generate, the time of a
// death, what the servers say about themselves. Order is compared within a channel, apart
// for what answers methods, what is delivered, and what becomes of publishes; between those
// and between channels it is nobody's promise.
package compat
