// Package definitions exports everything declared, and imports it, as the JSON that
// RabbitMQ's tools write and read (DEF-1, DEF-2): users with their hashes, virtual hosts,
// permissions, policies, queues, exchanges and bindings; no messages. Export takes them
// from a broker, in an order that only what is declared decides. Import checks everything
// before it declares anything, so a file is taken whole or not at all; what keeps it from
// being taken is an Error that names the item (C45).
//
// It also has the form that tables of arguments take in JSON, for the HTTP API (DEF-5). It
// opens no file and no socket. It has no locks.
package definitions
