// Package management is the HTTP API through which a running broker is looked after. Its
// handlers know what they are handed and nothing else: how they are listened for, and who
// may call them, is their owner's to say. Listen makes a unix socket in the data directory
// that nobody but the owner of the process can open, and whoever can is trusted; Client finds
// it again.
//
// Answers are JSON, and so are refusals: {"error":"…","reason":"…"}, as in
// RabbitMQ's API. A resource is a file, api_<resource>.go. It knows no store and no
// connection from inside. It has no locks.
package management
